"""Provisioning where each DDL statement stands when it is done: what is there afterwards, whatever happened."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation import OperationStatus
from dbgear_airflow_provider.core.automation.provision import BEGUN
from dbgear_airflow_provider.core.engines import Timeouts
from tests.servers.mariadb import MySQLServer as RunningMySQL

REPOSITORY = Path(__file__).parents[3]
both = pytest.mark.parametrize("isolation", ["schema", "database"])


def name_of(fleet: Any, tenant_id: str, instance: str = "main") -> str:
    return f"{tenant_id.lower()}_{fleet.database}_jp_{instance}"


async def provision(fleet: Any, ids: list[str], *, dry_run: bool = False, run_id: str | None = None, **options: Any):
    async with fleet.engine(run_id, **options) as engine:
        return await engine.bulk_provision_tenants({"tenant_id": ids}, dry_run=dry_run)


def failures(results: Any) -> dict[str, str]:
    return {item.tenant_id: item.details["error_kind"] for item in results if item.status is OperationStatus.ERROR}


def ledger(fleet: Any, name: str, prefix: str = "") -> list[tuple[Any, ...]]:
    return fleet.query(f"SELECT version, tenant_id, instance, checksum FROM `{name}`.{prefix}dbgear_migrations")


def tables(fleet: Any, name: str) -> set[str]:
    return {table for (table,) in fleet.query(f"SHOW TABLES FROM `{name}`")}


@both
async def test_each_instance_gets_its_objects_in_a_database_of_its_own(mysql_fleet, isolation):
    fleet = mysql_fleet
    ids = fleet.tenants(3, isolation=isolation, instances="main,test")
    results = await provision(fleet, ids)
    assert failures(results) == {}
    assert fleet.databases() == {name_of(fleet, id_, instance) for id_ in ids for instance in ("main", "test")}
    for texts in fleet.catalog().values():
        text = "\n".join(texts)
        assert "idx_customer" in text
        assert "FOREIGN KEY (`customer_id`) REFERENCES `customers` (`id`)" in text
        assert "`customer_id`,`ordered_on` DESC" in text
        assert "COMMENT='注文'" in text
    name = name_of(fleet, "T0002")
    fleet.query(f"INSERT INTO `{name}`.customers () VALUES ()")
    assert fleet.query(f"SELECT id, tenant_id FROM `{name}`.customers") == [(1, "T0002")]
    details = results[1].details["instances"]["main"]
    assert (details["database"], details["schema"], details["isolation"]) == (name, name, isolation)
    assert ledger(fleet, name) == [("provision", "T0002", "main", details["checksum"])]
    (charset,) = fleet.query(
        f"SELECT DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '{name}'"
    )
    assert charset == ("utf8mb4",)


@both
async def test_a_name_is_cut_at_64_characters_not_bytes(mysql_fleet, isolation):
    fleet = mysql_fleet
    code = "顧客" * 20  # 120 bytes
    fleet.write(
        [["A", f"{code}{fleet.database}", isolation, "main"], ["B", f"{fleet.database}{code}x", isolation, "main"]]
    )
    results = await provision(fleet, ["A", "B"])
    assert failures(results) == {}
    names = [result.details["instances"]["main"]["database"] for result in results]
    assert names[0] == f"{code}{fleet.database}_jp_main"
    fleet.write([["C", f"{fleet.database}{code}{code}", isolation, "main"]])
    (result,) = await provision(fleet, ["C"])
    names.append(result.details["instances"]["main"]["database"])
    assert len(names[2]) == 64
    assert fleet.databases() == set(names)
    (again,) = await provision(fleet, ["C"])
    assert again.details["created"] == 0


@both
async def test_a_second_time_changes_nothing(mysql_fleet, isolation):
    fleet = mysql_fleet
    ids = fleet.tenants(3, isolation=isolation)
    await provision(fleet, ids)
    rows = f"SELECT * FROM `{name_of(fleet, 'T0001')}`.dbgear_migrations"
    before = fleet.catalog(), fleet.query(rows)
    await asyncio.sleep(1.1)  # the catalog's times are in seconds
    results = await provision(fleet, ids)
    assert [result.details["created"] for result in results] == [0, 0, 0]
    assert (fleet.catalog(), fleet.query(rows)) == before


@both
async def test_an_empty_database_of_another_character_set_is_not_taken(mysql_fleet, isolation):
    fleet = mysql_fleet
    ids = fleet.tenants(2, isolation=isolation)
    name = name_of(fleet, "T0001")
    fleet.query(f"CREATE DATABASE `{name}` CHARACTER SET latin1")
    for dry_run in (True, False):
        results = await provision(fleet, ids, dry_run=dry_run)
        assert failures(results) == {"T0001": "UnsupportedError"}
        assert f"{name} on target main has the character set latin1" in results[0].error
        assert tables(fleet, name) == set()
    fleet.query(f"ALTER DATABASE `{name}` CHARACTER SET utf8mb4")
    assert failures(await provision(fleet, ids)) == {}
    # What is the tenant's own stays so, whatever is done to its default.
    fleet.query(f"ALTER DATABASE `{name}` CHARACTER SET latin1")
    assert failures(await provision(fleet, ids)) == {}


@both
async def test_a_dry_run_tells_the_exact_statements_and_changes_nothing(mysql_fleet, isolation):
    fleet = mysql_fleet
    ids = fleet.tenants(1, isolation=isolation)
    (result,) = await provision(fleet, ids, dry_run=True)
    assert fleet.databases() == set()
    statements = result.details["instances"]["main"]["statements"]
    name = name_of(fleet, "T0001")
    assert statements[0].startswith(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4 COLLATE utf8mb4_")
    assert "dbgear_migrations" in statements[1]
    assert f"'{BEGUN}" in statements[2]
    assert statements[-1].startswith("UPDATE")

    with executed(fleet) as seen:
        await provision(fleet, ids)
    assert seen == statements

    def shape() -> list[str]:
        return [text for text in fleet.catalog(name)[name] if text.startswith("CREATE")]

    by_us, rows = shape(), ledger(fleet, name)
    fleet.server.drop_database(name)
    for statement in statements:
        fleet.query(statement)
    assert (shape(), ledger(fleet, name)) == (by_us, rows)
    # The ledger's row was among them: the tenant is provisioned as if by us.
    (again,) = await provision(fleet, ids, dry_run=True)
    assert again.details["instances"]["main"]["statements"] == []


async def test_thirty_tenants_at_once(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(30, instances="main,test")
    first, second = await asyncio.gather(provision(fleet, ids), provision(fleet, ids))
    assert failures(first) == failures(second) == {}
    assert len(fleet.databases()) == 60
    created = [(a.details["created"], b.details["created"]) for a, b in zip(first, second, strict=True)]
    assert {sum(pair) for pair in created} == {2 * 6}  # nothing twice: two instances of six objects


BAD_DAY = {"first_day": "2026-02-30"}


@both
async def test_a_statement_that_the_server_refuses_leaves_what_the_next_run_completes(mysql_fleet, isolation):
    fleet = mysql_fleet
    ids = fleet.tenants(3, isolation=isolation)
    fleet.configure("T0002", BAD_DAY)
    results = await provision(fleet, ids)
    assert failures(results) == {"T0002": "StatementError"}
    assert "2026-02-30" in results[1].error or "ordered_on" in results[1].error
    assert "CREATE TABLE" in results[1].error
    name = name_of(fleet, "T0002")
    assert tables(fleet, name) == {"customers", "dbgear_migrations"}
    ((_, tenant_id, _, checksum),) = ledger(fleet, name)
    assert tenant_id == "T0002"
    assert checksum.startswith(BEGUN)
    before = [text for text in fleet.catalog(name)[name] if "customers" in text]

    # A dry run shows what is left, and the document is another one now.
    fleet.configure("T0002", {})
    (planned,) = await provision(fleet, ["T0002"], dry_run=True)
    statements = planned.details["instances"]["main"]["statements"]
    assert [text.split()[:2] for text in statements if text.startswith("CREATE")] == [
        ["CREATE", "TABLE"],
        ["CREATE", "INDEX"],
    ]
    assert ".orders" in statements[0].replace("`", "")
    with executed(fleet) as seen:
        (result,) = await provision(fleet, ["T0002"])
    assert seen == statements
    assert failures([result]) == {}
    assert result.details["instances"]["main"]["document_changed"] is True
    assert ledger(fleet, name)[0][3] == result.details["instances"]["main"]["checksum"]
    assert [text for text in fleet.catalog(name)[name] if "customers" in text and "orders" not in text] == before
    (again,) = await provision(fleet, ["T0002"])
    assert again.details["created"] == 0
    assert again.details["instances"]["main"]["document_changed"] is False


@pytest.mark.parametrize("stop_at", range(1, 9))
async def test_wherever_the_connection_is_cut_the_retry_goes_on_and_does_nothing_twice(mysql_fleet, stop_at):
    fleet = mysql_fleet
    ids = fleet.tenants(1)
    with executed(fleet, cut_before=stop_at) as seen:
        (result,) = await provision(fleet, ids)
    assert failures([result]) == {}
    assert result.details["attempts"] == 2
    # Every statement once but the one that was cut, which came again.
    assert len(seen) == len(set(seen)) + 1
    name = name_of(fleet, "T0001")
    assert ledger(fleet, name)[0][3] == result.details["instances"]["main"]["checksum"]
    (again,) = await provision(fleet, ids, dry_run=True)
    assert again.details["instances"]["main"]["statements"] == []


async def test_a_connection_that_is_killed_in_a_statement_is_made_again(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(2)
    async with held_back(fleet, ids) as (running, waiting):
        (thread,) = await until(waiting)
        fleet.query(f"KILL {thread}")
        await until(lambda: set(waiting()) - {thread})
    results = await running
    assert failures(results) == {}
    assert [result.details["created"] for result in results] == [2, 0]
    assert results[0].details["attempts"] == 2


async def test_cancelling_ends_the_statement_on_the_server(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(1)
    async with held_back(fleet, ids) as (running, waiting):
        await until(waiting)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: not waiting())
    (result,) = await provision(fleet, ids)
    assert result.details["created"] == 2  # the statement did not go on after us


async def test_a_tenant_that_takes_too_long_is_cut_off(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(2)
    async with held_back(fleet, ids, operation_timeout=1.5) as (running, waiting):
        results = await running
        assert failures(results) == {"T0001": "OperationTimeoutError"}
        assert results[0].duration < 10
        await until(lambda: not waiting())
    (result, _) = await provision(fleet, ids)
    assert result.details["created"] == 2


WORKER = """
import asyncio, json, sys
from dbgear_airflow_provider.core.automation.instance import Instance
from dbgear_airflow_provider.core.automation.provision import provision_instance
from dbgear_airflow_provider.core.engines import MySQLServer, ServerAddress
from dbgear_airflow_provider.core.isolation import Place

