from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from dbgear_airflow_provider.core.schema.expressions import SqlText, default_value, expression, on_update

POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call]
MYSQL = mysql.dialect()
COLUMNS = ["a", "b", "key", "名前", "data"]


def postgres(text: SqlText) -> str:
    return str(text.compile(dialect=POSTGRES))


@pytest.mark.parametrize(
    ("text", "kind", "sql"),
    [
        ("'a'", sa.Text(), "'a'"),
        ("'it''s'", sa.Text(), "'it''s'"),
        (r"'a\'b\\c\nd'", sa.Text(), "'a''b\\c\nd'"),
        ('"quoted"', sa.Text(), "'quoted'"),
        ("'100% :x %(y)s'", sa.Text(), "'100% :x %(y)s'"),
        ("'日本'", sa.Text(), "'日本'"),
        ("''", sa.Text(), "''"),
        ("'{}'", postgresql.JSONB(), "'{}'"),
        ("0", sa.Integer(), "0"),
        ("-1.5", sa.Numeric(), "-1.5"),
        ("(1)", sa.Integer(), "(1)"),
        ("NULL", sa.Text(), "NULL"),
        ("0", sa.Boolean(), "FALSE"),
        ("1", sa.Boolean(), "TRUE"),
        ("'0'", sa.Boolean(), "FALSE"),
        ("'1'", sa.Boolean(), "TRUE"),
        ("b'0'", sa.Boolean(), "FALSE"),
        ("b'1'", sa.Boolean(), "TRUE"),
        ("(1)", sa.Boolean(), "TRUE"),
        ("true", sa.Boolean(), "TRUE"),
        ("TRUE", sa.SmallInteger(), "1"),
        ("b'101'", sa.Integer(), "5"),
        ("b'1'", postgresql.BIT(1), "b'1'"),
        ("0", postgresql.BIT(1), "b'0'"),
        ("b'1'", postgresql.BIT(8), "b'00000001'"),
        ("TRUE", postgresql.BIT(1), "b'1'"),
        ("CURRENT_TIMESTAMP", sa.DateTime(), "CURRENT_TIMESTAMP"),
        ("CURRENT_TIMESTAMP(6)", sa.DateTime(), "CURRENT_TIMESTAMP"),
        ("now()", sa.DateTime(), "CURRENT_TIMESTAMP"),
        ("LOCALTIME", sa.DateTime(), "CURRENT_TIMESTAMP"),
        ("LOCALTIMESTAMP", sa.DateTime(), "CURRENT_TIMESTAMP"),
        ("(UTC_TIMESTAMP())", sa.DateTime(), "((CURRENT_TIMESTAMP AT TIME ZONE 'UTC'))"),
        ("CURRENT_DATE", sa.Date(), "CURRENT_DATE"),
        ("(CURDATE())", sa.Date(), "(CURRENT_DATE)"),
        ("CURRENT_TIME", sa.Time(), "LOCALTIME"),
        ("UUID()", sa.CHAR(36), "GEN_RANDOM_UUID()"),
    ],
)
def test_a_default_on_postgresql(text: str, kind: TypeEngine[Any], sql: str) -> None:
    assert postgres(default_value(text, kind)) == sql


@pytest.mark.parametrize(
    ("text", "kind", "sql"),
    [
        ("'it''s'", mysql.VARCHAR(9), "'it''s'"),
        (r"'a\\b'", mysql.VARCHAR(9), r"'a\\b'"),
        ("'a'", mysql.TEXT(), "('a')"),
        ("'{}'", mysql.JSON(), "('{}')"),
        ("NULL", mysql.JSON(), "NULL"),
        ("0", mysql.TINYINT(display_width=1), "0"),
        ("TRUE", mysql.TINYINT(display_width=1), "TRUE"),
        ("-1.5", mysql.DECIMAL(5, 2), "'-1.5'"),
        ("b'101'", mysql.BIT(3), "5"),
        ("UUID()", mysql.CHAR(36), "(UUID())"),
        ("CURRENT_DATE", sa.DATE(), "(CURRENT_DATE)"),
        ("CURRENT_TIMESTAMP", sa.DATE(), "(CURRENT_TIMESTAMP())"),
        ("now()", mysql.DATETIME(), "CURRENT_TIMESTAMP"),
        ("CURRENT_TIMESTAMP", mysql.DATETIME(fsp=6), "CURRENT_TIMESTAMP(6)"),
        ("CURRENT_TIMESTAMP(6)", mysql.TIMESTAMP(fsp=3), "CURRENT_TIMESTAMP(3)"),
    ],
)
def test_a_default_on_mysql(text: str, kind: TypeEngine[Any], sql: str) -> None:
    assert str(default_value(text, kind).compile(dialect=MYSQL)) == sql


