"""Fixtures of all suites."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres, PostgresServer
from tests.servers import MariaDB, Redis
from tests.servers.mariadb import MySQLServer

_MEMORY = Path("/dev/shm")  # noqa: S108 - only a place to look for
_ROOM_BYTES = 4 * 2**30

# Tests make thousands of tables and databases, whose files disks are slow at.
if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A directory right under the system's temporary one, which PostgreSQL's user can enter."""
    path = Path(tempfile.mkdtemp(prefix="dbgear-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server to create databases on: DBGEAR_TEST_POSTGRES_URL, or one of our own."""
    if url := os.environ.get("DBGEAR_TEST_POSTGRES_URL"):
        yield PostgresServer.from_url(url)
        return
    path = Path(tempfile.mkdtemp(prefix="dbgear-"))
    settings = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
    with EmbeddedPostgres(path, settings=settings) as server:
        yield server
    shutil.rmtree(path)


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The name of an empty database of the test's own."""
    name = f"test_{os.urandom(6).hex()}"
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MySQLServer]:
    """A MariaDB or MySQL server to create databases on: DBGEAR_TEST_MYSQL_URL, or one of our own."""
    if url := os.environ.get("DBGEAR_TEST_MYSQL_URL"):
        yield MySQLServer.from_url(url)
        return
    with MariaDB.running() as server:
        yield server


@pytest.fixture
def mysql_database(mariadb: MySQLServer) -> Iterator[str]:
    """The name of an empty database of the test's own."""
    name = f"test_{os.urandom(6).hex()}"
    mariadb.create_database(name)
    yield name
    mariadb.drop_database(name)


@pytest.fixture
def redis_server() -> Iterator[Redis]:
    """A Redis of the test's own, which may be crashed, frozen and started again."""
    with Redis.running() as server:
        yield server
