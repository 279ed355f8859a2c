"""Documents drawn at random: each compiles on both engines, or an error of ours says why. Never another exception."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql

from dbgear_airflow_provider.core.engines import PostgresServer
from dbgear_airflow_provider.core.errors import DbgearError
from dbgear_airflow_provider.core.schema import Namespace, prepare, schema_names
from tests.integration.schema import nasty

DIALECTS = (
    PostgresServer.dialect,
    mysql.dialect(paramstyle="named"),
    mysql.dialect(paramstyle="named", is_mariadb=True),
)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def compiled(tree: Any, prefix: str = "") -> list[str]:
    """Return what became of a document on each engine: the class of the error, or nothing."""
    outcomes = []
    for dialect in DIALECTS:
        try:
            names = schema_names(tree, where="t.j2")
            places = {name: Namespace(f"acme_{number}", prefix) for number, name in enumerate(names)}
            document = prepare(tree, places, dialect, where="t.j2", on_unsupported="warn")
            statements = [sql for item in document.missing(set()) for sql in item.statements]
            assert all("\0" not in sql for sql in statements)
            outcomes.append("")
        except DbgearError as error:
            assert str(error)
            outcomes.append(error.kind)
    return outcomes


# Documents that mean something

NAMES = st.sampled_from(["a", "b", "id"]) | st.sampled_from(
    ["key", "Key", "select", "名前", "a b", 'q"`', "x" * 63, "%s"]
)
TYPES = st.sampled_from([*nasty.TYPES, *nasty.SPATIAL, "int", "VARCHAR(20000)", "XML", "VARCHAR", "INT AUTO_INCREMENT"])
SQL = st.sampled_from(
    [
        *("1", "'a'", "NULL", "NOW()", "a", "a + b", "`key` XOR id", "ROUND(a, 2)", "CONCAT(a, NULL)", "a IN (1, 'x')"),
        *("CASE WHEN a THEN b ELSE 'x' END", "GREATEST(a, b)", "a = '0000-00-00'", "YEAR(a)", "((", "a; DROP TABLE a"),
        *("JSON_EXTRACT(a, '$.b')", "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", "b'1'", "-1", "CAST(a AS CHAR)"),
        *(
            "DATE_FORMAT(a, '%Y')",
            "SUBSTRING_INDEX(a, 'x', 1)",
            "IF(a, b, 1)",
            "a LIKE 'x%'",
            "NOT a",
            "a BETWEEN 1 AND b",
        ),
    ]
)
SOURCES = st.sampled_from(["a", "b", "main.a", "a JOIN b USING (id)", "a x, b y", "(SELECT * FROM a) t", "v", "nope"])


@st.composite
def queries(draw: Any) -> str:
    items = ", ".join(
        draw(st.lists(SQL | st.sampled_from(["*", "x.*", "COUNT(*) AS n", "SUM(a) s"]), min_size=1, max_size=3))
    )
    text = f"SELECT {draw(st.sampled_from(['', 'DISTINCT ']))}{items} FROM {draw(SOURCES)}"
    for clause in ("WHERE", "GROUP BY", "HAVING", "ORDER BY"):
        if draw(st.booleans()):
            text += f" {clause} {draw(SQL)}"
    return text + draw(st.sampled_from(["", " LIMIT 1", " UNION SELECT 1", "; SELECT 2", " FOR UPDATE"]))


def maybe(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | value


COLUMN = st.fixed_dictionaries(
    {"columnName": NAMES, "columnType": TYPES},
    optional={
        "nullable": st.booleans(), "primaryKey": maybe(st.integers(0, 2) | st.booleans()), "defaultValue": maybe(SQL),
        "expression": maybe(SQL), "stored": st.booleans(), "autoIncrement": st.booleans(),
        "charset": st.sampled_from(["utf8mb4", "latin1", "名前"]),
        "displayName": NAMES,
    },
)  # fmt: skip
ENTRIES = NAMES | st.sampled_from(["a DESC", "a(10)", "b(0)"])
INDEX = st.fixed_dictionaries(
    {"indexName": NAMES, "columns": st.lists(ENTRIES, min_size=1, max_size=3)},
    optional={"unique": st.booleans(), "indexType": st.sampled_from(["BTREE", "HASH", "FULLTEXT", "X"]),
              "partialCondition": maybe(SQL), "includeColumns": st.lists(NAMES, max_size=2)},
)  # fmt: skip
BIND = st.fixed_dictionaries({"sourceColumn": NAMES, "targetColumn": NAMES})
RELATION = st.fixed_dictionaries(
    {"target": st.fixed_dictionaries({"tableName": NAMES}), "bindColumns": st.lists(BIND, min_size=1, max_size=2)},
    optional={"constraintName": NAMES, "onDelete": st.sampled_from(["CASCADE", "SET NULL", "X"])},
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "engine": st.sampled_from(["InnoDB", "MyISAM"]), "rowFormat": st.sampled_from(["COMPACT", "DYNAMIC"]),
        "partitionBy": st.sampled_from(["HASH", "RANGE", "LIST COLUMNS", "X"]), "partitionCount": st.integers(1, 4),
        "partitionExpression": SQL | st.just("id (PARTITION p VALUES LESS THAN (5))"),
    },
)  # fmt: skip
TABLE = st.fixed_dictionaries(
    {"columns": st.lists(COLUMN, min_size=1, max_size=5, unique_by=lambda column: column["columnName"].lower())},
    optional={
        "indexes": st.lists(INDEX, max_size=3),
        "relations": st.lists(RELATION, max_size=2),
        "mysqlOptions": OPTIONS,
    },
)
VIEW = st.fixed_dictionaries({"selectStatement": queries()})
TRIGGER = st.fixed_dictionaries(
    {"tableName": NAMES, "timing": st.just("AFTER"), "event": st.just("INSERT"), "body": SQL},
    optional={"condition": SQL},
)
SCHEMA = st.fixed_dictionaries(
    {"tables": st.dictionaries(NAMES, TABLE, max_size=3)},
    optional={"views": st.dictionaries(NAMES | st.just("v"), VIEW, max_size=3),
              "triggers": st.dictionaries(NAMES, TRIGGER, max_size=2)},
)  # fmt: skip
DOCUMENT = st.fixed_dictionaries({"schemas": st.dictionaries(st.sampled_from(["main", "b"]), SCHEMA, min_size=1)})


@MANY
@given(DOCUMENT, st.sampled_from(["", "acme_", 'a"`%' * 9]))
def test_a_document(tree: Any, prefix: str) -> None:
    assert len(compiled(tree, prefix)) == len(DIALECTS)


@MANY
@given(queries())
def test_a_view(query: str) -> None:
    columns = [nasty.column("id", "INT", primaryKey=1), nasty.column("a", "INT"), nasty.column("b", "VARCHAR(9)")]
    tables = {name: {"columns": columns} for name in ("a", "b")}
    compiled({"schemas": {"main": {"tables": tables, "views": {"v": {"selectStatement": query}}}}})


# Whatever a file may hold

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=5)
    | st.sampled_from(["\0", "\ud800", "x" * 5000, "(" * 3000, "SELECT " + "(" * 200, "a" + ".a" * 500, "`", "'", "/*"])
)  # fmt: skip
KEYS = st.sampled_from(["columns", "tables", "columnName", "columnType", "schemas", "\ud800", "x" * 300]) | st.text(
    max_size=5
)
WILD = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [at, *(place for key, item in items for place in places(item, (*at, key)))]


def whole() -> dict[str, Any]:
    tree = nasty.document()
    for kind, objects in nasty.routines().items():
        tree["schemas"]["main"].setdefault(kind, {}).update(objects)
    return tree


PLACES = places(whole())


@MANY
@given(st.sampled_from(PLACES[1:]), WILD)
def test_anything_in_any_place(place: tuple[Any, ...], value: Any) -> None:
    tree = node = copy.deepcopy(whole())
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    compiled(tree)


@MANY
@given(WILD)
def test_anything_as_a_document(tree: Any) -> None:
    compiled(tree if isinstance(tree, dict) else {"schemas": tree})


@pytest.mark.parametrize("deep", [50, 500, 5000])
def test_deep_nesting(deep: int) -> None:
    expression = "(" * deep + "1" + ")" * deep
    nested: Any = "x"
    for _ in range(deep):
        nested = [nested]
    for field in ({"expression": expression}, {"defaultValue": expression}, {"notes": nested}):
        columns = [nasty.column("id", "INT"), nasty.column("c", "INT") | field]
        compiled({"schemas": {"main": {"tables": {"t": {"columns": columns}}}}})
    for text in (f"SELECT {expression} AS n", "SELECT * FROM (" * deep + "SELECT 1 AS n" + ") t" * deep):
        compiled({"schemas": {"main": {"views": {"v": {"selectStatement": text}}}}})
    compiled(
        {"schemas": {"main": {"views": {"v": {"selectStatement": "SELECT " + " + ".join(["1"] * deep) + " AS n"}}}}}
    )
