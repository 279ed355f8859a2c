"""The exact SQL of MySQL and MariaDB, and what each engine cannot hold."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect

from dbgear_airflow_provider.core.engines import PostgresServer
from dbgear_airflow_provider.core.errors import DocumentError, UnsupportedError
from dbgear_airflow_provider.core.schema import Namespace, SchemaDocument, build_metadata, schema_objects

MYSQL: Dialect = mysql.dialect(paramstyle="named")
MARIADB: Dialect = mysql.dialect(paramstyle="named", is_mariadb=True)
POSTGRES: Dialect = PostgresServer.dialect
ID: dict[str, Any] = {"columnName": "id", "columnType": "INT", "primaryKey": 1}
NAME: dict[str, Any] = {"columnName": "name", "columnType": "VARCHAR(10)"}
TEXT: dict[str, Any] = {"columnName": "text", "columnType": "TEXT"}


def table(*columns: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"columns": list(columns or (ID, NAME)), **rest}


def compiled(
    tables: dict[str, Any], dialect: Dialect = MYSQL, **more: Any
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Return ({(kind, name): SQL}, warnings)."""
    document = SchemaDocument.load({"schemas": {"main": {"tables": tables, **more}}}, where="t.j2")
    metadata = build_metadata(document, {"main": Namespace("acme")}, dialect, on_unsupported="warn")
    objects = {
        (item.key.kind, item.key.name): "; ".join(" ".join(sql.split()) for sql in item.statements(dialect))
        for item in schema_objects(metadata)
    }
    return objects, metadata.warnings


def column(dialect: Dialect = MYSQL, **fields: Any) -> tuple[str, list[str]]:
    sql, warnings = compiled({"t": table({"columnName": "c", "columnType": "INT"} | fields)}, dialect)
    return sql["table", "t"].removeprefix("CREATE TABLE acme.t ( c ").removesuffix(" )"), warnings


@pytest.mark.parametrize(
    ("fields", "sql"),
    [
        ({"primaryKey": 1, "autoIncrement": True}, "INTEGER NOT NULL AUTO_INCREMENT, PRIMARY KEY (c)"),
        (
            {"columnType": "INT UNSIGNED AUTO_INCREMENT", "primaryKey": True},
            "INTEGER UNSIGNED NOT NULL AUTO_INCREMENT, PRIMARY KEY (c)",
        ),
        ({"defaultValue": -1}, "INTEGER DEFAULT '-1'"),
        ({"displayName": "it's \\ 100%"}, "INTEGER COMMENT 'it''s \\\\ 100%'"),
        ({"expression": "1 + 1"}, "INTEGER GENERATED ALWAYS AS (1 + 1) VIRTUAL"),
        ({"expression": "1 + 1", "stored": True}, "INTEGER GENERATED ALWAYS AS (1 + 1) STORED"),
        ({"columnType": "TIMESTAMP"}, "TIMESTAMP NULL"),
        (
            {"columnType": "DATETIME(6)", "defaultValue": "NOW() ON UPDATE NOW()"},
            "DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)",
        ),
        (
            {"columnType": "DATETIME", "defaultValue": "ON UPDATE NOW()"},
            "DATETIME DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP",
        ),
        ({"columnType": "ENUM('a','b')", "charset": "latin1"}, "ENUM('a','b') CHARACTER SET latin1"),
    ],
)  # fmt: skip
def test_a_column(fields: dict[str, Any], sql: str) -> None:
    assert column(**fields) == (sql, [])


def test_a_generated_column_is_not_null_on_mysql_alone() -> None:
    fields = {"expression": "1 + 1", "nullable": False}
    assert column(**fields) == ("INTEGER GENERATED ALWAYS AS (1 + 1) VIRTUAL NOT NULL", [])
    sql, warnings = column(MARIADB, **fields)
    assert sql == "INTEGER GENERATED ALWAYS AS (1 + 1) VIRTUAL"
    assert warnings == ["main.t.c: a generated column cannot be NOT NULL on MariaDB"]


