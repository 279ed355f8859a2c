from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation.fanout import Limits, fanout
from dbgear_airflow_provider.core.automation.results import OperationResult, OperationStatus
from dbgear_airflow_provider.core.errors import (
    DbgearError,
    LockTimeoutError,
    NameClashError,
    ServerUnavailableError,
    StatementError,
)

OPERATION = "provision"


def ids(count: int) -> list[str]:
    return [f"T{number:04}" for number in range(count)]


async def succeed(tenant_id: str, _: int) -> Mapping[str, Any]:
    await asyncio.sleep(0)
    return {"id": tenant_id}


async def run(tenant_ids: list[str], work: Any, **limits: Any) -> list[OperationResult]:
    return await fanout(
        tenant_ids, work, operation=OPERATION, limits=Limits(**{"parallel": 4, "backoff_s": 0.001} | limits)
    )


def kinds(results: list[OperationResult]) -> list[str | None]:
    return [(result.details or {}).get("error_kind") for result in results]


async def test_one_result_per_tenant_in_the_order_of_the_tenants() -> None:
    async def work(tenant_id: str, _: int) -> Mapping[str, Any]:
        await asyncio.sleep(0.002 if tenant_id.endswith("0") else 0)
        return {"id": tenant_id}

    results = await run(ids(50), work)
    assert [result.tenant_id for result in results] == ids(50)
    assert all(result.status is OperationStatus.SUCCESS for result in results)
    assert all(result.operation == OPERATION for result in results)
    assert [result.details for result in results] == [{"id": name, "attempts": 1} for name in ids(50)]


async def test_nothing_to_do() -> None:
    assert await run([], succeed) == []


async def test_a_tenant_that_is_named_twice_has_two_results() -> None:
    assert [result.tenant_id for result in await run(["A", "A", "B"], succeed)] == ["A", "A", "B"]


@pytest.mark.parametrize("parallel", [1, 2, 3, 10, 100])
async def test_never_more_than_parallel_at_once(parallel: int) -> None:
    running = most = 0

    async def work(_: str, __: int) -> Mapping[str, Any]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.0005)
        running -= 1
        return {}

    await run(ids(300), work, parallel=parallel)
    assert most <= parallel
    assert most >= min(parallel, 2)


