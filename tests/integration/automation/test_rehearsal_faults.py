"""Rehearsals that are killed, cancelled, refused or in somebody's way: nothing is left, and no tenant is touched."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from dbgear_airflow_provider.core.engines import mysql_clone, postgresql_clone
from dbgear_airflow_provider.core.errors import (
    ServerUnavailableError,
    SettingsError,
    StatementError,
    TenantsRetryableError,
)
from tests.integration.automation.logins import Login
from tests.integration.automation.migrating import INDEX, ISOLATIONS, NOTES, PLAN, Scripts, failures
from tests.integration.automation.test_provision_mysql import REPOSITORY, until
from tests.integration.automation.test_rehearsal import clones, everything, outcomes, rehearse
from tests.integration.automation.test_roles import roles_fleet

__all__ = ["roles_fleet"]
isolations = pytest.mark.parametrize("isolation", ISOLATIONS)

WORKER = """
import asyncio, json, sys
from dbgear_airflow_provider.core import CSVTenantProvider, TenantAutomationEngine, TenantTemplateEngine
from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, ServerAddress
from dbgear_airflow_provider.core.settings import MultiTenantSettings

given = json.loads(sys.stdin.read())

async def main():
    kind = MySQLServer if given["mysql"] else PostgresServer
    registry = CSVTenantProvider(given["folder"] + "/tenants.csv", given["folder"] + "/configs")
    settings = MultiTenantSettings.model_validate({
        "tenant_registry": {"config": {"csv": {"path": "tenants.csv"}}}, "targets": {"main": {"connection_id": "main"}}
    })
    engine = TenantAutomationEngine(
        registry, TenantTemplateEngine(given["folder"], registry), settings=settings,
        servers={"main": kind("main", ServerAddress(**given["address"]), shared_schema=given["shared"])},
    )
    await engine.rehearse_migrations({}, given["folder"] + "/migrations")

asyncio.run(main())
"""


@pytest.fixture(params=["fleet", "mysql_fleet"])
def scripts(request: Any) -> Scripts:
    return Scripts(request.getfixturevalue(request.param))


@pytest.fixture
def on_postgres(fleet: Any) -> Scripts:
    return Scripts(fleet)


@pytest.fixture
def on_mariadb(mysql_fleet: Any) -> Scripts:
    return Scripts(mysql_fleet)


def write_sleep(scripts: Scripts) -> None:
    """Write a script that ends only when somebody ends it."""
    sleep = "SLEEP(600)" if scripts.is_mysql else "pg_sleep(600)"
    scripts.write("1_notes.sql", NOTES, f"SELECT {sleep};")


def sleeping(scripts: Scripts) -> list[Any]:
    """Return the sessions that the script sleeps in: of this test's fleet alone."""
    if scripts.is_mysql:
        return list(
            scripts.fleet.query("SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP%'")
        )
    named = f"datname = '{scripts.place('T0001')[0] or scripts.fleet.database}'"
    sql = f"SELECT pid FROM pg_stat_activity WHERE {named} AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    return list(scripts.fleet.query(f"{sql} AND state = 'active'"))


async def worker(scripts: Scripts) -> asyncio.subprocess.Process:
    fleet = scripts.fleet
    address = {key: getattr(fleet.server, key) for key in ("host", "port", "user", "password")}
    given = {
        "address": {**address, "database": "" if scripts.is_mysql else fleet.database},
        "mysql": scripts.is_mysql,
        "shared": fleet.shared,
        "folder": str(fleet.folder),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER), stdin=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    return process


@isolations
async def test_what_a_killed_rehearsal_leaves_the_next_one_drops(scripts: Scripts, isolation: str) -> None:
    ids = await scripts.provisioned(2, isolation)
    write_sleep(scripts)
    before = everything(scripts, ids)
    process = await worker(scripts)
    try:
        (session,) = await until(lambda: sleeping(scripts))
    finally:
        process.kill()
        await process.wait()
    assert clones(scripts) != []
    # The server is still at it: what it would see at the statement's end.
    scripts.fleet.query(
        f"KILL {session[0]}" if scripts.is_mysql else f"SELECT pg_terminate_backend({session[0]}, 5000)"
    )
    assert everything(scripts, ids) == before
    scripts.write("1_notes.sql", NOTES)
    # The next one is not even in the database of the first tenant.
    report = await rehearse(scripts, filters={"tenant_id": ["T0002"]})
    assert outcomes(report) == [("T0002/main", 1, "passed")]
    assert clones(scripts) == []


