"""Access taken away and given back on MySQL and MariaDB: what accounts can do, and what SHOW GRANTS tells."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pymysql
import pytest

from dbgear_airflow_provider.core.automation import OperationStatus
from dbgear_airflow_provider.core.automation.ending import end_sessions
from dbgear_airflow_provider.core.engines import MySQLServer
from dbgear_airflow_provider.core.engines.mysql import MySQLSession
from dbgear_airflow_provider.core.errors import ServerUnavailableError, StatementError

PASSWORD = "geheim"


class Tenancy:
    """A provisioned tenant, and accounts of the test's own."""

    def __init__(self, fleet: Any) -> None:
        self.fleet = fleet
        self.suffix = os.urandom(3).hex()
        self.accounts: list[str] = []
        self.db = ""

    def account(self, name: str, host: str = "%") -> str:
        account = f"`{name}_{self.suffix}`@`{host}`"
        self.fleet.query(f"CREATE USER {account} IDENTIFIED BY '{PASSWORD}'")
        self.accounts.append(account)
        return account

    def role(self, name: str) -> str:
        role = f"`{name}_{self.suffix}`"
        self.fleet.query(f"CREATE ROLE {role}")
        self.accounts.append(role)
        return role

    def grants(self, account: str) -> set[str]:
        return {row[0] for row in self.fleet.query(f"SHOW GRANTS FOR {account}")}

    def connect(self, account: str, database: str | None = None) -> Any:
        server = self.fleet.server
        user = account.split("`")[1]
        return pymysql.connect(
            host=server.host, port=server.port, user=user, password=PASSWORD, database=database, autocommit=True
        )

    def may_read(self, account: str, table: str = "customers") -> bool:
        with self.connect(account) as connection:
            try:
                connection.cursor().execute(f"SELECT * FROM `{self.db}`.{table}")
            except pymysql.MySQLError as error:
                assert error.args[0] in {1044, 1142, 1143}
                return False
        return True


@pytest.fixture
async def tenancy(mysql_fleet: Any) -> Any:
    made = Tenancy(mysql_fleet)
    mysql_fleet.tenants(1)
    async with mysql_fleet.engine() as engine:
        (result,) = await engine.bulk_provision_tenants({}, dry_run=False)
    made.db = result.details["instances"]["main"]["schema"]
    set_status(mysql_fleet, "suspended")
    yield made
    mysql_fleet.drop_databases()
    for account in made.accounts:
        mysql_fleet.query(f"DROP {'USER' if '@' in account else 'ROLE'} IF EXISTS {account}")


@pytest.fixture
def fleet_with_roles(mysql_fleet: Any) -> Iterator[Any]:
    mysql_fleet.with_roles()
    yield mysql_fleet
    mysql_fleet.drop_databases()
    for user, host in mysql_fleet.query(
        f"SELECT User, Host FROM mysql.user WHERE User LIKE '%{mysql_fleet.database}%'"
    ):
        mysql_fleet.query(f"DROP USER '{user}'@'{host}'" if host else f"DROP ROLE `{user}`")


def set_status(fleet: Any, status: str) -> None:
    path = fleet.folder / "tenants.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in rows[1:]:
        row[5] = status
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")


async def revoke(fleet: Any, *, dry_run: bool = False, **options: Any) -> Any:
    set_status(fleet, "suspended")
    async with fleet.engine(**options) as engine:
        (result,) = await engine.bulk_revoke_access({}, dry_run=dry_run)
    return result


async def restore(fleet: Any, *, dry_run: bool = False, **options: Any) -> Any:
    set_status(fleet, "active")
    async with fleet.engine(**options) as engine:
        (result,) = await engine.bulk_restore_access({}, dry_run=dry_run)
    return result


def main_of(result: Any) -> dict[str, Any]:
    assert result.status is OperationStatus.SUCCESS, result.error
    return result.details["instances"]["main"]


def all_kinds(tenancy: Tenancy) -> dict[str, set[str]]:
    """Make accounts with all kinds of grants on the tenant's database; return {account: its grants}."""
    db, query = tenancy.db, tenancy.fleet.query
    app, odd, reader, role = (
        tenancy.account("app"),
        tenancy.account("od'd \\ %s", "127.0.0.1"),
        tenancy.account("reader"),
        tenancy.role("reading"),
    )
    escaped = db.replace("_", "\\_")
    query(f"CREATE PROCEDURE `{db}`.work() SELECT 1")
    query(f"GRANT SELECT, INSERT ON `{escaped}`.* TO {app} WITH GRANT OPTION")
    query(f"GRANT SELECT ON `{db}`.* TO {odd}")
    query(f"GRANT SELECT (`id`, `tenant_id`), UPDATE (`tenant_id`) ON `{db}`.customers TO {reader}")
    query(f"GRANT DELETE ON `{db}`.orders TO {reader} WITH GRANT OPTION")
    query(f"GRANT EXECUTE ON PROCEDURE `{db}`.work TO {reader}")
    query(f"GRANT SELECT ON `{escaped}`.* TO {role}")
    return {account: tenancy.grants(account) for account in (app, odd, reader, role)}


