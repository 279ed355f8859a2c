from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa

from dbgear_airflow_provider.core.errors import SourceUnavailableError
from dbgear_airflow_provider.core.fleet import FingerprintRecord, FleetStore, OperationRecord, Run
from dbgear_airflow_provider.core.fleet import recorder as module

NOW = datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def record(tenant_id: str = "A", **fields: Any) -> OperationRecord:
    defaults: dict[str, Any] = {
        "run_id": "run",
        "tenant_id": tenant_id,
        "operation": "provision",
        "status": "success",
        "dry_run": False,
        "attempt": 1,
        "started_at": NOW,
        "duration_s": 1.5,
    }
    return OperationRecord(**defaults | fields)


def provisioned(tenant_id: str = "A", *names: str, checksum: str = "1" * 64, **fields: Any) -> OperationRecord:
    instances = {
        name: {"isolation": "schema", "database": "shared", "schema": f"{tenant_id}_{name}", "checksum": checksum}
        for name in names or ("main",)
    }
    return record(tenant_id, details={"target": "main", "instances": instances}, **fields)


async def test_the_history_of_a_tenant_is_what_was_recorded(store: FleetStore) -> None:
    details = {"言語": "日本語 😀", "list": [1, 2.5, None, True], "quote": 'it\'s \\ "x" \0'}
    records = [
        record(run_id="r1", status="error", error="失敗: it's 100%", error_kind="StatementError"),
        record(run_id="r2", attempt=2, details=details, dry_run=True),
    ]
    await store.record(records)
    await store.record([record("B")])
    assert await store.history("A") == records
    assert await store.history("nobody") == []
    assert await store.last("A") == records[-1]
    assert await store.last("nobody") is None


async def test_a_message_that_no_database_takes(store: FleetStore) -> None:
    await store.record([record(error="a\0b\ud800c"), record("B")])
    assert [item.error for item in await store.history("A")] == ["a\\0b\\ud800c"]
    assert len(await store.history("B")) == 1


async def test_nothing_to_record(store: FleetStore) -> None:
    await store.record([])
    async with store.recorder():
        pass
    assert await store.latest("run", "provision") == []


async def test_times_are_utc(store: FleetStore) -> None:
    await store.record([record(started_at=NOW.astimezone(timezone(timedelta(hours=9))))])
    (kept,) = await store.history("A")
    assert kept.started_at == NOW
    assert kept.started_at.tzinfo is UTC
    with pytest.raises(sa.exc.StatementError, match="without a time zone"):
        await store.record([record(started_at=datetime(2025, 1, 1))])


async def test_the_latest_result_of_each_tenant_in_a_run(store: FleetStore) -> None:
    await store.record(
        [
            record("B"),
            record("A", status="error"),
            record("A", attempt=2),
            record("B", operation="render", status="error"),
            record("C", run_id="other"),
        ]
    )
    latest = await store.latest("run", "provision")
    assert [(item.tenant_id, item.attempt, item.status) for item in latest] == [
        ("A", 2, "success"),
        ("B", 1, "success"),
    ]


async def test_what_has_succeeded_in_a_run(store: FleetStore) -> None:
    await store.record(
        [
            record("A"),
            record("B", status="error"),
            record("C", run_id="other"),
            record("D", operation="render"),
            record("E", started_at=NOW - timedelta(hours=1)),
            record("F", status="error"),
            record("F", attempt=2),
        ]
    )
    names = [*"ABCDEFX", *(f"T{number}" for number in range(1200))]
    assert await store.succeeded("run", "provision", names) == {"A", "E", "F"}
    assert await store.succeeded("run", "provision", ["A", "B"]) == {"A"}
    assert await store.succeeded("run", "provision", []) == set()
    assert await store.succeeded("run", "provision", names, since=NOW) == {"A", "F"}
    run = Run(store=store, run_id="run", attempt=2, since=NOW)
    assert await run.succeeded("provision", names) == {"A", "F"}
    run = Run(store=store, run_id="run", since=NOW + timedelta(seconds=1))
    assert await run.succeeded("provision", names) == set()


async def test_the_state_of_instances(store: FleetStore) -> None:
    await store.record([provisioned("A", "test", "main"), provisioned("B")])
    main, test = await store.instances("A")
    assert main == {
        "tenant_id": "A",
        "instance": "main",
        "target": "main",
        "isolation": "schema",
        "database_name": "shared",
        "schema_name": "A_main",
        "prefix": "",
        "state": "provisioned",
        "checksum": "1" * 64,
        "updated_at": NOW + timedelta(seconds=1.5),
        "fingerprint": None,
        "checked_at": None,
        "version": None,
        "ledger": None,
    }
    assert test["instance"] == "test"
    later = NOW + timedelta(days=1)
    await store.record([provisioned("A", checksum="2" * 64), provisioned("A", checksum="3" * 64, started_at=later)])
    main, test = await store.instances("A")
    assert (main["checksum"], main["updated_at"]) == ("3" * 64, later + timedelta(seconds=1.5))
    assert test["checksum"] == "1" * 64
    assert len(await store.instances("B")) == 1
    assert await store.instances("nobody") == []