@isolations
async def test_a_rehearsal_that_is_cancelled_or_takes_too_long_leaves_nothing(scripts: Scripts, isolation: str) -> None:
    ids = await scripts.provisioned(1, isolation)
    write_sleep(scripts)
    before = everything(scripts, ids)
    running = asyncio.create_task(rehearse(scripts))
    await until(lambda: sleeping(scripts))
    assert clones(scripts) != []
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert clones(scripts) == []

    report = await rehearse(scripts, operation_timeout=3, retry_attempts=1)
    assert outcomes(report) == [("T0001/main", 1, "failed")]
    assert report.rehearsals[0].error_kind == "OperationTimeoutError"
    with pytest.raises(TenantsRetryableError):
        report.refuse_failed()
    assert clones(scripts) == []
    assert everything(scripts, ids) == before


@isolations
async def test_a_rehearsal_in_use_is_left_alone_by_another(scripts: Scripts, isolation: str) -> None:
    await scripts.provisioned(1, isolation)
    write_sleep(scripts)
    running = asyncio.create_task(rehearse(scripts))
    await until(lambda: sleeping(scripts))
    there = clones(scripts)
    async with scripts.fleet.engine() as engine:
        await engine.servers["main"].drop_left_clones()
    assert clones(scripts) == there
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert clones(scripts) == []


@isolations
async def test_a_clone_that_fails_half_way_is_dropped(
    scripts: Scripts, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scripts.provisioned(1, isolation)
    scripts.write("1_notes.sql", NOTES)

    async def refused(self: Any, *_: Any) -> None:
        assert clones(scripts) != []
        raise StatementError("target main: refused 'secret' (1)", code=1, statement="x")

    def refused_script(self: Any, **_: Any) -> Iterator[str]:
        yield "SELECT 1 / 0"

    monkeypatch.setattr(mysql_clone._Copy, "_views", refused)
    monkeypatch.setattr(postgresql_clone._Script, "_counters", refused_script)
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "not rehearsed")]
    assert "secret" not in report.text()
    report.refuse_failed()  # nothing is known of the scripts
    assert clones(scripts) == []


async def test_the_tenant_works_on_while_its_clone_is_rehearsed_on(scripts: Scripts) -> None:
    await scripts.provisioned(1)
    write_sleep(scripts)
    running = asyncio.create_task(rehearse(scripts))
    await until(lambda: sleeping(scripts))
    # The heaviest lock of all, at once or not at all.
    scripts.query("T0001", "INSERT INTO {customers} VALUES (1)")
    schema = scripts.place("T0001")[1]
    now = "SET lock_wait_timeout = 1" if scripts.is_mysql else "SET lock_timeout = 1000"
    with scripts.fleet.server.connect(None if scripts.is_mysql else scripts.fleet.database) as connection:
        cursor = connection.cursor()
        cursor.execute(now)
        cursor.execute(f"ALTER TABLE {schema}.customers ADD COLUMN added INT")
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert scripts.columns("T0001") == ["id", "added"]


async def test_a_table_that_the_tenant_has_locked_is_waited_for_in_vain_and_not_for_long(on_postgres: Scripts) -> None:
    scripts = on_postgres
    await scripts.provisioned(1)
    scripts.write("1_notes.sql", NOTES)
    async with scripts.fleet.engine() as engine:
        planned = await engine.bulk_migrate_tenants({}, scripts.folder)
        with scripts.fleet.server.connect(scripts.fleet.database) as holder, holder.transaction():
            holder.execute(f'LOCK "{scripts.place("T0001")[1]}".customers IN ACCESS EXCLUSIVE MODE')
            report = await rehearse(scripts, planned=planned, retry_attempts=1)
    (told,) = report.rehearsals
    assert told.error_kind == "LockTimeoutError"
    with pytest.raises(TenantsRetryableError, match="lock timeout"):
        report.refuse_failed()
    assert clones(scripts) == []


async def test_rows_that_a_tenant_has_locked_are_read_all_the_same(scripts: Scripts) -> None:
    await scripts.provisioned(1)
    scripts.write("1_notes.sql", NOTES)
    scripts.query("T0001", "INSERT INTO {customers} VALUES (1)")
    schema = scripts.place("T0001")[1]
    with contextlib.closing(
        scripts.fleet.server.connect(None if scripts.is_mysql else scripts.fleet.database)
    ) as holder:
        cursor = holder.cursor()
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE {schema}.customers SET id = 2")
        assert outcomes(await rehearse(scripts)) == [("T0001/main", 1, "passed")]
        cursor.execute("ROLLBACK")


@isolations
async def test_tenants_with_roles_keep_theirs_and_the_clone_gets_its_own(roles_fleet: Any, isolation: str) -> None:
    scripts = Scripts(roles_fleet)
    ids = await scripts.provisioned(2, isolation)
    scripts.query("T0001", "INSERT INTO {customers} VALUES (7)")
    scripts.write("1_notes.sql", NOTES, PLAN, INDEX)
    if not scripts.is_mysql:
        scripts.write("2_alone.sql", "CREATE INDEX CONCURRENTLY ${PREFIX}again ON ${PREFIX}customers (id);", alone=True)
    credentials = [Login(roles_fleet, tenant_id).told for tenant_id in ids]
    before = everything(scripts, ids), grants(scripts)
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 2, "passed")], report.text()
    assert clones(scripts) == []
    assert (everything(scripts, ids), grants(scripts)) == before
    assert [Login(roles_fleet, tenant_id).told for tenant_id in ids] == credentials
    assert failures(await scripts.migrate()) == {}


