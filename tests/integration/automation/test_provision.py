"""Provisioning on a real server: what is there afterwards, whatever happened on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation import OperationStatus


def schema_of(fleet: Any, tenant_id: str, instance: str = "main") -> str:
    return f"{tenant_id.lower()}_{fleet.database}_jp_{instance}"


async def provision(fleet: Any, ids: list[str], *, dry_run: bool = False, run_id: str | None = None, **options: Any):
    async with fleet.engine(run_id, **options) as engine:
        return await engine.bulk_provision_tenants({"tenant_id": ids}, dry_run=dry_run)


def failures(results: Any) -> dict[str, str]:
    return {item.tenant_id: item.details["error_kind"] for item in results if item.status is OperationStatus.ERROR}


async def test_each_instance_gets_its_objects_in_a_schema_of_its_own(fleet):
    ids = fleet.tenants(3, instances="main,test")
    results = await provision(fleet, ids)
    assert failures(results) == {}
    assert [result.tenant_id for result in results] == ids
    catalog = fleet.catalog()
    assert set(catalog) == {schema_of(fleet, id_, name) for id_ in ids for name in ("main", "test")}
    for schema, objects in catalog.items():
        text = "\n".join(objects)
        for name in (
            "r customers ",
            "r orders ",
            "r dbgear_migrations ",
            "i orders_idx_customer ",
            "fk_orders_customers",
        ):
            assert name in text, (schema, name)
    schema = schema_of(fleet, "T0002")
    fleet.query(f'INSERT INTO "{schema}".customers DEFAULT VALUES')
    assert fleet.query(f'SELECT tenant_id FROM "{schema}".customers') == [("T0002",)]
    assert fleet.query(f"SELECT obj_description('\"{schema}\".orders'::regclass)") == [("注文",)]


async def test_each_instance_gets_a_database_of_its_own(fleet):
    ids = fleet.tenants(2, isolation="database", instances="main,test")
    assert failures(await provision(fleet, ids)) == {}
    assert fleet.databases() == {schema_of(fleet, id_, name) for id_ in ids for name in ("main", "test")}
    assert set(fleet.catalog(schema_of(fleet, "T0001", "test"))) == {"test"}
    assert fleet.catalog() == {}  # nothing in the shared database


@pytest.mark.parametrize("isolation", ["schema", "database"])
async def test_a_second_time_changes_nothing(fleet, isolation):
    ids = fleet.tenants(3, isolation=isolation)
    await provision(fleet, ids)
    where = fleet.database if isolation == "schema" else schema_of(fleet, "T0001")
    schema = schema_of(fleet, "T0001") if isolation == "schema" else "main"
    ledger = f'SELECT xmin::text, * FROM "{schema}".dbgear_migrations'
    before = fleet.catalog(where), fleet.query(ledger, where)
    results = await provision(fleet, ids)
    assert [result.details["created"] for result in results] == [0, 0, 0]
    assert (fleet.catalog(where), fleet.query(ledger, where)) == before


@pytest.mark.parametrize("isolation", ["schema", "database"])
async def test_a_dry_run_tells_the_exact_statements_and_changes_nothing(fleet, isolation):
    ids = fleet.tenants(1, isolation=isolation)
    (result,) = await provision(fleet, ids, dry_run=True)
    assert fleet.catalog() == {}
    assert fleet.databases() == set()
    statements = result.details["instances"]["main"]["statements"]

    await provision(fleet, ids)
    where = fleet.database if isolation == "schema" else schema_of(fleet, "T0001")
    schema = schema_of(fleet, "T0001") if isolation == "schema" else "main"

    def shape() -> list[str]:
        return [" ".join(part for part in text.split() if not part.isdigit()) for text in fleet.catalog(where)[schema]]

    by_us = shape()
    if isolation == "schema":
        fleet.query(f'DROP SCHEMA "{schema}" CASCADE')
    else:
        fleet.server.drop_database(where)
        assert statements.pop(0) == f'CREATE DATABASE "{where}"'
        fleet.server.create_database(where)
    for statement in statements:
        fleet.query(statement, where)
    assert shape() == by_us

    # The ledger's row was among them: the tenant is provisioned as if by us.
    (again,) = await provision(fleet, ids, dry_run=True)
    assert again.details["instances"]["main"]["statements"] == []


async def test_a_dry_run_of_what_is_there_has_no_statements(fleet):
    ids = fleet.tenants(1)
    await provision(fleet, ids)
    (result,) = await provision(fleet, ids, dry_run=True)
    assert result.details["instances"]["main"]["statements"] == []


async def test_one_tenant_that_the_server_refuses_stops_no_other_and_leaves_nothing(fleet):
    ids = fleet.tenants(5)
    fleet.configure("T0003", {"first_day": "2026-02-30"})
    results = await provision(fleet, ids)
    assert failures(results) == {"T0003": "StatementError"}
    error = results[2].error
    assert "target main" in error
    assert "2026-02-30" in error
    assert "CREATE TABLE" in error  # the statement that was refused, not the first of the script
    assert "orders" in error
    assert set(fleet.catalog()) == {schema_of(fleet, id_) for id_ in ids if id_ != "T0003"}

    fleet.configure("T0003", {})
    assert failures(await provision(fleet, ids)) == {}
    assert len(fleet.catalog()) == 5


async def test_a_failed_database_is_finished_by_the_next_run(fleet):
    ids = fleet.tenants(1, isolation="database")
    fleet.configure("T0001", {"first_day": "2026-02-30"})
    assert failures(await provision(fleet, ids)) == {"T0001": "StatementError"}
    name = schema_of(fleet, "T0001")
    assert fleet.catalog(name) == {}  # at the worst an empty database
    fleet.configure("T0001", {})
    assert failures(await provision(fleet, ids)) == {}
    assert set(fleet.catalog(name)) == {"main"}


async def test_what_another_made_is_never_touched(fleet):
    ids = fleet.tenants(3)
    schema = schema_of(fleet, "T0002")
    fleet.query(f'CREATE SCHEMA "{schema}"')
    fleet.query(f'CREATE TABLE "{schema}".precious (id int)')
    before = fleet.catalog()[schema]
    results = await provision(fleet, ids)
    assert failures(results) == {"T0002": "OwnershipError"}
    assert schema in results[1].error
    assert fleet.catalog()[schema] == before


async def test_an_empty_schema_that_is_there_is_taken_over(fleet):
    ids = fleet.tenants(1)
    fleet.query(f'CREATE SCHEMA "{schema_of(fleet, "T0001")}"')
    assert failures(await provision(fleet, ids)) == {}


async def test_a_schema_of_another_tenant_is_never_touched(fleet):
    code = f"same_{fleet.database}"
    fleet.write([["A", code, "schema", "main"]])
    assert failures(await provision(fleet, ["A"])) == {}
    fleet.write([["B", code, "schema", "main"]])
    (result,) = await provision(fleet, ["B"])
    assert result.details["error_kind"] == "OwnershipError"
    assert "A (main)" in result.error


async def test_tenants_that_would_share_a_name_are_not_touched(fleet):
    code = f"same_{fleet.database}"
    fleet.write([["A", code, "schema", "main"], ["B", code.upper(), "schema", "main"], ["C", "c", "schema", "main"]])
    results = await provision(fleet, ["A", "B", "C"])
    assert failures(results) == {"A": "NameClashError", "B": "NameClashError"}
    assert set(fleet.catalog()) == {"c_jp_main"}


async def test_a_changed_document_gets_its_new_objects_and_is_told(fleet):
    ids = fleet.tenants(1)
    await provision(fleet, ids)
    schema = schema_of(fleet, "T0001")
    fleet.query(f'INSERT INTO "{schema}".customers DEFAULT VALUES')
    added = """      notes:
        displayName: notes
        columns:
          - {columnName: id, displayName: id, columnType: INT, nullable: false, primaryKey: 1}