given = json.loads(sys.stdin.read())

async def main():
    server = MySQLServer("main", ServerAddress(**given["address"]))
    place = Place(target="main", database=given["name"], schema=given["name"], prefix=given["prefix"],
                  isolation="table" if given["prefix"] else "database", schemas_are_databases=True)
    instance = Instance(tenant_id="T1", name="main", place=place, document=given["document"], template="t")
    print("begin", flush=True)
    await provision_instance(instance, server, dry_run=False)
    print("end", flush=True)

asyncio.run(main())
"""


TABLES = 120  # so many that the worker is not done when it is killed


@pytest.mark.parametrize(("prefix", "after"), [("", 1), ("", 7), ("", 18), ("x_jp_main_", 1), ("x_jp_main_", 12)])
async def test_a_worker_that_is_killed_leaves_what_the_next_one_completes(mysql_fleet, prefix, after):
    fleet = mysql_fleet
    name = f"t1_{fleet.database}_jp_main"
    document = {"schemas": {"s": {"tables": {f"t{number:03}": table() for number in range(TABLES)}}}}
    address = {key: getattr(fleet.server, key) for key in ("host", "port", "user", "password")} | {"database": ""}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps({"name": name, "prefix": prefix, "document": document, "address": address}).encode())
    process.stdin.close()
    count = f"SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{name}'"
    await until(lambda: fleet.query(count)[0][0] >= after, pause_s=0)
    process.kill()
    await process.wait()
    left = fleet.query(count)[0][0]
    assert after <= left <= TABLES

    outcome = await provision_document(fleet, name, document, prefix=prefix)
    assert outcome.created <= TABLES - left + 1
    assert fleet.query(f"{count} AND TABLE_NAME LIKE '{prefix}%'") == [(TABLES + 1,)]
    assert ledger(fleet, name, prefix) == [("provision", "T1", "main", outcome.checksum)]
    assert (await provision_document(fleet, name, document, prefix=prefix)).statements == []


async def test_a_tenant_that_somebody_holds_is_waited_for_and_then_given_up(mysql_fleet, monkeypatch):
    fleet = mysql_fleet
    monkeypatch.setattr("dbgear_airflow_provider.core.automation.instance.LOCK_S", 0.1)
    ids = fleet.tenants(3)
    name = name_of(fleet, "T0002")
    holder = fleet.target()
    timeouts = Timeouts(lock_s=5, statement_s=5)
    async with holder.session("") as session:
        async with session.locked(f"{name}.{name}", timeouts):
            results = await provision(fleet, ids, retry_attempts=2)
        assert failures(results) == {"T0002": "LockTimeoutError"}
        assert results[1].details["attempts"] == 2
        assert results[1].details["transient"] is True
        assert name not in fleet.databases()
        assert failures(await provision(fleet, ids)) == {}
    await holder.aclose()


async def test_an_object_that_somebody_holds_is_waited_for_and_then_given_up(mysql_fleet, monkeypatch):
    fleet = mysql_fleet
    monkeypatch.setattr("dbgear_airflow_provider.core.automation.instance.LOCK_S", 0.1)
    ids = fleet.tenants(1)
    name = name_of(fleet, "T0001")
    await provision(fleet, ids)
    fleet.query(f"ALTER TABLE `{name}`.orders DROP FOREIGN KEY fk_orders_customers")
    reader = fleet.server.connect()
    with reader.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT * FROM `{name}`.orders")
    (result,) = await provision(fleet, ids, retry_attempts=1)
    assert failures([result]) == {"T0001": "LockTimeoutError"}
    reader.close()
    (result,) = await provision(fleet, ids)
    assert result.details["created"] == 1


@both
async def test_what_another_made_is_never_touched(mysql_fleet, isolation):
    fleet = mysql_fleet
    ids = fleet.tenants(3, isolation=isolation)
    name = name_of(fleet, "T0002")
    fleet.query(f"CREATE DATABASE `{name}`")
    fleet.query(f"CREATE TABLE `{name}`.precious (id int)")
    before = fleet.catalog()[name]
    results = await provision(fleet, ids)
    assert failures(results) == {"T0002": "OwnershipError"}
    assert f"{name} on target main holds" in results[1].error
    assert fleet.catalog()[name] == before


async def test_an_empty_database_is_taken_over_and_so_is_a_ledger_that_was_not_filled(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(2)
    fleet.query(f"CREATE DATABASE `{name_of(fleet, 'T0001')}`")
    (planned,) = await provision(fleet, ids[1:], dry_run=True)
    for statement in planned.details["instances"]["main"]["statements"][:2]:
        fleet.query(statement)
    assert failures(await provision(fleet, ids)) == {}
    assert len(ledger(fleet, name_of(fleet, "T0002"))) == 1


async def test_what_a_kill_left_before_the_ledger_was_filled_is_told_as_not_provisioned(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(1)
    (planned,) = await provision(fleet, ids, dry_run=True)
    for statement in planned.details["instances"]["main"]["statements"][:2]:
        fleet.query(statement)
    async with fleet.engine() as engine:
        assert failures(await engine.bulk_plan_tenants({})) == {"T0001": "NotProvisionedError"}
        (restored,) = results = await engine.bulk_restore_access({}, dry_run=False)
        assert failures(results) == {}
        assert restored.details["instances"]["main"]["found"] is False
        assert [str(member) for member in (await engine.check_drift({})).missing] == ["T0001/main"]


async def test_a_ledger_of_nobody_beside_other_tables_is_never_touched(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(1)
    name = name_of(fleet, "T0001")
    (planned,) = await provision(fleet, ids, dry_run=True)
    for statement in planned.details["instances"]["main"]["statements"][:2]:
        fleet.query(statement)
    fleet.query(f"CREATE TABLE `{name}`.precious (id int)")
    assert failures(await provision(fleet, ids)) == {"T0001": "OwnershipError"}
    assert ledger(fleet, name) == []


async def test_a_database_of_another_tenant_is_never_touched(mysql_fleet):
    fleet = mysql_fleet
    code = f"same_{fleet.database}"
    fleet.write([["A", code, "schema", "main"]])
    assert failures(await provision(fleet, ["A"])) == {}
    fleet.write([["B", code, "schema", "main"]])
    (result,) = await provision(fleet, ["B"])
    assert result.details["error_kind"] == "OwnershipError"
    assert "A (main)" in result.error


async def test_a_database_that_another_has_begun_is_never_touched(mysql_fleet):
    fleet = mysql_fleet
    code = f"same_{fleet.database}"
    fleet.write([["A", code, "schema", "main"]])
    fleet.configure("A", BAD_DAY)
    assert failures(await provision(fleet, ["A"])) == {"A": "StatementError"}
    fleet.write([["B", code, "schema", "main"]])
    assert failures(await provision(fleet, ["B"])) == {"B": "OwnershipError"}


TWO_SCHEMAS = """
schemas:
  {{ tenant | schema_name(instance) }}:
    tables:
      users: {columns: [{columnName: id, columnType: INT, primaryKey: 1}]}
  audit:
    tables:
      events: {columns: [{columnName: id, columnType: INT, primaryKey: 1}]}
