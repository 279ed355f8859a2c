"""Documents on a real PostgreSQL server: what is compiled is accepted, and means what the document says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.rows import TupleRow

from dbgear_airflow_provider.core.engines import PostgresServer, Timeouts
from dbgear_airflow_provider.core.errors import DocumentError
from dbgear_airflow_provider.core.schema import (
    Namespace,
    ObjectKey,
    SchemaDocument,
    SchemaObject,
    build_metadata,
    ledger_table,
    schema_objects,
)
from dbgear_airflow_provider.core.schema.expressions import default_value
from dbgear_airflow_provider.core.templating.filters import sql_literal
from dbgear_airflow_provider.sandbox.postgres import PostgresServer as Cluster
from tests.servers.address import address_of

Connection = psycopg.Connection[TupleRow]
TIMEOUTS = Timeouts(lock_s=5, statement_s=30)
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def connection(postgres: Cluster) -> Iterator[Connection]:
    name = f"test_{os.urandom(6).hex()}"
    postgres.create_database(name)
    with postgres.connect(name) as connection:
        connection.autocommit = True
        yield connection
    postgres.drop_database(name)


def objects(tree: dict[str, Any]) -> list[SchemaObject]:
    document = SchemaDocument.load(tree, where="t.j2")
    metadata = build_metadata(document, {name: Namespace(f"acme_{name}") for name in document.schemas})
    return list(schema_objects(metadata))


def table_of(*columns: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"schemas": {"main": {"tables": {"t": {"columns": list(columns), **rest}}}}}


@contextmanager
def created(connection: Connection, tree: dict[str, Any]) -> Iterator[Connection]:
    """Create a document's objects in a transaction that is rolled back at the end."""
    with connection.transaction(force_rollback=True):
        for item in objects(tree):
            for statement in item.statements(PostgresServer.dialect):
                connection.execute(statement.encode())
        yield connection


def inserted(connection: Connection, tree: dict[str, Any]) -> tuple[Any, ...]:
    """Return the row that a table of defaults gets."""
    with created(connection, tree) as there:
        row = there.execute("INSERT INTO acme_main.t DEFAULT VALUES RETURNING *").fetchone()
        assert row is not None
        return row


# defaults

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
WORDS = [
    "'",
    "''",
    "\\'",
    "1",
    "1.5",
    "b'1'",
    "NOW()",
    "UUID()",
    "NULL",
    "TRUE",
    "CURRENT_TIMESTAMP",
    "(",
    ")",
    ",",
    ";",
    "--",
    "/*",
    "*/",
    "||",
    "+",
    "-",
    "SELECT",
    "x",
    "1e5",
    "e",
    ".",
]
HOSTILE = st.text(alphabet="'\\\"%;$:-/*`n0 é日😀\n\t{}", max_size=20)


@given(TEXT | HOSTILE)
@example("it's \\' 100% %s :x $1 -- /* */ ; \\n \\0 日本 😀")
@example("\\")
@example("'")
@settings(parent=QUICK, max_examples=150)
def test_a_text_default_is_that_text(connection: Connection, value: str) -> None:
    column = {"columnName": "c", "columnType": "TEXT", "defaultValue": sql_literal(value)}
    assert inserted(connection, table_of(column)) == (value,)


@given(
    st.text(max_size=30)
    | HOSTILE
    | st.text(alphabet="()'-+.0123456789 exbBnN\\;,", max_size=15)
    | st.lists(
        st.sampled_from(WORDS),
        max_size=6,
    ).map(" ".join)
)
@settings(parent=QUICK, max_examples=400)
def test_any_default_is_refused_or_one_constant(connection: Connection, text: str) -> None:
    try:
        sql = str(default_value(text, sa.Text()).compile(dialect=PostgresServer.dialect))
    except ValueError:
        return
    with connection.transaction(force_rollback=True):
        # Behind it comes a second column: what ended the expression early would change their number or the second.
        cursor = connection.execute(f"SELECT {sql} , 'second'".encode())
        (row,) = cursor.fetchall()
        assert len(row) == 2
        assert row[1] == "second"


