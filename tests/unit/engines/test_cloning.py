"""Definitions for clones: the copy's schema stands where the original's is meant, and nowhere else."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, mysql_scratch
from dbgear_airflow_provider.core.engines.cloning import Renaming
from dbgear_airflow_provider.core.engines.mysql_describe import GRAMMAR as MYSQL
from dbgear_airflow_provider.core.engines.postgresql_describe import GRAMMAR as POSTGRES
from dbgear_airflow_provider.core.errors import UnsupportedError
from dbgear_airflow_provider.core.schema.ddl import quoted


def renaming(mysql: bool = False) -> Renaming:
    dialect = MySQLServer.dialect if mysql else PostgresServer.dialect
    names = [("main", "orders"), ("main", "My Table"), ("main", "main")]
    return Renaming(MYSQL if mysql else POSTGRES, {"main": "copy"}, names, lambda name: quoted(dialect, name))


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT main.id FROM main.orders main", "SELECT main.id FROM copy.orders main"),
        ('INSERT INTO "main"."My Table"', 'INSERT INTO copy."My Table"'),
        ("SELECT main.main FROM other.orders", "SELECT copy.main FROM other.orders"),
        ("nextval('main.orders'::regclass)", "nextval('copy.orders'::regclass)"),
        ("SELECT 'it''s main, or x' -- main.orders", "SELECT 'it''s main, or x' -- main.orders"),
    ],
)
def test_on_postgresql(sql: str, expected: str) -> None:
    assert renaming().text(sql, executes_texts=True) == expected


def test_on_mysql() -> None:
    sql = r"CREATE VIEW `main`.`orders` AS SELECT 'main.orders', 'it\'s' FROM `main`.`My Table` # main.orders"
    expected = r"CREATE VIEW copy.`orders` AS SELECT 'main.orders', 'it\'s' FROM copy.`My Table` # main.orders"
    assert renaming(mysql=True).text(sql, executes_texts=False) == expected


@pytest.mark.parametrize("sql", ["EXECUTE 'DELETE FROM main.orders'", "EXECUTE E'DELETE FROM main.\"My Table\"'"])
def test_a_name_in_a_text_that_may_be_executed_is_refused(sql: str) -> None:
    with pytest.raises(UnsupportedError, match="names what is the instance's own"):
        renaming().text(sql, executes_texts=True)
    assert renaming().text(sql, executes_texts=False) == sql


def test_on_mysql_clones_of_this_server_are_told_by_their_locks_and_those_of_others_by_their_age_too() -> None:
    now = datetime(2026, 12, 1, 12, 0)
    hour = timedelta(minutes=61)
    ours, others, old = (
        mysql_scratch.clone_name(now, "a 3306 1"),
        mysql_scratch.clone_name(now, "b 3306 2"),
        mysql_scratch.clone_name(now - hour, "b 3306 2"),
    )
    present = [f"{ours}_0", f"{ours}_1", f"{others}_0", f"{old}_0", "dbgear_rehearsal_of_mine"]
    assert mysql_scratch.left_clones(present, now, "a 3306 1") == {ours: [f"{ours}_0", f"{ours}_1"], old: [f"{old}_0"]}
