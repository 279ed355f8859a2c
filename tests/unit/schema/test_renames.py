"""Names within bodies of triggers and routines, where objects have a prefix: what is changed, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect

from dbgear_airflow_provider.core.engines import PostgresServer
from dbgear_airflow_provider.core.errors import DocumentError
from dbgear_airflow_provider.core.schema import Namespace, SchemaDocument, prepare
from dbgear_airflow_provider.core.schema.columns import Target
from dbgear_airflow_provider.core.schema.features import features
from dbgear_airflow_provider.core.schema.problems import Problems
from dbgear_airflow_provider.core.schema.renames import ServerNames

MYSQL: Dialect = mysql.dialect(paramstyle="named")
ID = {"columnName": "id", "columnType": "INT", "primaryKey": 1}


def table(*columns: str) -> dict[str, Any]:
    return {"columns": [ID, *({"columnName": name, "columnType": "INT"} for name in columns)]}


DOCUMENT = {
    "schemas": {
        "main": {
            "tables": {"a": table("b"), "b": table("a"), "c d": table(), "注文": table()},
            "views": {"v": {"selectStatement": "SELECT 1 AS one"}},
            "procedures": {
                "p": {"body": "SELECT 1"},
                "f": {"body": "RETURN 1", "returnType": "INT"},
            },
            "triggers": {"t": {"tableName": "a", "timing": "AFTER", "event": "INSERT", "body": "SET @x = 1"}},
        },
        "audit": {"tables": {"log": table(), "a": table()}},
    }
}


@pytest.fixture(scope="module")
def names() -> ServerNames:
    document = SchemaDocument.load(DOCUMENT, where="t.j2")
    places = {"main": Namespace("shared", "x_"), "audit": Namespace("shared", "x_audit_")}
    return ServerNames(document, places, Target(dialect=MYSQL, features=features(MYSQL), problems=Problems()))


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("SELECT 1 FROM a, b", "SELECT 1 FROM x_a, x_b"),
        ("SELECT 1 FROM a AS one, b two, `c d`", "SELECT 1 FROM x_a AS one, x_b two, `x_c d`"),
        ("SELECT 1 FROM a JOIN b ON a.id = b.id", "SELECT 1 FROM x_a JOIN x_b ON x_a.id = x_b.id"),
        ("SELECT 1 FROM a LEFT JOIN (b, v) USING (id)", "SELECT 1 FROM x_a LEFT JOIN (x_b, x_v) USING (id)"),
        ("SELECT 1 FROM (SELECT id FROM a) AS a", "SELECT 1 FROM (SELECT id FROM x_a) AS a"),
        ("INSERT INTO a (id, b) VALUES (1, 2)", "INSERT INTO x_a (id, b) VALUES (1, 2)"),
        ("INSERT IGNORE a SELECT id, 1 FROM 注文", "INSERT IGNORE x_a SELECT id, 1 FROM `x_注文`"),
        ("REPLACE INTO b VALUES (1, 1)", "REPLACE INTO x_b VALUES (1, 1)"),
        ("UPDATE a, b SET a.b = b.a", "UPDATE x_a, x_b SET x_a.b = x_b.a"),
        ("UPDATE a SET b = 1 WHERE b = 2", "UPDATE x_a SET b = 1 WHERE b = 2"),
        ("DELETE FROM a WHERE b = 1", "DELETE FROM x_a WHERE b = 1"),
        ("DELETE one FROM a AS one, b", "DELETE one FROM x_a AS one, x_b"),
        ("CALL p(1)", "CALL x_p(1)"),
        ("SET @n = f(1) + ABS(2)", "SET @n = x_f(1) + ABS(2)"),
        ("CALL audit.p(1)", "CALL shared.p(1)"),  # there is none of that name in it
        ("SELECT main.a.id FROM main.a, audit.log", "SELECT shared.x_a.id FROM shared.x_a, shared.x_audit_log"),
        ("SELECT 1 FROM `audit`.`a`", "SELECT 1 FROM shared.x_audit_a"),
        ("SELECT 1 FROM other.a", "SELECT 1 FROM other.a"),
        ("SELECT a, b FROM a", "SELECT a, b FROM x_a"),
        ("SELECT 1 FROM b AS a WHERE a.id = 1", "SELECT 1 FROM x_b AS a WHERE a.id = 1"),
        ("SET NEW.a = OLD.b", "SET NEW.a = OLD.b"),
        ("INSERT INTO b SET id = NEW.id, a = NEW.b", "INSERT INTO x_b SET id = NEW.id, a = NEW.b"),
        ("INSERT INTO a VALUES (1, 'FROM b') /* FROM b */", "INSERT INTO x_a VALUES (1, 'FROM b') /* FROM b */"),
        ("SELECT 1 -- FROM b\n FROM a", "SELECT 1 -- FROM b\n FROM x_a"),
        ("WITH b AS (SELECT 1 AS id FROM a) SELECT id FROM b", "WITH b AS (SELECT 1 AS id FROM x_a) SELECT id FROM b"),
        (
            "WITH RECURSIVE one AS (SELECT 1 FROM a), b (id) AS (SELECT 2) SELECT 1 FROM one, b",
            "WITH RECURSIVE one AS (SELECT 1 FROM x_a), b (id) AS (SELECT 2) SELECT 1 FROM one, b",
        ),
        ("SELECT id INTO b FROM a", "SELECT id INTO b FROM x_a"),
        ("SET @b = EXTRACT(DAY FROM b)", "SET @b = EXTRACT(DAY FROM b)"),
        ("BEGIN INSERT a SET b = 1; UPDATE b SET a = 1; END", "BEGIN INSERT x_a SET b = 1; UPDATE x_b SET a = 1; END"),
        (
            "INSERT INTO a (id) SELECT b.id FROM b ON DUPLICATE KEY UPDATE a = a.id + b",
            "INSERT INTO x_a (id) SELECT x_b.id FROM x_b ON DUPLICATE KEY UPDATE a = x_a.id + b",
        ),
        ("DECLARE a CURSOR FOR SELECT b.* FROM b", "DECLARE a CURSOR FOR SELECT x_b.* FROM x_b"),
        ("SELECT COUNT(*), MAX(b) INTO a, b FROM v", "SELECT COUNT(*), MAX(b) INTO a, b FROM x_v"),
        ("IF EXISTS (SELECT 1 FROM v) THEN DELETE FROM a", "IF EXISTS (SELECT 1 FROM x_v) THEN DELETE FROM x_a"),
        ("SELECT id FROM a UNION SELECT a FROM b ORDER BY a", "SELECT id FROM x_a UNION SELECT a FROM x_b ORDER BY a"),
        ("TRUNCATE TABLE a", "TRUNCATE TABLE x_a"),
        ("SELECT 1 FROM A", "SELECT 1 FROM x_a"),
    ],
)  # fmt: skip
def test_a_name_is_changed_where_it_stands_for_an_object(names: ServerNames, text: str, renamed: str) -> None:
    assert names.renamed(text, "main") == renamed


def test_an_alias_is_known_in_its_own_statement_alone(names: ServerNames) -> None:
    text = "SELECT a.id FROM b AS a; SELECT a.id FROM a"
    assert names.renamed(text, "main") == "SELECT a.id FROM x_b AS a; SELECT x_a.id FROM x_a"


def test_names_are_of_the_schema_that_has_the_body(names: ServerNames) -> None:
    assert names.renamed("SELECT 1 FROM a, b, main.b", "audit") == "SELECT 1 FROM x_audit_a, b, shared.x_b"


def test_without_a_prefix_names_of_schemas_alone_are_changed() -> None:
    document = SchemaDocument.load(DOCUMENT, where="t.j2")
    target = Target(dialect=MYSQL, features=features(MYSQL), problems=Problems())
    plain = ServerNames(document, {"main": Namespace("one"), "audit": Namespace("two")}, target)
    assert plain.renamed("SELECT 1 FROM a, main.a, audit.log", "main") == "SELECT 1 FROM a, one.a, two.log"


@pytest.mark.parametrize("dialect", [MYSQL, PostgresServer.dialect])
def test_two_objects_that_would_get_one_name_are_named(dialect: Dialect) -> None:
    tree = {"schemas": {"main": {"tables": {"audit_log": table()}}, "audit": {"tables": {"log": table()}}}}
    places = {"main": Namespace("shared", "x_"), "audit": Namespace("shared", "x_audit_")}
    with pytest.raises(DocumentError, match=r"two objects of kind table get one name") as caught:
        prepare(tree, places, dialect, where="t.j2", on_unsupported="error")
    assert "audit_log" in str(caught.value)