@pytest.mark.parametrize(
    ("kind", "default", "value"),
    [
        ("TINYINT(1)", "0", False),
        ("TINYINT(1)", "1", True),
        ("TINYINT(1)", "'1'", True),
        ("TINYINT(1)", "b'0'", False),
        ("BOOLEAN", "TRUE", True),
        ("TINYINT", "TRUE", 1),
        ("INT", "b'101'", 5),
        ("INT", "'7'", 7),
        ("BIT(1)", "0", "0"),
        ("BIT(8)", "b'1'", "00000001"),
        ("DECIMAL(10,2)", "0", 0),
        ("VARCHAR(10)", "0", "0"),
        ("VARCHAR(10)", "NULL", None),
        ("JSON", '\'{"a": [1, "日本"]}\'', {"a": [1, "日本"]}),
        ("ENUM('50%','it''s')", "'it''s'", "it's"),
    ],
)
def test_a_default_of_a_type(connection: Connection, kind: str, default: str, value: Any) -> None:
    column = {"columnName": "c", "columnType": kind, "defaultValue": default}
    assert inserted(connection, table_of(column)) == (value,)


@pytest.mark.parametrize(
    ("kind", "default", "same"),
    [
        ("DATETIME", "CURRENT_TIMESTAMP", "date_trunc('second', c) - localtimestamp BETWEEN '-1 s' AND '1 s'"),
        ("DATETIME(6)", "NOW()", "c = localtimestamp"),
        ("TIMESTAMP(6)", "CURRENT_TIMESTAMP(6)", "c = now()"),
        ("DATETIME(6)", "(UTC_TIMESTAMP())", "c = now() AT TIME ZONE 'UTC'"),
        ("DATE", "(CURRENT_DATE)", "c = current_date"),
        ("TIME(6)", "(CURRENT_TIME)", "c = localtime"),
        ("CHAR(36)", "(UUID())", "c::text ~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$'"),
    ],
)
def test_a_default_that_is_a_function(connection: Connection, kind: str, default: str, same: str) -> None:
    column = {"columnName": "c", "columnType": kind, "defaultValue": default}
    with created(connection, table_of(column)) as there:
        there.execute("SET LOCAL timezone = 'Asia/Tokyo'")
        row = there.execute(
            f"INSERT INTO acme_main.t DEFAULT VALUES RETURNING {same}, current_setting('timezone')".encode()
        ).fetchone()
    assert row == (True, "Asia/Tokyo")


# types


TYPES = [
    "TINYINT(1)",
    "TINYINT UNSIGNED",
    "SMALLINT UNSIGNED",
    "MEDIUMINT",
    "INT UNSIGNED",
    "BIGINT UNSIGNED",
    "DECIMAL(10,2)",
    "FLOAT(53)",
    "DOUBLE",
    "BIT(8)",
    "CHAR(3)",
    "varchar(255)",
    "TINYTEXT",
    "LONGTEXT",
    "BINARY(16)",
    "MEDIUMBLOB",
    "DATE",
    "TIME(3)",
    "DATETIME(6)",
    "TIMESTAMP",
    "JSON",
    "YEAR",
    "SET('a','b')",
    "ENUM('')",
]


def test_every_type_is_one_of_the_servers(connection: Connection) -> None:
    columns: list[dict[str, Any]] = [
        {"columnName": f"c{number}", "columnType": kind} for number, kind in enumerate(TYPES)
    ]
    with created(connection, table_of(*columns)) as there:
        there.execute("INSERT INTO acme_main.t DEFAULT VALUES")


@pytest.mark.parametrize(
    ("kind", "largest"),
    [
        ("TINYINT UNSIGNED", 2**8 - 1),
        ("SMALLINT UNSIGNED", 2**16 - 1),
        ("MEDIUMINT UNSIGNED", 2**24 - 1),
        ("INT UNSIGNED", 2**32 - 1),
        ("BIGINT UNSIGNED", 2**63 - 1),
        ("YEAR", 2155),
    ],
)
def test_a_type_holds_every_value(connection: Connection, kind: str, largest: int) -> None:
    with created(connection, table_of({"columnName": "c", "columnType": kind})) as there:
        row = there.execute("INSERT INTO acme_main.t VALUES (%s) RETURNING c", [largest]).fetchone()
    assert row == (largest,)


@given(st.lists(TEXT | HOSTILE, min_size=1, max_size=5, unique=True))
@example(["50%", "it's", "a,b", "\\", "有効", ""])
@QUICK
def test_an_enum_takes_its_items_and_no_other(connection: Connection, items: list[str]) -> None:
    kind = {"columnType": "ENUM", "items": [{"value": item} for item in items]}
    text = f"ENUM({','.join(sql_literal(item) for item in items)})"
    columns: list[dict[str, Any]] = [{"columnName": "a", "columnType": kind}, {"columnName": "b", "columnType": text}]
    with created(connection, table_of(*columns)) as there:
        for item in items:
            row = there.execute("INSERT INTO acme_main.t VALUES (%s, %s) RETURNING a, b", [item, item]).fetchone()
            assert row == (item, item)
        for column in "ab":
            with pytest.raises(psycopg.Error), there.transaction():
                there.execute(f"INSERT INTO acme_main.t ({column}) VALUES (%s)", ["".join(items) + "x"])


