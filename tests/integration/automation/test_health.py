"""Everything that can be wrong with a tenant is made so, on real servers, and found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from dbgear_airflow_provider.core import FleetStore
from dbgear_airflow_provider.core.engines import PostgresServer, ServerAddress, postgresql_vitals
from dbgear_airflow_provider.core.engines.postgresql_session import PostgresSession
from dbgear_airflow_provider.core.errors import OperationTimeoutError
from dbgear_airflow_provider.core.fleet import HealthRecord
from dbgear_airflow_provider.core.health import HealthReport
from dbgear_airflow_provider.sandbox import ports
from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres

from .conftest import Fleet, MySQLFleet

SOON = {"warning": 0.2, "critical": 3600}  # seconds


@pytest.fixture(params=["fleet", "mysql_fleet"])
def any_fleet(request: pytest.FixtureRequest) -> Fleet:
    return request.getfixturevalue(request.param)


async def provisioned(fleet: Fleet, count: int = 3, isolation: str = "schema", instances: str = "main") -> None:
    fleet.tenants(count, isolation, instances)
    async with fleet.engine() as engine:
        results = await engine.bulk_provision_tenants({}, dry_run=False)
    assert {result.status.value for result in results} == {"success"}


async def look(fleet: Fleet, **options: Any) -> HealthReport:
    async with fleet.engine("run") as engine:
        return await engine.check_health({}, **options)


def wrong(report: HealthReport) -> dict[str, list[str]]:
    """Return {tenant: kinds of its problems} of those that are not ok."""
    return {item.tenant_id: [problem.kind for problem in item.problems] for item in report.sick()}


def texts(report: HealthReport) -> str:
    return "\n".join(problem.text for item in report.sick() for problem in item.problems)


def place(fleet: Fleet, number: int = 1, isolation: str = "schema") -> tuple[str, str | None]:
    """Return (schema as SQL names it, the database to be connected to) of a tenant's main instance."""
    name = f"t{number:04}_{fleet.database}_jp_main"
    if isinstance(fleet, MySQLFleet):
        return f"`{name}`", name
    return ("main", name) if isolation == "database" else (f'"{name}"', fleet.database)


def limits(fleet: Fleet, **thresholds: Any) -> None:
    fleet.sections["health"] = {**fleet.sections.get("health", {}), "thresholds": thresholds}


@contextmanager
def session(fleet: Fleet, isolation: str = "schema") -> Iterator[Callable[[str], Any]]:
    """Give a session of an application's in the first tenant, whose transaction stays open."""
    database = place(fleet, 1, isolation)[1] or ""
    if isinstance(fleet, MySQLFleet):
        connection = fleet.server.connect(database)
        connection.autocommit(False)
        execute = connection.cursor().execute
    else:
        connection = psycopg.connect(fleet.server.dsn(database))
        execute = connection.execute
    try:
        yield execute
    finally:
        connection.close()


# What is there


@pytest.mark.parametrize("isolation", ["schema", "database", "table"])
async def test_a_fleet_in_which_nothing_is_wrong(any_fleet: Fleet, isolation: str) -> None:
    await provisioned(any_fleet, 3, isolation, "main,test")
    report = await look(any_fleet, fingerprints=True)
    assert texts(report) == ""
    assert report.counts == {"unreachable": 0, "critical": 0, "warning": 0, "ok": 6}
    (server,) = report.servers
    assert server.latency_s is not None
    assert 0 < server.latency_s < 5
    assert server.used is not None
    assert 1 <= server.used <= (server.limit or 0)
    assert all((item.facts.size_bytes or 0) >= 4096 for item in report.instances)
    assert [item.details()["status"] for item in report.instances] == ["ok"] * 6
    store = FleetStore(any_fleet.store_url)
    assert [(item.tenant_id, item.instance) for item in await store.health.latest()] == [
        (id_, name) for id_ in ("T0001", "T0002", "T0003") for name in ("main", "test")
    ]
    await store.aclose()


