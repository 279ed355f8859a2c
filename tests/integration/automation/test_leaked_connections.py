"""Connections that an operation keeps for longer than it runs, and what becomes of the server's budget."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation.fanout import Limits, fanout
from dbgear_airflow_provider.core.automation.results import OperationResult, OperationStatus
from dbgear_airflow_provider.core.engines import Server
from dbgear_airflow_provider.core.errors import ServerUnavailableError

from .conftest import Fleet

LIMITS = Limits(parallel=1, timeout_s=20, attempts=1)


@pytest.fixture(params=["fleet", "mysql_fleet"])
def any_fleet(request: pytest.FixtureRequest) -> Fleet:
    return request.getfixturevalue(request.param)


@asynccontextmanager
async def target(fleet: Fleet, **options: Any) -> AsyncIterator[Server]:
    server = fleet.target(**options)
    try:
        yield server
    finally:
        await server.aclose()


async def ask(server: Server) -> list[tuple[Any, ...]]:
    async with server.session(server.address.database) as session:
        return await session.select("SELECT 1")


@pytest.mark.parametrize("apart", [False, True], ids=["pooled", "apart"])
async def test_a_connection_that_a_tenant_keeps_is_told_closed_and_lent_to_the_next(
    any_fleet: Fleet, apart: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with target(any_fleet, max_connections=1) as server:
        errors: list[Exception] = []
        background: list[asyncio.Task[None]] = []
        over = asyncio.Event()

        async def keep() -> None:
            async with server.session(server.address.database, apart=apart) as session:
                has_it.set()
                await over.wait()
                try:
                    await session.select("SELECT 1")
                except ServerUnavailableError as error:
                    errors.append(error)

        async def work(tenant_id: str, attempt: int) -> dict[str, Any]:
            if tenant_id == "T1":
                background.append(asyncio.create_task(keep()))
                await has_it.wait()
            else:
                assert await ask(server) == [(1,)]
            return {}

        has_it = asyncio.Event()
        with caplog.at_level(logging.ERROR):
            results = await fanout(["T1", "T2", "T3"], work, operation="provision", limits=LIMITS)
        assert [result.status for result in results] == [OperationStatus.SUCCESS] * 3
        assert [leaked(result) for result in results] == [{"main": 1}, None, None]
        assert (
            "tenant T1: provision has ended and had kept 1 connections to target main; they are closed" in caplog.text
        )
        assert (server.connections.used, server.connections.used_at_most) == (0, 1)
        over.set()
        await asyncio.gather(*background)
        assert len(errors) == 1  # who kept it is told so
        assert server.connections.used == 0  # and gives nothing back twice
        first, second = asyncio.create_task(ask(server)), asyncio.create_task(ask(server))
        assert [await first, await second] == [[(1,)], [(1,)]]
        assert server.connections.used_at_most == 1


async def test_what_runs_out_of_time_gives_its_connection_back_by_itself(any_fleet: Fleet) -> None:
    async with target(any_fleet, max_connections=1) as server:

        async def work(tenant_id: str, attempt: int) -> dict[str, Any]:
            if tenant_id == "T1":
                async with server.session(server.address.database):
                    await asyncio.sleep(60)
            return {"rows": await ask(server)}

        limits = Limits(parallel=1, timeout_s=0.5, attempts=1)
        first, second = await fanout(["T1", "T2"], work, operation="provision", limits=limits)
        assert (first.details or {})["error_kind"] == "OperationTimeoutError"
        assert leaked(first) is None
        assert (second.details or {})["rows"] == [(1,)]


async def test_a_whole_fleet_keeps_nothing(any_fleet: Fleet) -> None:
    any_fleet.tenants(3)
    async with any_fleet.engine("run") as engine:
        results = await engine.bulk_provision_tenants({}, dry_run=False)
        assert [leaked(result) for result in results] == [None] * 3
        connections = engine.servers["main"].connections
        assert connections.used == 0
        assert 1 <= connections.used_at_most <= 8


def leaked(result: OperationResult) -> dict[str, int] | None:
    return (result.details or {}).get("leaked_connections")