async def test_a_suspended_tenant_is_closed_and_gets_back_exactly_what_it_had(tenancy):
    before = all_kinds(tenancy)
    app, _, reader, _ = before
    assert tenancy.may_read(app)
    dry = main_of(await revoke(tenancy.fleet, dry_run=True))
    assert {account: tenancy.grants(account) for account in before} == before
    done = main_of(await revoke(tenancy.fleet))
    assert done["statements"] == dry["statements"]
    assert not tenancy.may_read(app)
    assert not tenancy.may_read(reader)
    for account in before:
        assert not [grant for grant in tenancy.grants(account) if "USAGE" not in grant]
    again = main_of(await revoke(tenancy.fleet))
    assert (again["grants"], again["statements"]) == ([], [])
    assert again["withheld"] == done["withheld"]

    main_of(await restore(tenancy.fleet))
    assert {account: tenancy.grants(account) for account in before} == before
    assert tenancy.fleet.query(f"SHOW TABLES FROM `{tenancy.db}` LIKE 'dbgear_withheld'") == []
    assert main_of(await restore(tenancy.fleet))["statements"] == []


async def test_other_databases_and_our_own_account_keep_what_they_have(tenancy, mysql_database):
    account = tenancy.account("both")
    wide = tenancy.account("wide")
    alike = tenancy.db.upper()  # the catalog's own comparison knows no case
    tenancy.fleet.query(f"CREATE DATABASE `{alike}`")
    tenancy.fleet.query(f"GRANT SELECT ON `{alike}`.* TO {account}")
    tenancy.fleet.query(f"GRANT SELECT ON `{mysql_database}`.* TO {account}")
    tenancy.fleet.query(f"GRANT SELECT ON `{tenancy.db}`.* TO {account}")
    tenancy.fleet.query(f"GRANT SELECT ON `{tenancy.db[:8]}%`.* TO {wide}")
    done = main_of(await revoke(tenancy.fleet))
    tenancy.fleet.query(f"DROP DATABASE `{alike}`")
    assert [grant for grant in tenancy.grants(account) if mysql_database in grant]
    assert [grant for grant in tenancy.grants(account) if alike in grant]
    assert not [grant for grant in tenancy.grants(account) if tenancy.db in grant]
    # A grant on a pattern is on others' databases too: it is told instead.
    assert wide.split("`")[1] + "@%" in done["still_inside"]
    assert tenancy.may_read(wide)


async def test_sessions_on_the_database_end_and_others_go_on(tenancy):
    account = tenancy.account("app")
    tenancy.fleet.query(f"GRANT SELECT ON `{tenancy.db}`.* TO {account}")
    inside, outside = tenancy.connect(account, tenancy.db), tenancy.connect(account)
    done = main_of(await revoke(tenancy.fleet))
    assert done["sessions"] == [account.split("`")[1]]
    with pytest.raises(pymysql.MySQLError):
        inside.cursor().execute("SELECT 1")
    outside.cursor().execute("SELECT 1")
    outside.close()
    inside.close()


async def test_sessions_that_are_not_ours_to_end_are_told_with_the_servers_own_code(tenancy):
    fleet, account = tenancy.fleet, tenancy.account("app")
    fleet.query(f"GRANT SELECT ON `{tenancy.db}`.* TO {account}")
    ours = tenancy.account("ours")
    fleet.query(f"GRANT SELECT, PROCESS ON *.* TO {ours}")
    inside = tenancy.connect(account, tenancy.db)
    address = replace(fleet.target().address, user=ours.split("`")[1], password=PASSWORD)
    server = MySQLServer("main", address)
    try:
        async with server.session("") as session:
            with pytest.raises(StatementError, match="CONNECTION ADMIN") as refused:
                await end_sessions(session, [tenancy.db], "here", server)
    finally:
        await server.aclose()
        inside.close()
    assert refused.value.details["code"] == 1095