def test_on_update_without_a_default() -> None:
    with pytest.raises(DocumentError, match=r"main\.t\.c: ON UPDATE without a default"):
        column(columnType="DATETIME", nullable=False, defaultValue="ON UPDATE NOW()")


def test_a_number_is_compared_with_a_boolean_as_truth_on_postgresql() -> None:
    flag = {"columnName": "active", "columnType": "TINYINT(1)"}
    doubled = {"columnName": "c", "columnType": "INT", "expression": "IF(active = 1 OR active IN (0), 2, 1)"}
    index = {"indexName": "i", "columns": ["c"], "partialCondition": "1 = active"}
    views = {"v": {"selectStatement": "SELECT c FROM t WHERE t.active <> 0 AND c = 1"}}
    sql, _ = compiled({"t": table(flag, doubled, indexes=[index])}, POSTGRES, views=views)
    assert 'WHEN "active" = TRUE OR "active" IN (FALSE) THEN 2' in sql["table", "t"]
    assert sql["index", "t_i"].endswith('WHERE TRUE = "active"')
    assert sql["view", "v"].endswith('WHERE "t"."active" <> FALSE AND "c" = 1')
    sql, _ = compiled({"t": table(flag, doubled)}, views=views)
    assert "IF(`active` = 1 OR `active` IN (0), 2, 1)" in sql["table", "t"]


# tables


def test_options_of_a_table() -> None:
    options = {
        "engine": "MyISAM",
        "charset": "utf8mb4",
        "collation": "utf8mb4_bin",
        "autoIncrement": 7,
        "rowFormat": "FIXED",
    }
    tables = {"t": table(mysqlOptions=options)}
    for dialect in (MYSQL, MARIADB):
        (sql, warnings) = compiled(tables, dialect)
        for option in (
            "ENGINE=MyISAM",
            "DEFAULT CHARSET=utf8mb4",
            "COLLATE utf8mb4_bin",
            "AUTO_INCREMENT=7",
            "ROW_FORMAT=FIXED",
        ):
            assert option in sql["table", "t"]
        assert warnings == []
    (sql, warnings) = compiled(tables, POSTGRES)
    assert sql["table", "t"] == "CREATE TABLE acme.t ( id INTEGER NOT NULL, name VARCHAR(10), PRIMARY KEY (id) )"
    assert warnings == []


@pytest.mark.parametrize("value", ["InnoDB; DROP TABLE x", "InnoDB COMMENT='x'", ""])
def test_options_are_words(value: str) -> None:
    with pytest.raises(DocumentError, match=r"mysqlOptions\.engine"):
        compiled({"t": table(mysqlOptions={"engine": value})})


