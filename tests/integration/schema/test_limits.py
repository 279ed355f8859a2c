"""What one engine refuses or ignores, on the real servers: the rest is created, and not again."""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy.dialects import mysql

from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, Server, Timeouts
from dbgear_airflow_provider.core.schema import Namespace, prepare
from dbgear_airflow_provider.sandbox.postgres import PostgresServer as Cluster
from tests.integration.schema.nasty import column, relation
from tests.servers.address import address_of
from tests.servers.mariadb import MySQLServer as RunningMySQL

KEY = column("id", "INT", primaryKey=1, nullable=False)
BINDS = ("t_id", "id")
TREE: dict[str, Any] = {
    "schemas": {
        "main": {
            "tables": {
                "t": {"columns": [KEY]},
                "not_null": {
                    "columns": [KEY, column("t_id", "INT", nullable=False), column("n", "INT")],
                    "relations": [
                        relation("t", BINDS, constraintName="a", onDelete="SET NULL"),
                        relation("t", BINDS, constraintName="b"),
                        relation("t", ("n", "id"), constraintName="B"),
                    ],
                    "indexes": [{"indexName": "h", "columns": ["n", "t_id DESC"], "indexType": "HASH", "unique": True}],
                },
                "silent": {
                    "columns": [KEY, column("t_id", "INT"), column("s", "VARCHAR(9)"), column("p", "POINT")],
                    "relations": [relation("t", BINDS)],
                    "indexes": [{"indexName": "i", "columns": ["s"], "includeColumns": ["p"]}],
                    "mysqlOptions": {"engine": "MyISAM"},
                },
                "counted": {
                    "columns": [KEY, column("n", "INT", primaryKey=2, nullable=False, autoIncrement=True)],
                    "indexes": [{"indexName": "u", "columns": ["n"], "unique": True}],
                    "mysqlOptions": {"partitionBy": "HASH", "partitionExpression": "id", "partitionCount": 2},
                },
                "joined": {
                    "columns": [
                        KEY,
                        column("s", "VARCHAR(9)"),
                        column("j", "JSON"),
                        column("c", "VARCHAR(30)", expression="CONCAT_WS('-', s, s)", stored=True),
                        column("at", "DATETIME", defaultValue="'2000-01-01 00:00:00' ON UPDATE NOW()"),
                    ],
                    "mysqlOptions": {"partitionBy": "HASH", "partitionExpression": "YEAR(`at`)"},
                },
            },
            "views": {
                "arrow": {"selectStatement": "SELECT j->'$.a' AS a FROM joined"},
                "many": {"selectStatement": "SELECT JSON_EXTRACT(j, '$.a', '$.b') AS a FROM joined"},
                "one": {"selectStatement": "SELECT 1 AS n FROM DUAL"},
            },
        }
    }
}


async def applied(server: Server, name: str, database: str, tree: dict[str, Any] = TREE) -> list[str]:
    timeouts = Timeouts(lock_s=5, statement_s=30)
    try:
        await server.ready()
        async with server.session(database) as session, session.locked("t", timeouts):
            wanted = prepare(tree, {"main": Namespace(name)}, server.dialect, where="t.j2", on_unsupported="warn")
            await session.apply([sql for item in wanted.missing(set()) for sql in item.statements])
            assert wanted.missing(await session.objects([Namespace(name)])) == []
            return wanted.warnings
    finally:
        await server.aclose()


async def test_on_postgresql(postgres: Cluster, database: str) -> None:
    address = address_of(postgres, database)
    await applied(PostgresServer("t", address), database, database)


async def test_on_mariadb(mariadb: RunningMySQL) -> None:
    name = f"test_{os.urandom(6).hex()}"
    address = address_of(mariadb)
    try:
        await applied(MySQLServer("t", address), name, "")
    finally:
        mariadb.drop_database(name)


