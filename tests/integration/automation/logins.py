"""Logins of tenants, and what is left of them."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pymysql
import pytest

REFUSED = (psycopg.Error, pymysql.MySQLError)


class Login:
    """What a tenant's application has: what the sink got."""

    def __init__(self, fleet: Any, tenant_id: str) -> None:
        self.told = json.loads(fleet.sink.file(tenant_id).read_text())
        self._on_mysql = self.told["engine"] == "mysql"

    @property
    def place(self) -> dict[str, str]:
        return self.told["instances"]["main"]

    def table(self, name: str) -> str:
        mark = "`" if self._on_mysql else '"'
        return f"{mark}{self.place['schema']}{mark}.{mark}{self.place.get('prefix', '')}{name}{mark}"

    def do(self, sql: str, database: str | None = None, password: str | None = None) -> list[tuple[Any, ...]]:
        told = {**self.told, "password": password or self.told["password"]}
        if self._on_mysql:
            with pymysql.connect(
                host=told["host"], port=told["port"], user=told["user"], password=told["password"], autocommit=True
            ) as connection:
                cursor = connection.cursor()
                cursor.execute(sql)
                return list(cursor.fetchall())
        with psycopg.connect(
            host=told["host"],
            port=told["port"],
            user=told["user"],
            password=told["password"],
            dbname=database or self.place["database"],
            autocommit=True,
        ) as connection:
            cursor = connection.execute(sql)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def refused(self, sql: str, database: str | None = None) -> None:
        with pytest.raises(REFUSED) as caught:
            self.do(sql, database)
        error = caught.value
        # Not allowed: no syntax error of the test's, and nothing that is missing.
        code = error.args[0] if self._on_mysql else error.sqlstate  # type: ignore[union-attr]
        no_entry = "permission denied for database" in str(error)
        assert code in {"42501", 1044, 1142, 1370, 1959} or no_entry, error


def drop_roles(fleet: Any) -> None:
    """Drop the roles of this fleet: their names have its database's in them."""
    if fleet.target().schemas_are_databases:
        for user, host in fleet.query(f"SELECT User, Host FROM mysql.user WHERE User LIKE '%{fleet.database}%'"):
            fleet.query(f"DROP USER '{user}'@'{host}'" if host else f"DROP ROLE `{user}`")
        return
    names = [name for (name,) in fleet.query(f"SELECT rolname FROM pg_roles WHERE rolname LIKE '%{fleet.database}%'")]
    for name in names:
        fleet.query(f'DROP OWNED BY "{name}" CASCADE')
    for name in names:
        fleet.query(f'DROP ROLE "{name}"')