@pytest.mark.parametrize("isolation", ["schema", "database", "table"])
async def test_instances_that_are_not_there(any_fleet: Fleet, isolation: str) -> None:
    await provisioned(any_fleet, 2, isolation)
    any_fleet.tenants(3, isolation)  # the third is new
    report = await look(any_fleet)
    assert wrong(report) == {"T0003": ["missing"]}
    assert report.counts["critical"] == 1


async def test_a_schema_that_somebody_has_dropped(any_fleet: Fleet) -> None:
    await provisioned(any_fleet)
    schema, _ = place(any_fleet, 2)
    cascade = "" if isinstance(any_fleet, MySQLFleet) else " CASCADE"
    any_fleet.query(f"DROP SCHEMA {schema}{cascade}")
    assert wrong(await look(any_fleet)) == {"T0002": ["missing"]}


async def test_one_that_has_drifted(any_fleet: Fleet) -> None:
    await provisioned(any_fleet)
    any_fleet.query(f"ALTER TABLE {place(any_fleet, 2)[0]}.orders ADD COLUMN extra INT")
    assert wrong(await look(any_fleet)) == {}
    assert wrong(await look(any_fleet, fingerprints=True)) == {"T0002": ["drifted"]}


async def test_migrations_that_are_not_applied(any_fleet: Fleet) -> None:
    await provisioned(any_fleet)
    folder = any_fleet.folder / "migrations"
    folder.mkdir()
    any_fleet.sections["rollout"] = {"migrations": str(folder)}
    (folder / "v1.sql").write_text("CREATE TABLE one (id INT PRIMARY KEY);")
    async with any_fleet.engine() as engine:
        await engine.bulk_migrate_tenants({}, folder, dry_run=False)
    assert wrong(await look(any_fleet)) == {}
    (folder / "v2.sql").write_text("CREATE TABLE two (id INT PRIMARY KEY);")
    async with any_fleet.engine() as engine:
        await engine.bulk_migrate_tenants({"tenant_id": "T0002"}, folder, dry_run=False)
    report = await look(any_fleet)
    assert wrong(report) == {"T0001": ["behind"], "T0003": ["behind"]}
    assert "1 migrations are not applied: 2" in texts(report)
    assert [item.version for item in report.instances] == ["1", "2", "1"]
    (folder / "v1.sql").write_text("CREATE TABLE one (id BIGINT PRIMARY KEY);")
    assert wrong(await look(any_fleet))["T0002"] == ["migrations"]  # it was edited
    (folder / "v2.sql").write_text("nonsense that is no SQL (")
    report = await look(any_fleet)
    assert report.counts["unreachable"] == 0


# What it holds


async def test_size_and_growth(any_fleet: Fleet) -> None:
    await provisioned(any_fleet)
    before = (await look(any_fleet)).instances[1].facts.size_bytes or 0
    schema, _ = place(any_fleet, 2)
    any_fleet.query(f"CREATE TABLE {schema}.large (body TEXT)")
    any_fleet.query(f"INSERT INTO {schema}.large VALUES (repeat('x', 1000))")
    for _ in range(12):
        any_fleet.query(f"INSERT INTO {schema}.large SELECT body FROM {schema}.large")
    if isinstance(any_fleet, MySQLFleet):
        any_fleet.query(f"ANALYZE TABLE {schema}.large")
    limits(any_fleet, size_mb={"warning": 1}, growth_percent={"critical": 50})
    report = await look(any_fleet)
    assert wrong(report) == {"T0002": ["size"]}  # a look of just now tells nothing of a day
    store = FleetStore(any_fleet.store_url)
    yesterday = datetime.now(UTC) - timedelta(days=2)
    await store.health.forget_before(datetime.now(UTC))
    fields: dict[str, Any] = {"instance": "main", "target": "main", "status": "ok", "checked_at": yesterday}
    await store.health.record([HealthRecord(tenant_id="T0002", size_bytes=before, **fields)])
    await store.aclose()
    report = await look(any_fleet)
    assert wrong(report) == {"T0002": ["growth", "size"]}
    after = report.instances[1].facts
    assert after.growth_percent == pytest.approx(100 * ((after.size_bytes or 0) - before) / before / 2, rel=0.01)


