"""Rollouts in the fleet store, on each kind of database that it runs on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from dbgear_airflow_provider.core.automation import OperationResult
from dbgear_airflow_provider.core.automation.fanout import Limits, fanout
from dbgear_airflow_provider.core.errors import (
    InvalidInputError,
    RolloutStoppedError,
    SourceUnavailableError,
    StatementError,
)
from dbgear_airflow_provider.core.fleet import FleetStore, RolloutMember, RolloutRecord, StageState, retrying
from dbgear_airflow_provider.core.rollout import ErrorBudget
from dbgear_airflow_provider.core.rollout import budget as budgets
from dbgear_airflow_provider.core.settings import BudgetSettings

NOW = datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
STAGES = [{"name": "canary", "budget": {"count": 0}, "soak_s": 1.5, "approval": True, "health": False}]


def member(tenant_id: str, instance: str = "main", **fields: Any) -> RolloutMember:
    return RolloutMember(**{"tenant_id": tenant_id, "instance": instance, "stage": 0, **fields})


def result(tenant_id: str, status: str = "changed", instance: str = "main", **fields: Any) -> RolloutMember:
    defaults: dict[str, Any] = {"to_version": "2", "started_at": NOW, "duration_s": 1.5}
    if status == "failed":
        defaults = {"error_kind": "StatementError", "error": "失敗 \0", "started_at": NOW, "duration_s": 0.25}
    return member(tenant_id, instance, status=status, **defaults | fields)


async def begin(store: FleetStore, *members: RolloutMember, rollout_id: str = "r1") -> RolloutRecord:
    record = await store.rollouts.create(rollout_id, version="2", query="status = 'active'", stages=STAGES)
    await store.rollouts.add_members(rollout_id, members)
    return record


async def states(store: FleetStore, rollout_id: str = "r1") -> dict[str, str]:
    found = await store.rollouts.members(rollout_id)
    return {f"{item.tenant_id}/{item.instance}": item.status for item in found}


async def test_a_rollout_is_what_was_begun(store: FleetStore) -> None:
    record = await begin(store)
    assert (record.id, record.version, record.query, record.status) == ("r1", "2", "status = 'active'", "running")
    assert (record.stages, record.counts, record.approvals) == (STAGES, {}, [])
    assert record.created_at.tzinfo is UTC
    assert await store.rollouts.get("r1") == record
    assert await store.rollouts.get("R1") is None
    again = await store.rollouts.create("r1", version="2", query="another", stages=[])
    assert again == record


async def test_a_rollout_does_not_become_one_of_another_version(store: FleetStore) -> None:
    await begin(store)
    for version, received in (("3", "3"), (None, "the newest")):
        with pytest.raises(InvalidInputError) as caught:
            await store.rollouts.create("r1", version=version, query="", stages=[])
        assert (caught.value.details["received"], caught.value.details["allowed"]) == (received, "2")


async def test_the_newest_rollouts(store: FleetStore) -> None:
    for number in range(5):
        await begin(store, rollout_id=f"r{number}")
    assert [record.id for record in await store.rollouts.newest(3)] == ["r4", "r3", "r2"]


async def test_members_are_kept_as_they_are(store: FleetStore) -> None:
    members = [
        member("t", stage=None, status="skipped", error_kind="window", error="closed"),
        member("A", from_version=""),
        member("T"),
        member("t", "test", from_version="1"),
        member("B", stage=1),
        member("é", stage=1),
    ]
    await begin(store, *members)
    await begin(store, *members)
    await begin(store, member("T"), rollout_id="R1")
    assert await store.rollouts.members("r1") == members
    assert await store.rollouts.members("r1", stage=1) == members[-2:]
    assert await store.rollouts.members("r1", status=["skipped"]) == members[:1]
    assert await store.rollouts.members("nothing") == []
    assert await store.rollouts.counts("r1") == {"pending": 5, "skipped": 1}


async def test_results(store: FleetStore) -> None:
    await begin(store, member("A", from_version="1"), member("B"), member("C"), member("D"))
    results = [result("A"), result("B", "unchanged"), result("C", "failed")]
    await store.rollouts.record("r1", results)
    await store.rollouts.record("r1", results)
    await store.rollouts.record("r1", [result("nobody")])
    assert await store.rollouts.members("r1") == [
        replace(results[0], from_version="1"),
        results[1],
        replace(results[2], error="失敗 \\0"),
        member("D"),
    ]
    assert await store.rollouts.state("r1", 0) == StageState(status="running", failed=1, tenants=4)
    assert await store.rollouts.state("nothing", 0) is None


async def test_resume_retry_and_undo_are_of_exactly_those(store: FleetStore) -> None:
    names = ("pending", "changed", "unchanged", "failed", "half", "looked")
    await begin(store, *(member(name, from_version="1") for name in names), member("out", status="skipped", stage=None))
    await store.rollouts.record(
        "r1",
        [
            result("changed"),
            result("unchanged", "unchanged", to_version="1"),
            result("failed", "failed", to_version="1"),
            result("half", "failed", to_version="1.5"),
            result("looked", "failed"),
        ],
    )
    assert [item.tenant_id for item in await store.rollouts.members("r1", status=["pending"])] == ["pending"]
    assert [item.tenant_id for item in await store.rollouts.to_undo("r1")] == ["changed", "half"]
    assert await store.rollouts.retry("r1") == 3
    assert await store.rollouts.retry("r1") == 0
    pending = await store.rollouts.members("r1", status=["pending"])
    assert [item.tenant_id for item in pending] == ["failed", "half", "looked", "pending"]
    assert [item.tenant_id for item in await store.rollouts.to_undo("r1")] == ["changed", "half"]

    refused = member("half", status="failed", error_kind="StatementError", error="in use")
    undone = [member("changed", status="undone"), refused, member("unchanged", status="undone")]
    await store.rollouts.record_undoing("r1", undone)
    assert await states(store) == {
        "changed/main": "undone",
        "failed/main": "pending",
        "half/main": "pending",
        "looked/main": "pending",
        "pending/main": "pending",
        "unchanged/main": "unchanged",
        "out/main": "skipped",
    }
    (left,) = await store.rollouts.to_undo("r1")
    assert (left.tenant_id, left.error) == ("half", "in use")
    await store.rollouts.record_undoing("r1", [member("half", status="undone")])
    assert await store.rollouts.to_undo("r1") == []


@pytest.mark.parametrize("late", ["unchanged", "failed", "changed"])
async def test_what_has_changed_stays_so_whoever_is_late(store: FleetStore, late: str) -> None:
    await begin(store, member("A", from_version="1"), member("B"), member("C", from_version="1"))
    await store.rollouts.record("r1", [result("A"), result("B"), result("C")])
    await store.rollouts.record_undoing("r1", [member("C", status="undone")])
    await store.rollouts.record("r1", [result("A", late), result("B", late), result("C", late)])
    assert await states(store) == {"A/main": "changed", "B/main": "changed", "C/main": "undone"}


async def test_what_a_killed_task_has_changed_counts_as_changed(store: FleetStore) -> None:
    await begin(store, member("A", from_version="1"), member("B", from_version="2"), member("C", from_version=""))
    await store.rollouts.record("r1", [result(name, "unchanged") for name in "ABC"])
    assert await states(store) == {"A/main": "changed", "B/main": "unchanged", "C/main": "changed"}


async def test_those_left_out_come_in_when_they_may_and_nobody_else_moves(store: FleetStore) -> None:
    out = member("A", stage=None, status="skipped", error_kind="window", error="closed")
    await begin(store, out, member("B"), member("C"))
    await store.rollouts.record("r1", [result("B"), result("C", "failed")])
    still = replace(out, error="closed until tomorrow")
    await store.rollouts.add_members("r1", [still, member("B", stage=5), member("C", stage=5), member("new", stage=1)])
    assert await store.rollouts.members("r1", status=["skipped"]) == [still]
    await store.rollouts.add_members("r1", [member("A", stage=1, from_version="1")])
    found = await store.rollouts.members("r1")
    assert [(item.tenant_id, item.stage, item.status) for item in found] == [
        ("B", 0, "changed"),
        ("C", 0, "failed"),
        ("A", 1, "pending"),
        ("new", 1, "pending"),
    ]
    assert found[2] == member("A", stage=1, from_version="1")


async def test_the_status_changes_only_from_what_was_expected(store: FleetStore) -> None:
    record = await begin(store, member("A"), member("B"))
    await store.rollouts.record("r1", [result("A")])
    assert await store.rollouts.set_status("r1", "paused", of=["running"])
    assert not await store.rollouts.set_status("r1", "done", of=["running"])
    assert not await store.rollouts.set_status("nothing", "done", of=["running"])
    found = await store.rollouts.get("r1")
    assert found is not None
    assert (found.status, found.counts) == ("paused", {"changed": 1, "pending": 1})
    assert found.updated_at > record.updated_at


async def test_only_one_of_many_changes_the_status(store: FleetStore) -> None:
    await begin(store)
    changed = await asyncio.gather(*(store.rollouts.set_status("r1", "stopped", of=["running"]) for _ in range(8)))
    assert sorted(changed) == [False] * 7 + [True]


async def test_no_approval_gets_lost(store: FleetStore, url: sa.URL) -> None:
    await begin(store)
    stores = [FleetStore(url) for _ in range(8)]
    await asyncio.gather(*(other.rollouts.approve("r1", stage % 4, f"p{stage}") for stage, other in enumerate(stores)))
    await store.rollouts.approve("nothing", 0, "nobody")
    found = await store.rollouts.get("r1")
    assert found is not None
    assert sorted(approval["stage"] for approval in found.approvals) == [0, 1, 2, 3]
    assert all(approval["by"].startswith("p") and approval["at"] for approval in found.approvals)
    for other in stores:
        await other.aclose()


async def test_many_writers_at_once(store: FleetStore, url: sa.URL) -> None:
    stores = [FleetStore(url) for _ in range(8)]
    members = [member(f"T{number:03}", from_version="1") for number in range(200)]
    await store.rollouts.create("r1", version="2", query="", stages=STAGES)
    await asyncio.gather(
        *(other.rollouts.add_members("r1", members[:: 1 if index % 2 else -1]) for index, other in enumerate(stores))
    )
    outcomes = ["changed", "unchanged", "failed"]
    await asyncio.gather(
        *(
            other.rollouts.record("r1", [result(item.tenant_id, outcomes[index % 3]) for item in members])
            for index, other in enumerate(stores)
        )
    )
    assert set((await states(store)).values()) == {"changed"}
    assert len(await states(store)) == 200
    for other in stores:
        await other.aclose()


_WRITE = """
import asyncio, sys
import aiosqlite, asyncpg
from dbgear_airflow_provider.core.fleet import FleetStore, RolloutMember
async def main():
    store = FleetStore(sys.argv[1])
    await store.prepare()
    print("ready", flush=True)
    sys.stdin.readline()
    await store.rollouts.create("r1", version="2", query="", stages=[])
    names = [f"T{number:04}" for number in range(1200)]
    await store.rollouts.add_members("r1", [RolloutMember(tenant_id=n, instance="main", stage=0) for n in names])
    async with store.rollouts.recorder("r1") as recorder:
        for name in names[:: int(sys.argv[2])]:
            recorder.add(RolloutMember(tenant_id=name, instance="main", status=sys.argv[3]))
    await store.aclose()