TEXT_KEY = column("k", "TEXT", primaryKey=1, nullable=False)
SIZES: dict[str, Any] = {
    "text_key": {"columns": [TEXT_KEY, column("n", "INT")]},
    "wide_key": {"columns": [column("k", "VARCHAR(769)", primaryKey=1), column("n", "BIGINT", autoIncrement=True)]},
    "full_key": {"columns": [column("k", "VARCHAR(768)", primaryKey=1)]},
    "latin_key": {"columns": [column("k", "VARCHAR(3072)", primaryKey=1)], "mysqlOptions": {"charset": "latin1"}},
    "wide_row": {"columns": [KEY, column("a", "VARCHAR(16000)"), column("b", "VARCHAR(400)")]},
    "full_row": {"columns": [column("a", "VARCHAR(16000)"), column("b", "TEXT"), column("c", "VARCHAR(379)")]},
    "refers": {"columns": [KEY, column("w", "INT")], "relations": [relation("wide_row", ("w", "id"))]},
    "indexed": {
        "columns": [
            *(column("a", "VARCHAR(500)"), column("b", "VARCHAR(269)"), column("c", "DECIMAL(65,30)")),
            *(column("d", "VARCHAR(900)"), column("now", "INT", expression="YEAR(NOW())"), column("t", "TEXT")),
        ],
        "indexes": [
            {"indexName": "long", "columns": ["a", "b"]},
            {"indexName": "full", "columns": ["a", "b(268)"]},
            {"indexName": "hashed", "columns": ["a", "b"], "unique": True},
            {"indexName": "cut", "columns": ["d"]},
            {"indexName": "moving", "columns": ["now"]},
            {"indexName": "beyond", "columns": ["b(500)"]},
            {"indexName": "text", "columns": ["t"], "unique": True},
        ],
    },
    "prefixed": {"columns": [column("t", "TEXT")], "indexes": [{"indexName": "t", "columns": ["t(10)"]}]},
    "compact": {
        "columns": [column("a", "VARCHAR(192)"), column("b", "VARCHAR(191)")],
        "indexes": [{"indexName": "a", "columns": ["a"]}, {"indexName": "b", "columns": ["b"]}],
        "mysqlOptions": {"rowFormat": "compact"},
    },
}
SIZE_TREE: dict[str, Any] = {
    "schemas": {
        "main": {
            "tables": SIZES,
            "views": {"v": {"selectStatement": "SELECT id FROM wide_row"}},
            "triggers": {"x": {"tableName": "wide_row", "timing": "AFTER", "event": "INSERT", "body": "SET @x = 1"}},
        }
    }
}


async def test_sizes_on_mariadb(mariadb: RunningMySQL) -> None:
    name = f"test_{os.urandom(6).hex()}"
    address = address_of(mariadb)
    try:
        warnings = await applied(MySQLServer("t", address), name, "", SIZE_TREE)
    finally:
        mariadb.drop_database(name)
    assert [warning.split(":")[0] for warning in warnings] == [
        *("main.text_key", "main.wide_key", "main.wide_key.n", "main.wide_row"),
        *("main.indexed.long", "main.indexed.moving", "main.indexed.text", "main.compact.a"),
        *("main.refers.fk_refers_wide_row", "main.v", "main.x"),
    ]
    assert "its primary key: an index on k needs a length" in warnings[0]
    assert "its primary key: an index of 3076 bytes, of at most 3072" in warnings[1]
    assert "a row may be 65609 bytes long, of at most 65535" in warnings[3]


def test_sizes_on_mysql() -> None:
    dialect = mysql.dialect(paramstyle="named")
    warnings = prepare(SIZE_TREE, {"main": Namespace("acme")}, dialect, where="t.j2", on_unsupported="warn").warnings
    places = {warning.split(":")[0] for warning in warnings}
    assert {"main.indexed.hashed", "main.indexed.cut", "main.indexed.now"} <= places
    assert not {"main.full_key", "main.latin_key", "main.full_row", "main.indexed.full"} & places


async def test_postgresql_has_no_such_sizes(postgres: Cluster, database: str) -> None:
    address = address_of(postgres, database)
    warnings = await applied(PostgresServer("t", address), database, database, SIZE_TREE)
    assert [warning.split(":")[0] for warning in warnings] == ["main.indexed.now", "main.indexed.moving", "main.x"]
    long = "".join(os.urandom(16).hex() for _ in range(1000))  # more than a page of an index holds
    with postgres.connect(database) as connection:
        connection.execute(f"INSERT INTO {database}.prefixed VALUES ('{long}')".encode())
        assert connection.execute(f"SELECT length(t) FROM {database}.prefixed".encode()).fetchall() == [(32_000,)]
