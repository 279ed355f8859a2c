"""Access taken away and given back, on a real server: what roles can do, and what the ACLs hold."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import errors, sql

from dbgear_airflow_provider.core.automation import OperationStatus
from dbgear_airflow_provider.core.engines.postgresql_session import PostgresSession
from dbgear_airflow_provider.core.errors import ServerUnavailableError
from dbgear_airflow_provider.sandbox.postgres import PostgresServer

ODD = """we"ird' rôle \\ %s :x"""


class Roles:
    """Roles of the test's own on the server, with a password each."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._suffix = os.urandom(4).hex()
        self.names: list[str] = []

    def make(self, name: str, options: str = "LOGIN") -> str:
        role = f"{name}_{self._suffix}"
        self.execute(f"CREATE ROLE {{}} {options} PASSWORD 'geheim'", role)
        self.names.append(role)
        return role

    def execute(self, text: str, *names: str, database: str = "postgres") -> None:
        with self._server.connect(database) as connection:
            connection.execute(sql.SQL(text).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]

    def server(self, role: str) -> PostgresServer:
        return PostgresServer(host=self._server.host, port=self._server.port, user=role, password="geheim")

    def drop(self) -> None:
        for name in self.names:
            self.execute("DROP ROLE IF EXISTS {}", name)


@pytest.fixture
def roles(postgres: PostgresServer) -> Iterator[Roles]:
    made = Roles(postgres)
    yield made
    made.drop()


@pytest.fixture
def tenancy(roles: Roles, fleet: Any) -> Any:
    """The fleet, whose databases go before the roles that have grants in them."""
    fleet.roles = roles
    return fleet


def name_of(fleet: Any, tenant_id: str, instance: str = "main") -> str:
    return f"{tenant_id.lower()}_{fleet.database}_jp_{instance}"


def set_status(fleet: Any, status: str, *tenant_ids: str) -> None:
    path = fleet.folder / "tenants.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in rows[1:]:
        if row[0] in tenant_ids or not tenant_ids:
            row[5] = status
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")


async def provisioned(fleet: Any, count: int = 1, **options: Any) -> list[str]:
    ids = fleet.tenants(count, **options)
    async with fleet.engine() as engine:
        results = await engine.bulk_provision_tenants({}, dry_run=False)
    assert [result.error for result in results] == [None] * count
    set_status(fleet, "suspended")
    return ids


async def revoke(fleet: Any, *, dry_run: bool = False, run_id: str | None = None, **options: Any) -> Any:
    async with fleet.engine(run_id, **options) as engine:
        return await engine.bulk_revoke_access({}, dry_run=dry_run)


async def restore(fleet: Any, *, dry_run: bool = False, run_id: str | None = None) -> Any:
    set_status(fleet, "active")
    async with fleet.engine(run_id) as engine:
        return await engine.bulk_restore_access({}, dry_run=dry_run)


def only(results: Any) -> dict[str, Any]:
    (result,) = results
    assert result.status is OperationStatus.SUCCESS, result.error
    return result.details["instances"]["main"]


def failure(results: Any) -> tuple[str, str]:
    (result,) = results
    assert result.status is OperationStatus.ERROR
    return result.details["error_kind"], result.error


def acl(fleet: Any, kind: str, name: str) -> set[tuple[Any, ...]]:
    """Return (grantor, grantee, privilege, grantable) of all that holds, defaults included."""
    catalog, column, owner, letter = {
        "schema": ("pg_namespace", "nsp", "nspowner", "n"),
        "database": ("pg_database", "dat", "datdba", "d"),
    }[kind]
    return set(
        fleet.query(
            f"""
            SELECT a.grantor::regrole::text, a.grantee::regrole::text, a.privilege_type, a.is_grantable
              FROM {catalog}, aclexplode(coalesce({column}acl, acldefault('{letter}', {owner}))) a
             WHERE {column}name = '{name}'
            """
        )
    )


def tables_of(fleet: Any, schema: str, database: str | None = None) -> set[str]:
    return {row[0] for row in fleet.query(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'", database)}


def may_read(fleet: Any, role: str, schema: str, database: str | None = None) -> bool:
    try:
        with fleet.roles.server(role).connect(database or fleet.database) as connection:
            connection.execute(f'SELECT * FROM "{schema}".customers')
    except errors.InsufficientPrivilege:
        return False
    except psycopg.OperationalError as error:
        assert "permission denied for database" in str(error)
        return False
    return True


def let_in(fleet: Any, schema: str, role: str, database: str | None = None) -> None:
    database = database or fleet.database
    fleet.roles.execute("GRANT USAGE ON SCHEMA {} TO {}", schema, role, database=database)
    fleet.roles.execute("GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}", schema, role, database=database)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  the condition is the server's, which tells nobody
            await asyncio.sleep(0.02)


# Isolation schema


async def test_a_dry_run_tells_the_exact_statements_and_changes_nothing(tenancy):
    await provisioned(tenancy)
    schema, app = name_of(tenancy, "T0001"), tenancy.roles.make("app")
    let_in(tenancy, schema, app)
    tenancy.query(f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO "{app}"')
    tenancy.query(f'GRANT USAGE ON SCHEMA "{schema}" TO PUBLIC')
    before, catalog = acl(tenancy, "schema", schema), tenancy.catalog()
    planned = only(await revoke(tenancy, dry_run=True))
    assert [text for text in planned["statements"] if text.startswith("REVOKE")] == [
        f'REVOKE USAGE ON SCHEMA "{schema}" FROM PUBLIC',
        f'REVOKE CREATE, USAGE ON SCHEMA "{schema}" FROM "{app}"',
    ]
    assert planned["grants"] == [
        f"USAGE on schema {schema} to PUBLIC",
        f"CREATE on schema {schema} to {app}",
        f"USAGE on schema {schema} to {app}",
    ]
    assert (acl(tenancy, "schema", schema), tenancy.catalog()) == (before, catalog)
    assert only(await revoke(tenancy))["statements"] == planned["statements"]

    given = only(await restore(tenancy, dry_run=True))
    assert [text for text in given["statements"] if text.startswith("GRANT")] == [
        f'GRANT USAGE ON SCHEMA "{schema}" TO PUBLIC',
        f'GRANT CREATE, USAGE ON SCHEMA "{schema}" TO "{app}"',
    ]
    assert acl(tenancy, "schema", schema) < before


async def test_a_suspended_tenant_cannot_read_until_it_is_active_again(tenancy):
    await provisioned(tenancy, 2)
    mine, other = name_of(tenancy, "T0001"), name_of(tenancy, "T0002")
    app, its_app = tenancy.roles.make("app"), tenancy.roles.make("other")
    let_in(tenancy, mine, app)
    let_in(tenancy, other, its_app)
    before = acl(tenancy, "schema", mine), acl(tenancy, "schema", other)
    set_status(tenancy, "active", "T0002")
    with tenancy.roles.server(app).connect(tenancy.database) as running:
        running.execute(f'PREPARE reading AS SELECT * FROM "{mine}".customers')
        running.execute("EXECUTE reading")
        async with tenancy.engine() as engine:
            results = await engine.bulk_revoke_access({"status": "suspended"}, dry_run=False)
        only(results)
        # Sessions that are open, and statements that they have prepared, are held to it at once.
        for statement in ("EXECUTE reading", f'SELECT * FROM "{mine}".customers'):
            with pytest.raises(errors.InsufficientPrivilege):
                running.execute(statement)
    assert not may_read(tenancy, app, mine)
    tenancy.query(f'SELECT * FROM "{mine}".customers')  # the owner
    assert may_read(tenancy, its_app, other)
    assert acl(tenancy, "schema", other) == before[1]

    results = await restore(tenancy)
    assert [result.details["changed"] for result in results] == [1, 0]
    assert may_read(tenancy, app, mine)
    assert (acl(tenancy, "schema", mine), acl(tenancy, "schema", other)) == before
    assert tables_of(tenancy, mine) == {"customers", "orders", "dbgear_migrations"}


async def test_a_second_time_finds_nothing(tenancy):
    await provisioned(tenancy)
    schema = name_of(tenancy, "T0001")
    let_in(tenancy, schema, tenancy.roles.make("app"))
    first = only(await revoke(tenancy))
    record = f'SELECT xmin::text, * FROM "{schema}".dbgear_withheld'
    recorded = tenancy.query(record)
    again = only(await revoke(tenancy))
    assert (again["statements"], again["grants"]) == ([], [])
    assert again["withheld"] == first["grants"]
    assert tenancy.query(record) == recorded
    assert only(await restore(tenancy))["grants"] == first["grants"]
    again = only(await restore(tenancy))
    assert (again["statements"], again["grants"]) == ([], [])


async def test_a_tenant_to_which_nobody_was_let_in_is_left_as_it_is(tenancy):
    await provisioned(tenancy)
    catalog = tenancy.catalog()
    assert only(await revoke(tenancy))["statements"] == []
    assert only(await restore(tenancy))["statements"] == []
    assert tenancy.catalog() == catalog


async def test_grant_options_and_what_was_granted_on_come_back_as_they_were(tenancy):
    await provisioned(tenancy)
    schema = name_of(tenancy, "T0001")
    boss, clerk, temp, odd = (tenancy.roles.make(name) for name in ("boss", "clerk", "temp", ODD))
    run = tenancy.roles.execute
    run("GRANT USAGE, CREATE ON SCHEMA {} TO {} WITH GRANT OPTION", schema, boss, database=tenancy.database)
    run("GRANT USAGE ON SCHEMA {} TO {}", schema, odd, database=tenancy.database)
    for grantor, grantee, option in (
        (boss, clerk, "WITH GRANT OPTION"),
        (clerk, temp, ""),
        (boss, odd, ""),
        (clerk, tenancy.server.user, ""),
    ):
        with tenancy.server.connect(tenancy.database) as connection:
            names = map(sql.Identifier, (grantor, schema, grantee))
            connection.execute(
                sql.SQL("SET ROLE {}; GRANT USAGE ON SCHEMA {} TO {} " + option).format(*names)  # type: ignore[arg-type]
            )
    before = acl(tenancy, "schema", schema)
    assert len(before) >= 9  # the owner's two, and seven
    details = only(await revoke(tenancy))
    assert len(details["grants"]) == 7
    assert {grantee for _, grantee, *_ in acl(tenancy, "schema", schema)} == {tenancy.server.user}
    assert len(acl(tenancy, "schema", schema)) == 2
    only(await restore(tenancy))
    assert acl(tenancy, "schema", schema) == before


async def test_a_superuser_is_left_its_grant(tenancy):
    await provisioned(tenancy)
    schema, chief = name_of(tenancy, "T0001"), tenancy.roles.make("chief", "LOGIN SUPERUSER")
    tenancy.query(f'GRANT USAGE ON SCHEMA "{schema}" TO "{chief}"')
    before = acl(tenancy, "schema", schema)
    assert only(await revoke(tenancy))["statements"] == []
    assert acl(tenancy, "schema", schema) == before


async def test_a_grant_that_the_server_does_not_take_back_is_told_and_all_stays(tenancy):
    await provisioned(tenancy)
    schema, chief, app = name_of(tenancy, "T0001"), tenancy.roles.make("chief"), tenancy.roles.make("app")
    tenancy.query(f'GRANT USAGE ON SCHEMA "{schema}" TO "{chief}" WITH GRANT OPTION')
    tenancy.query(f'SET ROLE "{chief}"; GRANT USAGE ON SCHEMA "{schema}" TO "{app}"')
    tenancy.query(f'ALTER ROLE "{chief}" SUPERUSER')  # what it grants now is the owner's, what it has granted is not
    before = acl(tenancy, "schema", schema)
    kind, error = failure(await revoke(tenancy))
    assert kind == "OwnershipError"
    assert f"USAGE on schema {schema} to {app}, granted by {chief}" in error
    assert acl(tenancy, "schema", schema) == before
    tenancy.query(f'ALTER ROLE "{chief}" NOSUPERUSER')
    only(await revoke(tenancy))
    only(await restore(tenancy))
    assert acl(tenancy, "schema", schema) == before


async def test_what_is_granted_to_a_suspended_tenant_is_taken_too_and_recorded_beside_the_rest(tenancy):
    await provisioned(tenancy)
    schema = name_of(tenancy, "T0001")
    first, second = tenancy.roles.make("first"), tenancy.roles.make("second")
    let_in(tenancy, schema, first)
    await revoke(tenancy)
    let_in(tenancy, schema, second)
    tenancy.query(f'GRANT USAGE ON SCHEMA "{schema}" TO "{first}" WITH GRANT OPTION')
    details = only(await revoke(tenancy))
    assert len(details["grants"]) == len(details["withheld"]) == 2
    only(await restore(tenancy))
    held = {(grantee, option) for _, grantee, _, option in acl(tenancy, "schema", schema)}
    assert {(first, True), (second, False)} < held


async def test_a_role_that_is_gone_is_told_and_the_others_get_theirs(tenancy):
    await provisioned(tenancy)
    schema = name_of(tenancy, "T0001")
    stays, leaves = tenancy.roles.make("stays"), tenancy.roles.make("leaves")
    for role in (stays, leaves):
        tenancy.query(f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"')
    await revoke(tenancy)
    tenancy.query(f'DROP ROLE "{leaves}"')
    details = only(await restore(tenancy))
    assert details["gone"] == [f"USAGE on schema {schema} to {leaves}"]
    assert stays in str(acl(tenancy, "schema", schema))


async def test_roles_that_need_no_grant_are_told(tenancy):
    await provisioned(tenancy)
    schema = name_of(tenancy, "T0001")
    group, member, reader = tenancy.roles.make("g", "NOLOGIN"), tenancy.roles.make("m"), tenancy.roles.make("r")
    tenancy.query(f'GRANT CREATE ON DATABASE "{tenancy.database}" TO "{group}"')
    tenancy.query(f'GRANT "{group}" TO "{member}"; GRANT pg_read_all_data TO "{reader}"')
    tenancy.query(f'ALTER SCHEMA "{schema}" OWNER TO "{group}"')
    for dry_run in (True, False):
        assert only(await revoke(tenancy, dry_run=dry_run))["still_inside"] == sorted([member, reader])


TWO_SCHEMAS = """
schemas:
  {{ tenant | schema_name(instance) }}:
    tables:
      customers: {columns: [{columnName: id, columnType: INT, primaryKey: 1}]}
  audit:
    tables:
      customers: {columns: [{columnName: id, columnType: INT, primaryKey: 1}]}
