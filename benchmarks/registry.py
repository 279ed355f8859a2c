"""A registry of 100,000 tenants in PostgreSQL: one search, all of them as a stream, and their number."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable
from pathlib import Path
from statistics import median
from typing import TypeVar

import asyncpg
import psutil

from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider
from dbgear_airflow_provider.core.tenants import TenantInfo
from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres

from .provision import MEMORY, SETTINGS

TENANTS = 100_000
WANTED = 100
ROUNDS = 3
PAGE_ROWS = 1000
COLUMNS = tuple(TenantInfo.model_fields)

T = TypeVar("T")


def main() -> None:
    """Measure and print."""
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="dbgear-bench-", dir=memory) as name,
        EmbeddedPostgres(Path(name) / "postgres", settings=SETTINGS) as postgres,
    ):
        postgres.create_database("registry")
        asyncio.run(_measure(postgres.dsn("registry")))


async def _measure(dsn: str) -> None:
    print(f"a registry of {TENANTS:,} tenants in PostgreSQL, {ROUNDS} rounds")
    registry = DatabaseTenantProvider(dsn, cache_ttl=0)
    await registry.prepare()
    connection = await asyncpg.connect(dsn)
    await _fill(connection)
    wanted = ", ".join(f"'T{number:06}'" for number in range(0, TENANTS, TENANTS // WANTED))
    questions = {
        f"search_tenants, {WANTED} by tenant_id": (f"tenant_id IN ({wanted})", WANTED),
        f"search_tenants, {WANTED} by billing_info": ("billing_info.batch = 7", WANTED),
        f"search_tenants, {WANTED} by name, LIKE": ("customer_name LIKE '%1_7 株式会社'", WANTED),
    }
    for what, (query, count) in questions.items():
        times = []
        for _ in range(ROUNDS):
            found, time_s = await _timed(registry.search_tenants(query))
            assert len(found) >= count, (what, len(found))  # noqa: S101
            times.append(time_s)
        print(f"  {what + ':':42}{_told(times)}, {len(found)} found")

    raw: list[float] = []
    streamed: list[float] = []
    counted: list[float] = []
    # Taking turns: whatever else the machine does hits all of them.
    for _ in range(ROUNDS):
        raw.append((await _timed(_raw(connection)))[1])
        number, time_s = await _timed(_stream(registry))
        assert number == TENANTS  # noqa: S101
        streamed.append(time_s)
        number, time_s = await _timed(registry.get_tenant_count())
        assert number == TENANTS  # noqa: S101
        counted.append(time_s)
    await connection.close()
    print(f"  {'raw asyncpg, the same pages:':42}{_told(raw)}")
    print(f"  {'stream_tenants:':42}{_told(streamed)}, {TENANTS / min(streamed):,.0f} tenants/s")
    print(f"  {'get_tenant_count:':42}{_told(counted)}")
    print(f"  stream_tenants / raw: {min(streamed) / min(raw):.2f} by the best times")
    await _measure_memory(registry)
    await registry.aclose()


async def _measure_memory(registry: DatabaseTenantProvider) -> None:
    gc.collect()
    resident = psutil.Process().memory_info().rss
    highest = resident
    tracemalloc.start()
    number = 0
    async for _ in registry.stream_tenants():
        number += 1
        if number % PAGE_ROWS == 0:
            highest = max(highest, psutil.Process().memory_info().rss)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(
        f"  memory while streaming: peak {peak / 2**20:.1f} MiB by tracemalloc, "
        f"{(highest - resident) / 2**20:.1f} MiB more resident"
    )


async def _fill(connection: asyncpg.Connection) -> None:
    rows = [
        (
            *(f"T{number:06}", f"Customer {number} 株式会社", f"c{number:06}", ("japan", "asia", "us")[number % 3]),
            *("basic", "active", "2026-01-01 00:00:00+00", "2026-01-01 00:00:00+00", "schema", None, None, None),
            *('["main", "test"]', json.dumps({"plan": "annual", "seats": number % 500, "batch": number % 1000}), None),
        )
        for number in range(TENANTS)
    ]
    types = [*["text"] * 6, *["timestamptz"] * 2, *["text"] * 4, *["jsonb"] * 3]
    arrays = [list(values) for values in zip(*rows, strict=True)]
    listed = ", ".join(f"${number + 1}::text[]" for number in range(len(arrays)))
    values = ", ".join(f"v{number}::{kind}" for number, kind in enumerate(types))
    names = ", ".join(f"v{number}" for number in range(len(arrays)))
    await connection.execute(
        f"INSERT INTO tenants ({', '.join(COLUMNS)}) SELECT {values} FROM unnest({listed}) AS t ({names})",
        *arrays,
    )
    await connection.execute("VACUUM ANALYZE tenants")


async def _raw(connection: asyncpg.Connection) -> int:
    last, number = "", 0
    while True:
        rows = await connection.fetch(
            f"SELECT {', '.join(COLUMNS)} FROM tenants WHERE tenant_id > $1 ORDER BY tenant_id LIMIT {PAGE_ROWS}",
            last,
        )
        number += len(rows)
        if len(rows) < PAGE_ROWS:
            return number
        last = rows[-1]["tenant_id"]


async def _stream(registry: DatabaseTenantProvider) -> int:
    number = 0
    async for _ in registry.stream_tenants():
        number += 1
    return number


async def _timed(work: Awaitable[T]) -> tuple[T, float]:
    begun = time.perf_counter()
    result = await work
    return result, time.perf_counter() - begun


def _told(times: list[float]) -> str:
    return f"best {min(times):7.3f} s, median {median(times):7.3f} s"