# expressions


def test_generated_columns_and_partial_indexes(connection: Connection) -> None:
    columns: list[dict[str, Any]] = [
        {"columnName": "key", "columnType": "VARCHAR(20)"},
        {"columnName": "値", "columnType": "INT"},
        {"columnName": "data", "columnType": "JSON"},
        {"columnName": "label", "columnType": "TEXT", "expression": "CONCAT(UPPER(`key`), '-100%')"},
        {"columnName": "double", "columnType": "INT", "expression": "IFNULL(値, 0) * 2", "stored": True},
        {"columnName": "city", "columnType": "TEXT", "expression": "data->>'$.address.city'"},
        {"columnName": "odd", "columnType": "TINYINT(1)", "expression": "値 % 2 = 1"},
    ]
    indexes = [
        {"indexName": "p", "columns": ["key", "値 DESC"], "unique": True, "partialCondition": "`key` LIKE 'a%'"},
        {"indexName": "h", "columns": ["key"], "indexType": "HASH"},
        {
            "indexName": "i",
            "columns": ["値"],
            "includeColumns": ["key"],
            "storageParameters": {"fillfactor": 70, "deduplicate_items": True},
            "tablespace": "pg_default",
        },
    ]
    with created(connection, table_of(*columns, indexes=indexes)) as there:
        insert = 'INSERT INTO acme_main.t (key, "値", data) VALUES ({}, 3, \'{{"address": {{"city": "大阪"}}}}\')'
        row = there.execute((insert.format("'abc'") + " RETURNING label, double, city, odd").encode()).fetchone()
        assert row == ("ABC-100%", 6, "大阪", True)
        there.execute((insert.format("'b'") + ", ('b', 3, NULL)").encode())
        with pytest.raises(psycopg.errors.UniqueViolation):
            there.execute(insert.format("'abc'").encode())


# keys and relations


def test_identity_columns_count_up(connection: Connection) -> None:
    columns: list[dict[str, Any]] = [
        {"columnName": "id", "columnType": "BIGINT UNSIGNED AUTO_INCREMENT", "primaryKey": 0},
        {"columnName": "x", "columnType": "INT"},
    ]
    with created(connection, table_of(*columns)) as there:
        there.execute("INSERT INTO acme_main.t VALUES (1, 1)")  # a restored row keeps its id
        assert connection.execute("SELECT count(*) FROM acme_main.t").fetchone() == (1,)


def test_foreign_keys_in_cycles_and_over_schemas(connection: Connection) -> None:
    identity = {"columnName": "id", "columnType": "INT", "primaryKey": 1}
    other = {"columnName": "other", "columnType": "INT"}

    def table(schema: str, target: str, **fields: Any) -> dict[str, Any]:
        bind = [{"sourceColumn": "other", "targetColumn": "id"}]
        relation = {"target": {"schemaName": schema, "tableName": target}, "bindColumns": bind, **fields}
        return {"columns": [identity, other], "relations": [relation]}

    late = {"deferrable": True, "initiallyDeferred": True}
    tree = {
        "schemas": {
            "main": {"tables": {"a": table("main", "b", **late), "b": table("audit", "c", **late)}},
            "audit": {"tables": {"c": table("main", "a", onDelete="CASCADE", **late)}},
        }
    }
    with created(connection, tree) as there:
        there.execute("INSERT INTO acme_main.a VALUES (1, 2)")
        there.execute("INSERT INTO acme_main.b VALUES (2, 3)")
        there.execute("INSERT INTO acme_audit.c VALUES (3, 1)")
        there.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            there.execute("INSERT INTO acme_main.a VALUES (5, 99)")


def test_comments_are_the_display_names(connection: Connection) -> None:
    name = "it's 100% \\ 利用者"
    column = {"columnName": "c", "columnType": "INT", "displayName": name}
    with created(connection, table_of(column, displayName=name)) as there:
        row = there.execute(
            "SELECT obj_description('acme_main.t'::regclass), col_description('acme_main.t'::regclass, 1)"
        ).fetchone()
    assert row == (name, name)


