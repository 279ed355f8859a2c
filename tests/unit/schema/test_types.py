from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.types import TypeEngine

from dbgear_airflow_provider.core.schema.types import ALLOWED, Unheld, parse_type

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
MYSQL = [mysql.dialect(), mysql.dialect(is_mariadb=True), MariaDBDialect()]
SPATIAL = {
    "GEOMETRY", "POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION",
}  # fmt: skip


def sql(kind: TypeEngine[Any]) -> str:
    return kind.compile(dialect=DIALECT)


def mysql_sql(kind: TypeEngine[Any]) -> str:
    (text,) = {kind.compile(dialect=dialect) for dialect in MYSQL}
    return text


TYPES = {
    "TINYINT": "SMALLINT",
    "TINYINT(1)": "BOOLEAN",
    "TINYINT( 1 )": "BOOLEAN",
    "TINYINT(4)": "SMALLINT",
    "TINYINT UNSIGNED": "SMALLINT",
    "TINYINT(1) UNSIGNED": "BOOLEAN",
    "BOOL": "BOOLEAN",
    "BOOLEAN": "BOOLEAN",
    "SMALLINT": "SMALLINT",
    "SMALLINT UNSIGNED": "INTEGER",
    "SMALLINT(5) UNSIGNED": "INTEGER",
    "INT ZEROFILL": "BIGINT",
    "YEAR": "SMALLINT",
    "YEAR(4)": "SMALLINT",
    "MEDIUMINT": "INTEGER",
    "MEDIUMINT UNSIGNED": "INTEGER",
    "INT": "INTEGER",
    "INTEGER": "INTEGER",
    "INT(11) SIGNED": "INTEGER",
    "INT UNSIGNED": "BIGINT",
    "INTEGER UNSIGNED": "BIGINT",
    "INT(10) UNSIGNED ZEROFILL": "BIGINT",
    "BIGINT": "BIGINT",
    "BIGINT(20) UNSIGNED": "BIGINT",
    "DECIMAL": "NUMERIC(10, 0)",
    "DECIMAL(10)": "NUMERIC(10, 0)",
    "DECIMAL(10,2)": "NUMERIC(10, 2)",
    "DECIMAL( 10 , 2 ) UNSIGNED": "NUMERIC(10, 2)",
    "DEC(5,1)": "NUMERIC(5, 1)",
    "NUMERIC(5,1)": "NUMERIC(5, 1)",
    "FIXED(5,1)": "NUMERIC(5, 1)",
    "FLOAT": "REAL",
    "FLOAT(7,4)": "REAL",
    "FLOAT(24)": "REAL",
    "FLOAT(53)": "DOUBLE PRECISION",
    "DOUBLE": "DOUBLE PRECISION",
    "DOUBLE PRECISION": "DOUBLE PRECISION",
    "DOUBLE(10,2)": "DOUBLE PRECISION",
    "REAL": "DOUBLE PRECISION",
    "BIT": "BIT(1)",
    "BIT(8)": "BIT(8)",
    "CHAR": "CHAR(1)",
    "CHAR(36)": "CHAR(36)",
    "VARCHAR(255)": "VARCHAR(255)",
    "TINYTEXT": "TEXT",
    "TEXT": "TEXT",
    "MEDIUMTEXT": "TEXT",
    "LONGTEXT": "TEXT",
    "BINARY(16)": "BYTEA",
    "VARBINARY(255)": "BYTEA",
    "TINYBLOB": "BYTEA",
    "BLOB": "BYTEA",
    "MEDIUMBLOB": "BYTEA",
    "LONGBLOB": "BYTEA",
    "DATE": "DATE",
    "TIME": "TIME(0) WITHOUT TIME ZONE",
    "TIME(3)": "TIME(3) WITHOUT TIME ZONE",
    "DATETIME": "TIMESTAMP(0) WITHOUT TIME ZONE",
    "DATETIME(6)": "TIMESTAMP(6) WITHOUT TIME ZONE",
    "TIMESTAMP": "TIMESTAMP(0) WITH TIME ZONE",
    "TIMESTAMP(3)": "TIMESTAMP(3) WITH TIME ZONE",
    "JSON": "JSONB",
    "ENUM('a','bcd')": "VARCHAR(3)",
    "ENUM('')": "VARCHAR(1)",
    "SET('a','b','c')": "VARCHAR(5)",
}


@pytest.mark.parametrize("text", TYPES)
def test_a_type(text: str) -> None:
    for written in (text, text.lower(), f"  {text}  "):
        kind, auto_increment = parse_type(written)
        assert sql(kind) == TYPES[text]
        assert auto_increment is False


def test_every_type_is_tested() -> None:
    assert {text.partition("(")[0].split()[0] for text in TYPES} | SPATIAL == set(ALLOWED)