asyncio.run(main())
"""


async def test_two_processes_at_once(store: FleetStore, url: sa.URL) -> None:
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _WRITE,
            url.render_as_string(hide_password=False),
            *arguments,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
        )
        for arguments in (("2", "changed"), ("-1", "unchanged"))
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    outcomes = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert [(process.returncode, errors) for process, (_, errors) in zip(processes, outcomes, strict=True)] == [
        (0, b"")
    ] * 2
    assert await store.rollouts.counts("r1") == {"changed": 600, "unchanged": 600}


_HOLD = """
import asyncio, sys
from dbgear_airflow_provider.core.fleet import FleetStore, RolloutMember
from dbgear_airflow_provider.core.fleet.rollouts import _RESULT, _result
async def main():
    store = FleetStore(sys.argv[1])
    results = [RolloutMember(tenant_id=name, instance="main", status="failed") for name in "ABC"]
    await store.rollouts.record("r1", results[:1])
    async with store._begin() as connection:
        await connection.execute(_RESULT, [_result("r1", item) for item in results[1:]])
        print("held", flush=True)
        sys.stdin.readline()
asyncio.run(main())
"""


async def test_a_worker_that_is_killed_while_it_writes_leaves_nothing_half_done(store: FleetStore, url: sa.URL) -> None:
    await begin(store, *(member(name) for name in "ABC"))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLD, url.render_as_string(hide_password=False), stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    process.kill()
    await process.wait()
    assert await states(store) == {"A/main": "failed", "B/main": "pending", "C/main": "pending"}
    await store.rollouts.record("r1", [result(name) for name in "ABC"])
    assert await store.rollouts.counts("r1") == {"changed": 3}


async def test_ten_thousand_members(store: FleetStore) -> None:
    members = [member(f"T{number:05}", stage=number % 3) for number in range(10_000)]
    await begin(store, *members)
    async with store.rollouts.recorder("r1") as recorder:
        for item in members:
            recorder.add(result(item.tenant_id, "failed" if item.stage == 2 else "changed"))
    assert await store.rollouts.counts("r1") == {"changed": 6667, "failed": 3333}
    assert await store.rollouts.state("r1", 2) == StageState(status="running", failed=3333, tenants=3333)
    assert await store.rollouts.retry("r1") == 3333
    assert len(await store.rollouts.members("r1", status=["pending"], stage=2)) == 3333
    assert len(await store.rollouts.to_undo("r1")) == 6667


async def test_a_transaction_that_the_server_gives_up_is_done_again(
    store: FleetStore, url: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url.get_backend_name() == "sqlite":  # it has no deadlocks: what it tells is that it is busy
        monkeypatch.setattr(retrying, "_DEADLOCKS", {"no such table: dbgear_nothing"})
        statement = "SELECT * FROM dbgear_nothing"
    elif url.get_backend_name() == "postgresql":
        statement = "DO $$ BEGIN RAISE EXCEPTION 'made' USING ERRCODE = '40P01'; END $$"
    else:
        statement = "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'made'"
    tries: list[int] = []

    async def write() -> str:
        async with store._begin() as connection:
            tries.append(1)
            if len(tries) < 3:
                await connection.execute(sa.text(statement))
            return "done"

    assert await retrying.again(write) == "done"
    assert len(tries) == 3


# the error budget


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def other(url: sa.URL) -> AsyncIterator[FleetStore]:
    """The same store as another task sees it."""
    store = FleetStore(url)
    yield store
    await store.aclose()


def budget_of(store: FleetStore, clock: Clock, **budget: Any) -> ErrorBudget:
    return ErrorBudget(store.rollouts, "r1", 0, BudgetSettings(**budget or {"count": 1}), clock)


async def test_a_budget_that_another_task_spends_stops_this_one(store: FleetStore, other: FleetStore) -> None:
    await begin(store, *(member(f"T{number}") for number in range(10)))
    clock = Clock()
    budget = budget_of(store, clock)
    await budget.check()
    await other.rollouts.record("r1", [result("T1", "failed"), result("T2", "failed")])
    await budget.check()  # it was asked this very second
    clock.now += budgets.ASK_S
    with pytest.raises(RolloutStoppedError) as caught:
        await budget.check()
    assert str(caught.value) == "rollout r1, stage 1: 2 of 10 tenants have failed, 1 may"
    assert caught.value.details == {"rollout": "r1", "stage": 0}
    assert await store.rollouts.counts("r1") == {"failed": 2, "pending": 8}


async def test_failures_of_this_task_count_at_once_and_once(store: FleetStore, other: FleetStore) -> None:
    await begin(store, *(member(f"T{number}") for number in range(10)))
    clock = Clock()
    budget = budget_of(store, clock, percent=25)
    await budget.check()
    budget.add(result("T1", "failed"))
    budget.add(result("T1", "failed", "test"))
    budget.add(result("T2"))
    await budget.check()
    await store.rollouts.record("r1", [result("T1", "failed"), result("T2")])
    clock.now += budgets.ASK_S
    await budget.check()
    await other.rollouts.record("r1", [result("T3", "failed")])
    clock.now += budgets.ASK_S
    await budget.check()
    budget.add(result("T4", "failed"))
    with pytest.raises(RolloutStoppedError, match="3 of 10 tenants have failed, 2 may"):
        await budget.check()


@pytest.mark.parametrize("status", ["paused", "stopped"])
async def test_a_person_stops_it_and_lets_it_go_on(store: FleetStore, other: FleetStore, status: Any) -> None:
    await begin(store, member("A"))
    clock = Clock()
    budget = budget_of(store, clock)
    await budget.check()
    await other.rollouts.set_status("r1", status, of=["running"])
    clock.now += budgets.ASK_S
    with pytest.raises(RolloutStoppedError, match=f"it is {status}"):
        await budget.check()
    await other.rollouts.set_status("r1", "running", of=[status])
    clock.now += budgets.ASK_S
    await budget.check()


async def test_a_thousand_tenants_ask_once(store: FleetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    await begin(store, member("A"))
    ask, asked = store.rollouts.state, []

    async def state(rollout_id: str, stage: int) -> StageState | None:
        asked.append(rollout_id)
        return await ask(rollout_id, stage)

    monkeypatch.setattr(store.rollouts, "state", state)
    budget = budget_of(store, Clock())
    await asyncio.gather(*(budget.check() for _ in range(1000)))
    assert asked == ["r1"]


async def test_a_store_that_is_away_for_a_while_stops_nobody(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await begin(store, *(member(f"T{number}") for number in range(10)))
    clock = Clock()
    budget = budget_of(store, clock)
    await budget.check()

    async def away(rollout_id: str, stage: int) -> StageState | None:
        raise SourceUnavailableError("fleet store x: away")

    with monkeypatch.context() as patched:
        patched.setattr(store.rollouts, "state", away)
        clock.now += budgets.STALE_S - 1
        await budget.check()
        assert "away; the rollout goes on with what is known" in caplog.text
        budget.add(result("T1", "failed"))
        budget.add(result("T2", "failed"))
        with pytest.raises(RolloutStoppedError, match="2 of 10"):
            await budget.check()
        clock.now += 1
        with pytest.raises(RolloutStoppedError, match="nobody can tell whether it may go on: fleet store x: away"):
            await budget.check()
        with pytest.raises(RolloutStoppedError, match="nobody can tell"):
            await budget_of(store, clock).check()


async def test_a_spent_budget_lets_running_tenants_finish_and_leaves_the_others_pending(
    store: FleetStore, other: FleetStore
) -> None:
    names = [f"T{number:03}" for number in range(200)]
    await begin(store, *(member(name) for name in names))
    broken = {"T010", "T011", "T012"}
    running: set[str] = set()

    async def task(seen_by: FleetStore, tenant_ids: list[str]) -> None:
        """Do what a task of a rollout does."""
        budget = budget_of(seen_by, Clock(), count=2)
        async with seen_by.rollouts.recorder("r1") as recorder:

            async def work(tenant_id: str, attempt: int) -> dict[str, Any]:
                if attempt == 1:
                    await budget.check()
                running.add(tenant_id)
                await asyncio.sleep(0)
                if tenant_id in broken:
                    raise StatementError("no such column", code="42703", statement="ALTER")
                return {}

            def on_result(done: OperationResult) -> None:
                kind = (done.details or {}).get("error_kind")
                if kind != "RolloutStoppedError":
                    ended = result(done.tenant_id, "failed" if kind else "changed")
                    recorder.add(ended)
                    budget.add(ended)

            limits = Limits(parallel=4)
            await fanout(tenant_ids, work, operation="migrate", limits=limits, on_result=on_result)

    await task(store, names)
    counts = await store.rollouts.counts("r1")
    assert counts["failed"] == 3
    assert counts["changed"] + 3 == len(running)  # whoever has begun has ended
    assert counts["pending"] == 200 - len(running)
    assert counts["pending"] > 150

    begun = set(running)
    left = [item.tenant_id for item in await store.rollouts.members("r1", status=["pending"])]
    assert not begun & set(left)
    await task(other, left)  # the budget is still spent
    assert running == begun

    broken.clear()
    assert await store.rollouts.retry("r1") == 3
    left = [item.tenant_id for item in await store.rollouts.members("r1", status=["pending"])]
    await asyncio.gather(task(store, left[::2]), task(other, left[1::2]))
    assert await store.rollouts.counts("r1") == {"changed": 200}
    assert running == set(names)


async def test_a_budget_of_no_rollout(store: FleetStore) -> None:
    with pytest.raises(RolloutStoppedError, match="there is no such rollout"):
        await budget_of(store, Clock()).check()


async def test_when_the_work_on_an_instance_ended() -> None:
    assert member("A").ended_at is None
    assert result("A").ended_at == NOW + timedelta(seconds=1.5)
