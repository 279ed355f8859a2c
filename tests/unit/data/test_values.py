"""Values of rows as literals: what each type of column takes, and how each engine writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect

from dbgear_airflow_provider.core.data.columns import column_facts
from dbgear_airflow_provider.core.data.values import MisfitError, Writer
from dbgear_airflow_provider.core.engines import PostgresServer
from dbgear_airflow_provider.core.schema import Namespace, prepare

MYSQL: Dialect = mysql.dialect(paramstyle="named")
POSTGRES: Dialect = PostgresServer.dialect
SIX = "\\u0000"  # six characters


def literal(dialect: Dialect, kind: str, value: Any) -> str:
    tree = {"schemas": {"s": {"tables": {"t": {"columns": [{"columnName": "c", "columnType": kind}]}}}}}
    table = prepare(tree, {"s": Namespace("s")}, dialect, where="t.j2", on_unsupported="error").tables[0, "t"]
    return Writer(dialect).literal(value, column_facts(table.c.c, dialect))


@pytest.mark.parametrize(
    ("kind", "value", "on_mysql", "on_postgresql"),
    [
        ("ENUM('a','b')", "b", "'b'", "'b'"),
        ("SET('x','y')", "y,x", "'x,y'", "'x,y'"),
        ("SET('x','y')", [], "''", "''"),
        ("BIT(4)", 5, "b'0101'", "b'0101'"),
        ("BIT(4)", "b'11'", "b'0011'", "b'0011'"),
        ("TIME", "13:30:00.9", "'13:30:00'", "'13:30:00'"),
        ("TIME(3)", "13:30:00.1239", "'13:30:00.123000'", "'13:30:00.123000'"),
        ("FLOAT", "1e-3", "0.001", "'0.001'"),
        ("DECIMAL(5,2)", 12.5, "12.5", "'12.5'"),
        ("BINARY(3)", b"a\0", "x'610000'", r"'\x6100'"),
        ("DATE", datetime(2026, 1, 31), "'2026-01-31'", "'2026-01-31'"),
        ("DATE", datetime(2026, 1, 31, 23, tzinfo=UTC), "'2026-01-31'", "'2026-01-31'"),
        ("DATETIME", "2026-01-31T13:30:00+09:00", "'2026-01-31 04:30:00'", "'2026-01-31 04:30:00'"),
        ("TEXT", SIX, "'\\\\u0000'", "'\\u0000'"),
        ("JSON", {"a": SIX}, '\'{"a": "\\\\\\\\u0000"}\'', '\'{"a": "\\\\u0000"}\''),
        ("JSON", "plain words", "'\"plain words\"'", "'\"plain words\"'"),
    ],
)
def test_a_value_is_a_literal_of_its_column(kind: str, value: Any, on_mysql: str, on_postgresql: str) -> None:
    assert literal(MYSQL, kind, value) == on_mysql
    assert literal(POSTGRES, kind, value) == on_postgresql


@pytest.mark.parametrize("dialect", [MYSQL, POSTGRES])
@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        ("ENUM('a','b')", "c", "not one of the items"),
        ("SET('x','y')", "x,z", "not all of them are items"),
        ("BIT(4)", 16, "not so many bits"),
        ("BIT(4)", "five", "not so many bits"),
        ("TIME", "25:00", "not a time"),
        ("FLOAT", "1e39", "too large"),
        ("DOUBLE", "1e999", "too large"),
        ("FLOAT", "nan", "not a number"),
        ("BINARY(3)", b"abcd", "longer than 3 bytes"),
        ("TINYINT", 128, "no such whole number"),
        ("TINYINT UNSIGNED", -1, "no such whole number"),
        ("DECIMAL(5,2)", "1.234", "does not hold all its digits"),
        ("DATE", "31.01.2026", "not a date"),
        ("DATE", datetime(2026, 1, 31, 12), "a date column gets a time of day"),
        ("TEXT", "a\0b", "NUL"),
        ("TEXT", "\ud83d", "half a character"),
        ("TEXT", {"a": "\0"}, "NUL"),
        ("JSON", {"a": ["\0"]}, "NUL"),
        ("JSON", {"\0": 1}, "NUL"),
        ("JSON", '{"a": "\\u0000"}', "NUL"),
        ("JSON", {"a": "\\\0"}, "NUL"),
        ("JSON", "{broken", "no JSON"),
        ("JSON", float("nan"), "no JSON"),
    ],
)
def test_what_does_not_fit_is_refused(dialect: Dialect, kind: str, value: Any, problem: str) -> None:
    with pytest.raises(MisfitError, match=problem):
        literal(dialect, kind, value)