"""


async def test_a_second_schema_of_a_document_is_a_database_beside_the_first(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(1)
    fleet.template.write_text(TWO_SCHEMAS)
    assert failures(await provision(fleet, ids)) == {}
    main = name_of(fleet, "T0001")
    assert fleet.databases() == {main, f"{main}_audit"}
    assert tables(fleet, f"{main}_audit") == {"events"}
    (result,) = await provision(fleet, ids)
    assert result.details["created"] == 0


async def test_a_second_schema_that_is_anothers_is_never_touched(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(1)
    fleet.template.write_text(TWO_SCHEMAS)
    main = name_of(fleet, "T0001")
    fleet.query(f"CREATE DATABASE `{main}_audit`")
    fleet.query(f"CREATE TABLE `{main}_audit`.events (id int)")
    (result,) = await provision(fleet, ids)
    assert result.details["error_kind"] == "OwnershipError"
    assert f"{main}_audit" in result.error
    assert main not in fleet.databases()


async def test_a_dropped_index_and_a_new_table_come(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(1)
    await provision(fleet, ids)
    name = name_of(fleet, "T0001")
    drop_index_and_key(fleet, name)
    (result,) = await provision(fleet, ids)
    assert result.details["created"] == 2
    assert result.details["instances"]["main"]["document_changed"] is False
    added = "      notes:\n        columns: [{columnName: id, columnType: INT, primaryKey: 1}]\n"
    fleet.template.write_text(fleet.template.read_text().rstrip("\n") + "\n" + added)
    (result,) = await provision(fleet, ids)
    assert result.details["created"] == 1
    assert result.details["instances"]["main"]["document_changed"] is True
    (result,) = await provision(fleet, ids)
    assert result.details["instances"]["main"]["document_changed"] is False


ODD = {
    "schemas": {
        "s": {
            "tables": {
                "顧客 `100%` 'x' \"y\" :n %s %(a)s": {
                    "displayName": "100% :named %s %(a)s 'q' \"d\" back\\slash 日本語 😀",
                    "columns": [
                        {"columnName": "番号 `%d`:x", "columnType": "INT", "nullable": False, "primaryKey": 1},
                        {
                            "columnName": "select",
                            "displayName": "5 % of :it %(b)s\\n",
                            "columnType": "VARCHAR(50)",
                            "defaultValue": "'50% :a %s \\\\'",
                        },
                    ],
                    "indexes": [{"indexName": "索引`%s`", "columns": ["select"]}],
                }
            }
        }
    }
}


@pytest.mark.parametrize("suffix", ["", "`a", "%s 100%", "顧客", "'q' \"d\"", " :x", "select"])
async def test_odd_names_and_texts_arrive_as_they_are(mysql_fleet, suffix):
    fleet = mysql_fleet
    name = f"{fleet.database}{suffix}"
    first = await provision_document(fleet, name, ODD)
    assert name in fleet.databases()
    (table_name,) = ODD["schemas"]["s"]["tables"]
    wanted = ODD["schemas"]["s"]["tables"][table_name]
    quoted = name.replace("'", "''")
    rows = fleet.query(
        "SELECT TABLE_NAME, TABLE_COMMENT FROM information_schema.TABLES "
        f"WHERE TABLE_SCHEMA = '{quoted}' AND TABLE_NAME <> 'dbgear_migrations'"
    )
    comment = wanted["displayName"]
    # The catalog of MariaDB is in three-byte UTF-8.
    assert [(table, text.replace("?", "😀")) for table, text in rows] == [(table_name, comment)]
    columns = fleet.query(
        "SELECT COLUMN_NAME, COLUMN_COMMENT FROM information_schema.COLUMNS "
        f"WHERE TABLE_SCHEMA = '{quoted}' AND TABLE_NAME <> 'dbgear_migrations' ORDER BY ORDINAL_POSITION"
    )
    assert [column for column, _ in columns] == ["番号 `%d`:x", "select"]
    assert columns[1][1] == "5 % of :it %(b)s\\n"
    assert first.statements[-1].startswith("UPDATE")
    assert (await provision_document(fleet, name, ODD)).statements == []
    planned = await provision_document(fleet, name, ODD, dry_run=True)
    assert planned.statements == []


async def test_an_account_with_just_the_rights_that_the_documentation_names(mysql_fleet):
    fleet = mysql_fleet
    rights = "CREATE, ALTER, INDEX, REFERENCES, SELECT, INSERT, UPDATE"
    assert rights in (REPOSITORY / "docs" / "deployment.md").read_text().replace("`", "")
    ids = fleet.tenants(2, isolation="database")
    fleet.query(f"CREATE USER '{fleet.database}'@'%' IDENTIFIED BY 'x'")
    fleet.query(f"GRANT {rights} ON *.* TO '{fleet.database}'@'%'")
    everything = fleet.server
    try:
        fleet.server = RunningMySQL(everything.host, everything.port, fleet.database, "x")
        assert failures(await provision(fleet, ids)) == {}
        (again,) = await provision(fleet, ids[:1])
        assert again.details["created"] == 0
    finally:
        fleet.server = everything
        fleet.query(f"DROP USER '{fleet.database}'@'%'")


# Helpers


def drop_index_and_key(fleet: Any, name: str) -> str:
    """Drop the index of the table orders and the foreign key that needs it; return the index's name."""
    ((index,),) = fleet.query(
        "SELECT DISTINCT INDEX_NAME FROM information_schema.STATISTICS "
        f"WHERE TABLE_SCHEMA = '{name}' AND INDEX_NAME LIKE '%idx_customer'"
    )
    fleet.query(f"ALTER TABLE `{name}`.orders DROP FOREIGN KEY fk_orders_customers, DROP INDEX `{index}`")
    return str(index)


