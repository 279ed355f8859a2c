"""Options of a target on PostgreSQL, which reach the driver in a URL."""

from __future__ import annotations

import shutil
from pathlib import Path

import certifi
import pytest

from dbgear_airflow_provider.core.engines import PostgresServer
from dbgear_airflow_provider.core.errors import ServerUnavailableError
from dbgear_airflow_provider.sandbox.postgres import PostgresServer as RunningPostgres
from tests.servers.address import address_of


async def test_a_file_may_have_any_name(postgres: RunningPostgres, database: str, tmp_path: Path) -> None:
    authorities = tmp_path / "c a&b=%41#.pem"
    shutil.copy(certifi.where(), authorities)
    address = address_of(
        postgres,
        database,
        options={"sslmode": "verify-ca", "sslrootcert": str(authorities), "application_name": "a&b=c"},
    )
    server = PostgresServer("main", address)
    # It was read: what fails is the server, which has no TLS.
    with pytest.raises(ServerUnavailableError, match="rejected SSL upgrade"):
        async with server.session(database):
            pass
    await server.aclose()