async def test_an_index_that_was_not_finished(fleet: Fleet) -> None:
    await provisioned(fleet)
    schema, database = place(fleet, 2)
    fleet.query(f"INSERT INTO {schema}.customers (tenant_id) VALUES ('a'), ('a')")
    with (
        psycopg.connect(fleet.server.dsn(database or ""), autocommit=True) as connection,
        pytest.raises(psycopg.errors.UniqueViolation),
    ):
        connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY once ON {schema}.customers (tenant_id)")
    report = await look(fleet)
    assert wrong(report) == {"T0002": ["invalid_index"]}
    assert "customers.once" in texts(report)


async def test_numbers_that_come_to_an_end(any_fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_vitals, "_SEQUENCES_AT_ONCE", 2)  # more than one turn is needed
    await provisioned(any_fleet)
    schema, _ = place(any_fleet, 2)
    if isinstance(any_fleet, MySQLFleet):
        any_fleet.query(f"ALTER TABLE {schema}.customers AUTO_INCREMENT = 2000000000")
        any_fleet.query(f"CREATE TABLE {schema}.small (id SMALLINT UNSIGNED AUTO_INCREMENT PRIMARY KEY)")
        any_fleet.query(f"ALTER TABLE {schema}.small AUTO_INCREMENT = 65000")
    else:
        (name,) = any_fleet.query(f"SELECT pg_get_serial_sequence('{schema}.customers', 'id')", any_fleet.database)[0]
        any_fleet.query(f"SELECT setval('{name}', 2000000000)", any_fleet.database)
        # The sequence could count on, the column could not.
        any_fleet.query(f"CREATE SEQUENCE {schema}.counting", any_fleet.database)
        any_fleet.query(
            f"CREATE TABLE {schema}.small (id SMALLINT DEFAULT nextval('{schema}.counting'))", any_fleet.database
        )
        any_fleet.query(f"ALTER SEQUENCE {schema}.counting OWNED BY {schema}.small.id", any_fleet.database)
        any_fleet.query(f"SELECT setval('{schema}.counting', 32500)", any_fleet.database)
    report = await look(any_fleet)
    assert wrong(report) == {"T0002": ["counter", "counter"]}
    assert report.counts["critical"] == 1  # the small one
    assert "93.13 % of its numbers" in texts(report)
    assert "has used 99.1" in texts(report)


# What goes on


@pytest.mark.parametrize("isolation", ["schema", "database"])
async def test_a_transaction_that_nobody_ends(any_fleet: Fleet, isolation: str) -> None:
    await provisioned(any_fleet, 2, isolation)
    limits(any_fleet, transaction_s=SOON)
    with session(any_fleet, isolation) as execute:
        execute(f"SELECT count(*) FROM {place(any_fleet, 1, isolation)[0]}.orders FOR UPDATE".replace("count(*)", "id"))
        await asyncio.sleep(0.3)
        report = await look(any_fleet)
        assert wrong(report) == {"T0001": ["long_transaction"]}
        assert report.instances[0].problems[0].value == pytest.approx(0.5, abs=15)
    await found(any_fleet, {})


@pytest.mark.parametrize("isolation", ["schema", "database"])
async def test_a_session_that_waits_for_a_lock(any_fleet: Fleet, isolation: str) -> None:
    await provisioned(any_fleet, 2, isolation)
    table = f"{place(any_fleet, 1, isolation)[0]}.customers"
    any_fleet.query(f"INSERT INTO {table} (tenant_id) VALUES ('x')", place(any_fleet, 1, isolation)[1])
    limits(any_fleet, lock_wait_s=SOON, transaction_s={})
    with session(any_fleet, isolation) as first, session(any_fleet, isolation) as second:
        first(f"UPDATE {table} SET tenant_id = 'y'")
        waiting = asyncio.create_task(asyncio.to_thread(_ignored, second, f"UPDATE {table} SET tenant_id = 'z'"))
        await found(any_fleet, {"T0001": ["lock_wait"]})
        first("ROLLBACK")
        await waiting
        second("ROLLBACK")


