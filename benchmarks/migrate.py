"""Migrating through the core, beside raw asyncpg over the very same statements, other tools, and through Airflow.

The raw ones know beforehand what every tenant needs: BEGIN, the tenant's lock, the script, the ledger's row and COMMIT.
One is the loop that people write, a statement after the other on one connection; the other the fastest that we know,
all of a tenant in one message, over 4 connections.
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

from . import rivals
from .airflow import migrate_by_airflow
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
            core, raw = asyncio.run(_measure(folder / "migrations", project, postgres))
            schemas = _schemas(postgres)
            for tool, rival, least in (("dbmate", rivals.dbmate, 4), ("django-tenants", rivals.django_tenants, 12)):
                seconds = rival(postgres, "tenants", schemas)
                told = f"{seconds / core:.1f} times the core (at least {least})"
                print(f"  {tool}, {rivals.PROCESSES} at a time: {seconds:.1f} s: {told}")
            _write(folder / "migrations", 3 * ROUNDS + 1)
            seconds = migrate_by_airflow(folder, postgres, "tenants", TENANTS)
            print(f"  through Airflow: {seconds:.1f} s: {seconds / raw:.2f} times the raw loop (limit 3)")


def _schemas(postgres: EmbeddedPostgres) -> list[str]:
    with postgres.connect("tenants") as connection:
        rows = connection.execute("SELECT table_schema FROM information_schema.tables WHERE table_name = 'table_0'")
        return sorted(schema for (schema,) in rows)


async def _measure(folder: Path, project: Path, postgres: EmbeddedPostgres) -> tuple[float, float]:
    """Return the best seconds of the core and of the raw loop."""
    print(f"migrating {TENANTS} schema tenants of 10 tables, a column and an index each, {ROUNDS} rounds")
    postgres.create_database("fleet")
    postgres.create_database("tenants")
    async with _engine(project, postgres) as engine:
        raise_for_failures(await engine.bulk_provision_tenants({"status": "active"}, dry_run=False))
    loop: list[float] = []
    raw: list[float] = []
    core: list[float] = []
    again: list[float] = []
    ledgers: list[float] = []
    # Taking turns on the same tenants: each adds a column and an index of its own, so that tables grow alike.
    for number in range(1, 3 * ROUNDS + 1):
        _write(folder, number)
        with postgres.connect("tenants") as connection:
            connection.execute("CHECKPOINT")
        if number % 3:
            scripts = list(_scripts(await _core(folder, project, postgres, dry_run=True)))
            if number % 3 == 1:
                loop.append(await _timed(_loop(postgres, scripts)))
            else:
                raw.append(await _timed(_raw(postgres, scripts)))
            await _core(folder, project, postgres)  # the store learns of it
        else:
            core.append(await _timed(_core(folder, project, postgres)))
            again.append(await _timed(_core(folder, project, postgres)))
            ledgers.append(await _timed(_core(folder, project, postgres, verify=True)))
    for title, times in (
        ("raw asyncpg, a loop", loop),
        (f"raw asyncpg, a tenant in one message, {CONNECTIONS} connections", raw),
        ("core", core),
        ("core, nothing to do, by the store (limit 2 s)", again),
        ("core, nothing to do, by the ledgers (limit 2 s)", ledgers),
    ):
        print(f"  {title}: best {min(times):.2f} s, median {median(times):.2f} s")
    for title, times in (("raw loop (limit 1.4)", loop), ("raw in one message", raw)):
        ratios = [min(core) / min(times), median(core) / median(times)]
        print(f"  core / {title}: {ratios[0]:.2f} by the best times, {ratios[1]:.2f} by the medians")
    return min(core), min(loop)


def _write(folder: Path, number: int) -> None:
    statements = (
        "-- dbgear:allow require-concurrent-index-creation: the tables are empty\n\n"
        f"ALTER TABLE table_0 ADD COLUMN added_{number} INT;\nCREATE INDEX idx_{number} ON table_0 (added_{number});\n"
    )
    (folder / f"{number}_added.sql").write_text(statements)


def _scripts(results: list[OperationResult]) -> Iterator[list[str]]:
    for result in results:
        instances = (result.details or {})["instances"]
        statements = [text for item in instances.values() for text in item["statements"]]
        lock = f"SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('{result.tenant_id}'))"
        yield ["BEGIN", lock, *statements, "COMMIT"]


async def _timed(work: Any) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


async def _loop(postgres: EmbeddedPostgres, scripts: list[list[str]]) -> None:
    connection = await asyncpg.connect(postgres.dsn("tenants"))
    for script in scripts:
        for statement in script:
            await connection.execute(statement)
    await connection.close()


async def _raw(postgres: EmbeddedPostgres, scripts: list[list[str]]) -> None:
    queue = iter(scripts)

    async def worker() -> None:
        connection = await asyncpg.connect(postgres.dsn("tenants"))
        for script in queue:
            await connection.execute(";\n".join(script))
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
