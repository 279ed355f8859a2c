from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from dbgear_airflow_provider.core.schema.types import ALLOWED, parse_type

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def sql(kind: TypeEngine[Any]) -> str:
    return kind.compile(dialect=DIALECT)


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
    assert {text.partition("(")[0].split()[0] for text in TYPES} == set(ALLOWED)


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
        ("GEOMETRY", "no such column type"),
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
