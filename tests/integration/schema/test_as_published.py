"""Documents as DBGear's users have them, on the real servers: all that can exist exists, the rest is told by name."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest
import yaml

from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, Server, Timeouts
from dbgear_airflow_provider.core.errors import DocumentError, UnsupportedError
from dbgear_airflow_provider.core.schema import Namespace, ObjectKey, prepare
from dbgear_airflow_provider.sandbox.postgres import PostgresServer as Cluster
from tests.servers.address import address_of
from tests.servers.mariadb import MySQLServer as RunningMySQL

STOCK = """
schemas:
  stock:
    notes: [{title: 倉庫, content: 在庫の台帳, checked: true}]
    tables:
      warehouse:
        displayName: 倉庫
        categories: [master, 物流]
        notes: [{title: 注, content: 拠点ごと, checked: false}]
        columns:
        - {columnName: code, displayName: コード, nullable: false, primaryKey: 0,
           columnType: {columnType: varchar(8), baseType: VARCHAR, length: 8}}
        - {columnName: kind, displayName: 種別, nullable: false, defaultValue: "'cold'",
           columnType: {columnType: ENUM, baseType: ENUM, items: [
             {value: cold, caption: 冷蔵, description: 5度以下}, {value: dry, caption: 常温}]}}
        - {columnName: layout, displayName: 配置, nullable: true,
           columnType: {columnType: json, baseType: JSON, jsonSchema: {type: object, required: [rows]}}}
        - {columnName: opened, displayName: 開設, nullable: false,
           columnType: {columnType: datetime, baseType: DATETIME}}
      shelf:
        displayName: 棚
        columns:
        - {columnName: code, displayName: 倉庫, nullable: false, primaryKey: 0,
           columnType: {columnType: varchar(8), baseType: VARCHAR, length: 8}}
        - {columnName: row, displayName: 列, nullable: false, primaryKey: 1,
           columnType: {columnType: int(10) unsigned, baseType: INT}}
        - {columnName: seats, displayName: 段数, nullable: true,
           columnType: {columnType: smallint unsigned, baseType: SMALLINT}}
        relations:
        - {target: {schemaName: stock, tableName: warehouse}, constraintName: FK_shelf, cardinaritySource: "*",
           bindColumns: [{sourceColumn: code, targetColumn: code}], description: 倉庫へ}
      item:
        displayName: 品目
        columns:
        - {columnName: id, displayName: 番号, nullable: false, primaryKey: 0, autoIncrement: true,
           columnType: {columnType: bigint unsigned, baseType: BIGINT}}
        - {columnName: code, displayName: 倉庫, nullable: false,
           columnType: {columnType: varchar(8), baseType: VARCHAR}}
        - {columnName: row, displayName: 列, nullable: false, columnType: {columnType: int unsigned, baseType: INT}}
        - {columnName: 品名, displayName: 品名, nullable: false,
           columnType: {columnType: varchar(60), baseType: VARCHAR}}
        - {columnName: price, displayName: 単価, nullable: false,
           columnType: {columnType: "decimal(10,2)", baseType: DECIMAL}}
        - {columnName: taxed, displayName: 税込, nullable: true, expression: "price * 1.1", stored: true,
           columnType: {columnType: "decimal(12,3)", baseType: DECIMAL}}
        - {columnName: domain, displayName: 分類, nullable: true, expression: "SUBSTRING_INDEX(`品名`, '/', 1)",
           columnType: {columnType: varchar(60), baseType: VARCHAR}}
        indexes:
        - {indexName: idx_price, columns: [price DESC, id]}
        - {indexName: idx_name, columns: [品名(10)], unique: true}
        relations:
        - {target: {tableName: shelf}, constraintName: FK_item, cardinaritySource: "*",
           bindColumns: [{sourceColumn: code, targetColumn: code}]}
        - {target: {tableName: shelf}, constraintName: FK_item, cardinaritySource: "*",
           bindColumns: [{sourceColumn: row, targetColumn: code}]}
        - {target: {tableName: shelf}, constraintName: FK_place, cardinaritySource: "*",
           bindColumns: [{sourceColumn: code, targetColumn: code}, {sourceColumn: row, targetColumn: row}]}
      setting:
        displayName: 設定
        columns:
        - {columnName: key, displayName: 鍵, nullable: false, primaryKey: 0,
           columnType: {columnType: varchar(40), baseType: VARCHAR}}
        - {columnName: value, displayName: 値, nullable: false,
           columnType: {columnType: varchar(80), baseType: VARCHAR}}
        - {columnName: order, displayName: 順, nullable: true, columnType: {columnType: int, baseType: INT}}
      movement:
        displayName: 入出庫
        columns:
        - {columnName: day, displayName: 日, nullable: false, primaryKey: 0,
           columnType: {columnType: date, baseType: DATE}}
        - {columnName: seq, displayName: 連番, nullable: false, primaryKey: 1,
           columnType: {columnType: int, baseType: INT}}
        mysqlOptions:
          partitionBy: RANGE
          partitionExpression: "YEAR(day) (PARTITION old VALUES LESS THAN (2025),
            PARTITION now VALUES LESS THAN MAXVALUE)"
    views:
      v_recent:
        displayName: 新しい倉庫
        notes: [{content: 30日}]
        selectStatement: |
          SELECT w.CODE, w.opened, DATE_FORMAT(w.opened, '%Y年%m月') AS 月
          FROM warehouse w
          WHERE w.opened >= DATE_SUB(NOW(), INTERVAL 30 DAY)
      v_summary:
        displayName: 倉庫の集計
        selectStatement: |
          SELECT w.code, w.opened, COUNT(i.id) AS items, IFNULL(SUM(i.price), 0) AS total,
                 GROUP_CONCAT(i.id ORDER BY i.id SEPARATOR '/') AS ids
          FROM warehouse w LEFT JOIN item i ON i.code = w.code
          GROUP BY w.code HAVING items > 0
      v_domain: {displayName: 分類, selectStatement: "SELECT domain, COUNT(*) AS n FROM item GROUP BY domain"}
    triggers:
      trg_opened:
        displayName: 開設日
        tableName: warehouse
        timing: BEFORE
        event: UPDATE
        body: |
          BEGIN
            SET NEW.opened = NOW();
          END
      trg_log:
        displayName: 記録
        tableName: item
        timing: AFTER
        event: INSERT
        body: |
          BEGIN
            -- key and order are reserved words, without quotes here
            INSERT INTO setting (key, value, order)
            VALUES (CONCAT('item_', NEW.id), NEW.`品名`, NULL);
          END
    procedures:
      add_item:
        displayName: 品目を足す
        modifiesSqlData: true
        parameters: [{parameterName: name, parameterType: IN, dataType: varchar(60)}]
        body: |
          BEGIN
            INSERT INTO item (code, row, `品名`, price) VALUES ('A', 1, name, 10);
          END
      with_tax: {displayName: 税込, returnType: "decimal(12,2)", deterministic: true, body: RETURN n * 1.1,
                 parameters: [{parameterName: n, dataType: "decimal(12,2)"}]}