async def test_a_repair_brings_an_instance_to_another_document(store: FleetStore) -> None:
    await store.record([provisioned("A")])
    await store.record([provisioned("A", checksum="2" * 64, operation="plan")])
    await store.record([provisioned("A", checksum="3" * 64, operation="plan", dry_run=True)])
    assert [(row["checksum"], row["state"]) for row in await store.instances("A")] == [("2" * 64, "provisioned")]


@pytest.mark.parametrize("fields", [{"dry_run": True}, {"status": "error"}, {"operation": "render"}])
async def test_what_does_not_touch_the_state(store: FleetStore, fields: dict[str, Any]) -> None:
    await store.record([provisioned(**fields), record(operation="render", details={"instances": ["main"]})])
    assert await store.instances("A") == []
    assert len(await store.history("A")) == 2


async def test_five_thousand_results(store: FleetStore) -> None:
    async with store.recorder() as recorder:
        for number in range(5000):
            recorder.add(provisioned(f"T{number:05}", "main", "test"))
            if number % 500 == 0:
                await asyncio.sleep(0)
    latest = await store.latest("run", "provision")
    assert [item.tenant_id for item in latest] == [f"T{number:05}" for number in range(5000)]
    assert len(await store.succeeded("run", "provision", [item.tenant_id for item in latest])) == 5000
    assert len(await store.instances("T04999")) == 2


async def test_many_writers_at_once(store: FleetStore, url: sa.URL) -> None:
    stores = [FleetStore(url) for _ in range(8)]
    records = [provisioned(f"T{number}") for number in range(20)]
    for other in stores:
        await other.prepare()
    await asyncio.gather(
        *(other.record(records if index % 2 else records[::-1]) for index, other in enumerate(stores)),
        *(other.latest("run", "provision") for other in stores),
    )
    for other in stores:
        await other.aclose()
    assert len(await store.history("T0")) == 8
    assert len(await store.instances("T19")) == 1


# prepare


async def test_prepare_is_safe_to_repeat(store: FleetStore) -> None:
    await store.record([record()])
    await store.prepare()
    assert await store.history("A") == [record()]


async def test_a_store_of_an_older_version_gets_the_columns_that_it_lacks(store: FleetStore, url: sa.URL) -> None:
    await store.record([provisioned("A")])
    async with store._begin() as connection:
        for column in ("fingerprint", "checked_at"):
            await connection.execute(sa.text(f"ALTER TABLE dbgear_tenant_instances DROP COLUMN {column}"))
    newer = FleetStore(url)
    await newer.prepare()
    await newer.prepare()
    seen = FingerprintRecord(tenant_id="A", instance="main", fingerprint="f" * 64, checked_at=NOW)
    await newer.record_fingerprints([seen, replace(seen, tenant_id="unknown")])
    (row,) = await newer.instances("A")
    assert (row["fingerprint"], row["checked_at"]) == ("f" * 64, NOW)
    await newer.record([provisioned("A")])
    assert (await newer.instances("A"))[0]["fingerprint"] == "f" * 64
    assert await newer.instances("unknown") == []
    await newer.aclose()


async def test_eight_connections_prepare_at_once(url: sa.URL) -> None:
    stores = [FleetStore(url) for _ in range(8)]
    await asyncio.gather(*(store.prepare() for store in stores))
    await stores[0].record([provisioned()])
    assert len(await stores[7].history("A")) == 1
    for store in stores:
        await store.aclose()


async def test_columns_that_came_later_are_added(url: sa.URL) -> None:
    first, *others = [FleetStore(url) for _ in range(8)]
    await first.prepare()
    await first.record([provisioned()])
    async with first._engine.begin() as connection:
        for column in ("prefix",):
            await connection.execute(sa.text(f"ALTER TABLE dbgear_tenant_instances DROP COLUMN {column}"))
    await asyncio.gather(*(store.prepare() for store in others))
    (state,) = await others[0].instances("A")
    assert state["prefix"] == ""
    for store in (first, *others):
        await store.aclose()