async def test_an_account_and_a_table_that_are_gone_are_told_and_the_others_get_theirs(tenancy):
    gone, stays = tenancy.account("gone"), tenancy.account("stays")
    tenancy.fleet.query(f"CREATE TABLE `{tenancy.db}`.extra (id INT)")
    for account in (gone, stays):
        tenancy.fleet.query(f"GRANT SELECT ON `{tenancy.db}`.* TO {account}")
    tenancy.fleet.query(f"GRANT SELECT ON `{tenancy.db}`.extra TO {stays}")
    main_of(await revoke(tenancy.fleet))
    tenancy.fleet.query(f"DROP USER {gone}")
    tenancy.fleet.query(f"DROP TABLE `{tenancy.db}`.extra")
    done = main_of(await restore(tenancy.fleet))
    assert len(done["gone"]) == 2
    assert tenancy.may_read(stays)


@pytest.fixture
def cut_after(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the connection break after so many statements of a change; tells how many there are."""
    real = MySQLSession.apply
    left: list[int] = []
    seen: list[str] = []

    async def apply(self: MySQLSession, statements: Any, **options: Any) -> None:
        if not left:
            seen.extend(statements)
            await real(self, statements, **options)
            return
        count = left.pop()
        await real(self, statements[:count])
        self._wire.close()
        raise ServerUnavailableError("cut", statement="")

    monkeypatch.setattr(MySQLSession, "apply", apply)
    return left, seen


async def test_a_kill_between_any_two_statements_loses_nothing(tenancy, cut_after):
    left, seen = cut_after
    before = all_kinds(tenancy)
    main_of(await revoke(tenancy.fleet))
    count = len(seen)
    seen.clear()
    main_of(await restore(tenancy.fleet))
    back = len(seen)
    assert count > 8
    for number in range(count):
        left.append(number)
        assert (await revoke(tenancy.fleet, retry_attempts=1)).status is OperationStatus.ERROR
        done = main_of(await revoke(tenancy.fleet))
        assert not done["record_lost"]
        for account in before:
            assert not [grant for grant in tenancy.grants(account) if "USAGE" not in grant]
        left.append(number % back)
        assert (await restore(tenancy.fleet, retry_attempts=1)).status is OperationStatus.ERROR
        main_of(await restore(tenancy.fleet))
        assert {account: tenancy.grants(account) for account in before} == before, number


async def test_a_record_that_was_changed_is_an_error_and_grants_nothing(tenancy):
    account = tenancy.account("app")
    tenancy.fleet.query(f"GRANT SELECT ON `{tenancy.db}`.* TO {account}")
    main_of(await revoke(tenancy.fleet))
    tenancy.fleet.query(f"UPDATE `{tenancy.db}`.dbgear_withheld SET privilege = 'INSERT'")
    result = await restore(tenancy.fleet)
    assert result.details["error_kind"] == "OwnershipError"
    assert not tenancy.may_read(account)


async def test_a_record_that_is_a_view_is_not_read(tenancy):
    account = tenancy.account("app")
    tenancy.fleet.query(f"GRANT SELECT ON `{tenancy.db}`.* TO {account}")
    main_of(await revoke(tenancy.fleet))
    tenancy.fleet.query(f"RENAME TABLE `{tenancy.db}`.dbgear_withheld TO `{tenancy.db}`.other")
    tenancy.fleet.query(f"CREATE VIEW `{tenancy.db}`.dbgear_withheld AS SELECT * FROM `{tenancy.db}`.other")
    result = await restore(tenancy.fleet)
    assert result.details["error_kind"] == "OwnershipError"
    assert not tenancy.may_read(account)


async def test_the_tenants_login_loses_its_access_and_provisioning_does_not_give_it_back(fleet_with_roles):
    from tests.integration.automation.logins import Login

    fleet = fleet_with_roles
    (id_,) = fleet.tenants(1)
    async with fleet.engine() as engine:
        await engine.bulk_provision_tenants({}, dry_run=False)
    login = Login(fleet, id_)
    table = login.table("customers")
    assert login.do(f"SELECT * FROM {table}") == []
    main_of(await revoke(fleet))
    login.refused(f"SELECT * FROM {table}")
    async with fleet.engine() as engine:
        (result,) = await engine.bulk_provision_tenants({}, dry_run=False)
    assert result.error is None
    login.refused(f"SELECT * FROM {table}")
    main_of(await restore(fleet))
    assert login.do(f"SELECT * FROM {table}") == []
    async with fleet.engine() as engine:
        (planned,) = await engine.bulk_provision_tenants({}, dry_run=True)
    assert planned.details["instances"]["main"]["statements"] == []
