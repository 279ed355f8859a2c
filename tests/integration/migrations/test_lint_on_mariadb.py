"""Lint warns of a change of a table exactly where MariaDB cannot make it without a copy or a lock."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest

from dbgear_airflow_provider.core.migrations import MigrationSet, ServerFacts, lint
from tests.servers.mariadb import MySQLServer
from tests.unit.migrations.conftest import DIALECTS

LOCKING = {"rewrites-table", "blocks-writes", "changing-column-type", "adding-foreign-key-constraint"}
TABLES = (
    "CREATE TABLE o (a int PRIMARY KEY)",
    "CREATE TABLE t (a int PRIMARY KEY, c int, d int, t text CHARACTER SET latin1, g point NOT NULL, KEY k (d))",
)
ACTIONS = (
    "MODIFY c bigint",
    "CHANGE c e bigint",
    "CONVERT TO CHARACTER SET utf8mb4",
    "DROP PRIMARY KEY",
    "ADD CONSTRAINT q CHECK (c > 0)",
    "ADD e int GENERATED ALWAYS AS (c + 1) STORED",
    "ADD e int GENERATED ALWAYS AS (c + 1) VIRTUAL",
    "ADD FULLTEXT INDEX i (t)",
    "ADD SPATIAL INDEX i (g)",
    "ADD CONSTRAINT f FOREIGN KEY (c) REFERENCES o (a)",
    "ADD z int AUTO_INCREMENT UNIQUE",
    "FORCE",
    "ENGINE=InnoDB",
    "ROW_FORMAT=COMPRESSED",
    "ADD e int NOT NULL DEFAULT 1",
    "ADD INDEX i (c)",
    "ADD UNIQUE i (c)",
    "DROP INDEX k",
    "DROP COLUMN c",
    "ALTER COLUMN c SET DEFAULT 1",
    "RENAME COLUMN c TO e",
    "RENAME INDEX k TO i",
)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_lint_says_of_locks_is_what_the_server_says(
    mariadb: MySQLServer, mysql_database: str, tmp_path: Path, action: str
) -> None:
    (tmp_path / "v1.sql").write_text(f"ALTER TABLE t {action};\n")
    dialect = DIALECTS["mariadb"]
    found = {item.rule for item in lint(MigrationSet.load(tmp_path, dialect=dialect), ServerFacts(dialect=dialect))}
    for table in TABLES:
        mariadb.query(table, mysql_database)
    try:
        mariadb.query(f"ALTER TABLE t {action}, ALGORITHM=NOCOPY, LOCK=NONE", mysql_database)
        refused = False
    except pymysql.err.OperationalError as error:
        assert error.args[0] in (1845, 1846), error
        refused = True
    assert bool(found & LOCKING) == refused
