"""Servers of MySQL's kind as an operation sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from dbgear_airflow_provider.core.engines import MySQLServer
from tests.servers import MariaDB
from tests.servers.address import address_of
from tests.servers.mariadb import MySQLServer as RunningMySQL

Opened = Callable[..., AbstractAsyncContextManager[MySQLServer]]


@pytest.fixture
def opened() -> Opened:
    """Open a running server: `async with opened(running, max_connections=2) as server`."""

    @asynccontextmanager
    async def open_server(running: RunningMySQL, *, user: str = "", password: str = "", **options: Any) -> Any:
        address = address_of(running, user=user or running.user, password=password or running.password)
        server = MySQLServer("main", address, **options)
        try:
            yield server
        finally:
            await server.aclose()

    return open_server


@pytest.fixture(scope="module")
def fragile() -> Iterator[MariaDB]:
    """A MariaDB of the module's own, which may be crashed, frozen and started again."""
    with MariaDB.running() as server:
        yield server
