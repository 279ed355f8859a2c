"""Servers of MySQL's kind that crash, freeze, restart, are full, or are not there."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from dbgear_airflow_provider.core.automation.access import restore_access, revoke_access
from dbgear_airflow_provider.core.automation.drift import DriftCheck
from dbgear_airflow_provider.core.automation.instance import Instance
from dbgear_airflow_provider.core.automation.plan import apply_plan, plan_instance
from dbgear_airflow_provider.core.automation.provision import provision_instance
from dbgear_airflow_provider.core.automation.reference import References
from dbgear_airflow_provider.core.automation.roles import TenantRoles
from dbgear_airflow_provider.core.credentials import FileSink
from dbgear_airflow_provider.core.engines import Timeouts, mysql_wire
from dbgear_airflow_provider.core.errors import ServerUnavailableError, UnsupportedError
from dbgear_airflow_provider.core.isolation import Place
from dbgear_airflow_provider.sandbox import ports
from tests.servers import MariaDB

SHORT = Timeouts(lock_s=1, statement_s=1)
LONG = Timeouts(lock_s=20, statement_s=20)


async def test_a_crash_in_a_statement_is_told_and_after_the_restart_it_goes_on(fragile, opened):
    async with opened(fragile) as server:

        async def work() -> None:
            async with server.session("") as session, session.locked("x", LONG):
                await session.apply(["DO SLEEP(20)"])

        task = asyncio.create_task(work())
        await asyncio.sleep(0.3)
        await asyncio.to_thread(fragile.crash)
        with pytest.raises(ServerUnavailableError, match="target main"):
            await task
        with pytest.raises(ServerUnavailableError, match="target main"):
            await server.version()
        await asyncio.to_thread(fragile.start)
        assert "MariaDB" in await server.version()


async def test_a_way_to_log_in_that_the_driver_has_not_is_terminal(fragile, opened):
    with fragile.connect() as connection, connection.cursor() as cursor:
        cursor.execute("INSTALL SONAME 'auth_ed25519'")
        cursor.execute("CREATE USER 'ed'@'%' IDENTIFIED VIA ed25519 USING PASSWORD('secret')")
    async with opened(fragile, user="ed", password="secret") as server:
        with pytest.raises(UnsupportedError, match="ed25519") as told:
            await server.ready()
    assert "secret" not in str(told.value)


async def test_a_way_to_log_in_that_nobody_knows_is_terminal(fragile, opened, monkeypatch):
    def packet(number: int, payload: bytes) -> bytes:
        return len(payload).to_bytes(3, "little") + bytes([number]) + payload

    # https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_v10.html
    greeting = b"\x0a10.11.0-MariaDB\0\1\0\0\0" + b"12345678\0" + b"\x01\x82\x21\2\0\x08\0\x15" + bytes(10)
    greeting += b"123456789012\0mysql_native_password\0"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(packet(0, greeting))
        await reader.read(1)
        writer.write(packet(2, b"\xfestrange_plugin\x0012345678\0"))
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    hung_up = asyncio.Event()
    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    monkeypatch.setattr(fragile, "port", listening.sockets[0].getsockname()[1])
    async with listening, opened(fragile) as server:
        with pytest.raises(UnsupportedError, match="strange_plugin") as told:
            await server.ready()
        await hung_up.wait()
    assert told.value.details["code"] in {2059, 2061}


async def test_connections_that_a_restart_has_cut_are_made_anew(fragile, opened, monkeypatch):
    monkeypatch.setattr(mysql_wire, "_FRESH_S", 0)
    async with opened(fragile) as server:
        await asyncio.gather(*(server.version() for _ in range(4)))
        await asyncio.to_thread(fragile.stop)
        await asyncio.to_thread(fragile.start)
        assert all(await asyncio.gather(*(server.version() for _ in range(8))))


async def test_after_a_restart_nobody_who_has_our_number_is_ended(fragile, opened):
    async with opened(fragile) as server:
        for _ in range(20):
            fragile.connect().close()
        async with server.session("") as session:
            wire = session._wire
            number = wire._raw.thread_id()
            await asyncio.to_thread(fragile.stop)
            await asyncio.to_thread(fragile.start)
            others = [fragile.connect()]
            while others[-1].thread_id() < number:
                others.append(fragile.connect())
            assert [other.thread_id() for other in others].count(number) == 1
            await wire._abandon()
        for other in others:
            other.ping(reconnect=False)
            other.close()


async def test_a_frozen_server_is_waited_for_no_longer_than_told(fragile, opened, monkeypatch):
    monkeypatch.setattr(mysql_wire, "GRACE_S", 0.2)
    monkeypatch.setattr(mysql_wire, "KILL_TIMEOUT_S", 0.5)
    monkeypatch.setattr(mysql_wire, "CONNECT_TIMEOUT_S", 0.5)
    monkeypatch.setattr(mysql_wire, "_FRESH_S", 0)
    async with opened(fragile) as server:
        async with server.session("") as session, session.locked("x", SHORT):
            pass
        try:
            began = time.monotonic()
            with pytest.raises(ServerUnavailableError, match="no answer"):
                async with server.session("") as session, session.locked("x", SHORT):
                    fragile.freeze()
                    await session.apply(["DO 1"])
            with pytest.raises(ServerUnavailableError, match="no answer in time"):
                await server.version()
            assert time.monotonic() - began < 6
        finally:
            fragile.thaw()
        assert "MariaDB" in await server.version()


async def test_a_full_server_is_told_and_worth_a_retry(fragile, opened):
    # The server keeps one place for those who may do everything.
    fragile.query("CREATE OR REPLACE USER few@'%' IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 1")
    async with (
        opened(fragile, user="few", password="x") as server,
        opened(fragile, user="few", password="x") as other,
        server.session(""),
    ):
        with pytest.raises(ServerUnavailableError) as told:
            await other.version()
        assert told.value.details["code"] == 1226


async def test_nobody_listens(opened):
    class Nobody:
        host, port, user, password = ports.HOST, ports.any_free(), "u", "p"

    async with opened(Nobody) as server:
        with pytest.raises(ServerUnavailableError, match="target main") as told:
            await server.ready()
        assert told.value.details["code"] in {2002, 2003}


async def test_one_who_listens_and_says_nothing_is_given_up(opened, monkeypatch):
    monkeypatch.setattr(mysql_wire, "CONNECT_TIMEOUT_S", 0.3)
    with socket.create_server((ports.HOST, 0)) as silent:

        class Silent:
            host, port, user, password = *silent.getsockname(), "u", "p"

        async with opened(Silent) as server:
            began = time.monotonic()
            with pytest.raises(ServerUnavailableError, match="no answer in time"):
                await server.ready()
            assert time.monotonic() - began < 3


async def test_a_crash_in_the_middle_of_provisioning_is_made_good(fragile, opened):
    tables = {
        f"t{number:03}": {"columns": [{"columnName": "id", "columnType": "INT", "nullable": False, "primaryKey": 1}]}
        for number in range(60)
    }
    place = Place(target="main", database="crash", schema="crash", isolation="database", schemas_are_databases=True)
    document = {"schemas": {"s": {"tables": tables}}}
    instance = Instance(tenant_id="T", name="main", place=place, document=document, template="t")
    count = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'crash'"
    async with opened(fragile) as server:
        task = asyncio.create_task(provision_instance(instance, server, dry_run=False))
        while await asyncio.to_thread(fragile.query, count) < ((10,),):
            pass
        await asyncio.to_thread(fragile.crash)
        with pytest.raises(ServerUnavailableError):
            await task
        await asyncio.to_thread(fragile.start)
        ((left,),) = fragile.query(count)
        assert 0 < left < 61
        done = await provision_instance(instance, server, dry_run=False)
        assert done.created == 61 - left
        assert fragile.query("SELECT tenant_id, checksum FROM crash.dbgear_migrations") == (("T", done.checksum),)
        assert (await provision_instance(instance, server, dry_run=True)).statements == []


class Folding(MariaDB):
    """Keeps the names of databases and tables in lower case, as servers on Windows and some of the clouds do."""

    def command(self) -> list[str]:
        return [*super().command(), "--lower-case-table-names=1"]


@pytest.fixture(scope="module")
def folding():
    path = Path(tempfile.mkdtemp(prefix="dbgear-"))
    server = Folding(path)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(path)


async def test_a_server_that_folds_names_is_provisioned_once(folding, opened):
    column = {"columnName": "Id", "columnType": "INT", "nullable": False, "primaryKey": 1}
    relation = {"target": {"tableName": "Users"}, "bindColumns": [{"sourceColumn": "Id", "targetColumn": "Id"}]}
    tables = {
        "Users": {"columns": [column], "indexes": [{"indexName": "IdX", "columns": ["Id"]}]},
        "Orders": {"columns": [column], "relations": [relation]},
    }
    place = Place(target="main", database="Main", schema="Main", isolation="database", schemas_are_databases=True)
    document = {"schemas": {"s": {"tables": tables}}}
    instance = Instance(tenant_id="T", name="main", place=place, document=document, template="t")
    async with opened(folding) as server:
        assert (await provision_instance(instance, server, dry_run=False)).created == 6
        assert server.folds_names
        assert (await provision_instance(instance, server, dry_run=False)).statements == []
    assert {name for (name,) in folding.query("SHOW TABLES FROM main")} == {"users", "orders", "dbgear_migrations"}


def _mixed(place: Place, tenant_id: str) -> Instance:
    """Return an instance whose document has no name in lower case alone."""

    def column(name: str, kind: str, **more: Any) -> dict[str, Any]:
        return {"columnName": name, "columnType": kind, "nullable": False, **more}

    id_ = column("Id", "INT", primaryKey=1)
    bound = [{"sourceColumn": "UserId", "targetColumn": "Id"}]
    tables = {
        "Users": {
            "columns": [id_, column("Tenant", "VARCHAR(50)", defaultValue=f"'{tenant_id}'"), column("N", "INT")],
            "indexes": [{"indexName": "IdX", "columns": ["N"]}],
        },
        "Orders": {
            "columns": [id_, column("UserId", "INT")],
            "relations": [{"target": {"tableName": "Users"}, "bindColumns": bound}],
        },
    }
    schema = {
        "tables": tables,
        "views": {"Named": {"selectStatement": "SELECT Users.Id, Users.N FROM Users"}},
        "triggers": {
            "Counts": {"tableName": "Orders", "timing": "BEFORE", "event": "INSERT", "body": "SET NEW.UserId = 1"}
        },
        "procedures": {"Emptied": {"body": "DELETE FROM Orders"}},
    }
    return Instance(tenant_id=tenant_id, name="main", place=place, document={"schemas": {"s": schema}}, template="t")


def _place(isolation: str, name: str) -> Place:
    shared = isolation == "table"
    schema = f"All{isolation}" if shared else f"Own{name}"
    return Place(
        target="main",
        database=schema,
        schema=schema,
        prefix=f"Own{name}_" if shared else "",
        isolation=isolation,
        schemas_are_databases=True,
    )


isolations = pytest.mark.parametrize("isolation", ["database", "table"])


@isolations
async def test_a_server_that_folds_names_is_compared_and_repaired(folding, opened, isolation):
    instances = [_mixed(_place(isolation, tenant_id), tenant_id) for tenant_id in ("A", "B")]
    async with opened(folding) as server:

        async def drifted() -> list[str]:
            check = DriftCheck({"main": server}, References())
            await check.add(instances)
            report = check.report()
            assert (report.missing, report.unread) == ([], [])
            assert len(report.groups) == (2 if report.drifted else 1)
            return [str(member) for member in report.drifted]

        for instance in instances:
            await provision_instance(instance, server, dry_run=False)
        assert await drifted() == []
        first = instances[0].place
        users, orders = (f"`{first.schema}`.`{first.prefix}{name}`" for name in ("users", "orders"))
        for sql in (
            f"ALTER TABLE {orders} DROP FOREIGN KEY {_key_of(folding, first)}",
            f"ALTER TABLE {users} MODIFY N VARCHAR(9), DROP COLUMN Tenant, ADD Extra INT",
            f"DROP VIEW `{first.schema}`.`{first.prefix}named`",
            f"CREATE TABLE `{first.schema}`.`{first.prefix}other` (id INT)",
        ):
            folding.query(sql)
        assert await drifted() == ["A/main"]
        plan = await apply_plan(instances[0], server, References(), allow_destructive=True)
        assert plan.unrepaired == []
        assert await drifted() == []
        assert (await plan_instance(instances[0], server, References())).differences == []


@isolations
async def test_roles_and_access_where_a_server_folds_names(folding, opened, isolation, tmp_path):
    instance = _mixed(_place(isolation, "C"), "C")
    place, owner, login = instance.place, f"C{isolation}_owner", f"C{isolation}_login"
    roles = TenantRoles(
        tenant_id="C", owner=owner, login=login, places={"main": place}, sink=FileSink(tmp_path / "credentials")
    )
    instance = replace(instance, roles=roles)

    def may_read() -> bool:
        password = json.loads(roles.sink.file("C").read_text())["password"]
        with pymysql.connect(host=folding.host, port=folding.port, user=login, password=password) as connection:
            try:
                connection.cursor().execute(f"SELECT * FROM `{place.schema}`.`{place.prefix}Users`")
            except pymysql.MySQLError as error:
                assert error.args[0] in {1044, 1142}
                return False
        return True

    async with opened(folding) as server:
        await provision_instance(instance, server, dry_run=False)
        assert may_read()
        assert (await provision_instance(instance, server, dry_run=False)).statements == []
        folding.query(f"DROP VIEW `{place.schema}`.`{place.prefix}named`")
        await apply_plan(instance, server, References())
        assert (await provision_instance(instance, server, dry_run=False)).statements == []
        assert (await revoke_access(instance, server, dry_run=False)).grants
        assert not may_read()
        assert (await revoke_access(instance, server, dry_run=False)).statements == []
        restored = await restore_access(instance, server, dry_run=False)
        assert not restored.gone
        assert may_read()
        assert (await provision_instance(instance, server, dry_run=False)).statements == []


def _key_of(server: MariaDB, place: Place) -> str:
    ((name,),) = server.query(
        "SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS "
        f"WHERE CONSTRAINT_SCHEMA = '{place.schema}' AND TABLE_NAME = '{place.prefix}orders'"
    )
    return f"`{name}`"