@pytest.mark.parametrize("parallel", [0, -1])
def test_parallel_is_at_least_one(parallel: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Limits(parallel=parallel)


async def test_a_tenant_that_takes_too_long_fails_alone() -> None:
    cleaned = []

    async def work(tenant_id: str, _: int) -> Mapping[str, Any]:
        if tenant_id == "T0003":
            try:
                await asyncio.sleep(60)
            finally:
                cleaned.append(tenant_id)
        return {}

    results = await run(ids(20), work, timeout_s=0.05)
    slow = results[3]
    assert slow.status is OperationStatus.ERROR
    assert slow.error == "not done after 0.05 s"
    assert slow.details == {"attempts": 1, "error_kind": "OperationTimeoutError", "transient": True}
    assert 0.05 <= slow.duration < 1
    assert cleaned == ["T0003"]
    assert Counter(result.status for result in results)[OperationStatus.SUCCESS] == 19


async def test_the_time_limit_holds_for_all_tries_together() -> None:
    async def work(_: str, __: int) -> Mapping[str, Any]:
        await asyncio.sleep(0.02)
        raise LockTimeoutError("held")

    started = time.monotonic()
    (result,) = await run(["A"], work, timeout_s=0.1, attempts=20)
    assert time.monotonic() - started < 1
    assert kinds([result]) == ["OperationTimeoutError"]


async def test_a_timeout_inside_the_work_is_not_the_tenants_time_limit(caplog: pytest.LogCaptureFixture) -> None:
    async def work(_: str, __: int) -> Mapping[str, Any]:
        raise TimeoutError("the driver's own")

    (result,) = await run(["A"], work, timeout_s=60)
    assert result.error == "unexpected TimeoutError: the driver's own"
    assert kinds([result]) == ["DbgearError"]


async def test_transient_errors_are_tried_again_and_counted() -> None:
    tries: Counter[str] = Counter()

    async def work(tenant_id: str, attempt: int) -> Mapping[str, Any]:
        tries[tenant_id] += 1
        assert attempt == tries[tenant_id]
        if attempt < 3:
            raise LockTimeoutError("held")
        return {}

    (result,) = await run(["A"], work, attempts=3)
    assert result.status is OperationStatus.SUCCESS
    assert result.details == {"attempts": 3}
    assert result.error is None
    (result,) = await run(["B"], work, attempts=2)
    assert result.details == {"attempts": 2, "error_kind": "LockTimeoutError", "transient": True}
    assert result.error == "held"


async def test_terminal_errors_are_not_tried_again() -> None:
    tries = 0

    async def work(_: str, __: int) -> Mapping[str, Any]:
        nonlocal tries
        tries += 1
        raise NameClashError("shared")

    (result,) = await run(["A"], work, attempts=5)
    assert tries == 1
    assert result.details == {"attempts": 1, "error_kind": "NameClashError", "transient": False}


async def test_an_unexpected_error_is_logged_and_stays_with_its_tenant(caplog: pytest.LogCaptureFixture) -> None:
    async def work(tenant_id: str, _: int) -> Mapping[str, Any]:
        if tenant_id == "T0001":
            raise KeyError("target")
        return {}

    with caplog.at_level(logging.ERROR):
        results = await run(ids(3), work)
    assert [result.status.value for result in results] == ["success", "error", "success"]
    assert results[1].error == "unexpected KeyError: 'target'"
    assert results[1].details == {"attempts": 1, "error_kind": "DbgearError", "transient": False}
    (record,) = caplog.records
    assert "T0001" in record.getMessage()
    assert record.exc_info


async def test_work_that_cancels_itself_is_an_error_of_its_tenant() -> None:
    async def work(tenant_id: str, _: int) -> Mapping[str, Any]:
        if tenant_id == "T0001":
            raise asyncio.CancelledError
        return {}

    results = await run(ids(5), work)
    assert [result.status.value for result in results] == ["success", "error", "success", "success", "success"]
    assert results[1].error == "unexpected CancelledError: "


async def test_each_result_is_told_once_as_soon_as_it_is_there() -> None:
    told: list[str] = []
    others_done = asyncio.Event()

    def on_result(result: OperationResult) -> None:
        told.append(result.tenant_id)
        if len(told) == 9:
            others_done.set()

    async def work(tenant_id: str, _: int) -> Mapping[str, Any]:
        if tenant_id == "T0000":
            await others_done.wait()
        if tenant_id == "T0004":
            raise StatementError("no")
        return {}

    results = await fanout(
        ids(10),
        work,
        operation=OPERATION,
        limits=Limits(parallel=2),
        on_result=on_result,
    )
    assert told[-1] == "T0000"
    assert sorted(told) == ids(10)
    assert len(results) == 10


async def test_cancelling_starts_nothing_new_and_waits_for_the_cleanup() -> None:
    started: list[str] = []
    cleaned: list[str] = []
    told: list[str] = []
    third_started = asyncio.Event()

    async def work(tenant_id: str, _: int) -> Mapping[str, Any]:
        started.append(tenant_id)
        if len(started) == 3:
            third_started.set()
        if tenant_id == "T0000":
            return {}
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.02)  # a rollback takes a while
            cleaned.append(tenant_id)
        return {}

    task = asyncio.create_task(
        fanout(
            ids(50),
            work,
            operation=OPERATION,
            limits=Limits(parallel=2),
            on_result=lambda result: told.append(result.tenant_id),
        )
    )
    await third_started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert started == ["T0000", "T0001", "T0002"]
    assert sorted(cleaned) == ["T0001", "T0002"]
    assert told == ["T0000"]


async def test_cancelling_while_waiting_to_try_again() -> None:
    async def work(_: str, __: int) -> Mapping[str, Any]:
        raise ServerUnavailableError("away")

    task = asyncio.create_task(fanout(["A"], work, operation=OPERATION, limits=Limits(parallel=1, backoff_s=60)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_failure_costs_no_other_tenant_anything() -> None:
    async def work(tenant_id: str, _: int) -> Mapping[str, Any]:
        number = int(tenant_id[1:])
        if number % 3 == 0:
            raise (StatementError("no"), LockTimeoutError("held"), ValueError("bug"))[number % 9 // 3]
        return {}

    results = await run(ids(90), work, parallel=10, attempts=2)
    assert [result.tenant_id for result in results] == ids(90)
    assert Counter(result.status.value for result in results) == {"success": 60, "error": 30}
    assert Counter(kinds(results)) == {None: 60, "StatementError": 10, "LockTimeoutError": 10, DbgearError.__name__: 10}