def table() -> dict[str, Any]:
    return {"columns": [{"columnName": "id", "columnType": "INT", "nullable": False, "primaryKey": 1}]}


async def provision_document(
    fleet: Any, name: str, document: dict[str, Any], *, prefix: str = "", dry_run: bool = False
) -> Any:
    from dbgear_airflow_provider.core.automation.instance import Instance
    from dbgear_airflow_provider.core.automation.provision import provision_instance
    from dbgear_airflow_provider.core.isolation import Place

    server = fleet.target()
    isolation = "table" if prefix else "database"
    place = Place(
        target="main", database=name, schema=name, prefix=prefix, isolation=isolation, schemas_are_databases=True
    )
    instance = Instance(tenant_id="T1", name="main", place=place, document=document, template="t")
    try:
        async with asyncio.timeout(60):
            return await provision_instance(instance, server, dry_run=dry_run, attempt=5)
    finally:
        await server.aclose()


@contextlib.contextmanager
def executed(fleet: Any, cut_before: int | None = None) -> Iterator[list[str]]:
    """Collect the statements that are applied; have another session kill ours before one of them, once."""
    from dbgear_airflow_provider.core.engines import mysql

    seen: list[str] = []

    class Watched(mysql.Wire):
        async def run(self, sql: str, *values: Any, told: str | None = None) -> Any:
            if sql.split(maxsplit=1)[0] in {"CREATE", "ALTER", "INSERT", "UPDATE"}:
                seen.append(sql)
                if len(seen) == cut_before:
                    thread = self._raw.thread_id()
                    fleet.query(f"KILL {thread}")
            return await super().run(sql, *values, told=told)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mysql, "Wire", Watched)
        yield seen


