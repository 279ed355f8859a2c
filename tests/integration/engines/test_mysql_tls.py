"""TLS to servers of MySQL's kind."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from dbgear_airflow_provider.core.engines import MySQLServer
from dbgear_airflow_provider.core.errors import ServerUnavailableError, StatementError
from tests.servers import MariaDB
from tests.servers.address import address_of


class Secured(MariaDB):
    """Takes connections by TLS alone."""

    @property
    def certificate(self) -> Path:
        return self.directory / "certificate.pem"

    def command(self) -> list[str]:
        key = self.directory / "key.pem"
        if not key.exists():
            subject = ["-subj", "/CN=dbgear", "-addext", f"subjectAltName=IP:{self.host}", "-days", "2"]
            files = ["-keyout", str(key), "-out", str(self.certificate)]
            request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files]
            subprocess.run(request, check=True, capture_output=True)
        options = [f"--ssl-cert={self.certificate}", f"--ssl-key={key}", "--require-secure-transport=ON"]
        return [*super().command(), *options]

    def connect(self, database: str | None = None) -> Any:
        return pymysql.connect(
            host=self.host, port=self.port, user=self.user, password=self.password, ssl={"ca": str(self.certificate)}
        )


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with Secured.running() as server:
        yield server


async def version(secured: Secured, tls: ssl.SSLContext | None) -> str:
    address = address_of(secured, tls=tls)
    server = MySQLServer("main", address)
    try:
        return await server.version()
    finally:
        await server.aclose()


async def test_a_certificate_that_is_known_is_taken(secured):
    assert "MariaDB" in await version(secured, ssl.create_default_context(cafile=str(secured.certificate)))


async def test_a_certificate_that_nobody_knows_is_refused(secured):
    with pytest.raises(ServerUnavailableError, match="certificate verify failed"):
        await version(secured, ssl.create_default_context())


async def test_without_tls_the_server_refuses(secured):
    with pytest.raises(StatementError) as told:
        await version(secured, None)
    assert told.value.details["code"] in {1045, 3159}
