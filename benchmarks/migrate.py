"""Migrating through the core, beside raw asyncpg over the very same statements, other tools, and through Airflow.

The raw ones know beforehand what every tenant needs: BEGIN, the tenant's lock, the script, the ledger's row and COMMIT.
They are a loop of one statement after the other, on one connection and on 4, and the fastest that we know: all of a
tenant in one message, on 4 connections.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
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
LOOP = "a loop, 1 connection (limit 1.4)"
# {what: over how many connections, and whether all of a tenant is one message}
RAW = {LOOP: (1, False), "a loop, 4 connections": (4, False), "a tenant in one message, 4 connections": (4, True)}


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
            _write(folder / "migrations", (len(RAW) + 1) * ROUNDS + 1)
            seconds = migrate_by_airflow(folder, postgres, "tenants", TENANTS)
            print(f"  through Airflow: {seconds:.1f} s: {seconds / raw:.2f} times the raw loop (limit 3)")


def _schemas(postgres: EmbeddedPostgres) -> list[str]:
    with postgres.connect("tenants") as connection:
        rows = connection.execute("SELECT table_schema FROM information_schema.tables WHERE table_name = 'table_0'")
        return sorted(schema for (schema,) in rows)


async def _measure(folder: Path, project: Path, postgres: EmbeddedPostgres) -> tuple[float, float]:
    """Return the best seconds of the core and of the raw loop on one connection."""
    print(f"migrating {TENANTS} schema tenants of 10 tables, a column and an index each, {ROUNDS} rounds")
    postgres.create_database("fleet")
    postgres.create_database("tenants")
    async with _engine(project, postgres) as engine:
        raise_for_failures(await engine.bulk_provision_tenants({"status": "active"}, dry_run=False))
    numbers = itertools.count(1)
    raw: dict[str, list[float]] = {title: [] for title in RAW}
    core: list[float] = []
    again: list[float] = []
    ledgers: list[float] = []
    # Taking turns on the same tenants: each adds a column and an index of its own, so that tables grow alike.
    for _ in range(ROUNDS):
        for title, (connections, in_one) in RAW.items():
            _prepare(folder, postgres, next(numbers))
            scripts = list(_scripts(await _core(folder, project, postgres, dry_run=True)))
            messages = [[";\n".join(script)] for script in scripts] if in_one else scripts
            raw[title].append(await _timed(_raw(postgres, messages, connections)))
            await _core(folder, project, postgres)  # the store learns of it
        _prepare(folder, postgres, next(numbers))
        core.append(await _timed(_core(folder, project, postgres)))
        again.append(await _timed(_core(folder, project, postgres)))
        ledgers.append(await _timed(_core(folder, project, postgres, verify=True)))
    for title, times in raw.items():
        print(f"  raw asyncpg, {title}: {_told(times)}")
    print(f"  core: {_told(core)}")
    for title, times in raw.items():
        ratios = [min(core) / min(times), median(core) / median(times)]
        print(f"    {ratios[0]:.2f} times raw asyncpg, {title}, by the medians {ratios[1]:.2f}")
    print(f"  core, nothing to do, by the store (limit 2 s): {_told(again)}")
    print(f"  core, nothing to do, by the ledgers (limit 2 s): {_told(ledgers)}")
    return min(core), min(raw[LOOP])


def _told(times: Sequence[float]) -> str:
    return f"best {min(times):.2f} s, median {median(times):.2f} s"


def _prepare(folder: Path, postgres: EmbeddedPostgres, number: int) -> None:
    _write(folder, number)
    with postgres.connect("tenants") as connection:
        connection.execute("CHECKPOINT")


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


async def _raw(postgres: EmbeddedPostgres, messages: Iterable[Sequence[str]], connections: int) -> None:
    """Send each tenant's messages, one after the other, over so many connections at once."""
    queue = iter(messages)

    async def worker() -> None:
        connection = await asyncpg.connect(postgres.dsn("tenants"))
        for of_tenant in queue:
            for message in of_tenant:
                await connection.execute(message)
        await connection.close()

    await asyncio.gather(*(worker() for _ in range(connections)))


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
