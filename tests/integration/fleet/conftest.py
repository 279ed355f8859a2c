from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dbgear_airflow_provider.core.fleet import FleetStore
from dbgear_airflow_provider.sandbox.postgres import PostgresServer
from tests.servers.mariadb import MySQLServer


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> sa.URL:
    """An empty database of each kind that the store runs on here."""
    if request.param == "sqlite":
        return sa.URL.create("sqlite+aiosqlite", database=str(tmp_path / "fleet.db"))
    if request.param == "mariadb":
        server: MySQLServer = request.getfixturevalue("mariadb")
        name = request.getfixturevalue("mysql_database")
        return sa.URL.create("mysql+asyncmy", server.user, server.password, server.host, server.port, name)
    postgres: PostgresServer = request.getfixturevalue("postgres")
    return sa.URL.create(
        "postgresql+asyncpg",
        username=postgres.user,
        password=postgres.password,
        host=postgres.host,
        port=postgres.port,
        database=request.getfixturevalue("database"),
    )


@pytest.fixture
async def store(url: sa.URL) -> AsyncIterator[FleetStore]:
    """A store with its tables."""
    store = FleetStore(url)
    await store.prepare()
    yield store
    await store.aclose()