"""
    fleet.template.write_text(fleet.template.read_text().rstrip("\n") + "\n" + added)
    (result,) = await provision(fleet, ids)
    assert result.details["created"] == 1
    assert result.details["instances"]["main"]["document_changed"] is True
    assert fleet.query(f'SELECT count(*) FROM "{schema}".customers') == [(1,)]
    (result,) = await provision(fleet, ids)
    assert result.details["instances"]["main"]["document_changed"] is False


async def test_a_dropped_index_comes_back(fleet):
    ids = fleet.tenants(1)
    await provision(fleet, ids)
    fleet.query(f'DROP INDEX "{schema_of(fleet, "T0001")}".orders_idx_customer')
    (result,) = await provision(fleet, ids)
    assert result.details["created"] == 1
    assert any("idx_customer" in text for text in fleet.catalog()[schema_of(fleet, "T0001")])


async def test_two_runs_at_once_do_nothing_twice(fleet):
    ids = fleet.tenants(12)
    first, second = await asyncio.gather(provision(fleet, ids), provision(fleet, ids))
    assert failures(first) == failures(second) == {}
    created = [(a.details["created"], b.details["created"]) for a, b in zip(first, second, strict=True)]
    assert all(min(pair) == 0 < max(pair) for pair in created)


async def test_two_runs_at_once_on_databases_of_their_own(fleet):
    ids = fleet.tenants(3, isolation="database")
    first, second = await asyncio.gather(provision(fleet, ids), provision(fleet, ids))
    assert failures(first) == failures(second) == {}
    assert len(fleet.databases()) == 3


async def test_a_tenant_that_somebody_holds_is_waited_for_and_then_given_up(fleet, monkeypatch):
    monkeypatch.setattr("dbgear_airflow_provider.core.automation.instance.LOCK_S", 0.1)
    ids = fleet.tenants(3)
    async with fleet.engine() as holder:
        from dbgear_airflow_provider.core.engines import Timeouts

        server = holder.servers["main"]
        name = f"{fleet.database}.{schema_of(fleet, 'T0002')}"
        timeouts = Timeouts(lock_s=5, statement_s=5)
        async with server.session(fleet.database) as session, session.locked(name, timeouts):
            results = await provision(fleet, ids, retry_attempts=2)
    assert failures(results) == {"T0002": "LockTimeoutError"}
    assert results[1].details["attempts"] == 2
    assert results[1].details["transient"] is True
    assert failures(await provision(fleet, ids)) == {}


async def test_a_tenant_that_takes_too_long_is_cut_off_and_leaves_nothing(fleet):
    ids = fleet.tenants(3)
    slow_down(fleet, "T0002", seconds=30)
    results = await provision(fleet, ids, operation_timeout=1.5)
    assert failures(results) == {"T0002": "OperationTimeoutError"}
    assert results[1].duration < 10
    assert schema_of(fleet, "T0002") not in fleet.catalog()
    fleet.query("DROP EVENT TRIGGER slow")
    assert failures(await provision(fleet, ids)) == {}


async def test_a_connection_that_is_cut_is_made_again(fleet):
    ids = fleet.tenants(3)
    slow_down(fleet, "T0002", seconds=3)
    running = asyncio.create_task(provision(fleet, ids))
    await until(lambda: fleet.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    fleet.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    fleet.query("DROP EVENT TRIGGER slow")
    results = await running
    assert failures(results) == {}
    assert results[1].details["attempts"] == 2
    assert len(fleet.catalog()) == 3


async def test_a_run_that_goes_on_does_only_what_is_left(fleet):
    ids = fleet.tenants(4)
    fleet.configure("T0002", {"first_day": "no date"})
    assert failures(await provision(fleet, ids, run_id="run")) == {"T0002": "StatementError"}
    fleet.configure("T0002", {})
    results = await provision(fleet, ids, run_id="run")
    assert [result.tenant_id for result in results] == ["T0002"]
    assert failures(results) == {}
    # Another run begins anew.
    assert len(await provision(fleet, ids, run_id="another")) == 4


async def test_cancelling_rolls_back_what_runs_and_starts_nothing_further(fleet):
    fleet.tenants(20)
    slow_down(fleet, "T0001", seconds=30)
    async with fleet.engine() as engine:
        running = asyncio.create_task(engine.bulk_provision_tenants({}, dry_run=False, parallel_limit=1))
        await until(lambda: fleet.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert fleet.catalog() == {}
    assert fleet.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == []


def slow_down(fleet: Any, tenant_id: str, *, seconds: float) -> None:
    """Make the server sleep in the middle of one tenant's DDL."""
    schema = schema_of(fleet, tenant_id)
    fleet.query(
        f"""
        CREATE FUNCTION public.slow() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands()
                        WHERE schema_name = '{schema}' AND object_identity LIKE '%orders') THEN
                PERFORM pg_sleep({seconds});
            END IF;
        END $$
        """
    )
    fleet.query("CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION slow()")


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  the condition is the server's, which tells nobody
            await asyncio.sleep(0.02)


