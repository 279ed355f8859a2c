"""Migrations when connections are cut, workers killed and servers restarted: each script is applied exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from dbgear_airflow_provider.core.automation import migrate as runner
from dbgear_airflow_provider.core.engines import mysql, postgresql
from dbgear_airflow_provider.core.errors import ServerUnavailableError
from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres
from tests.integration.automation.migrating import INDEX, ISOLATIONS, NOTES, PLAN, Scripts, changed, failures
from tests.integration.automation.test_provision_mysql import REPOSITORY, until
from tests.servers import MariaDB

ROW = "INSERT INTO ${PREFIX}customers (id, plan) VALUES (1, 'a');"
MORE = "UPDATE ${PREFIX}customers SET id = id + 1;"
isolations = pytest.mark.parametrize("isolation", ISOLATIONS)
cuts = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


@pytest.fixture(params=["fleet", "mysql_fleet"])
def scripts(request: Any) -> Scripts:
    return Scripts(request.getfixturevalue(request.param))


@pytest.fixture
def on_postgres(fleet: Any) -> Scripts:
    return Scripts(fleet)


@pytest.fixture
def on_mariadb(mysql_fleet: Any) -> Scripts:
    return Scripts(mysql_fleet)


@contextlib.contextmanager
def cut(scripts: Scripts, at: int, *, after: bool) -> Iterator[list[str]]:
    """Collect what is executed; have somebody kill our session at one of them, once: before, or before the answer."""
    seen: list[str] = []

    class Wire(mysql.Wire):
        async def run(self, sql: str, *values: Any, told: str | None = None) -> Any:
            seen.append(sql)
            due = len(seen) == at
            if due and not after:
                scripts.fleet.query(f"KILL {self._raw.thread_id()}")
            rows = await super().run(sql, *values, told=told)
            if due and after:
                self.close()
                raise ServerUnavailableError("cut")
            return rows

    class Connection:
        def __init__(self, connection: Any) -> None:
            self._real = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        async def execute(self, sql: str) -> Any:
            seen.append(sql)
            due = len(seen) == at
            if due and not after:
                scripts.fleet.query(f"SELECT pg_terminate_backend({self._real.get_server_pid()}, 5000)")
            done = await self._real.execute(sql)
            if due and after:
                scripts.fleet.query(f"SELECT pg_terminate_backend({self._real.get_server_pid()}, 5000)")
                raise asyncpg.ConnectionDoesNotExistError("cut")
            return done

    made = postgresql.PostgresSession.__init__

    def wrapped(self: Any, connection: Any, server: str) -> None:
        made(self, Connection(connection), server)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mysql, "Wire", Wire)
        patch.setattr(postgresql.PostgresSession, "__init__", wrapped)
        yield seen


@cuts
@pytest.mark.parametrize(
    ("kind", "alone"), [("fleet", False), ("fleet", True), ("mysql_fleet", False)], ids=["pg", "pg-alone", "mariadb"]
)
@isolations
async def test_wherever_the_connection_is_cut_each_script_is_applied_once(
    request: Any, kind: str, alone: bool, isolation: str, after: bool
) -> None:
    scripts = Scripts(request.getfixturevalue(kind))
    every = 1 if isolation == "schema" else 5
    ids = await scripts.provisioned(65 // every, isolation)
    scripts.write("1_plan.sql", PLAN, ROW, INDEX, MORE, alone=alone)
    scripts.write("2_notes.sql", NOTES, "INSERT INTO ${PREFIX}notes VALUES (1);", alone=alone)
    positions = iter(range(1, 66, every))
    for tenant_id in ids:
        at = next(positions)
        with cut(scripts, at, after=after) as seen:
            results = await scripts.migrate(filters={"tenant_id": [tenant_id]})
        assert failures(results) == {}, (at, seen)
        assert scripts.ledger(tenant_id) == ["1", "2"]
        assert scripts.columns(tenant_id) == ["id", "plan"]
        assert scripts.indexes(tenant_id) == {"idx_plan"}
        assert scripts.query(tenant_id, "SELECT id, plan FROM {customers}") == [(2, "a")]
        assert scripts.query(tenant_id, "SELECT id FROM {notes}") == [(1,)]
        if len(seen) < at:
            return
    pytest.fail(f"{len(seen)} statements are more than tenants to cut them at")


@pytest.mark.parametrize("again", [1, 2, 3])
async def test_a_script_cut_between_a_statement_and_its_row_goes_on_behind_it(on_mariadb: Scripts, again: int) -> None:
    scripts = on_mariadb
    await scripts.provisioned(1)
    scripts.write("1_plan.sql", PLAN, INDEX, NOTES)
    words = ["ALTER", "CREATE INDEX", "CREATE TABLE"]
    with cut(scripts, 0, after=True) as dry:
        await scripts.migrate(retry_attempts=1, dry_run=True)
    assert not any(sql.startswith("ALTER") for sql in dry)

    class Wire(mysql.Wire):
        async def run(self, sql: str, *values: Any, told: str | None = None) -> Any:
            rows = await super().run(sql, *values, told=told)
            if sql.startswith(words[again - 1]):
                self.close()
                raise ServerUnavailableError("cut")
            return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mysql, "Wire", Wire)
        results = await scripts.migrate(retry_attempts=1)
    assert failures(results) == {"T0001": "ServerUnavailableError"}
    done, begun = {f"1 #{n}" for n in range(1, again)}, {f"1 #{n} begun" for n in range(1, again + 1)}
    assert set(scripts.ledger("T0001")) == done | begun
    with cut(scripts, 0, after=True) as seen:
        assert failures(await scripts.migrate()) == {}
    sent = [word for word in words if any(sql.startswith(word) for sql in seen)]
    assert sent == words[again - 1 :]
    assert scripts.ledger("T0001") == ["1"]
    assert scripts.indexes("T0001") == {"idx_plan"}


async def test_a_half_done_script_may_be_mended_where_it_failed_and_nowhere_else(on_mariadb: Scripts) -> None:
    scripts = on_mariadb
    await scripts.provisioned(1)
    path = scripts.write("1_plan.sql", PLAN, "ALTER TABLE ${PREFIX}customers ADD no_such;", NOTES)
    results = await scripts.migrate()
    assert failures(results) == {"T0001": "StatementError"}
    assert "1_plan.sql, line 3" in results[0].error
    assert scripts.ledger("T0001") == ["1 #1", "1 #1 begun"]  # the second statement is known not to be done
    good = path.read_text()
    path.write_text(good.replace("20", "40"))
    results = await scripts.migrate()
    assert failures(results) == {"T0001": "EditedMigrationError"}
    assert "1_plan.sql, line 2: statement 1 of version 1 was done, and was edited since" in results[0].error
    path.write_text(good.replace("no_such;", "seats INT;"))
    assert changed(await scripts.migrate()) == [1]
    assert scripts.columns("T0001") == ["id", "plan", "seats"]
    assert scripts.ledger("T0001") == ["1"]


async def test_what_was_there_before_is_no_success_of_the_script(on_mariadb: Scripts) -> None:
    scripts = on_mariadb
    await scripts.provisioned(1)
    scripts.query("T0001", "ALTER TABLE {customers} ADD plan INT")
    scripts.write("1_plan.sql", PLAN)
    for _ in range(2):
        assert failures(await scripts.migrate()) == {"T0001": "StatementError"}
        assert scripts.ledger("T0001") == []


@isolations
async def test_two_runs_at_once_apply_each_script_once(scripts: Scripts, isolation: str) -> None:
    ids = await scripts.provisioned(6, isolation)
    scripts.write("1_plan.sql", PLAN, ROW, MORE)
    scripts.write("2_notes.sql", NOTES)
    first, second = await asyncio.gather(*(scripts.migrate(retry_attempts=10) for _ in range(2)))
    assert failures([*first, *second]) == {}
    assert [a + b for a, b in zip(changed(first), changed(second), strict=True)] == [2] * 6
    for tenant_id in ids:
        assert scripts.ledger(tenant_id) == ["1", "2"]
        assert scripts.query(tenant_id, "SELECT id FROM {customers}") == [(2,)]


async def test_a_table_that_an_application_locks_is_given_up_in_time_and_migrated_later(
    scripts: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scripts.provisioned(3)
    scripts.write("1_notes.sql", NOTES, PLAN)
    monkeypatch.setattr(runner, "LOCK_S", 0.3)
    _, schema, _ = scripts.place("T0002")
    with contextlib.ExitStack() as stack:
        if scripts.is_mysql:
            holder = stack.enter_context(scripts.fleet.server.connect())
            holder.begin()
            holder.cursor().execute(f"SELECT * FROM `{schema}`.customers")
        else:
            holder = stack.enter_context(scripts.fleet.server.connect(scripts.fleet.database))
            holder.autocommit = False
            holder.execute(f'SELECT * FROM "{schema}".customers')
        results = await scripts.migrate(retry_attempts=2)
        assert failures(results) == {"T0002": "LockTimeoutError"}
        assert (results[1].details["transient"], results[1].details["attempts"]) == (True, 2)
        holder.rollback()
    assert changed(await scripts.migrate()) == [0, 1, 0]
    assert scripts.columns("T0002") == ["id", "plan"]


async def test_an_index_whose_building_was_killed_is_built_anew(on_postgres: Scripts) -> None:
    scripts = on_postgres
    await scripts.provisioned(1)
    scripts.write("1_plan.sql", PLAN)
    await scripts.migrate()
    scripts.write("2_index.sql", INDEX.replace("INDEX", "INDEX CONCURRENTLY"), alone=True)
    _, schema, _ = scripts.place("T0001")
    invalid = "SELECT 1 FROM pg_index WHERE NOT indisvalid"
    with scripts.fleet.server.connect(scripts.fleet.database) as holder:
        holder.autocommit = False
        holder.execute(f'INSERT INTO "{schema}".customers VALUES (5)')  # it waits for older transactions
        running = asyncio.create_task(scripts.migrate(retry_attempts=5))
        await until(lambda: scripts.fleet.query(invalid))
        scripts.fleet.query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE query LIKE 'CREATE INDEX CONC%' AND pid <> pg_backend_pid()"
        )
        assert scripts.fleet.query(invalid) == [(1,)]
        holder.commit()
    assert failures(await running) == {}
    assert scripts.fleet.query(invalid) == []
    assert scripts.indexes("T0001") == {"idx_plan"}
    assert scripts.ledger("T0001") == ["1", "2"]


WORKER = """
import asyncio, json, sys
from datetime import UTC, datetime
from pathlib import Path
from dbgear_airflow_provider.core.automation.migrate import migrate_instance
from dbgear_airflow_provider.core.automation.provision import Instance
from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, ServerAddress
from dbgear_airflow_provider.core.isolation import place
from dbgear_airflow_provider.core.migrations import MigrationSet, Names
from dbgear_airflow_provider.core.tenants import TenantInfo