# the whole way round

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], max_codepoint=0x30FF), min_size=1, max_size=12).filter(
    lambda name: bool(name.strip())
) | st.sampled_from(["user", "order", "key", "利用者", "T", "t", 'a"b', "a.b"])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    schemas = {}
    for schema in draw(st.lists(st.sampled_from(["main", "audit", "ログ"]), min_size=1, max_size=2, unique=True)):
        names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        schemas[schema] = {"tables": {name: draw(tables(names)) for name in names}}
    return {"schemas": schemas}


@st.composite
def tables(draw: st.DrawFn, names: list[str]) -> dict[str, Any]:
    others = draw(st.lists(NAMES.filter(lambda name: name != "id"), max_size=3, unique=True))
    columns: list[dict[str, Any]] = [{"columnName": "id", "columnType": "INT", "primaryKey": 1}]
    columns += [
        {
            "columnName": name,
            "displayName": draw(NAMES),
            "columnType": draw(st.sampled_from(TYPES)),
            "nullable": draw(st.booleans()),
        }
        for name in others
    ]
    indexed = [column["columnName"] for column in columns if column["columnType"] != "JSON"]
    index_names = draw(st.lists(NAMES, max_size=2, unique=True))
    relations = [
        {
            "target": {"tableName": target},
            "bindColumns": [{"sourceColumn": "id", "targetColumn": "id"}],
            "onDelete": draw(st.sampled_from(["CASCADE", "RESTRICT", "NO ACTION"])),
        }
        for target in draw(st.lists(st.sampled_from(names), max_size=2, unique=True))
    ]
    return {
        "displayName": draw(NAMES),
        "columns": columns,
        "indexes": [
            {
                "indexName": name,
                "columns": draw(st.lists(st.sampled_from(indexed), min_size=1, max_size=2, unique=True)),
                "unique": draw(st.booleans()),
            }
            for name in index_names
        ],
        "relations": relations,
    }


LONG = {
    "columns": [{"columnName": "id", "columnType": "INT", "primaryKey": 1}],
    "indexes": [{"indexName": "i" * 60, "columns": ["id"]}],
    "relations": [{"target": {"tableName": "t" * 60}, "bindColumns": [{"sourceColumn": "id", "targetColumn": "id"}]}],
}


@given(tree=documents())
@example({"schemas": {"main": {"tables": {"t" * 60: LONG}}}})
@settings(parent=QUICK, max_examples=25)
async def test_the_catalog_holds_what_the_document_says(postgres: Cluster, database: str, tree: Any) -> None:
    address = address_of(postgres, database)
    document = SchemaDocument.load(tree, where="t.j2")
    try:
        metadata = build_metadata(document, {name: Namespace(f"acme_{name}") for name in document.schemas})
    except DocumentError as error:
        assert "taken" in error.message  # an index that would be called like a table
        return
    ledger_table(metadata, f"acme_{next(iter(tree['schemas']))}")
    wanted = list(schema_objects(metadata))
    keys = {item.key for item in wanted}
    schemas = sorted({key.schema for key in keys})
    assert len(keys) == len(wanted)
    server = PostgresServer("t", address)
    try:
        async with server.session(database) as session:
            with pytest.raises(RollBackError):
                async with session.locked("t", TIMEOUTS):
                    await session.apply([sql for item in wanted for sql in item.statements(server.dialect)])
                    there = await session.objects([Namespace(schema) for schema in schemas])
                    raise RollBackError
    finally:
        await server.aclose()
    # Primary keys are indexes of the server's own.
    keyed = {table.name: table.schema for table in metadata.tables.values() if table.primary_key.columns}
    primary = {key for key in there - keys if key.kind == "index" and key.name.endswith("_pkey")}
    assert len(primary) <= len(metadata.tables)
    assert keyed
    assert there - primary == keys


class RollBackError(Exception):
    """Leave nothing behind."""


def test_a_key_says_what_the_catalog_says() -> None:
    column = {"columnName": "id", "columnType": "INT", "primaryKey": 1}
    relation = {"target": {"tableName": "t"}, "bindColumns": [{"sourceColumn": "id", "targetColumn": "id"}]}
    indexes = [{"indexName": "i", "columns": ["id"]}]
    assert [item.key for item in objects(table_of(column, indexes=indexes, relations=[relation]))] == [
        ObjectKey(kind="schema", schema="acme_main", name="acme_main"),
        ObjectKey(kind="table", schema="acme_main", name="t"),
        ObjectKey(kind="index", schema="acme_main", name="t_i"),
        ObjectKey(kind="foreign key", schema="acme_main", name="t.fk_t_t"),
    ]