"""


async def test_all_schemas_of_the_instance_and_all_instances_are_closed(tenancy):
    tenancy.template.write_text(TWO_SCHEMAS)
    await provisioned(tenancy, instances="main,test")
    schemas = [name_of(tenancy, "T0001", name) + more for name in ("main", "test") for more in ("", "_audit")]
    app = tenancy.roles.make("app")
    for schema in schemas:
        let_in(tenancy, schema, app)
    before = [acl(tenancy, "schema", schema) for schema in schemas]
    (result,) = await revoke(tenancy)
    assert result.details["changed"] == 4
    assert [may_read(tenancy, app, schema) for schema in schemas] == [False] * 4
    await restore(tenancy)
    assert [acl(tenancy, "schema", schema) for schema in schemas] == before


async def test_an_instance_that_fails_leaves_no_other_open(tenancy):
    await provisioned(tenancy, instances="main,test")
    main, test, app = name_of(tenancy, "T0001"), name_of(tenancy, "T0001", "test"), tenancy.roles.make("app")
    for schema in (main, test):
        let_in(tenancy, schema, app)
    tenancy.query(f"""UPDATE "{main}".dbgear_migrations SET tenant_id = 'T9'""")
    kind, error = failure(await revoke(tenancy))
    assert kind == "OwnershipError"
    assert "belongs to tenant T9" in error
    assert [may_read(tenancy, app, schema) for schema in (main, test)] == [True, False]


# Isolation database


async def test_a_database_of_its_own_is_closed_and_its_sessions_end(tenancy):
    await provisioned(tenancy, isolation="database")
    database, app = name_of(tenancy, "T0001"), tenancy.roles.make("app")
    let_in(tenancy, "main", app, database)  # CONNECT is everybody's by default
    before = acl(tenancy, "database", database)
    planned = only(await revoke(tenancy, dry_run=True))
    assert f'REVOKE CONNECT ON DATABASE "{database}" FROM PUBLIC' in planned["statements"]
    assert acl(tenancy, "database", database) == before
    with tenancy.roles.server(app).connect(database) as running:
        assert only(await revoke(tenancy, dry_run=True))["sessions"] == [app]
        running.execute("SELECT 1")
        details = only(await revoke(tenancy))
        assert details["sessions"] == [app]
        assert details["statements"] == planned["statements"]
        with pytest.raises(psycopg.OperationalError):
            running.execute("SELECT 1")
    assert not may_read(tenancy, app, "main", database)
    tenancy.query("SELECT * FROM main.customers", database)  # the owner
    again = only(await revoke(tenancy))
    assert (again["statements"], again["sessions"]) == ([], [])
    only(await restore(tenancy))
    assert acl(tenancy, "database", database) == before
    assert may_read(tenancy, app, "main", database)


async def test_grants_on_a_database_come_back_as_they_were(tenancy):
    await provisioned(tenancy, isolation="database")
    database = name_of(tenancy, "T0001")
    boss, clerk = tenancy.roles.make("boss"), tenancy.roles.make("clerk")
    tenancy.query(f'REVOKE CONNECT ON DATABASE "{database}" FROM PUBLIC')
    tenancy.query(f'GRANT CONNECT, TEMP ON DATABASE "{database}" TO "{boss}" WITH GRANT OPTION')
    tenancy.query(f'SET ROLE "{boss}"; GRANT CONNECT ON DATABASE "{database}" TO "{clerk}"')
    before = acl(tenancy, "database", database)
    assert len(only(await revoke(tenancy))["grants"]) == 2
    only(await restore(tenancy))
    assert acl(tenancy, "database", database) == before


async def test_sessions_that_an_attempt_has_left_are_ended_by_the_next(tenancy, monkeypatch):
    await provisioned(tenancy, isolation="database")
    database, app = name_of(tenancy, "T0001"), tenancy.roles.make("app")

    async def die(*_: Any) -> None:
        raise ServerUnavailableError("gone between the commit and the end of the sessions")

    with tenancy.roles.server(app).connect(database) as running:
        with monkeypatch.context() as broken:
            broken.setattr(PostgresSession, "end_other_sessions", die)
            assert failure(await revoke(tenancy, retry_attempts=1))[0] == "ServerUnavailableError"
        assert not may_read(tenancy, app, "main", database)  # revoked already
        running.execute("SELECT 1")
        details = only(await revoke(tenancy))
        assert (details["statements"], details["sessions"]) == ([], [app])
        with pytest.raises(psycopg.OperationalError):
            running.execute("SELECT 1")


async def test_sessions_that_we_may_not_end_are_told(tenancy):
    plain, app = tenancy.roles.make("plain", "LOGIN CREATEDB"), tenancy.roles.make("app")
    superuser, tenancy.server = tenancy.server, tenancy.roles.server(plain)
    await provisioned(tenancy, isolation="database")
    database = name_of(tenancy, "T0001")
    with tenancy.roles.server(app).connect(database) as running:
        kind, error = failure(await revoke(tenancy))
        assert kind == "StatementError"
        assert app in error
        assert "access is revoked" in error
        assert "pg_signal_backend" in error
        assert not may_read(tenancy, app, "main", database)
        running.execute("SELECT 1")
        with superuser.connect() as connection:
            connection.execute(sql.SQL("GRANT pg_signal_backend TO {}").format(sql.Identifier(plain)))
        assert only(await revoke(tenancy))["sessions"] == [app]
    only(await restore(tenancy))
    tenancy.server = superuser


# Whose it is


async def test_without_superuser_a_schema_of_our_own_is_closed_and_opened(tenancy):
    plain, boss, app = tenancy.roles.make("plain"), tenancy.roles.make("boss"), tenancy.roles.make("app")
    tenancy.query(f'GRANT CREATE ON DATABASE "{tenancy.database}" TO "{plain}"; GRANT "{boss}" TO "{plain}"')
    superuser, tenancy.server = tenancy.server, tenancy.roles.server(plain)
    await provisioned(tenancy)
    schema = name_of(tenancy, "T0001")
    tenancy.query(f'GRANT USAGE ON SCHEMA "{schema}" TO "{boss}" WITH GRANT OPTION')
    tenancy.query(f'SET ROLE "{boss}"; GRANT USAGE ON SCHEMA "{schema}" TO "{app}"')
    before = acl(tenancy, "schema", schema)
    only(await revoke(tenancy))
    assert app not in str(acl(tenancy, "schema", schema))
    only(await restore(tenancy))
    assert acl(tenancy, "schema", schema) == before

    # Somebody else's now: the server would only warn.
    with superuser.connect(tenancy.database) as connection:
        connection.execute(sql.SQL("ALTER SCHEMA {} OWNER TO CURRENT_USER").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("GRANT ALL ON SCHEMA {} TO {}").format(*map(sql.Identifier, (schema, plain))))
    set_status(tenancy, "suspended")
    kind, error = failure(await revoke(tenancy))
    assert kind in {"OwnershipError", "StatementError"}
    assert schema in error
    tenancy.server = superuser
    assert boss in str(acl(tenancy, "schema", schema))


async def test_what_is_not_provisioned_is_a_success_with_nothing_there(tenancy):
    tenancy.write(
        [["A", f"a_{tenancy.database}", "schema", "main"], ["B", f"b_{tenancy.database}", "database", "main"]]
    )
    for act, status in ((revoke, "suspended"), (restore, "active")):
        set_status(tenancy, status)
        results = await act(tenancy)
        assert [result.details["instances"]["main"]["found"] for result in results] == [False, False]
    assert tenancy.databases() == set()


async def test_a_schema_of_another_is_never_touched(tenancy):
    app = tenancy.roles.make("app")
    code = f"same_{tenancy.database}"
    tenancy.write([["A", code, "schema", "main"], ["C", f"c_{tenancy.database}", "schema", "main"]])
    async with tenancy.engine() as engine:
        await engine.bulk_provision_tenants({"tenant_id": "A"}, dry_run=False)
    others = [f"{code}_jp_main", f"c_{tenancy.database}_jp_main"]
    tenancy.query(f'CREATE SCHEMA "{others[1]}"; CREATE TABLE "{others[1]}".customers (id int)')
    for schema in others:
        let_in(tenancy, schema, app)
    tenancy.write([["B", code, "schema", "main"], ["C", f"c_{tenancy.database}", "schema", "main"]])
    set_status(tenancy, "suspended")
    results = await revoke(tenancy)
    assert [result.details["error_kind"] for result in results] == ["OwnershipError", "OwnershipError"]
    assert "belongs to tenant A (main)" in results[0].error
    assert [may_read(tenancy, app, schema) for schema in others] == [True, True]


@pytest.mark.parametrize("status", ["active", "inactive", "suspended", "terminated"])
async def test_only_active_tenants_have_access(tenancy, status):
    await provisioned(tenancy)
    schema = name_of(tenancy, "T0001")
    let_in(tenancy, schema, tenancy.roles.make("app"))
    before = acl(tenancy, "schema", schema)
    set_status(tenancy, status)
    async with tenancy.engine() as engine:
        refused = engine.bulk_revoke_access if status == "active" else engine.bulk_restore_access
        kind, error = failure(await refused({}, dry_run=False))
        assert kind == "InvalidInputError"
        assert f"tenant T0001 is {status}" in error
        assert acl(tenancy, "schema", schema) == before
        allowed = engine.bulk_restore_access if status == "active" else engine.bulk_revoke_access
        only(await allowed({}, dry_run=False))


# The record


@pytest.mark.parametrize(
    "loss",
    [
        'DROP TABLE "{0}".dbgear_withheld',
        'DELETE FROM "{0}".dbgear_withheld',
        'UPDATE "{0}".dbgear_withheld SET grantee = current_user',
        'DROP TABLE "{0}".dbgear_withheld; CREATE VIEW "{0}".dbgear_withheld AS SELECT pg_sleep(60)::text',
    ],
)
async def test_a_record_that_is_lost_or_changed_is_an_error_and_grants_nothing(tenancy, loss):
    await provisioned(tenancy)
    schema, app = name_of(tenancy, "T0001"), tenancy.roles.make("app")
    let_in(tenancy, schema, app)
    await revoke(tenancy)
    tenancy.query(loss.format(schema))
    kind, error = failure(await restore(tenancy))
    assert kind == "OwnershipError"
    assert f"{tenancy.database}.{schema} on target main" in error
    assert "record of what was revoked is gone or was changed" in error
    assert app not in str(acl(tenancy, "schema", schema))


async def test_a_record_that_is_a_tenants_own_table_is_not_read(tenancy):
    await provisioned(tenancy)
    schema, app, theirs = name_of(tenancy, "T0001"), tenancy.roles.make("app"), tenancy.roles.make("theirs")
    let_in(tenancy, schema, app)
    only(await revoke(tenancy))
    tenancy.query(f'ALTER SCHEMA "{schema}" OWNER TO "{theirs}"')
    tenancy.query(f'ALTER TABLE "{schema}".dbgear_withheld OWNER TO "{theirs}"')
    kind, error = failure(await restore(tenancy))
    assert kind == "OwnershipError"
    assert "record of what was revoked" in error
    tenancy.query(f'ALTER TABLE "{schema}".dbgear_withheld OWNER TO CURRENT_USER')
    only(await restore(tenancy))
    assert may_read(tenancy, app, schema)


async def test_with_its_record_lost_a_tenant_still_loses_access_and_that_is_told(tenancy):
    await provisioned(tenancy)
    schema, app = name_of(tenancy, "T0001"), tenancy.roles.make("app")
    let_in(tenancy, schema, app)
    await revoke(tenancy)
    tenancy.query(f'DROP TABLE "{schema}".dbgear_withheld')
    let_in(tenancy, schema, app)
    details = only(await revoke(tenancy))
    assert details["record_lost"] is True
    assert not may_read(tenancy, app, schema)
    only(await restore(tenancy))
    assert may_read(tenancy, app, schema)


async def test_a_planted_record_gives_nothing_of_others_and_runs_no_sql(tenancy):
    from dbgear_airflow_provider.core.automation import withheld
    from dbgear_airflow_provider.core.engines import Grant
    from dbgear_airflow_provider.core.engines import PostgresServer as Target
    from dbgear_airflow_provider.core.schema import LedgerEntry, Namespace

    await provisioned(tenancy, 2)
    mine, other, app = name_of(tenancy, "T0001"), name_of(tenancy, "T0002"), tenancy.roles.make("app")
    set_status(tenancy, "active")
    owner = LedgerEntry(version="provision", tenant_id="T0001", instance="main", checksum="0" * 64)
    record = withheld.Record(Namespace(mine), Target.dialect)

    def plant(*grants: Grant) -> None:
        for statement in record.write_statements(grants, owner, replaces=False, transactional_ddl=True):
            tenancy.query(statement)

    plant(Grant(kind="schema", name=other, privilege="USAGE", grantee=app))
    async with tenancy.engine() as engine:
        details = only(await engine.bulk_restore_access({"tenant_id": "T0001"}, dry_run=False))
    assert (details["grants"], details["gone"]) == ([], [f"USAGE on schema {other} to {app}"])

    plant(Grant(kind="schema", name=mine, privilege=f'ALL ON SCHEMA public TO "{app}"; --', grantee=app))
    async with tenancy.engine() as engine:
        kind, error = failure(await engine.bulk_restore_access({"tenant_id": "T0001"}, dry_run=False))
    assert kind == "UnsupportedError"
    assert "no privilege" in error
    assert app not in str(acl(tenancy, "schema", "public")) + str(acl(tenancy, "schema", other))


# Runs, kills


def slow_revoke(fleet: Any, seconds: float) -> None:
    """Make the server sleep in the middle, when the grants are gone and the record is not written yet."""
    fleet.query(
        f"""
        CREATE FUNCTION public.slow() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_sleep({seconds}); END $$
        """
    )
    fleet.query("CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('REVOKE') EXECUTE FUNCTION slow()")


SLEEPING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


async def test_a_connection_that_is_cut_in_the_middle_takes_nothing_and_is_made_again(tenancy):
    await provisioned(tenancy)
    schema, app = name_of(tenancy, "T0001"), tenancy.roles.make("app")
    let_in(tenancy, schema, app)
    before = acl(tenancy, "schema", schema)
    slow_revoke(tenancy, 30)
    running = asyncio.create_task(revoke(tenancy))
    await until(lambda: tenancy.query(SLEEPING))
    tenancy.query(f"SELECT pg_terminate_backend(pid) FROM ({SLEEPING}) s")
    await until(lambda: not tenancy.query(SLEEPING))
    assert acl(tenancy, "schema", schema) == before
    tenancy.query("DROP EVENT TRIGGER slow")
    (result,) = await running
    assert result.details["attempts"] == 2
    assert not may_read(tenancy, app, schema)
    only(await restore(tenancy))
    assert acl(tenancy, "schema", schema) == before


async def test_cancelling_in_the_middle_takes_nothing(tenancy):
    await provisioned(tenancy)
    schema, app = name_of(tenancy, "T0001"), tenancy.roles.make("app")
    let_in(tenancy, schema, app)
    before = acl(tenancy, "schema", schema), tables_of(tenancy, schema)
    slow_revoke(tenancy, 30)
    running = asyncio.create_task(revoke(tenancy))
    await until(lambda: tenancy.query(SLEEPING))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not tenancy.query(SLEEPING))
    assert (acl(tenancy, "schema", schema), tables_of(tenancy, schema)) == before
    tenancy.query("DROP EVENT TRIGGER slow")
    only(await revoke(tenancy))


async def test_a_run_that_goes_on_does_only_what_is_left_and_keeps_its_results(tenancy):
    ids = await provisioned(tenancy, 3)
    app = tenancy.roles.make("app")
    for id_ in ids:
        let_in(tenancy, name_of(tenancy, id_), app)
    set_status(tenancy, "active", "T0002")
    # A dry run of the same run is not the work itself.
    planned = await revoke(tenancy, dry_run=True, run_id="run")
    assert [result.status.value for result in planned] == ["success", "error", "success"]
    first = await revoke(tenancy, run_id="run")
    assert [result.status.value for result in first] == ["success", "error", "success"]
    set_status(tenancy, "suspended")
    (second,) = await revoke(tenancy, run_id="run")
    assert (second.tenant_id, second.status.value) == ("T0002", "success")
    assert [may_read(tenancy, app, name_of(tenancy, id_)) for id_ in ids] == [False] * 3
    async with tenancy.engine("run") as engine:
        kept = await engine._run.store.latest("run", "revoke_access")
    assert [(record.tenant_id, record.dry_run, record.details["changed"]) for record in kept] == [
        (id_, False, 1) for id_ in ids
    ]


async def test_two_runs_at_once_take_everything_once(tenancy):
    ids = await provisioned(tenancy, 6)
    app = tenancy.roles.make("app")
    for id_ in ids:
        let_in(tenancy, name_of(tenancy, id_), app)
    first, second = await asyncio.gather(revoke(tenancy), revoke(tenancy))
    changed = [(a.details["changed"], b.details["changed"]) for a, b in zip(first, second, strict=True)]
    assert all(sorted(pair) == [0, 1] for pair in changed)
    await restore(tenancy)
    assert all(may_read(tenancy, app, name_of(tenancy, id_)) for id_ in ids)


# The operator


class Task:
    """What a task instance is to the operator."""

    try_number = 1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@pytest.fixture
def other_database(roles: Roles, postgres: PostgresServer) -> Iterator[str]:
    name = f"other_{os.urandom(6).hex()}"
    postgres.create_database(name)
    yield name
    postgres.drop_database(name)


@pytest.fixture
def project(tenancy: Any, other_database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two targets, T0003 on the second one, as Airflow finds it."""
    os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))
    server = tenancy.server
    account = {"host": server.host, "port": server.port, "login": server.user, "password": server.password}
    for conn_id, database in (("main", tenancy.database), ("other", other_database)):
        fields = {"conn_type": "postgres", "schema": database, **account}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
    store = {"conn_type": "sqlite", "host": str(tenancy.folder / "fleet.db")}
    monkeypatch.setenv("AIRFLOW_CONN_DBGEAR_FLEET", json.dumps(store))
    path: Path = tenancy.folder / "project.yaml"
    multi_tenant = {
        "tenant_registry": {"config": {"csv": {"path": str(tenancy.folder / "tenants.csv")}}},
        "targets": {name: {"connection_id": name} for name in ("main", "other")},
        "placement": [{"query": "tenant_id = 'T0003'", "target": "other"}, {"target": "main"}],
        "templates": {"base_dir": str(tenancy.folder)},
    }
    path.write_text(yaml.safe_dump({"multi_tenant": multi_tenant}))
    return path