def grants(scripts: Scripts) -> Any:
    if scripts.is_mysql:
        return [sorted(scripts.fleet.query(f"SELECT * FROM mysql.{table}")) for table in ("db", "tables_priv")]
    sql = (
        "SELECT relname, relacl::text FROM pg_class UNION ALL SELECT nspname, nspacl::text FROM pg_namespace ORDER BY 1"
    )
    return [scripts.fleet.query(sql), scripts.fleet.query("SELECT rolname FROM pg_roles ORDER BY 1")]


@pytest.mark.parametrize("roles_fleet", ["postgresql"], indirect=True)
async def test_on_postgres_a_clone_is_the_owners_so_a_script_may_do_there_what_it_may_do_later(
    roles_fleet: Any,
) -> None:
    scripts = Scripts(roles_fleet)
    await scripts.provisioned(2)
    other = scripts.place("T0002")[1]
    scripts.write("1_steal.sql", f"DO 'BEGIN EXECUTE ''DROP TABLE {other}'' || ''.customers''; END';")
    report = await rehearse(scripts)
    assert [outcome for *_, outcome in outcomes(report)] == ["failed"]
    assert "permission denied for schema" in report.rehearsals[0].error
    assert scripts.columns("T0002") == ["id"]


@pytest.mark.parametrize("roles_fleet", ["postgresql"], indirect=True)
async def test_no_role_is_made_for_a_rehearsal(roles_fleet: Any) -> None:
    scripts = Scripts(roles_fleet)
    sink, roles_fleet.sink = roles_fleet.sink, None
    await scripts.provisioned(1)
    roles_fleet.sink = sink
    scripts.write("1_notes.sql", NOTES)
    before = grants(scripts)
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "not rehearsed")]
    assert "is not there yet: provision the tenant" in report.rehearsals[0].error
    assert grants(scripts) == before


async def test_a_script_that_names_a_schema_itself_is_not_rehearsed_for_it_would_be_done_for_good(
    scripts: Scripts,
) -> None:
    await scripts.provisioned(1)
    schema = scripts.place("T0001")[1]
    scripts.write(
        "1_named.sql", "-- dbgear:allow other-schema: for this test", f"CREATE TABLE {schema}.named (id INT);"
    )
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "not rehearsed")]
    assert "1_named.sql, line 3" in report.rehearsals[0].error
    scripts.write("1_named.sql", f"SELECT 'ALTER TABLE {schema}.customers ADD COLUMN named INT';")
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "not rehearsed")]
    assert "not by ${SCHEMA}" in report.rehearsals[0].error
    scripts.write("1_named.sql", "CREATE TABLE ${SCHEMA}.named (id INT);")
    assert outcomes(await rehearse(scripts)) == [("T0001/main", 1, "passed")]
    assert scripts.columns("T0001", "named") == []


async def test_what_cannot_be_cloned_is_named(scripts: Scripts) -> None:
    await scripts.provisioned(1)
    scripts.write("1_notes.sql", NOTES)
    schema = scripts.place("T0001")[1]
    if scripts.is_mysql:
        scripts.query("T0001", f"CREATE EVENT `{schema}`.nightly ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1")
        what = "event nightly"
    else:
        scripts.query("T0001", "CREATE POLICY mine ON {customers}")
        what = "policy mine of customers"
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "not rehearsed")]
    assert report.rehearsals[0].error == f"cannot be cloned: {what}"
    assert f"not rehearsed: cannot be cloned: {what}" in report.text()
    assert clones(scripts) == []


async def test_one_connection_is_too_few(scripts: Scripts, monkeypatch: pytest.MonkeyPatch) -> None:
    await scripts.provisioned(1)
    scripts.write("1_notes.sql", NOTES)
    target = scripts.fleet.target
    monkeypatch.setattr(scripts.fleet, "target", lambda: target(max_connections=1))
    with pytest.raises(SettingsError, match=r"targets\.main\.max_connections"):
        await rehearse(scripts)


async def test_a_server_that_cannot_be_swept_fails_its_groups_for_a_retry(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scripts.provisioned(2)
    scripts.write("1_notes.sql", NOTES)

    async def away(_: Any) -> None:
        raise ServerUnavailableError("target main: away")

    monkeypatch.setattr(type(scripts.fleet.target()), "drop_left_clones", away)
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 2, "failed")]
    with pytest.raises(TenantsRetryableError, match="away"):
        report.refuse_failed()