async def test_a_table_that_somebody_keeps_for_himself_hides_no_other(fleet: Fleet) -> None:
    await provisioned(fleet, 5)
    with session(fleet) as execute:
        execute(f"LOCK TABLE {place(fleet)[0]}.orders IN ACCESS EXCLUSIVE MODE")
        report = await look(fleet)
        assert wrong(report) == {"T0001": ["locked"]}
        assert "for himself alone: orders" in texts(report)
        assert all(item.facts.size_bytes for item in report.instances)  # of the first, its other table's


async def test_connections_of_the_server_and_of_a_tenant(any_fleet: Fleet) -> None:
    await provisioned(any_fleet, 2, "database")
    limits(any_fleet, connections_percent={"critical": 0}, tenant_connections={"warning": 1})
    with session(any_fleet, "database"), session(any_fleet, "database"):
        report = await look(any_fleet)
    assert wrong(report) == {"T0001": ["connections", "tenant_connections"], "T0002": ["connections"]}
    assert "it has 2 connections, 1 are allowed" in texts(report)


async def test_a_limit_of_a_tier(any_fleet: Fleet) -> None:
    await provisioned(any_fleet, 2)
    any_fleet.sections["health"] = {"by_tier": {"basic": {"latency_s": {"critical": 0}}}}
    assert wrong(await look(any_fleet)) == {"T0001": ["latency"], "T0002": ["latency"]}
    any_fleet.sections["health"] = {"by_tier": {"premium": {"latency_s": {"critical": 0}}}}
    assert wrong(await look(any_fleet)) == {}


# Questions of the project's own


async def test_questions_of_the_projects_own(any_fleet: Fleet) -> None:
    await provisioned(any_fleet, 3)
    schema, database = place(any_fleet, 2)
    any_fleet.query(f"INSERT INTO {schema}.customers (tenant_id) VALUES ('a'), ('b')", database)
    any_fleet.sections["health"] = {
        "checks": [
            {"name": "strangers", "sql": "SELECT tenant_id FROM customers WHERE tenant_id <> 'x' ORDER BY 1"},
            {"name": "many", "sql": "SELECT count(*) FROM customers", "limits": {"warning": 1}},
            {"name": "elsewhere", "sql": "nonsense", "engine": other_engine(any_fleet)},
        ]
    }
    report = await look(any_fleet)
    assert wrong(report) == {"T0002": ["strangers", "strangers", "many"]}
    assert "check strangers: a" in texts(report)
    assert "check many: 2, 1 are allowed" in texts(report)
    any_fleet.sections["health"] = {
        "checks": [
            {"name": "wrong", "sql": "SELECT nothing FROM nowhere", "severity": "warning"},
            {"name": "writes", "sql": "INSERT INTO customers (tenant_id) VALUES ('x')"},
        ]
    }
    report = await look(any_fleet)
    assert wrong(report) == {id_: ["writes", "wrong"] for id_ in ("T0001", "T0002", "T0003")}
    assert any_fleet.query(f"SELECT count(*) FROM {place(any_fleet, 1)[0]}.customers", place(any_fleet)[1]) == [(0,)]


async def test_a_question_has_the_rights_of_the_tenants_owner(fleet: Fleet) -> None:
    fleet.with_roles()
    await provisioned(fleet, 2)
    fleet.sections["health"] = {"checks": [{"name": "who", "sql": "SELECT current_user::text"}]}
    told = texts(await look(fleet)).splitlines()
    assert len(set(told)) == len(told) == 2
    assert all("owner" in line for line in told), told


async def test_a_question_to_tenants_that_share_a_schema(any_fleet: Fleet) -> None:
    await provisioned(any_fleet, 2, "table")
    sql = "SELECT '${TENANT_ID} has ' || count(*) FROM ${PREFIX}customers"
    if isinstance(any_fleet, MySQLFleet):
        sql = "SELECT CONCAT('${TENANT_ID} has ', count(*)) FROM ${PREFIX}customers"
    any_fleet.sections["health"] = {
        "checks": [{"name": "told", "sql": sql}, {"name": "unread", "sql": "SELECT ${NONSENSE}"}]
    }
    report = await look(any_fleet)
    assert texts(report).splitlines() == ["check told: T0001 has 0", "check told: T0002 has 0"]
    (note,) = report.notes
    assert "check unread is not asked on target main" in note
    assert "NONSENSE" in note