async def run_operator(project: Path, *, run_id: str = "run", **options: Any) -> tuple[Any, Any]:
    """Return what the operator returned, or the error, and the summary."""
    from dbgear_airflow_provider.core.errors import TenantsFailedError
    from dbgear_airflow_provider.operators.revoke_access import DbgearRevokeAccessOperator

    operator = DbgearRevokeAccessOperator(task_id="revoke", project_file=str(project), **options)
    task = Task()
    context = {
        "dag": SimpleNamespace(dag_id="dag"),
        "run_id": run_id,
        "dag_run": SimpleNamespace(start_date=datetime.now(UTC) - timedelta(minutes=1)),
        "ti": task,
    }
    try:
        returned = await operator.aexecute(context)  # type: ignore[arg-type]
    except TenantsFailedError as error:
        returned = error
    return returned, task.pushed["summary"]


async def test_the_operator_works_on_all_targets_and_tells_what_failed(tenancy, other_database, project):
    from dbgear_airflow_provider.hooks.project import open_fleet

    ids = tenancy.tenants(3)
    async with open_fleet(str(project), fleet_conn_id="dbgear_fleet", targets=["main", "other"]) as fleet:
        results = await fleet.automation().bulk_provision_tenants({}, dry_run=False)
        assert [result.error for result in results] == [None] * 3
    set_status(tenancy, "suspended", "T0001", "T0003")
    app = tenancy.roles.make("app")
    homes = {"T0001": tenancy.database, "T0002": tenancy.database, "T0003": other_database}
    for id_ in ids:
        let_in(tenancy, name_of(tenancy, id_), app, homes[id_])

    def readable() -> list[str]:
        return [id_ for id_ in ids if may_read(tenancy, app, name_of(tenancy, id_), homes[id_])]

    counts = {"tenants": 2, "succeeded": 2, "failed": [], "changed": 2, "sessions": 0}
    returned, summary = await run_operator(project, query="status = 'suspended'")
    assert returned == summary == counts  # a dry run
    assert readable() == ids
    returned, summary = await run_operator(project, query="tenant_id LIKE 'T%'", is_dry_run="False")
    assert returned.details["tenant_ids"] == ["T0002"]
    assert "tenant T0002 is active" in returned.message
    assert summary == {"tenants": 3, "succeeded": 2, "failed": ["T0002"], "changed": 2, "sessions": 0}
    assert readable() == ["T0002"]
    # A query that matches nobody is a success over nobody.
    returned, _ = await run_operator(project, query="tenant_id = 'no such'", is_dry_run=False)
    assert returned == {"tenants": 0, "succeeded": 0, "failed": [], "changed": 0, "sessions": 0}

    set_status(tenancy, "active")
    returned, _ = await run_operator(project, query="status = 'active'", is_dry_run=False, restore="true")
    assert returned == {"tenants": 3, "succeeded": 3, "failed": [], "changed": 2, "sessions": 0}
    assert readable() == ids
    # A retry within the run does nothing again.
    returned, _ = await run_operator(project, query="status = 'active'", is_dry_run=False, restore=True)
    assert returned == {"tenants": 3, "succeeded": 3, "failed": [], "changed": 0, "sessions": 0}