given = json.loads(sys.stdin.read())
now = datetime.now(UTC)
tenant = TenantInfo(tenant_id="T0001", customer_name="a", customer_code=given["code"], region="jp", tier="basic",
                    status="active", created_at=now, updated_at=now, isolation_strategy=given["isolation"])

async def main():
    kind = MySQLServer if given["mysql"] else PostgresServer
    server = kind("main", ServerAddress(**given["address"]), shared_schema=given["shared"])
    await server.ready()
    where = place(tenant, "main", server)
    instance = Instance(tenant_id="T0001", name="main", place=where, document={}, template="")
    scripts = MigrationSet.load(Path(given["folder"]), dialect=server.dialect)
    done = await migrate_instance(instance, server, scripts, Names(where, tenant, "main"), dry_run=False, attempt=10)
    await server.aclose()
    print(json.dumps(done.versions), flush=True)

asyncio.run(main())
"""


async def worker(scripts: Scripts) -> asyncio.subprocess.Process:
    fleet = scripts.fleet
    address = {key: getattr(fleet.server, key) for key in ("host", "port", "user", "password")}
    given = {
        "address": {**address, "database": "" if scripts.is_mysql else fleet.database},
        "mysql": scripts.is_mysql,
        "shared": fleet.shared,
        "code": f"t0001_{fleet.database}",
        "isolation": scripts.isolation,
        "folder": str(scripts.folder),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    return process


@pytest.mark.parametrize("alone", [False, True], ids=["transaction", "alone"])
@isolations
async def test_a_worker_that_is_killed_in_a_statement_leaves_what_the_next_one_ends(
    scripts: Scripts, isolation: str, alone: bool
) -> None:
    await scripts.provisioned(1, isolation)
    scripts.write("1_plan.sql", NOTES, PLAN, ROW, alone=alone)
    database, schema, prefix = scripts.place("T0001")
    with contextlib.ExitStack() as stack:
        if scripts.is_mysql:
            holder = stack.enter_context(scripts.fleet.server.connect())
            holder.begin()
            holder.cursor().execute(f"SELECT * FROM `{schema}`.{prefix}customers")
            waiting = "SELECT 1 FROM information_schema.PROCESSLIST WHERE INFO LIKE 'ALTER TABLE%%'"
        else:
            holder = stack.enter_context(scripts.fleet.server.connect(database or scripts.fleet.database))
            holder.autocommit = False
            holder.execute(f'SELECT * FROM "{schema}".{prefix}customers')
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
        process = await worker(scripts)
        await until(lambda: scripts.fleet.query(waiting.replace("%%", "%"), database))
        process.kill()
        await process.wait()
        holder.rollback()
    output, _ = await (await worker(scripts)).communicate()
    # The server ends a transaction that it has whole, and who sent it is missed only afterwards.
    assert json.loads(output) in (["1"], []) if not (alone or scripts.is_mysql) else json.loads(output) == ["1"]
    assert scripts.ledger("T0001") == ["1"]
    assert scripts.columns("T0001") == ["id", "plan"]
    assert scripts.columns("T0001", "notes") == ["id"]
    assert scripts.query("T0001", "SELECT id FROM {customers}") == [(1,)]
    output, _ = await (await worker(scripts)).communicate()
    assert json.loads(output) == []


async def test_a_server_that_is_restarted_in_the_middle_loses_nothing(short_dir: Path, make_fleet: Any) -> None:
    with EmbeddedPostgres(short_dir / "pg") as server:
        server.create_database("tenants")
        scripts = Scripts(make_fleet(server, "tenants"))
        ids = await scripts.provisioned(30)
        scripts.write("1_plan.sql", PLAN, ROW, INDEX)
        with server.connect("tenants") as holder:
            holder.autocommit = False
            holder.execute(f'SELECT * FROM "{scripts.place("T0015")[1]}".customers')
            running = asyncio.create_task(scripts.migrate(retry_attempts=10))
            await until(lambda: scripts.fleet.query("SELECT 1 FROM pg_locks WHERE NOT granted"))
            await asyncio.to_thread(server.crash)
            holder.close()
        await asyncio.to_thread(server.restart)
        assert failures(await running) == {}
        for tenant_id in ids:
            assert scripts.ledger(tenant_id) == ["1"]
            assert scripts.query(tenant_id, "SELECT id FROM {customers}") == [(1,)]


async def test_a_mariadb_that_is_restarted_in_the_middle_loses_nothing(make_mysql_fleet: Any) -> None:
    with MariaDB.running() as server:
        scripts = Scripts(make_mysql_fleet(server))
        ids = await scripts.provisioned(30)
        scripts.write("1_plan.sql", PLAN, ROW, INDEX)
        holder = server.connect()
        holder.begin()
        holder.cursor().execute(f"SELECT * FROM `{scripts.place('T0015')[1]}`.customers")
        running = asyncio.create_task(scripts.migrate(retry_attempts=10))
        waiting = "SELECT 1 FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for table metadata lock'"
        await until(lambda: scripts.fleet.query(waiting))
        await asyncio.to_thread(server.crash)
        holder.close()
        await asyncio.to_thread(server.start)
        assert failures(await running) == {}
        for tenant_id in ids:
            assert scripts.ledger(tenant_id) == ["1"]
            assert scripts.query(tenant_id, "SELECT id FROM {customers}") == [(1,)]
            assert scripts.indexes(tenant_id) == {"idx_plan"}


async def test_of_300_tenants_one_breaks_and_alone_runs_again(scripts: Scripts) -> None:
    ids = await scripts.provisioned(300)
    scripts.query("T0150", "INSERT INTO {customers} VALUES (1)")
    scripts.write("1_plan.sql", PLAN, ROW)
    results = await scripts.migrate("run")
    assert failures(results) == {"T0150": "StatementError"}
    assert changed([item for item in results if item.tenant_id != "T0150"]) == [1] * 299
    assert "1" not in scripts.ledger("T0150")
    scripts.query("T0150", "DELETE FROM {customers}")
    assert [item.tenant_id for item in await scripts.migrate("run")] == ["T0150"]
    assert all(scripts.ledger(tenant_id) == ["1"] for tenant_id in ids)