TWO_SCHEMAS = """
schemas:
  {{ tenant | schema_name(instance) }}:
    tables:
      users: {columns: [{columnName: id, columnType: INT, primaryKey: 1}]}
  audit:
    tables:
      events: {columns: [{columnName: id, columnType: INT, primaryKey: 1}]}
"""


async def test_a_second_schema_of_a_document_stands_beside_the_first(fleet):
    ids = fleet.tenants(1)
    fleet.template.write_text(TWO_SCHEMAS)
    assert failures(await provision(fleet, ids)) == {}
    main = schema_of(fleet, "T0001")
    assert set(fleet.catalog()) == {main, f"{main}_audit"}
    (result,) = await provision(fleet, ids)
    assert result.details["created"] == 0


async def test_a_second_schema_that_is_anothers_is_never_touched(fleet):
    fleet.write([["A", f"a_{fleet.database}", "schema", "main"]])
    main = f"a_{fleet.database}_jp_main"
    fleet.query(f'CREATE SCHEMA "{main}_audit" CREATE TABLE events (id int)')
    fleet.template.write_text(TWO_SCHEMAS)
    (result,) = await provision(fleet, ["A"])
    assert result.details["error_kind"] == "OwnershipError"
    assert f"{main}_audit" in result.error
    assert main not in fleet.catalog()


PROCEDURE = """
    procedures:
      close_day: {displayName: close, body: "BEGIN SET @closed = 1; END"}
"""


async def test_what_the_engine_cannot_hold_fails_the_tenant_or_is_left_out_and_told(fleet):
    ids = fleet.tenants(1)
    fleet.template.write_text(fleet.template.read_text() + PROCEDURE.removeprefix("\n"))
    (refused,) = await provision(fleet, ids)
    assert refused.details["error_kind"] == "UnsupportedError"
    assert "close_day" in refused.error
    assert fleet.catalog() == {}

    (done,) = await provision(fleet, ids, on_unsupported="warn")
    assert done.status is OperationStatus.SUCCESS
    (warning,) = done.details["instances"]["main"]["warnings"]
    assert "close_day" in warning
    assert any("r customers " in text for text in fleet.catalog()[schema_of(fleet, "T0001")])
