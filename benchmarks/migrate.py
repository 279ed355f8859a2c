"""Migrating through the core, beside a raw asyncpg loop over the very same statements.

The raw loop knows beforehand what every tenant needs: for each it sends BEGIN, the tenant's lock, the script, the
ledger's row and COMMIT, in one round trip, over 4 connections.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg

from dbgear_airflow_provider.core import (
    CSVTenantProvider,
    FleetStore,
    TenantAutomationEngine,
    TenantTemplateEngine,
    load_project,
)
from dbgear_airflow_provider.core.automation import OperationResult, raise_for_failures
from dbgear_airflow_provider.core.engines import PostgresServer, ServerAddress
from dbgear_airflow_provider.core.fleet import Run
from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres

from .fleets import write_project
from .provision import MEMORY, SETTINGS

TENANTS = 2000
ROUNDS = 3
CONNECTIONS = 4


def main() -> None:
    """Measure and print."""
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="dbgear-bench-", dir=memory) as name:
        folder = Path(name)
        project = write_project(folder, TENANTS)
        (folder / "migrations").mkdir()
        with EmbeddedPostgres(folder / "postgres", settings=SETTINGS) as postgres:
            asyncio.run(_measure(folder / "migrations", project, postgres))


async def _measure(folder: Path, project: Path, postgres: EmbeddedPostgres) -> None:
    print(f"migrating {TENANTS} schema tenants of 10 tables, a column and an index each, {ROUNDS} rounds")
    postgres.create_database("fleet")
    postgres.create_database("tenants")
    async with _engine(project, postgres) as engine:
        raise_for_failures(await engine.bulk_provision_tenants({"status": "active"}, dry_run=False))
    raw: list[float] = []
    core: list[float] = []
    again: list[float] = []
    ledgers: list[float] = []
    # Taking turns on the same tenants: each adds a column and an index of its own, so that tables grow alike.
    for number in range(1, 2 * ROUNDS + 1):
        _write(folder, number)
        with postgres.connect("tenants") as connection:
            connection.execute("CHECKPOINT")
        if number % 2:
            scripts = list(_scripts(await _core(folder, project, postgres, dry_run=True)))
            raw.append(await _timed(_raw(postgres, scripts)))
            await _core(folder, project, postgres)  # the store learns of it
        else:
            core.append(await _timed(_core(folder, project, postgres)))
            again.append(await _timed(_core(folder, project, postgres)))
            ledgers.append(await _timed(_core(folder, project, postgres, verify=True)))
    print(f"  raw asyncpg, {CONNECTIONS} connections: {_told(raw)}")
    print(f"  core:                       {_told(core)}")
    print(f"  core, nothing to do, by the store:   {_told(again)} (limit 2 s)")
    print(f"  core, nothing to do, by the ledgers: {_told(ledgers)}")
    ratios = [min(core) / min(raw), median(core) / median(raw)]
    print(f"  core / raw: {ratios[0]:.2f} by the best times, {ratios[1]:.2f} by the medians (limit 1.4)")


def _write(folder: Path, number: int) -> None:
    statements = (
        f"ALTER TABLE table_0 ADD COLUMN added_{number} INT;\nCREATE INDEX idx_{number} ON table_0 (added_{number});\n"
    )
    (folder / f"{number}_added.sql").write_text(statements)


def _scripts(results: list[OperationResult]) -> Iterator[str]:
    for result in results:
        instances = (result.details or {})["instances"]
        statements = [text for item in instances.values() for text in item["statements"]]
        lock = f"SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('{result.tenant_id}'))"
        yield ";\n".join(["BEGIN", lock, *statements, "COMMIT"])


def _told(times: list[float]) -> str:
    return f"best {min(times):6.2f} s, median {median(times):6.2f} s"


async def _timed(work: Any) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


async def _raw(postgres: EmbeddedPostgres, scripts: list[str]) -> None:
    queue = iter(scripts)

    async def worker() -> None:
        connection = await asyncpg.connect(postgres.dsn("tenants"))
        for script in queue:
            await connection.execute(script)
        await connection.close()

    await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))


async def _core(folder: Path, project: Path, postgres: EmbeddedPostgres, **options: Any) -> list[OperationResult]:
    async with _engine(project, postgres) as engine:
        results = await engine.bulk_migrate_tenants({"status": "active"}, folder, **{"dry_run": False, **options})
    raise_for_failures(results)
    return results


@asynccontextmanager
async def _engine(project: Path, postgres: EmbeddedPostgres) -> Any:
    settings = load_project(project).multi_tenant
    csv = settings.tenant_registry.config.csv
    registry = CSVTenantProvider(str(csv.path if csv else ""))
    address = ServerAddress(
        host=postgres.host, port=postgres.port, user=postgres.user, password=postgres.password, database="tenants"
    )
    server = PostgresServer("main", address)
    store = FleetStore(postgres.dsn("fleet").replace("postgresql:", "postgresql+asyncpg:"))
    await store.prepare()
    try:
        yield TenantAutomationEngine(
            registry,
            TenantTemplateEngine(str(settings.templates.base_dir), registry),
            settings=settings,
            servers={"main": server},
            run=Run(store=store, run_id=f"run-{time.monotonic_ns()}"),
        )
    finally:
        await server.aclose()
        await store.aclose()
