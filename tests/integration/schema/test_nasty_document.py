"""A document with all that a document can hold, on the real servers: created in order, and found in the catalogs."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy.dialects import mysql

from dbgear_airflow_provider.core.engines import PostgresServer, Timeouts
from dbgear_airflow_provider.core.errors import UnsupportedError
from dbgear_airflow_provider.core.schema import Namespace, PreparedDocument, prepare
from dbgear_airflow_provider.sandbox.postgres import PostgresServer as Cluster
from tests.integration.schema import nasty
from tests.servers.address import address_of
from tests.servers.mariadb import MySQLServer

POSTGRES = PostgresServer.dialect
Query = Callable[..., list[tuple[Any, ...]]]


def prepared(tree: dict[str, Any], dialect: Any, name: str, on_unsupported: Any = "error") -> PreparedDocument:
    places = {"main": Namespace(name), "audit": Namespace(f"{name}_audit")}
    return prepare(tree, places, dialect, where="t.j2", on_unsupported=on_unsupported)


def with_routines() -> dict[str, Any]:
    tree = nasty.document()
    for kind, objects in nasty.routines().items():
        tree["schemas"]["main"][kind] = {**tree["schemas"]["main"].get(kind, {}), **objects}
    return tree


def in_older_dialect(node: Any) -> Any:
    """Return a document in snake_case, types as text."""
    if isinstance(node, list):
        return [in_older_dialect(item) for item in node]
    if not isinstance(node, dict):
        return node
    if set(node) == {"columnType", "baseType"}:
        return node["columnType"]
    snake = {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): value for key, value in node.items()}
    return {key: in_older_dialect(value) for key, value in snake.items()}


def test_both_dialects_of_the_format_are_one_document() -> None:
    tree = with_routines()
    older = copy.deepcopy(tree)
    for schema in older["schemas"].values():
        for kind in schema:
            schema[kind] = {name: in_older_dialect(item) for name, item in schema[kind].items()}
    for dialect in (POSTGRES, mysql.dialect(paramstyle="named")):
        statements = [
            [item.statements for item in prepared(each, dialect, "acme", "warn").missing(set())]
            for each in (tree, older)
        ]
        assert statements[0] == statements[1]


# PostgreSQL


@pytest.fixture(scope="module")
def pg(postgres: Cluster) -> Iterator[Query]:
    """The document, without what PostgreSQL cannot hold, in a database of its own."""
    database = f"test_{os.urandom(6).hex()}"
    postgres.create_database(database)
    with postgres.connect(database) as connection:
        for item in prepared(with_routines(), POSTGRES, "acme", "warn").missing(set()):
            for sql in item.statements:
                connection.execute(sql.encode())
        yield lambda sql, *values: connection.execute(sql, values or None).fetchall()
    postgres.drop_database(database)


def test_postgresql_is_told_all_that_it_cannot_hold_at_once() -> None:
    with pytest.raises(UnsupportedError) as caught:
        prepared(with_routines(), POSTGRES, "acme")
    told = caught.value.details["problems"]
    assert [problem.split(":")[0] for problem in told] == [
        "main.add_user", "main.doubled", "main.recent", "main.user_log", "main.order_value",
    ]  # fmt: skip
    assert "DOUBLED, FIND_IN_SET" in told[2]
    assert prepared(with_routines(), POSTGRES, "acme", "warn").warnings == told


def test_tables_and_partitions_on_postgresql(pg: Query) -> None:
    names = {
        row[0]
        for row in pg("SELECT relname FROM pg_class WHERE relkind IN ('r','p') AND relnamespace = 'acme'::regnamespace")
    }
    assert {
        "order",
        "user",
        "利用者",
        "types",
        "by_hash_p3",
        "by_range_p max",
        "by_list_even",
        "dbgear_migrations",
    } <= names
    pg("INSERT INTO acme.by_range (at, id) VALUES ('2025-01-01', 1), ('2027-01-01', 2) RETURNING 1")
    assert pg("SELECT tableoid::regclass::text FROM acme.by_range ORDER BY id") == [
        ("acme.by_range_p0",), ('acme."by_range_p max"',),
    ]  # fmt: skip
    assert pg("SELECT obj_description('acme.order'::regclass)") == [(nasty.QUOTE,)]


def test_a_row_on_postgresql(pg: Query) -> None:
    pg('INSERT INTO acme."order" (key, value, data) VALUES (%s, 3, %s) RETURNING 1', "k", '{"colour": "赤"}')
    row = pg(
        'SELECT "select", "rate%%"::text, note, active, bits::text, twice, thrice, colour, length(token), changed_at '
        'FROM acme."order" WHERE key = %s', "k",
    )  # fmt: skip
    assert row == [("it's \\ 50%", "-1.50", "none", True, "0101", 6, 9, "赤", 36, None)]


def test_the_time_of_the_last_change_on_postgresql(pg: Query) -> None:
    old = "2001-01-01 00:00:00+00"
    pg('INSERT INTO acme."order" (key, value, updated_at) VALUES (%s, 1, %s) RETURNING 1', "u", old)

    def change(text: str) -> tuple[Any, ...]:
        return pg(
            f"UPDATE acme.\"order\" SET {text} WHERE key = 'u' RETURNING updated_at > now() - interval '1 minute'"
        )[0]

    assert change("value = 1") == (False,)
    assert change("note = 'changed'") == (True,)
    assert change(f"note = 'x', updated_at = '{old}'") == (False,)


def test_indexes_on_postgresql(pg: Query) -> None:
    found = dict(pg("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'acme' AND tablename = 'order'"))
    assert "gin (to_tsvector('simple'::regconfig" in found["order_ft"]
    assert found["order_idx_select"].endswith('USING btree ("select", value DESC)')
    assert "substr((" in found["order_uq_note"]
    assert "UNIQUE" in found["order_uq_note"]
    assert "USING hash" in found["order_idx_hash"]


def test_foreign_keys_and_views_on_postgresql(pg: Query) -> None:
    keys = {
        row[0]
        for row in pg("SELECT conname FROM pg_constraint WHERE contype = 'f' AND connamespace = 'acme'::regnamespace")
    }
    assert keys == {"fk", "fk_user_id", "fk_cycle", "fk_利用者_user"}
    assert pg("SELECT * FROM acme.names") == []
    assert pg("SELECT obj_description('acme.names'::regclass)") == [("it's 名前",)]
    assert {row[0] for row in pg("SELECT viewname FROM pg_views WHERE schemaname = 'acme'")} == {"names", "totals"}


def test_every_key_is_in_the_catalog_of_postgresql_by_its_kind(pg: Query) -> None:
    functions = {row[0] for row in pg("SELECT proname FROM pg_proc WHERE pronamespace = 'acme'::regnamespace")}
    triggers = {row[0] for row in pg("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")}
    keys = prepared(with_routines(), POSTGRES, "acme", "warn").keys
    assert {key.name for key in keys if key.kind == "function"} == functions == {"order_on_update"}
    assert {key.name for key in keys if key.kind == "trigger"} == triggers


async def test_what_was_created_on_postgresql_is_found_and_not_created_again(postgres: Cluster, database: str) -> None:
    address = address_of(postgres, database)
    wanted = prepared(with_routines(), POSTGRES, "acme", "warn")
    server = PostgresServer("t", address)
    timeouts = Timeouts(lock_s=5, statement_s=30)
    try:
        async with server.session(database) as session, session.locked("t", timeouts):
            await session.apply([sql for item in wanted.missing(set()) for sql in item.statements])
            existing = await session.objects([Namespace("acme"), Namespace("acme_audit")])
    finally:
        await server.aclose()
    assert wanted.missing(existing) == []
    by_kind = {kind: {key for key in existing if key.kind == kind} for kind in ("table", "view", "function", "trigger")}
    for kind, keys in by_kind.items():
        assert keys == {key for key in wanted.keys if key.kind == kind}, kind


# MariaDB


@pytest.fixture(scope="module")
def maria(mariadb: MySQLServer) -> Iterator[tuple[Query, str]]:
    name = f"test_{os.urandom(6).hex()}"
    tree = with_routines()
    columns = [nasty.column(f"c{n}", kind, nullable=False) for n, kind in enumerate(nasty.SPATIAL)]
    spatial = [{"indexName": "sp", "columns": ["c1"], "indexType": "SPATIAL"}]
    tree["schemas"]["main"]["tables"]["shapes"] = {"columns": columns, "indexes": spatial}
    connection = mariadb.connect()

    def query(sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    dialect = mysql.dialect(paramstyle="named", is_mariadb="MariaDB" in query("SELECT VERSION()")[0][0])
    for item in prepared(tree, dialect, name).missing(set()):
        for sql in item.statements:
            query(sql)
    query(f"USE `{name}`")
    yield query, name
    mariadb.drop_database(name)
    mariadb.drop_database(f"{name}_audit")
    connection.close()


def test_every_type_on_mariadb(maria: tuple[Query, str]) -> None:
    query, name = maria
    sql = (
        "SELECT COLUMN_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s "
        "ORDER BY ORDINAL_POSITION"
    )
    found = [row[0] for row in query(sql, name, "types")]
    # MariaDB shows the widths that a type has anyway, and calls some by other names.
    assert found == [
        "tinyint(4)", "tinyint(1)", "tinyint(3) unsigned", "tinyint(1)", "smallint(5) unsigned",
        "mediumint(8) unsigned",
        "int(11)", "int(10) unsigned", "int(8) unsigned zerofill", "bigint(20) unsigned", "decimal(12,2)",
        "decimal(12,2) unsigned", "decimal(10,0)", "float", "double", "double", "double", "bit(1)", "bit(8)", "char(3)",
        "varchar(255)", "tinytext", "text", "mediumtext", "longtext", "binary(16)", "varbinary(255)", "tinyblob",
        "blob",
        "mediumblob", "longblob", "date", "time", "time(3)", "datetime", "datetime(6)", "timestamp", "timestamp(3)",
        "year(4)", "longtext", "enum('a','it''s','50%','\\\\')", "set('a','b''')",
    ]  # fmt: skip
    assert [row[0] for row in query(sql, name, "shapes")] == [kind.lower() for kind in nasty.SPATIAL]


def test_a_row_on_mariadb(maria: tuple[Query, str]) -> None:
    query, _ = maria
    query("INSERT INTO `order` (`key`, value, data) VALUES (%s, 3, %s)", "k", '{"colour": "赤"}')
    row = query(
        "SELECT `select`, CONCAT(`rate%%`), note, active, bits + 0, twice, thrice, colour, LENGTH(token), changed_at "
        "FROM `order` WHERE `key` = %s", "k",
    )  # fmt: skip
    assert row == [("it's \\ 50%", "-1.50", "none", 1, 5, 6, 9, "赤", 36, None)]


def test_columns_on_mariadb(maria: tuple[Query, str]) -> None:
    query, name = maria
    sql = (
        "SELECT COLUMN_NAME, COLLATION_NAME, COLUMN_COMMENT, EXTRA FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = 'order'"
    )
    found = {row[0]: row[1:] for row in query(sql, name)}
    assert found["key"] == ("utf8mb4_bin", "", "")
    assert found["select"] == ("utf8mb4_unicode_ci", "選択", "")
    assert found["value"][1] == nasty.QUOTE
    assert found["updated_at"][2] == "on update current_timestamp(3)"
    assert found["changed_at"][2] == "on update current_timestamp()"
    assert (found["twice"][2], found["thrice"][2]) == ("VIRTUAL GENERATED", "STORED GENERATED")


def test_tables_on_mariadb(maria: tuple[Query, str]) -> None:
    query, name = maria
    sql = (
        "SELECT TABLE_NAME, ENGINE, ROW_FORMAT, TABLE_COLLATION, AUTO_INCREMENT, TABLE_COMMENT, CREATE_OPTIONS "
        "FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_TYPE = 'BASE TABLE'"
    )
    found = {row[0]: row[1:] for row in query(sql, name)}
    assert found["order"][:3] == ("InnoDB", "Dynamic", "utf8mb4_unicode_ci")
    assert found["order"][4] == nasty.QUOTE
    assert found["利用者"][3] == 1000
    assert "partitioned" in found["by_hash"][5]
    sql = (
        "SELECT TABLE_NAME, PARTITION_METHOD, PARTITION_NAME FROM information_schema.PARTITIONS "
        "WHERE TABLE_SCHEMA = %s AND PARTITION_NAME IS NOT NULL"
    )
    partitions = set(query(sql, name))
    assert ("by_hash", "HASH", "p3") in partitions
    assert ("by_range", "RANGE COLUMNS", "p max") in partitions
    assert ("by_list", "LIST", "even") in partitions


def test_indexes_on_mariadb(maria: tuple[Query, str]) -> None:
    query, name = maria
    sql = (
        "SELECT INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, INDEX_TYPE FROM information_schema.STATISTICS "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY INDEX_NAME, SEQ_IN_INDEX"
    )
    found = [row for row in query(sql, name, "order") if row[0] != "PRIMARY"]
    assert ("idx_note", 1, "note", 10, "BTREE") in found
    assert ("idx_note", 1, "key", 5, "BTREE") in found
    assert ("uq_note", 0, "select", 5, "BTREE") in found
    assert ("ft", 1, "note", None, "FULLTEXT") in found
    assert "value` DESC" in query("SHOW CREATE TABLE `order`")[0][1]
    assert ("idx_select", 1, "name", None, "BTREE") in query(sql, name, "user")
    assert ("sp", 1, "c1", 32, "SPATIAL") in query(sql, name, "shapes")


def test_foreign_keys_on_mariadb(maria: tuple[Query, str]) -> None:
    query, name = maria
    sql = "SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = %s"
    assert {row[0] for row in query(sql, name)} == {
        "order_fk", "order_fk_user_id", "user_fk", "user_fk_cycle", "fk_利用者_user",
    }  # fmt: skip


def test_views_triggers_and_procedures_on_mariadb(maria: tuple[Query, str]) -> None:
    query, name = maria
    query("SET FOREIGN_KEY_CHECKS = 0")
    query("CALL add_user('taro', @id)")
    query("CALL add_user('quiet; main.user', @other)")
    assert query("SELECT COUNT(*) FROM user") == [(2,)]
    assert query(f"SELECT id = @id FROM `{name}_audit`.log") == [(1,)]
    assert query("SELECT * FROM names") == []
    assert query("SELECT four FROM recent") == []
    query("INSERT INTO `order` (`key`, value, note) VALUES ('r', 1, 'x')")
    query("UPDATE `order` SET note = 'xx' WHERE `key` = 'r'")
    assert query("SELECT four FROM recent") == [(4,)]
    assert query("SELECT value FROM `order` WHERE `key` = 'r'") == [(2,)]
    views = query("SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s", name)
    assert {row[0] for row in views} == {"names", "recent", "totals"}
    assert query(
        "SELECT ROUTINE_COMMENT FROM information_schema.ROUTINES "
        "WHERE ROUTINE_SCHEMA = %s AND ROUTINE_NAME = 'add_user'",
        name,
    ) == [("it's \\ 追加",)]