_PREPARE = """
import asyncio, sys
import aiosqlite, asyncpg
from dbgear_airflow_provider.core.fleet import FleetStore
async def main():
    store = FleetStore(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    await store.prepare()
    await store.aclose()
asyncio.run(main())
"""


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_eight_processes_prepare_at_once(url: sa.URL) -> None:
    arguments = ["-c", _PREPARE, url.render_as_string(hide_password=False)]
    pipe = asyncio.subprocess.PIPE
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe, stderr=pipe)
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
    outcomes = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
    assert [(process.returncode, errors) for process, (_, errors) in zip(processes, outcomes, strict=True)] == [
        (0, b"")
    ] * 8
    store = FleetStore(url)
    await store.record([provisioned()])
    assert len(await store.instances("A")) == 1
    await store.aclose()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_table_that_another_process_makes_meanwhile(url: sa.URL) -> None:
    # SQLite gives this code about once in 2,000 such races.
    error = sqlite3.OperationalError("table dbgear_operations already exists")
    error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_SCHEMA, "SQLITE_SCHEMA"
    races = [error]

    def race(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        if "CREATE TABLE" in statement and races:
            raise races.pop()

    sa.event.listen(sa.Engine, "do_execute", race)
    try:
        store = FleetStore(url)
        await store.prepare()
    finally:
        sa.event.remove(sa.Engine, "do_execute", race)
    assert not races
    await store.record([record()])
    await store.aclose()


# the recorder


async def test_the_recorder_writes_what_was_added_at_once(store: FleetStore) -> None:
    async with store.recorder() as recorder:
        recorder.add(record())  # no await in the block: its background task has not begun yet
    assert await store.history("A") == [record()]


async def test_the_recorder_writes_while_the_block_runs(store: FleetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.01)
    async with store.recorder() as recorder:
        recorder.add(record())
        async with asyncio.timeout(5):
            while not await store.history("A"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_the_recorder_writes_when_the_block_fails(store: FleetStore) -> None:
    async def block() -> None:
        async with store.recorder() as recorder:
            recorder.add(record())
            raise LookupError

    with pytest.raises(LookupError):
        await block()
    assert len(await store.history("A")) == 1


async def test_the_recorder_writes_when_the_block_is_cancelled(store: FleetStore) -> None:
    added = asyncio.Event()

    async def block() -> None:
        async with store.recorder() as recorder:
            recorder.add(record())
            added.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(block())
    await added.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await store.history("A")) == 1


async def test_the_recorder_outlives_a_store_that_is_away_for_a_while(
    store: FleetStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.01)
    write, away = store.record, asyncio.Event()

    async def refuse(records: Sequence[OperationRecord]) -> None:
        away.set()
        raise SourceUnavailableError("fleet store x: away")

    monkeypatch.setattr(store, "record", refuse)
    async with store.recorder() as recorder:
        recorder.add(record())
        await away.wait()
        recorder.add(record(attempt=2))
        monkeypatch.setattr(store, "record", write)
    assert [item.attempt for item in await store.history("A")] == [1, 2]
    assert "away; 1 results wait to be written" in caplog.text


# a store that cannot be reached


@pytest.fixture(params=["nobody listens", "wrong password", "no such database", "no such folder", "no such host"])
def unreachable(request: pytest.FixtureRequest, tmp_path: Any) -> sa.URL:
    if request.param == "no such folder":
        return sa.URL.create("sqlite+aiosqlite", database=str(tmp_path / "no" / "fleet.db"))
    if request.param == "nobody listens":
        return sa.make_url("postgresql+asyncpg://user:hunter2@127.0.0.1:1/fleet")
    if request.param == "no such host":
        return sa.make_url("postgresql+asyncpg://user:hunter2@no-such-host.invalid/fleet")
    postgres = request.getfixturevalue("postgres")
    url = sa.URL.create("postgresql+asyncpg", postgres.user, "hunter2", postgres.host, postgres.port, "postgres")
    if request.param == "no such database":
        return url.set(password=postgres.password, database="no_such")
    return url


async def test_a_store_that_cannot_be_reached(unreachable: sa.URL) -> None:
    store = FleetStore(unreachable)
    password = unreachable.password or "hunter2"
    for call in (store.prepare(), store.record([record()]), store.history("A"), store.succeeded("r", "o", ["A"])):
        with pytest.raises(SourceUnavailableError) as caught:
            await call
        assert str(caught.value).startswith(f"fleet store {unreachable.render_as_string(hide_password=True)}: ")
        assert password not in str(caught.value)
        assert password not in str(caught.value.__cause__)
    await store.aclose()
    await asyncio.sleep(0.05)  # aiosqlite's thread tells the loop that it has ended


async def test_a_recorder_without_a_store_says_so_at_the_end(unreachable: sa.URL) -> None:
    store = FleetStore(unreachable)
    done = False
    with pytest.raises(SourceUnavailableError):
        async with store.recorder() as recorder:
            recorder.add(record())
            done = True
    assert done
    await store.aclose()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_connection_that_breaks_is_told_and_made_anew(store: FleetStore, url: sa.URL) -> None:
    engine = sa.create_engine(url.set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with pytest.raises(SourceUnavailableError, match="fleet store postgresql") as caught:
        async with store._begin() as session:
            with engine.connect() as other:
                others = "pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                other.execute(sa.text(f"SELECT {others} AND pid <> pg_backend_pid()"))
            await session.execute(sa.text("SELECT 1"))
    engine.dispose()
    assert str(url.password) not in str(caught.value)
    await store.record([record()])
    assert len(await store.history("A")) == 1


async def test_a_fault_of_ours_is_not_called_an_outage(url: sa.URL) -> None:
    store = FleetStore(url)
    with pytest.raises(sa.exc.DBAPIError) as caught:  # its tables were never made
        await store.record([record(error="secret of a tenant")])
    assert "secret of a tenant" not in str(caught.value)
    await store.aclose()