"""
# Of DBGear's first documents: fields, each with what it refers to.
FIELDS = """
schemas:
  main:
    tables:
      team:
        display_name: 班
        fields:
          - {column_name: id, display_name: ID, column_type: int, nullable: false, primary_key: 1}
      member:
        display_name: 班員
        fields:
          - {column_name: id, display_name: ID, column_type: int, nullable: false, primary_key: 1}
          - {column_name: team_id, display_name: 班, column_type: int, nullable: false, foreign_key: team.id}
          - {column_name: boss_id, display_name: 長, column_type: int, nullable: true, foreign_key: member.id}
          - {column_name: born, display_name: 生年月日, column_type: date, nullable: true}
          - {column_name: age, display_name: 年齢, column_type: int, nullable: true, stored: false,
             expression: "TIMESTAMPDIFF(YEAR, born, CURDATE())"}
        indexes:
          - {index_name: idx_born, columns: [born]}
    views:
      sound: {display_name: x, select_statement: "SELECT t.id FROM team t"}
      lost: {display_name: x, select_statement: "SELECT * FROM orders", comment: none}
      wrong: {display_name: x, select_statement: "SELECT t.created_at FROM team t"}
"""


async def created(server: Server, text: str, name: str, database: str) -> tuple[list[str], set[ObjectKey]]:
    """Create all of a document that the engine holds; return the warnings, and what is in the catalog."""
    tree: dict[str, Any] = yaml.safe_load(text)
    try:
        await server.ready()
        wanted = prepare(
            tree, {next(iter(tree["schemas"])): Namespace(name)}, server.dialect, where="t.j2", on_unsupported="warn"
        )
        async with server.session(database) as session, session.locked("t", Timeouts(lock_s=5, statement_s=30)):
            await session.apply([sql for item in wanted.missing(set()) for sql in item.statements])
            there = await session.objects([Namespace(name)])
        assert wanted.missing(there) == []
        return wanted.warnings, there
    finally:
        await server.aclose()


def names(keys: set[ObjectKey], kind: str) -> set[str]:
    return {key.name for key in keys if key.kind == kind and key.name != "dbgear_migrations"}


def postgres_server(postgres: Cluster, database: str) -> Server:
    address = address_of(postgres, database)
    return PostgresServer("t", address)


def mariadb_server(mariadb: RunningMySQL) -> Server:
    address = address_of(mariadb)
    return MySQLServer("t", address)


def told(warnings: list[str]) -> Counter[str]:
    return Counter(warning.split(":")[0] for warning in warnings)


async def test_on_mariadb(mariadb: RunningMySQL) -> None:
    name = f"test_{os.urandom(6).hex()}"
    try:
        warnings, there = await created(mariadb_server(mariadb), STOCK, name, "")
        assert told(warnings) == {"stock.item.FK_item": 1}
        assert "stock.item.FK_item: a foreign key between unlike types on MariaDB: item.row is" in warnings[0]
        assert names(there, "table") == {"warehouse", "shelf", "item", "setting", "movement"}
        assert names(there, "view") == {"v_recent", "v_summary", "v_domain"}
        assert names(there, "trigger") == {"trg_opened", "trg_log"}
        assert (names(there, "procedure"), names(there, "function")) == ({"add_item"}, {"with_tax"})
        assert names(there, "foreign key") == {"shelf.shelf_FK_shelf", "item.item_FK_item", "item.item_FK_place"}
        assert {"item.idx_price", "item.idx_name"} <= names(there, "index")
        mariadb.query("INSERT INTO warehouse (code, opened) VALUES ('A', NOW())", name)
        mariadb.query("INSERT INTO shelf VALUES ('A', 1, 5)", name)
        mariadb.query("CALL add_item('tea/green')", name)
        assert mariadb.query("SELECT `key`, value FROM setting", name) == (("item_1", "tea/green"),)
        assert mariadb.query("SELECT domain, n FROM v_domain", name) == (("tea", 1),)
        assert mariadb.query("SELECT code, items, ids FROM v_summary", name) == (("A", 1, "1"),)
    finally:
        mariadb.drop_database(name)


async def test_on_postgresql(postgres: Cluster, database: str) -> None:
    warnings, there = await created(postgres_server(postgres, database), STOCK, database, database)
    assert told(warnings) == {
        "stock.item.domain": 1,
        "stock.item.FK_item": 2,
        "stock.movement": 1,
        "stock.v_domain": 1,
        "stock.trg_opened": 1,
        "stock.trg_log": 1,
        "stock.add_item": 1,
        "stock.with_tax": 1,
    }
    assert names(there, "table") == {"warehouse", "shelf", "item", "setting", "movement"}
    assert names(there, "view") == {"v_recent", "v_summary"}
    assert names(there, "foreign key") == {"shelf.FK_shelf", "item.FK_place"}
    assert names(there, "index") >= {"item_idx_price", "item_idx_name"}
    assert not names(there, "trigger") | names(there, "procedure") | names(there, "function")
    with postgres.connect(database) as connection:
        for sql in (
            "INSERT INTO warehouse (code, opened) VALUES ('A', now())",
            "INSERT INTO shelf VALUES ('A', 1, 5)",
            "INSERT INTO item (code, row, 品名, price) VALUES ('A', 1, 'tea', 10)",
        ):
            connection.execute(f"SET search_path = {database}; {sql}".encode())
        assert connection.execute("SELECT code, items, ids FROM v_summary").fetchall() == [("A", 1, "1")]
        assert len(connection.execute("SELECT code, 月 FROM v_recent").fetchall()) == 1


def test_nothing_is_created_where_all_of_it_is_wanted() -> None:
    tree = yaml.safe_load(STOCK)
    for dialect, count in ((PostgresServer.dialect, 9), (MySQLServer.dialect, 1)):
        with pytest.raises(UnsupportedError) as caught:
            prepare(tree, {"stock": Namespace("x")}, dialect, where="t.j2")
        assert len(caught.value.details["problems"]) == count


async def test_the_first_documents_on_mariadb(mariadb: RunningMySQL) -> None:
    name = f"test_{os.urandom(6).hex()}"
    try:
        warnings, there = await created(mariadb_server(mariadb), FIELDS, name, "")
    finally:
        mariadb.drop_database(name)
    assert told(warnings) == {"main.lost": 1, "main.wrong": 1}
    assert names(there, "foreign key") == {"member.fk_member_team", "member.fk_member_member"}
    assert names(there, "view") == {"sound"}


async def test_the_first_documents_on_postgresql(postgres: Cluster, database: str) -> None:
    warnings, there = await created(postgres_server(postgres, database), FIELDS, database, database)
    assert told(warnings) == {"main.member.age": 1, "main.lost": 1, "main.wrong": 1}
    assert names(there, "foreign key") == {"member.fk_member_team", "member.fk_member_member"}
    for dialect in (PostgresServer.dialect, MySQLServer.dialect):
        with pytest.raises(DocumentError, match=r"main\.lost: no such table or view; received 'main\.orders'"):
            prepare(yaml.safe_load(FIELDS), {"main": Namespace("x")}, dialect, where="t.j2")