PARTITIONED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"partitionBy": "HASH", "partitionExpression": "id", "partitionCount": 2}, "HASH (id) PARTITIONS 2", "HASH (id)"),
    ({"partitionBy": "linear key", "partitionExpression": "`id`, name"}, "LINEAR KEY (id, name)", "HASH (id, name)"),
    ({"partitionBy": "KEY"}, "KEY ()", None),
    ({"partitionBy": "HASH", "partitionExpression": "id DIV 10"}, "HASH (`id` DIV 10)", None),
    (
        {
            "partitionBy": "RANGE",
            "partitionExpression": "TO_DAYS(name) (PARTITION a VALUES LESS THAN (TO_DAYS('2026-01-01')))",
        },
        "RANGE (TO_DAYS(`name`)) (PARTITION a VALUES LESS THAN (TO_DAYS('2026-01-01')))",
        None,
    ),
    (
        {
            "partitionBy": "RANGE",
            "partitionExpression": "id (PARTITION a VALUES LESS THAN (-5), PARTITION b VALUES LESS THAN MAXVALUE)",
        },
        "RANGE (id) (PARTITION a VALUES LESS THAN (-5), PARTITION b VALUES LESS THAN (MAXVALUE))",
        "RANGE (id)",
    ),
    (
        {"partitionBy": "LIST COLUMNS", "partitionExpression": "name (PARTITION a VALUES IN ('x)', 'it''s'))"},
        "LIST COLUMNS (name) (PARTITION a VALUES IN ('x)', 'it''s'))",
        "LIST (name)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "sql", "on_postgresql"), PARTITIONED)
def test_partitions(options: dict[str, Any], sql: str, on_postgresql: str | None) -> None:
    tables = {"t": table(ID, NAME | {"primaryKey": 2}, mysqlOptions=options)}  # a key has all columns that partition
    assert compiled(tables)[0]["table", "t"].endswith(f"PARTITION BY {sql}")
    objects, warnings = compiled(tables, POSTGRES)
    if on_postgresql is None:
        assert "PARTITION" not in objects["table", "t"]
        assert warnings[0].startswith("main.t: ")
    else:
        assert objects["table", "t"].endswith(f"PARTITION BY {on_postgresql}")
        assert warnings == []


def test_partitions_are_tables_on_postgresql() -> None:
    options = PARTITIONED[5][0]
    sql, _ = compiled({"t": table(mysqlOptions=options)}, POSTGRES)
    assert sql["table", "t_a"] == "CREATE TABLE acme.t_a PARTITION OF acme.t FOR VALUES FROM (MINVALUE) TO (-5)"
    assert sql["table", "t_b"] == "CREATE TABLE acme.t_b PARTITION OF acme.t FOR VALUES FROM (-5) TO (MAXVALUE)"


@pytest.mark.parametrize(
    "options",
    [
        {"partitionBy": "BTREE", "partitionExpression": "id"},
        {"partitionBy": "HASH", "partitionExpression": "nme"},
        {"partitionBy": "HASH", "partitionExpression": "id) PARTITIONS 2 (x"},
        {"partitionBy": "HASH", "partitionExpression": "(SELECT 1)"},
        {"partitionBy": "RANGE", "partitionExpression": "id"},
        {"partitionBy": "KEY", "partitionExpression": "id + 1"},
        {"partitionBy": "LIST", "partitionExpression": "id (PARTITION a VALUES IN (id))"},
        {"partitionBy": "LIST", "partitionExpression": "id (PARTITION a VALUES IN (1) COMMENT 'x')"},
        {"partitionBy": "LIST", "partitionExpression": "id (PARTITION a VALUES IN (1)) DROP"},
    ],
)
def test_a_wrong_partitioning(options: dict[str, Any]) -> None:
    for dialect in (MYSQL, POSTGRES):
        with pytest.raises(DocumentError, match=r"^main\.t: "):
            compiled({"t": table(mysqlOptions=options)}, dialect)


# indexes


def index(dialect: Dialect = MYSQL, **fields: Any) -> tuple[str | None, list[str]]:
    indexes = [{"indexName": "i", "columns": ["name"]} | fields]
    sql, warnings = compiled({"t": table(ID, NAME, TEXT, indexes=indexes)}, dialect)
    return next((text for (kind, _), text in sql.items() if kind == "index"), None), warnings


@pytest.mark.parametrize(
    ("fields", "sql"),
    [
        ({"columns": ["name(5)", "id DESC"]}, "CREATE INDEX i ON acme.t (name(5), id DESC)"),
        ({"columns": ["text( 10 ) desc"], "unique": True}, "CREATE UNIQUE INDEX i ON acme.t (text(10) DESC)"),
        ({"columns": ["text", "name"], "indexType": "fulltext"}, "CREATE FULLTEXT INDEX i ON acme.t (text, name)"),
        ({"indexType": "HASH"}, "CREATE INDEX i ON acme.t (name) USING hash"),
        ({"storageParameters": {"fillfactor": 70}, "tablespace": "x"}, "CREATE INDEX i ON acme.t (name)"),
    ],
)
def test_an_index(fields: dict[str, Any], sql: str) -> None:
    for dialect in (MYSQL, MARIADB):
        assert index(dialect, **fields) == (sql, [])


@pytest.mark.parametrize(
    ("fields", "sql", "why"),
    [
        ({"columns": ["text"]}, None, "text needs a length on MySQL"),
        ({"partialCondition": "id > 1"}, None, "MySQL has no partial indexes"),
        ({"indexType": "GIN"}, None, "MySQL has no GIN indexes"),
        ({"includeColumns": ["id"]}, "CREATE INDEX i ON acme.t (name)", "MySQL has no INCLUDE"),
    ],
)
def test_an_index_that_mysql_has_not(fields: dict[str, Any], sql: str | None, why: str) -> None:
    text, warnings = index(**fields)
    assert text == sql
    assert why in warnings[0]


@pytest.mark.parametrize(
    ("fields", "sql"),
    [
        ({"columns": ["text(10)"]}, "CREATE INDEX t_i ON acme.t (substr(text, 1, 10))"),
        ({"columns": ["text(10)"], "unique": True}, "CREATE UNIQUE INDEX t_i ON acme.t (substr(text, 1, 10))"),
        (
            {"columns": ["text", "name"], "indexType": "FULLTEXT"},
            "CREATE INDEX t_i ON acme.t USING gin "
            "(to_tsvector('simple', (coalesce(text, '') || ' ') || coalesce(name, '')))",
        ),
        ({"columns": ["text"], "indexType": "GIN"}, "CREATE INDEX t_i ON acme.t USING gin (text)"),
    ],
)
def test_an_index_on_postgresql(fields: dict[str, Any], sql: str) -> None:
    assert index(POSTGRES, **fields) == (sql, [])


def test_names_of_indexes_are_of_the_table() -> None:
    one = table(indexes=[{"indexName": "i", "columns": ["name"]}])
    assert {key for key in compiled({"a": one, "b": one})[0] if key[0] == "index"} == {
        ("index", "a.i"),
        ("index", "b.i"),
    }
    for name in ("primary", "I"):
        twice = table(indexes=[*one["indexes"], {"indexName": name, "columns": ["id"]}])
        with pytest.raises(DocumentError, match="taken"):
            compiled({"t": twice})


# foreign keys


def relation(source: str, target: str, **fields: Any) -> tuple[str | None, list[str]]:
    columns = [{"columnName": "c", "columnType": source}, {"columnName": "d", "columnType": source}]
    binds = [{"sourceColumn": "c", "targetColumn": "c"}]
    relations = [{"target": {"tableName": "t"}, "bindColumns": binds, "constraintName": "fk"} | fields]
    targets = [column | {"columnType": target} for column in columns]
    keys = [{"indexName": f"u{n}", "columns": list("cd"[:n]), "unique": True} for n in (1, 2)]
    dialect = fields.pop("dialect", MYSQL)
    relations[0].pop("dialect", None)
    sql, warnings = compiled({"s": table(*columns, relations=relations), "t": table(*targets, indexes=keys)}, dialect)
    return next((text for (kind, _), text in sql.items() if kind == "foreign key"), None), warnings


@pytest.mark.parametrize(
    ("source", "target", "on_mysql", "on_postgresql"),
    [
        ("INT", "INT", True, True),
        ("INT", "INTEGER(11)", True, True),
        ("INT", "INT UNSIGNED", False, True),
        ("INT", "BIGINT", False, True),
        ("INT(5) ZEROFILL", "INT UNSIGNED", True, True),
        ("INT", "VARCHAR(10)", False, False),
        ("VARCHAR(36)", "CHAR(40)", True, True),
        ("VARCHAR(36) COLLATE utf8mb4_bin", "VARCHAR(36) COLLATE utf8mb4_general_ci", False, True),
        ("VARCHAR(36) CHARACTER SET latin1", "VARCHAR(36) CHARACTER SET utf8mb4", False, True),
        ("VARCHAR(36)", "VARCHAR(36) CHARACTER SET utf8mb4", True, True),
        ("BINARY(16)", "VARBINARY(20)", True, True),
        ("DECIMAL(10,2)", "DECIMAL(12,2)", False, True),
        ("INT", "DECIMAL(12,2)", False, True),
        ("DECIMAL(12,2)", "INT", False, False),
        ("TINYINT(1)", "TINYINT", True, False),
        ("DATE", "DATETIME", False, True),
        ("ENUM('a','b')", "VARCHAR(5)", False, True),
    ],
)
def test_types_of_a_foreign_key(source: str, target: str, on_mysql: bool, on_postgresql: bool) -> None:
    for dialect, holds in ((MYSQL, on_mysql), (POSTGRES, on_postgresql)):
        sql, warnings = relation(source, target, dialect=dialect)
        assert (sql is not None) == holds == (warnings == [])
        if not holds:
            assert "main.s.fk: a foreign key between unlike types" in warnings[0]
            assert "s.c is " in warnings[0]
            assert "t.c is " in warnings[0]


TWO = [{"sourceColumn": name, "targetColumn": name} for name in "cd"]


@pytest.mark.parametrize(
    ("fields", "stays", "why"),
    [
        ({"onDelete": "SET DEFAULT"}, False, "no SET DEFAULT"),
        ({"deferrable": True}, True, "at once, not DEFERRABLE"),
        ({"matchType": "FULL", "bindColumns": TWO}, True, "no MATCH FULL"),
        ({"matchType": "FULL"}, True, None),
        ({"matchType": "SIMPLE", "bindColumns": TWO}, True, None),
    ],
)
def test_a_foreign_key_on_mysql(fields: dict[str, Any], stays: bool, why: str | None) -> None:
    sql, warnings = relation("INT", "INT", **fields)
    assert (sql is not None) == stays
    assert "MATCH" not in str(sql)
    assert [why in warning for warning in warnings] == ([True] if why else [])


def test_partitioned_tables_have_no_foreign_keys_on_mysql() -> None:
    binds = [{"sourceColumn": "id", "targetColumn": "id"}]
    tables = {
        "s": table(relations=[{"target": {"tableName": "t"}, "bindColumns": binds}]),
        "t": table(mysqlOptions={"partitionBy": "HASH", "partitionExpression": "id"}),
    }
    assert compiled(tables)[1] == ["main.s.fk_s_t: partitioned tables have no foreign keys on MySQL"]
    assert compiled(tables, POSTGRES)[1] == []


def test_what_a_foreign_key_points_to_is_a_key() -> None:
    def pointing(dialect: Dialect, **index: Any) -> list[str]:
        binds = [{"sourceColumn": "name", "targetColumn": "name"}]
        relations = [{"target": {"tableName": "t"}, "bindColumns": binds, "constraintName": "fk"}]
        indexes = [{"indexName": "i", "columns": ["name"]} | index] if index else []
        return compiled({"s": table(relations=relations), "t": table(indexes=indexes)}, dialect)[1]

    for dialect in (MYSQL, POSTGRES):
        assert pointing(dialect, unique=True) == []
        assert len(pointing(dialect)) == len(pointing(dialect, columns=["id", "name"])) == 1
        assert len(pointing(dialect, columns=["name(5)"], unique=True)) == 1
    assert pointing(MYSQL, columns=["name DESC", "id"]) == []
    assert pointing(POSTGRES, unique=False) == [
        "main.s.fk: PostgreSQL needs a primary key or unique index over name in t"
    ]
    assert len(pointing(POSTGRES, unique=True, partialCondition="id > 1")) == 1


# all at once


def test_all_that_an_engine_cannot_hold_is_one_error() -> None:
    point = {"columnName": "at", "columnType": "POINT"}
    indexes = [{"indexName": "i", "columns": ["at"]}, {"indexName": "j", "columns": ["name"], "indexType": "SPATIAL"}]
    tables = {"t": table(ID, NAME, point, indexes=indexes)}
    document = SchemaDocument.load({"schemas": {"main": {"tables": tables}}}, where="t.j2")
    with pytest.raises(UnsupportedError) as caught:
        build_metadata(document, {"main": Namespace("acme")}, POSTGRES)
    problems = caught.value.details["problems"]
    assert [problem.split(":")[0] for problem in problems] == ["main.t.at", "main.t.i", "main.t.j"]
    sql, warnings = compiled(tables, POSTGRES)
    assert warnings == problems
    assert sql["table", "t"] == "CREATE TABLE acme.t ( id INTEGER NOT NULL, name VARCHAR(10), PRIMARY KEY (id) )"
    assert compiled(tables)[1] == []