@pytest.mark.parametrize(
    ("text", "default", "updates"),
    [
        (None, None, False),
        ("CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP", False),
        ("CURRENT_TIMESTAMP(6) on update  current_timestamp(6)", "CURRENT_TIMESTAMP(6)", True),
        ("ON UPDATE NOW()", None, True),
        ("'x' ON UPDATE CURRENT_TIMESTAMP; DROP TABLE x", "'x' ON UPDATE CURRENT_TIMESTAMP; DROP TABLE x", False),
    ],
)
def test_on_update(text: str | None, default: str | None, updates: bool) -> None:
    assert on_update(text) == (default, updates)


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("a + b", "`a` + `b`"),
        ("CONCAT(a, ' ', b)", "CONCAT(`a`, ' ', `b`)"),
        # MariaDB has neither ->> nor REGEXP_LIKE.
        ("data->>'$.x.y'", "JSON_UNQUOTE(JSON_EXTRACT(`data`, '$.x.y'))"),
        ("a REGEXP 'x'", "(`a` REGEXP 'x')"),
        ("TO_DAYS(a)", "TO_DAYS(`a`)"),
    ],
)
def test_an_expression_on_mysql(text: str, sql: str) -> None:
    assert str(expression(text, COLUMNS).compile(dialect=MYSQL)) == sql


INJECTIONS = [
    "",
    " ",
    ";",
    "'",
    "'''",
    "'\\'",
    "'a' 'b'",
    "'a'; DROP TABLE users",
    "'a', (SELECT 1)",
    "'a') , x INT DEFAULT ('b'",
    "'a' -- comment",
    "'a' /* comment */",
    "/*! 1 */",
    "1 /*!50000 + 1 */",
    "--'",
    "# x",
    "SELECT 1",
    "(SELECT password FROM users LIMIT 1)",
    "pg_sleep(10)",
    "pg_read_file('/etc/passwd')",
    "nextval('x')",
    "version()",
    "CURRENT_USER",
    "@@version",
    "@x",
    "$1",
    "$$a$$",
    "E'\\x41'",
    "U&'\\0041'",
    "?",
    ":x",
    "%s",
    "%(x)s",
    "x",
    "`x`",
    "1; DROP TABLE users; --",
    "1 OR 1 = 1",
    "'a' || 'b'",
    "CAST('1' AS INT)",
    "'1'::int",
    "INTERVAL 1 DAY",
    "'\\0'",
    "'\0'",
    "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP",
    "1 NOT NULL",
    "1 REFERENCES users",
    "1 CHECK (1 = 1)",
    "DEFAULT",
    "(" * 5000 + "1" + ")" * 5000,
    "-" * 10_000,
    "{{ x }}",
    "-''",
    "-NULL",
    "0E",
    "1.e",
    "-(TRUE)",
    "COPY users TO PROGRAM 'id'",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_what_is_no_default(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        default_value(text, sa.Text())


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("a + b * 2", '"a" + "b" * 2'),
        ("`key` = 'x'", "\"key\" = 'x'"),
        ("名前 IS NOT NULL", 'NOT "名前" IS NULL'),
        ("CONCAT(a, ' ', b)", '"a" || \' \' || "b"'),
        ("IF(a > 1, 'x', NULL)", "CASE WHEN \"a\" > 1 THEN 'x' ELSE NULL END"),
        ("IFNULL(a, 0)", 'COALESCE("a", 0)'),
        ("a % 2", '"a" % 2'),
        ("a LIKE '100%'", "\"a\" LIKE '100%'"),
        ("a IN (1, 2) AND b <> 3", '"a" IN (1, 2) AND "b" <> 3'),
        ("data->'$.x'", "JSONB_EXTRACT_PATH(\"data\", 'x')"),
        ("data->>'$.x.y'", "JSONB_EXTRACT_PATH_TEXT(\"data\", 'x', 'y')"),
        ("data->>'$.x[0]'", "JSONB_EXTRACT_PATH_TEXT(\"data\", 'x', '0')"),
    ],
)
def test_an_expression_on_postgresql(text: str, sql: str) -> None:
    assert postgres(expression(text, COLUMNS)) == sql


@pytest.mark.parametrize("text", ["c = 1", "users.a = 1", "information_schema.tables.a = 1"])
def test_an_expression_is_over_the_tables_columns(text: str) -> None:
    with pytest.raises(ValueError, match="no such column in it"):
        expression(text, COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        "a) WHERE (1 = 1",
        "a; DROP TABLE users",
        "a = (SELECT 1)",
        "a IN (SELECT 1)",
        "EXISTS (SELECT 1)",
        "pg_sleep(a)",
        "COUNT(*)",
        "SUM(a) OVER ()",
        "a := 1",
        "a AS b",
        "a -- x",
        "*",
        "CAST(a AS regclass)",
        'a COLLATE "C"',
        "(" * 5000 + "a" + ")" * 5000,
    ],
)
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        expression(text, COLUMNS)