def test_the_operators_table_has_the_failed_first():
    from dbgear_airflow_provider.core.automation import OperationResult
    from dbgear_airflow_provider.operators.revoke_access import _table

    def done(id_: str, changed: int, *, found: bool = True) -> OperationResult:
        details = {"changed": changed, "sessions": 0, "instances": {"main": {"found": found}}}
        return OperationResult(id_, "revoke_access", OperationStatus.SUCCESS, 0.5, details=details)

    failed = OperationResult("T4", "revoke_access", OperationStatus.ERROR, 1.0, "no\nway", {"error_kind": "X"})
    assert _table([done("T1", 2), done("T2", 0), done("T3", 0, found=False), failed]).splitlines() == [
        "tenant  result   seconds  grants  sessions",
        "T4      error    1.00                       no way",
        "T1      success  0.50     2       0",
        "T2      success  0.50     0       0         nothing to do",
        "T3      success  0.50     0       0         nothing there: not provisioned",
    ]


def test_the_documentation_tells_the_operator_as_it_is():
    from dbgear_airflow_provider.operators.base import DbgearOperator
    from dbgear_airflow_provider.operators.revoke_access import DbgearRevokeAccessOperator as Operator

    page = (Path(__file__).parents[3] / "docs" / "access.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)`\* \|", page, re.MULTILINE)
    assert told == [name for name in Operator.template_fields if name not in DbgearOperator.template_fields]
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "access.md", "exec"), names)  # noqa: S102
    assert (names["revoked"].restore, names["restored"].restore) == (False, True)
