"""Where a running server is, as operations see it."""

from __future__ import annotations

from typing import Any, Protocol

from dbgear_airflow_provider.core.engines import ServerAddress


class Running(Protocol):
    """A server to connect to as an administrator."""

    host: str
    port: int
    user: str
    password: str


def address_of(running: Running, database: str = "", **others: Any) -> ServerAddress:
    """Return its address. database: the shared one. others: further fields, or another user."""
    fields = {"host": running.host, "port": running.port, "user": running.user, "password": running.password}
    return ServerAddress(**{**fields, "database": database, **others})
