"""Provisioning through the core, beside a raw asyncpg script that executes the very same statements."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from statistics import median

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

TENANTS = 500
ROUNDS = 5
# Where there is one, on a file system in memory: a disk that others use as well takes twice the time in one minute that
# it takes in the next, and waiting for it would only hide what the core itself costs.
MEMORY = "/dev/shm"  # noqa: S108 - only a place to look for
# Checkpoints write what an earlier measurement left: they come between the measurements, not within.
SETTINGS = {"max_wal_size": "4GB", "min_wal_size": "4GB", "checkpoint_timeout": "1h"}


def main() -> None:
    """Measure and print."""
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="dbgear-bench-", dir=memory) as name:
        folder = Path(name)
        project = write_project(folder, TENANTS)
        with EmbeddedPostgres(folder / "postgres", settings=SETTINGS) as postgres:
            asyncio.run(_measure(project, postgres))


async def _measure(project: Path, postgres: EmbeddedPostgres) -> None:
    print(f"provisioning {TENANTS} schema tenants of 10 tables with an index each, {ROUNDS} rounds")
    postgres.create_database("fleet")
    scripts = [_script(result) for result in await _core(project, postgres, "plan", dry_run=True)]
    print(f"  statements per tenant: {scripts[0].count(';') + 1}")

    core: list[float] = []
    again: list[float] = []
    raw: dict[int, list[float]] = {connections: [] for connections in (1, 2, 3, 4)}
    await _raw(postgres, "raw", scripts, 2)  # not counted: it makes the files of the write-ahead log
    postgres.drop_database("raw")
    # Taking turns: whatever else the machine does hits all of them.
    for _ in range(ROUNDS):
        for connections, times in raw.items():
            times.append(await _timed(postgres, _raw(postgres, "raw", scripts, connections)))
            postgres.drop_database("raw")
        core.append(await _timed(postgres, _core(project, postgres, "core", dry_run=False)))
        again.append(await _timed(postgres, _core(project, postgres, "core", dry_run=False)))
        postgres.drop_database("core")
    for connections, times in raw.items():
        print(f"  raw asyncpg, {connections} connections: {_told(times)}")
    best = min(raw.values(), key=median)
    print(f"  core:                       {_told(core)}")
    print(f"  core, nothing left to do:   {_told(again)}")
    ratios = [min(core) / min(best), median(core) / median(best)]
    print(f"  core / best raw: {ratios[0]:.2f} by the best times, {ratios[1]:.2f} by the medians (limit 1.5)")


def _told(times: list[float]) -> str:
    return f"best {min(times):6.2f} s, median {median(times):6.2f} s"


async def _timed(postgres: EmbeddedPostgres, work: Awaitable[object]) -> float:
    with postgres.connect() as connection:
        connection.execute("CHECKPOINT")
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def _script(result: OperationResult) -> str:
    instances = (result.details or {})["instances"]
    return ";\n".join(statement for instance in instances.values() for statement in instance["statements"])


async def _raw(postgres: EmbeddedPostgres, database: str, scripts: list[str], connections: int) -> None:
    postgres.create_database(database)
    queue = iter(scripts)

    async def worker() -> None:
        connection = await asyncpg.connect(postgres.dsn(database))
        for script in queue:
            await connection.execute(script)
        await connection.close()

    await asyncio.gather(*(worker() for _ in range(connections)))


async def _core(project: Path, postgres: EmbeddedPostgres, database: str, *, dry_run: bool) -> list[OperationResult]:
    postgres.create_database(database)
    settings = load_project(project).multi_tenant
    csv = settings.tenant_registry.config.csv
    registry = CSVTenantProvider(str(csv.path if csv else ""))
    address = ServerAddress(
        host=postgres.host, port=postgres.port, user=postgres.user, password=postgres.password, database=database
    )
    server = PostgresServer("main", address)
    store = FleetStore(postgres.dsn("fleet").replace("postgresql:", "postgresql+asyncpg:"))
    await store.prepare()
    engine = TenantAutomationEngine(
        registry,
        TenantTemplateEngine(str(settings.templates.base_dir), registry),
        settings=settings,
        servers={"main": server},
        run=Run(store=store, run_id=f"{database}-{time.monotonic_ns()}"),
    )
    results = await engine.bulk_provision_tenants({"status": "active"}, dry_run=dry_run)
    await server.aclose()
    await store.aclose()
    raise_for_failures(results)
    return results
