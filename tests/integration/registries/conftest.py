"""Databases of each engine, to be read by our provider and prepared by another client."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from dbgear_airflow_provider.sandbox.postgres import PostgresServer
from tests.servers.mariadb import MySQLServer

ENGINES = ("sqlite", "postgresql", "mariadb")


@dataclass(frozen=True)
class Place:
    """A database. execute(sql, rows) executes it once, or for each of the rows, and returns what is found."""

    engine: str
    url: str
    execute: Callable[..., list[Any]]

    @property
    def quote(self) -> str:
        return "`" if self.engine == "mariadb" else '"'

    def name(self, text: str) -> str:
        return self.quote + text.replace(self.quote, self.quote * 2) + self.quote

    def insert(
        self, table: str, rows: Sequence[dict[str, Any]], *, cast: Callable[[Any], Any] = lambda value: value
    ) -> None:
        """Insert rows of the same columns."""
        mark = "?" if self.engine == "sqlite" else "%s"
        names = ", ".join(self.name(name).replace("%", "%%" if mark == "%s" else "%") for name in rows[0])
        self.execute(
            f"INSERT INTO {table} ({names}) VALUES ({', '.join([mark] * len(rows[0]))})",
            [[cast(value) for value in row.values()] for row in rows],
        )


def sqlite_place(path: Path) -> Place:
    def execute(sql: str, rows: Sequence[Any] | None = None) -> list[Any]:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            return (connection.execute(sql) if rows is None else connection.executemany(sql, rows)).fetchall()

    return Place("sqlite", f"sqlite:///{path}", execute)


def postgres_place(server: PostgresServer, database: str) -> Place:
    def execute(sql: str, rows: Sequence[Any] | None = None) -> list[Any]:
        with psycopg.connect(server.dsn(database)) as connection, connection.cursor() as cursor:
            if rows is None:
                cursor.execute(sql.encode())
            else:
                cursor.executemany(sql.encode(), rows)
            return cursor.fetchall() if cursor.description else []

    return Place("postgresql", server.dsn(database), execute)


def mariadb_place(server: MySQLServer, database: str) -> Place:
    def execute(sql: str, rows: Sequence[Any] | None = None) -> list[Any]:
        with contextlib.closing(server.connect(database)) as connection, connection.cursor() as cursor:
            if rows is None:
                cursor.execute(sql)
            else:
                cursor.executemany(sql, rows)
            return list(cursor.fetchall())

    account = f"{quote(server.user, safe='')}:{quote(server.password, safe='')}"
    return Place("mariadb", f"mysql://{account}@{server.host}:{server.port}/{database}", execute)


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database of the test's own, on each engine in turn."""
    if request.param == "sqlite":
        return sqlite_place(tmp_path / "registry.db")
    if request.param == "postgresql":
        return postgres_place(request.getfixturevalue("postgres"), request.getfixturevalue("database"))
    return mariadb_place(request.getfixturevalue("mariadb"), request.getfixturevalue("mysql_database"))


@pytest.fixture(scope="module")
def places(
    postgres: PostgresServer, mariadb: MySQLServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Place]]:
    """A database on each engine for all tests of a module."""
    name = f"test_{os.urandom(6).hex()}"
    postgres.create_database(name)
    mariadb.create_database(name)
    yield {
        "sqlite": sqlite_place(tmp_path_factory.mktemp("sqlite") / "registry.db"),
        "postgresql": postgres_place(postgres, name),
        "mariadb": mariadb_place(mariadb, name),
    }
    postgres.drop_database(name)
    mariadb.drop_database(name)