# Servers that are away


async def test_a_dead_server_of_three_keeps_nobody_waiting(fleet: Fleet) -> None:
    ids = fleet.tenants(60)
    targets = {"first": "T0001", "silent": "T0002", "refusing": "T0003"}
    callers: list[asyncio.StreamWriter] = []
    # It takes connections, and says nothing.
    silent = await asyncio.start_server(lambda _, writer: callers.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    async with fleet.engine() as engine:
        await engine.bulk_provision_tenants({}, dry_run=False)
    fleet.sections["targets"] = {name: {"connection_id": name} for name in ("main", *targets)}
    fleet.sections["placement"] = [
        {"query": "tenant_id < 'T0021'", "target": "main"},
        {"query": "tenant_id < 'T0041'", "target": "silent"},
        {"query": "tenant_id >= 'T0041'", "target": "refusing"},
    ]
    fleet.sections["health"] = {"server_timeout": 2}
    async with fleet.engine("run") as engine:
        address = {"host": "127.0.0.1", "user": "u", "password": "p", "database": "d"}
        away = {
            "silent": PostgresServer("silent", ServerAddress(port=port, **address)),  # type: ignore[arg-type]
            "refusing": PostgresServer("refusing", ServerAddress(port=ports.any_free(), **address)),  # type: ignore[arg-type]
        }
        engine.servers = {**engine.servers, **away}
        begun = time.monotonic()
        report = await engine.check_health({})
        took_s = time.monotonic() - begun
        for server in away.values():
            await server.aclose()
    silent.close()
    for caller in callers:
        caller.close()
        await caller.wait_closed()
    assert took_s < 30
    assert [item.tenant_id for item in report.instances] == ids
    assert [item.status for item in report.instances] == ["ok"] * 20 + ["unreachable"] * 40
    errors = {server.target: server.error for server in report.servers}
    assert errors["main"] is None
    assert "not looked at within 2 s" in (errors["silent"] or "")
    assert "refusing" in (errors["refusing"] or "")


async def test_a_server_that_freezes_after_its_first_answer(
    short_dir: Path, make_fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres(short_dir, settings={"fsync": "off"}) as server:
        server.create_database("frozen")
        fleet = make_fleet(server, "frozen")
        await provisioned(fleet, 5)
        fleet.sections["health"] = {"server_timeout": 1}
        frozen: list[psutil.Process] = []

        async def freeze(*_: object) -> None:
            postmaster = psutil.Process(server.pid)
            for process in [postmaster, *postmaster.children()]:
                process.suspend()
                frozen.append(process)
            raise OperationTimeoutError("no answer")

        monkeypatch.setattr(PostgresSession, "vitals", freeze)
        try:
            begun = time.monotonic()
            async with fleet.engine("run") as engine:
                report = await engine.check_health({})
                took_s = time.monotonic() - begun
        finally:
            for process in frozen:
                process.resume()
    assert took_s < 20
    assert report.counts["unreachable"] == 5
    assert "not looked at within 1 s" in texts(report)


async def test_a_tenant_that_no_rule_places(fleet: Fleet) -> None:
    await provisioned(fleet, 2)
    fleet.sections["targets"] = {"main": {"connection_id": "main"}, "other": {"connection_id": "other"}}
    fleet.sections["placement"] = [{"query": "tenant_id = 'T0001'", "target": "main"}]
    assert wrong(await look(fleet)) == {"T0002": ["settings"]}


def other_engine(fleet: Fleet) -> str:
    return "postgresql" if isinstance(fleet, MySQLFleet) else "mysql"


def _ignored(execute: Callable[[str], Any], sql: str) -> None:
    with suppress(Exception):  # its transaction may be ended for it
        execute(sql)


async def found(fleet: Fleet, wanted: dict[str, list[str]]) -> None:
    """Look until that is found: a session takes a moment to wait, or to be gone."""
    async with asyncio.timeout(30):
        while True:
            if wrong(await look(fleet)) == wanted:
                return
            await asyncio.sleep(0.1)