def threads(fleet: Any, text: str) -> list[int]:
    found = fleet.query("SELECT ID, INFO FROM information_schema.PROCESSLIST WHERE INFO IS NOT NULL")
    return [thread for thread, info in found if text in info.replace("`", "") and "PROCESSLIST" not in info]


async def until(condition: Callable[[], Any], pause_s: float = 0.02) -> Any:
    async with asyncio.timeout(30):
        while not (found := condition()):  # noqa: ASYNC110  the condition is the server's, which tells nobody
            await asyncio.sleep(pause_s)
    return found


@contextlib.asynccontextmanager
async def held_back(fleet: Any, ids: list[str], **options: Any) -> Any:
    """Provision, with the server waiting in the first of two statements for the first tenant.

    Yields the task, and what tells the threads that wait.
    """
    from dbgear_airflow_provider.core.automation import instance as module

    assert failures(await provision(fleet, ids)) == {}
    name = name_of(fleet, ids[0])
    index = drop_index_and_key(fleet, name)
    reader = fleet.server.connect()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LOCK_S", 20.0)
        with reader.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT * FROM `{name}`.orders")
        running = asyncio.create_task(provision(fleet, ids, **options))
        try:
            yield running, lambda: threads(fleet, f"CREATE INDEX {index} ON {name}")
        finally:
            reader.close()
            await asyncio.wait([running])