OWN = {
    "TINYINT(1)": "TINYINT(1)",
    "TINYINT(4)": "TINYINT",
    "TINYINT(1) UNSIGNED": "TINYINT(1) UNSIGNED",
    "BOOLEAN": "TINYINT(1)",
    "SMALLINT(5) UNSIGNED": "SMALLINT UNSIGNED",
    "MEDIUMINT UNSIGNED": "MEDIUMINT UNSIGNED",
    "INT(11)": "INTEGER",
    "INT(10) UNSIGNED ZEROFILL": "INTEGER(10) UNSIGNED ZEROFILL",
    "INT ZEROFILL": "INTEGER UNSIGNED ZEROFILL",
    "BIGINT(20) UNSIGNED": "BIGINT UNSIGNED",
    "DECIMAL": "DECIMAL",
    "DECIMAL(10)": "DECIMAL(10)",
    "FIXED(10,2) UNSIGNED": "DECIMAL(10, 2) UNSIGNED",
    "FLOAT(7,4)": "FLOAT(7, 4)",
    "FLOAT(53)": "FLOAT(53)",
    "DOUBLE PRECISION": "DOUBLE",
    "DOUBLE(10,2)": "DOUBLE(10, 2)",
    "BIT": "BIT(1)",
    "CHAR(36)": "CHAR(36)",
    "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin": "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    "MEDIUMTEXT COLLATE utf8mb4_bin": "MEDIUMTEXT COLLATE utf8mb4_bin",
    "BINARY": "BINARY(1)",
    "VARBINARY(255)": "VARBINARY(255)",
    "LONGBLOB": "LONGBLOB",
    "TIME(3)": "TIME(3)",
    "DATETIME": "DATETIME",
    "DATETIME(6)": "DATETIME(6)",
    "TIMESTAMP(3)": "TIMESTAMP(3)",
    "YEAR(4)": "YEAR",
    "JSON": "JSON",
    "ENUM('a','it''s')": "ENUM('a','it''s')",
    "SET('a','')": "SET('a','')",
    "POINT": "POINT",
}


@pytest.mark.parametrize("text", OWN)
def test_mysql_keeps_its_own_type(text: str) -> None:
    assert mysql_sql(parse_type(text)[0]) == OWN[text]
    assert mysql_sql(parse_type(text.lower())[0]).lower() == OWN[text].lower()


def test_charset_and_collation_of_a_column() -> None:
    words = ("latin1", "latin1_bin")
    assert mysql_sql(parse_type("TEXT", None, *words)[0]) == "TEXT CHARACTER SET latin1 COLLATE latin1_bin"
    assert mysql_sql(parse_type("ENUM('a')", None, *words)[0]) == "ENUM('a') CHARACTER SET latin1 COLLATE latin1_bin"
    assert mysql_sql(parse_type("INT", None, *words)[0]) == "INTEGER"
    with pytest.raises(ValueError, match="charset or collation"):
        parse_type("TEXT", None, "utf8mb4, DROP", None)


def test_what_an_engine_has_no_type_for() -> None:
    for name in SPATIAL:
        assert isinstance(parse_type(name)[0].dialect_impl(DIALECT), Unheld)
        assert mysql_sql(parse_type(name)[0]) == name
    for name in ("VARCHAR", "VARBINARY"):
        assert isinstance(parse_type(name)[0].dialect_impl(MYSQL[0]), Unheld)


@pytest.mark.parametrize("text", ["INT AUTO_INCREMENT", "bigint(20) unsigned auto_increment"])
def test_auto_increment(text: str) -> None:
    assert parse_type(text)[1] is True


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("ENUM('a','b')", ["a", "b"]),
        ("enum('a', 'b')", ["a", "b"]),
        ("ENUM('it''s','a,b','(x)')", ["it's", "a,b", "(x)"]),
        ("ENUM('有効','無効')", ["有効", "無効"]),
        (r"ENUM('a\'b','c\\d')", ["a'b", "c\\d"]),
        ('ENUM("a","b\'c")', ["a", "b'c"]),
        ("ENUM('','a')", ["", "a"]),
        ("ENUM('100%')", ["100%"]),
    ],
)
def test_enum_items_from_text(text: str, items: list[str]) -> None:
    assert parse_type(text, ("other",))[0].enums == items  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["ENUM", "ENUM()", "enum"])
def test_enum_items_from_the_list(text: str) -> None:
    assert parse_type(text, ("it's", "a,b", "日本"))[0].enums == ["it's", "a,b", "日本"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not a column type"),
        ("(10)", "not a column type"),
        ("VARCHAR(10", "not a column type"),
        ("VARCHAR(10)); DROP TABLE x; --", "not a column type"),
        ("VARCHAR2(10)", "no such column type"),
        ("VARCHAR(10) NOT NULL", "NOT NULL is not part"),
        ("VARCHAR(x)", "length and precision"),
        ("VARCHAR(-1)", "length and precision"),
        ("VARCHAR()", "length and precision"),
        ("DECIMAL(10,2,3)", "length and precision"),
        ("DECIMAL(10,)", "length and precision"),
        ("ENUM", "without items"),
        ("SET()", "without items"),
        ("ENUM('a', b)", "texts in quotes"),
        ("ENUM('a','a')", "twice"),
        ("ENUM('a'", "not a column type"),
        ("ENUM('a') DEFAULT 'a'", "."),
        ("ENUM('a')) OR (1=1)", "."),
        ("ENUM(1,2)", "texts in quotes"),
        ("ENUM(SELECT 1)", "."),
    ],
)
def test_what_is_no_type(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_type(text)


@pytest.mark.parametrize("text", ["CHAR(256)", "VARCHAR(65536)", "DEC(66)", "DEC(2,3)", "DECIMAL(65,31)", "TIME(7)"])
def test_what_no_mysql_has(text: str) -> None:
    with pytest.raises(ValueError, match="at most"):
        parse_type(text)


@pytest.mark.parametrize(
    ("text", "sql"), [("VARCHAR(0)", "VARCHAR(1)"), ("DECIMAL(0)", "NUMERIC(10, 0)"), ("BIT(0)", "BIT(1)")]
)
def test_lengths_of_nothing_on_postgresql(text: str, sql: str) -> None:
    assert parse_type(text)[0].compile(dialect=postgresql.dialect()) == sql  # type: ignore[no-untyped-call]
