"""The health of a fleet on one server: everything but the project's own questions."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

from dbgear_airflow_provider.core.automation import raise_for_failures
from dbgear_airflow_provider.core.engines.postgresql_session import PostgresSession
from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres

from .fleets import write_project
from .migrate import _engine
from .provision import MEMORY, SETTINGS

TENANTS = 2000
ROUNDS = 3


def main() -> None:
    """Measure and print."""
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="dbgear-bench-", dir=memory) as name:
        folder = Path(name)
        project = write_project(folder, TENANTS)
        with EmbeddedPostgres(folder / "postgres", settings=SETTINGS) as postgres:
            asyncio.run(_measure(project, postgres))


async def _measure(project: Path, postgres: EmbeddedPostgres) -> None:
    print(f"health of {TENANTS} schema tenants of 10 tables on one server, {ROUNDS} rounds")
    postgres.create_database("fleet")
    postgres.create_database("tenants")
    async with _engine(project, postgres) as engine:
        raise_for_failures(await engine.bulk_provision_tenants({"status": "active"}, dry_run=False))
    fetch = PostgresSession._fetch
    for _ in range(ROUNDS):
        async with _engine(project, postgres) as engine:
            with mock.patch.object(PostgresSession, "_fetch", autospec=True, side_effect=fetch) as asked:
                begun = time.perf_counter()
                report = await engine.check_health({"status": "active"})
                seconds = time.perf_counter() - begun
        print(f"  {seconds:.2f} s, {asked.await_count} queries: {report.counts}")
