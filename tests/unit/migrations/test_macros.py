"""Macros: what a value stands for stays one name or one string, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlglot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import TokenType, exp

from dbgear_airflow_provider.core.errors import MigrationError
from dbgear_airflow_provider.core.migrations.macros import Macros
from dbgear_airflow_provider.core.migrations.script import parse_script
from dbgear_airflow_provider.core.tenants import naming
from tests.unit.migrations.conftest import make_names

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
NASTY = st.text(st.sampled_from("aB;'\"`$-/*\\\n é${}"), min_size=1, max_size=12)


def parse(text, dialect):
    return parse_script(Path("1.sql"), text, version="1", name="", dialect=dialect, macros=Macros(dialect))


def sql(migration, names):
    return [statement.sql(names) for statement in migration.up.statements]


@pytest.mark.parametrize(
    ("engine", "text", "expected"),
    [
        ("postgresql", "SELECT 1 FROM ${PREFIX}Users", "SELECT 1 FROM ac_users"),
        ("postgresql", 'SELECT 1 FROM "${PREFIX}Users"', 'SELECT 1 FROM "ac_Users"'),
        ("postgresql", "SELECT 1 FROM ${SCHEMA}.a_${INSTANCE}_b", 'SELECT 1 FROM "Acme_asia".a_main_b'),
        ("postgresql", "SELECT '${TENANT_ID}', E'${TENANT_ID}'", "SELECT 'T''1\\', E'T''1\\\\'"),
        ("postgresql", "SELECT '$${TENANT_ID}', $a$$${TENANT_ID}$a$", "SELECT '${TENANT_ID}', $a$${TENANT_ID}$a$"),
        ("postgresql", "SELECT $$a ${TENANT_ID}$$ -- ${NOPE}\n, 1", "SELECT $$a T'1\\$$ -- ${NOPE}\n, 1"),
        ("postgresql", "SELECT '${PREFIX}users_id_seq'::regclass", "SELECT 'ac_users_id_seq'::regclass"),
        (
            "postgresql",
            "DO $$ BEGIN -- ${NOPE} it's\n PERFORM '${TENANT_ID}' FROM ${PREFIX}A; END $$",
            "DO $$ BEGIN -- ${NOPE} it's\n PERFORM 'T''1\\' FROM ac_a; END $$",
        ),
        ("mysql", "SELECT 1 FROM ${PREFIX}users", "SELECT 1 FROM ac_users"),
        ("mysql", "SELECT 1 FROM `${PREFIX}a``b`", "SELECT 1 FROM `ac_a``b`"),
        ("mysql", "SELECT '${TENANT_ID}', \"${TENANT_ID}\"", "SELECT 'T''1\\\\', \"T'1\\\\\""),
        ("mysql", "DELIMITER $$\nCREATE PROCEDURE ${PREFIX}p() BEGIN SELECT 1 FROM ${PREFIX}a; END$$",
         "CREATE PROCEDURE ac_p() BEGIN SELECT 1 FROM ac_a; END"),
        ("mysql", "SELECT 1 FROM ${TABLE_NAME:users}, ${CUSTOMER_CODE}", "SELECT 1 FROM users, acme"),
    ],
)  # fmt: skip
def test_expansion(load, names, engine, text, expected):
    assert sql(load(text, engine), names("ac_", tenant_id="T'1\\")) == [expected]


def test_the_same_script_without_a_prefix(load, names):
    migration = load("SELECT 1 FROM ${PREFIX}users, ${PREFIX}order, ${SCHEMA}.x", "postgresql")
    assert sql(migration, names("")) == ['SELECT 1 FROM users, "order", "Acme_asia".x']


def test_a_long_name_is_the_one_that_provisioning_gave_it(load, names):
    table = "a_very_long_name_of_a_table_that_is_nearly_too_long_already"
    (statement,) = sql(load(f"SELECT '${{PREFIX}}{table}' FROM ${{PREFIX}}{table}"), names("acme_asia_main_"))
    server_name = naming.prefixed("acme_asia_main_", table)
    assert statement == f"SELECT '{server_name}' FROM {server_name}"


def test_macros_of_the_environment_are_asked_for_once_and_only_when_used(load, names):
    asked = []

    def macros():
        asked.append(1)
        return {"app": "shop; DROP TABLE a"}

    plain = load("SELECT ${PREFIX}a, ${INSTANCE}, '${TENANT_ID}'", macros=["app"])
    mine = names("ac_", macros=macros)
    assert sql(plain, mine)
    assert not asked
    assert sql(load("SELECT ${APP}, '${APP}'", macros=["app"]), mine) == [
        "SELECT \"shop; DROP TABLE a\", 'shop; DROP TABLE a'"
    ]
    assert asked == [1]


def test_values_are_not_expanded_again(load, names):
    assert sql(load("SELECT '${CUSTOMER_NAME}'"), names("ac_", customer_name="${TENANT_ID}")) == [
        "SELECT '${TENANT_ID}'"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("SELECT 1;\nSELECT ${NOPE}", "there is no such macro"),
        ("SELECT 1;\nSELECT '${NOPE}'", "there is no such macro"),
        ("DO $$ BEGIN\nPERFORM ${NOPE}; END $$", "there is no such macro"),
        ("SELECT\n${INSTANCE:test}", "takes no argument"),
        ("SELECT 1;\nSELECT U&'${TENANT_ID}'", "macros do not work in"),
        ('SELECT 1;\nSELECT U&"${TENANT_ID}"', "macros do not work in"),
        ("SELECT 1;\nSELECT 0x${TENANT_ID}", "macros do not work in"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE plpython3u AS\n$$ return ${INSTANCE} $$", "macros do not work in"),
    ],
)
def test_a_macro_that_cannot_be_is_told_at_load(load, text, problem):
    with pytest.raises(MigrationError) as error:
        load(text)
    assert error.value.details["where"].endswith("line 2")
    assert problem in error.value.details["problem"]
    if "NOPE" in text:
        assert "TENANT_ID" in error.value.details["allowed"]


def test_a_macro_without_a_value_in_an_instance_names_the_line(load, names):
    migration = load("SELECT 1;\nSELECT 1 FROM ${PREFIX}")
    with pytest.raises(MigrationError, match="line 2: a name of macros alone"):
        sql(migration, names(""))
    migration = load("SELECT 1;\nSELECT ${TABLE_NAME}")
    with pytest.raises(MigrationError, match="line 2: .*takes the table's name"):
        sql(migration, names(""))


@pytest.mark.parametrize(("engine", "grammar"), [("postgresql", "postgres"), ("mysql", "mysql")])
@given(value=NASTY)
@MANY
def test_a_value_never_leaves_its_place(dialects, engine, grammar, value):
    quote = dialects[engine].identifier_preparer.initial_quote
    text = f"SELECT '${{CUSTOMER_NAME}}', x AS ${{CUSTOMER_NAME}}, y AS {quote}${{CUSTOMER_NAME}}{quote}"
    (statement,) = sql(parse(text, dialects[engine]), make_names("", customer_name=value))
    (tree,) = sqlglot.parse(statement, read=grammar)
    literal, bare, quoted = tree.expressions
    assert isinstance(literal, exp.Literal)
    assert literal.this == value
    assert [bare.alias, quoted.alias] == [value, value]


@given(value=NASTY)
@MANY
def test_a_value_never_leaves_a_body(dialects, value):
    text = "CREATE FUNCTION f() RETURNS int AS $$ '${CUSTOMER_NAME}' \"${CUSTOMER_NAME}\" $$ LANGUAGE sql"
    (statement,) = sql(parse(text, dialects["postgresql"]), make_names("", customer_name=value))
    tokens = sqlglot.tokenize(statement, read="postgres")
    assert [token.text for token in tokens[-2:]] == ["LANGUAGE", "sql"]
    assert tokens[-3].token_type is TokenType.HEREDOC_STRING
    inner = sqlglot.tokenize(tokens[-3].text, read="postgres")
    assert [(token.token_type, token.text) for token in inner] == [
        (TokenType.STRING, value),
        (TokenType.IDENTIFIER, value),
    ]
