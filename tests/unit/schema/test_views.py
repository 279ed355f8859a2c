"""Views, triggers and procedures: the exact SQL of each engine, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect

from dbgear_airflow_provider.core.engines import PostgresServer
from dbgear_airflow_provider.core.errors import DocumentError, UnsupportedError
from dbgear_airflow_provider.core.schema import LedgerEntry, Namespace, PreparedDocument, prepare

MYSQL: Dialect = mysql.dialect(paramstyle="named")
POSTGRES: Dialect = PostgresServer.dialect
TABLE = {
    "columns": [{"columnName": "id", "columnType": "INT", "primaryKey": 1}, {"columnName": "key", "columnType": "TEXT"}]
}
TABLES = {"t": TABLE, "order": TABLE}


def prepared(dialect: Dialect, on_unsupported: Any = "error", **kinds: Any) -> PreparedDocument:
    tree = {"schemas": {"main": {"tables": TABLES, **kinds}, "Audit": {"tables": {"log": TABLE}}}}
    places = {"main": Namespace("Ten ant"), "Audit": Namespace("acme")}
    return prepare(tree, places, dialect, where="t.j2", on_unsupported=on_unsupported)


def created(dialect: Dialect, **kinds: Any) -> dict[tuple[str, str], str]:
    return {
        (item.key.kind, item.key.name): "; ".join(item.statements)
        for item in prepared(dialect, **kinds).missing(set())
        if item.key.kind not in {"schema", "table", "index", "foreign key"}
    }


def view(dialect: Dialect, text: str) -> str:
    return created(dialect, views={"v": {"selectStatement": text}})["view", "v"].partition(" AS ")[2]


@pytest.mark.parametrize(
    ("text", "on_mysql", "on_postgresql"),
    [
        ("SELECT id FROM t", "SELECT id FROM `Ten ant`.t AS t", 'SELECT "id" FROM "Ten ant"."t" AS "t"'),
        ("SELECT a.id FROM `t` a;", "SELECT a.id FROM `Ten ant`.t a", 'SELECT "a"."id" FROM "Ten ant"."t" AS "a"'),
        (
            "SELECT main.t.`key`, 'main.t' FROM main.t, Audit.log AS l",
            "SELECT t.`key`, 'main.t' FROM `Ten ant`.t AS t, acme.log AS l",
            'SELECT "t"."key", \'main.t\' FROM "Ten ant"."t" AS "t", acme."log" AS "l"',
        ),
        (
            "WITH t AS (SELECT 1 AS id) SELECT id FROM t UNION ALL SELECT id FROM `order`",
            "WITH t AS (SELECT 1 AS id) SELECT id FROM t UNION ALL SELECT id FROM `Ten ant`.`order` AS `order`",
            'WITH "t" AS (SELECT 1 AS "id") SELECT "id" FROM "t" UNION ALL '
            'SELECT "id" FROM "Ten ant"."order" AS "order"',
        ),
        ("/* ' */ SELECT 1 -- '\n + 1 # x", "SELECT 1 + 1", "SELECT 1 + 1"),
        ("SELECT 1 AS one FROM dual", "SELECT 1 AS one FROM dual", 'SELECT 1 AS "one"'),
        (
            "SELECT IFNULL(`key`, 'x') AS k FROM t WHERE id > 100 % 7",
            "SELECT IFNULL(`key`, 'x') AS k FROM `Ten ant`.t AS t WHERE id > 100 % 7",
            'SELECT COALESCE("key", \'x\') AS "k" FROM "Ten ant"."t" AS "t" WHERE "id" > 100 % 7',
        ),
    ],
)
def test_a_view(text: str, on_mysql: str, on_postgresql: str) -> None:
    assert view(MYSQL, text) == on_mysql
    assert view(POSTGRES, text) == on_postgresql


@pytest.mark.parametrize(
    "text",
    [
        "",
        "DROP TABLE t",
        "SELECT 1; DROP TABLE t",
        "SELECT * FROM other",
        "SELECT * FROM mysql.user",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM other_tenant.t",
        "SELECT (SELECT password FROM mysql.user LIMIT 1)",
        "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM x.y)",
        "SELECT 1 /*!50000 FROM mysql.user */",
        "SELECT 1 /*M! FROM mysql.user */",
        "SELECT LOAD_FILE('/etc/passwd') FROM t",
        "SELECT SLEEP(10) FROM t",
        "SELECT @@version FROM t",
        "SELECT @x FROM t",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * INTO OUTFILE '/tmp/x' FROM t",
        "SELECT * FROM",
        # MySQL reads -- as a comment only with a blank behind it.
        "SELECT 1--1 FROM mysql.user",
        "/* /* */ SELECT 1 FROM mysql.user /* */",
    ],
)
def test_what_is_no_view(text: str) -> None:
    for dialect in (MYSQL, POSTGRES):
        with pytest.raises(DocumentError) as caught:
            created(dialect, views={"v": {"selectStatement": text}})
        assert caught.value.details["where"] == "main.v"


def test_views_are_in_the_order_of_what_they_read() -> None:
    views = {
        "a": {"selectStatement": "SELECT * FROM b"},
        "b": {"selectStatement": "SELECT * FROM (SELECT id FROM main.c) x"},
        "c": {"selectStatement": "SELECT id FROM t"},
    }
    for dialect in (MYSQL, POSTGRES):
        assert [name for _, name in created(dialect, views=views)] == ["c", "b", "a"]
    views["c"] = {"selectStatement": "SELECT id FROM a"}
    with pytest.raises(DocumentError, match="views read each other"):
        created(MYSQL, views=views)


def test_a_view_that_postgresql_cannot_say() -> None:
    views = {
        "a": {"selectStatement": "SELECT SUBSTRING_INDEX(`key`, '.', 1) AS x FROM t"},
        "b": {"selectStatement": "SELECT x FROM a"},
        "c": {"selectStatement": "SELECT FORMAT(id, 2) AS x FROM t"},
    }
    with pytest.raises(UnsupportedError) as caught:
        created(POSTGRES, views=views)
    assert caught.value.details["problems"] == [
        "main.a: PostgreSQL has no function SUBSTRING_INDEX",
        "main.c: PostgreSQL has no function FORMAT",
        "main.b: it reads main.a, which is left out",
    ]
    warned = prepared(POSTGRES, "warn", views=views)
    assert warned.warnings == caught.value.details["problems"]
    assert not [key for key in warned.keys if key.kind == "view"]
    assert len(created(MYSQL, views=views)) == 3


def test_names_of_views() -> None:
    with pytest.raises(DocumentError, match="a table has that name"):
        created(MYSQL, views={"t": {"selectStatement": "SELECT 1"}})


TRIGGER = {
    "tableName": "t",
    "timing": "before",
    "event": "insert",
    "body": "SET NEW.id = (SELECT MAX(id) FROM Audit.log);",
}


def test_a_trigger() -> None:
    made = created(MYSQL, triggers={"x": TRIGGER, "y": TRIGGER | {"condition": "NEW.`key` = 'Audit.log'"}})
    assert made["trigger", "x"] == (
        "CREATE TRIGGER `Ten ant`.x BEFORE INSERT ON `Ten ant`.t FOR EACH ROW\n"
        "SET NEW.id = (SELECT MAX(id) FROM acme.log)"
    )
    assert made["trigger", "y"].endswith(
        "\nIF NEW.`key` = 'Audit.log' THEN\nSET NEW.id = (SELECT MAX(id) FROM acme.log)\n;\nEND IF"
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"tableName": "x"}, "no such table"),
        ({"body": " "}, "nothing in it"),
        ({"body": "SET @x = 1 /*!50000 , @y = 2 */"}, "comments are not allowed"),
        ({"event": "TRUNCATE"}, "INSERT"),
        ({"timing": "INSTEAD OF"}, "BEFORE"),
    ],
)
def test_a_wrong_trigger(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        created(MYSQL, triggers={"x": TRIGGER | fields})


def test_a_procedure_and_a_function() -> None:
    parameters = [{"parameterName": "key", "parameterType": "inout", "dataType": "varchar(5) character set utf8mb4"}]
    made = created(
        MYSQL,
        procedures={
            "p": {"parameters": parameters, "body": "BEGIN\n  SELECT 1;\nEND;", "readsSqlData": False},
            "f": {"returnType": "INT UNSIGNED", "body": "RETURN 1", "securityType": "invoker", "deterministic": True},
        },
    )
    assert made["procedure", "p"] == (
        "CREATE PROCEDURE `Ten ant`.p(INOUT `key` VARCHAR(5) CHARACTER SET utf8mb4)\nNOT DETERMINISTIC\nCONTAINS SQL\n"
        "SQL SECURITY DEFINER\nBEGIN\n  SELECT 1;\nEND"
    )
    assert made["function", "f"] == (
        "CREATE FUNCTION `Ten ant`.f() RETURNS INTEGER UNSIGNED\nDETERMINISTIC\nREADS SQL DATA\nSQL SECURITY INVOKER\n"
        "RETURN 1"
    )


@pytest.mark.parametrize("data_type", ["INT) SQL SECURITY DEFINER BEGIN END; --", "XML", "INT; DROP TABLE x"])
def test_types_of_parameters_are_types(data_type: str) -> None:
    parameters = [{"parameterName": "p", "dataType": data_type}]
    for dialect in (MYSQL, POSTGRES):
        with pytest.raises(DocumentError) as caught:
            created(dialect, procedures={"p": {"parameters": parameters, "body": "SELECT 1"}})
        assert caught.value.details["where"] == "main.p.p"


def test_what_is_in_mysqls_language_is_not_for_postgresql() -> None:
    kinds: dict[str, Any] = {"triggers": {"x": TRIGGER}, "procedures": {"p": {"body": "SELECT 1"}}}
    with pytest.raises(UnsupportedError) as caught:
        created(POSTGRES, **kinds)
    assert caught.value.details["problems"] == [
        "main.p: PostgreSQL does not run a procedure in MySQL's language",
        "main.x: PostgreSQL does not run a trigger in MySQL's language",
    ]


def test_tenants_that_differ_in_names_share_what_is_compiled() -> None:
    def tree(name: str) -> dict[str, Any]:
        views = {"v": {"selectStatement": f"SELECT {name}.t.id, '{{x}}' AS x FROM {name}.t"}}
        triggers = {"x": TRIGGER | {"body": f"INSERT INTO {name}.t VALUES (1)"}}
        return {"schemas": {name: {"tables": TABLES, "views": views, "triggers": triggers}}}

    one, two = (prepare(tree(name), {name: Namespace(name)}, MYSQL, where="t.j2") for name in ("a_main", "b_main"))
    assert one._templates is two._templates
    for name, document in (("a_main", one), ("b_main", two)):
        sql = {item.key.kind: item.statements[0] for item in document.missing(set())}
        assert f"FROM {name}.t AS t" in sql["view"]
        assert f"INSERT INTO {name}.t VALUES" in sql["trigger"]


def test_errors_tell_the_documents_own_names() -> None:
    tree = {"schemas": {"main": {"tables": {"t": {"columns": [{"columnName": "c", "columnType": "XML"}]}}}}}
    with pytest.raises(DocumentError) as caught:
        prepare(tree, {"main": Namespace("acme")}, POSTGRES, where="t.j2")
    assert caught.value.details["where"] == "main.t.c"
    assert str(caught.value).startswith("main.t.c: no such column type; received 'XML'")


def test_a_view_of_a_column_that_is_left_out() -> None:
    place = {"columns": [*TABLE["columns"], {"columnName": "at", "columnType": "POINT"}]}
    views = {"v": {"selectStatement": "SELECT id, at FROM place"}, "w": {"selectStatement": "SELECT id FROM place"}}
    tree = {"schemas": {"main": {"tables": {"place": place}, "views": views}}}
    document = prepare(tree, {"main": Namespace("acme")}, POSTGRES, where="t.j2", on_unsupported="warn")
    assert document.warnings[1:] == ["main.v: it reads main.place.at, which is left out"]
    assert [key.name for key in document.keys if key.kind == "view"] == ["w"]


@pytest.mark.parametrize("text", ["'T0001'", r"'a\\'''", "'日本 100%'"])
def test_texts_of_tenants_on_mysql(text: str) -> None:
    columns = [{"columnName": name, "columnType": name, "defaultValue": text} for name in ("TEXT", "CHAR(9)")]
    tree = {"schemas": {"main": {"tables": {"t": {"columns": columns}}}}}
    sql = prepare(tree, {"main": Namespace("acme")}, MYSQL, where="t.j2").missing(set())[1].statements[0]
    assert f"DEFAULT ({text})" in sql
    assert f"DEFAULT {text}" in sql


def test_the_ledgers_row_on_mysql() -> None:
    entry = LedgerEntry(version="provision", tenant_id="a\\", instance="i'", checksum="c")
    assert r"'a\\', 'i'''" in entry.statement(Namespace("Ten ant"), MYSQL, replaces=False)
    assert r"'a\', 'i'''" in entry.statement(Namespace("Ten ant"), POSTGRES, replaces=False)
