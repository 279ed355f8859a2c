"""A tenant's login on real servers: it can do its own work, and nothing with what is another's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation import OperationStatus
from dbgear_airflow_provider.core.errors import SinkUnavailableError
from tests.integration.automation.logins import REFUSED, Login, drop_roles


@pytest.fixture(params=["postgresql", "mysql"])
def roles_fleet(request: pytest.FixtureRequest) -> Iterator[Any]:
    fleet = request.getfixturevalue("fleet" if request.param == "postgresql" else "mysql_fleet")
    fleet.with_roles()
    yield fleet
    fleet.drop_databases()
    drop_roles(fleet)


async def provision(fleet: Any, *, dry_run: bool = False) -> list[Any]:
    async with fleet.engine() as engine:
        return await engine.bulk_provision_tenants({}, dry_run=dry_run)


async def provisioned(fleet: Any, count: int = 2, isolation: str = "schema", instances: str = "main") -> list[str]:
    ids = fleet.tenants(count, isolation, instances)
    assert [result.error for result in await provision(fleet)] == [None] * count
    return ids


VIEW = """
    views:
      named: {selectStatement: "SELECT id, tenant_id FROM customers WHERE tenant_id <> ''"}
"""
FUNCTION = """
    procedures:
      doubled: {parameters: [{parameterName: n, dataType: INT}], returnType: INT, deterministic: true,
                body: RETURN n * 2}
      emptied: {body: DELETE FROM customers}
"""
isolations = pytest.mark.parametrize("isolation", ["schema", "database", "table"])


def rich(fleet: Any) -> None:
    """Let the document have a view, and on MySQL routines."""
    more = VIEW + (FUNCTION if fleet.target().schemas_are_databases else "")
    fleet.template.write_text(fleet.template.read_text() + more)


@isolations
async def test_a_login_does_its_own_work_and_none_with_what_is_anothers(roles_fleet, isolation):
    rich(roles_fleet)
    ids = await provisioned(roles_fleet, isolation=isolation)
    first, second = (Login(roles_fleet, id_) for id_ in ids)

    first.do(f"INSERT INTO {first.table('customers')} (tenant_id) VALUES ('x')")
    first.do(f"UPDATE {first.table('customers')} SET tenant_id = 'y'")
    assert first.do(f"SELECT tenant_id FROM {first.table('customers')}") == [("y",)]
    first.do(f"DELETE FROM {first.table('customers')}")
    second.do(f"INSERT INTO {second.table('customers')} (tenant_id) VALUES ('z')")

    assert second.do(f"SELECT tenant_id FROM {second.table('named')}") == [("z",)]
    on_mysql = first.told["engine"] == "mysql"
    if on_mysql:
        assert second.do(f"SELECT {second.table('doubled')}(2)") == [(4,)]
        first.do(f"CALL {first.table('emptied')}()")
        for sql in (f"SELECT {second.table('doubled')}(2)", f"CALL {second.table('emptied')}()"):
            first.refused(sql)

    # On PostgreSQL another database is another connection.
    there = second.place["database"]
    for sql in (
        f"SELECT * FROM {second.table('customers')}",
        f"SELECT * FROM {second.table('named')}",
        f"INSERT INTO {second.table('customers')} (tenant_id) VALUES ('x')",
        f"DELETE FROM {second.table('customers')}",
        f"DROP TABLE {second.table('orders')}",
        f"CREATE TABLE {second.table('mine')} (id INT)",
    ):
        first.refused(sql, there)
    first.refused(f"CREATE TABLE {first.table('mine')} (id INT)")
    for verb in ("SELECT * FROM", "DELETE FROM", "DROP TABLE"):
        first.refused(f"{verb} {first.table('dbgear_migrations')}")
        first.refused(f"{verb} {second.table('dbgear_migrations')}", there)
    for login in (first, second):
        first.refused(f"SET ROLE {login.told['user'].replace('_login', '_owner')}")

    schemas = {first.place["schema"], second.place["schema"]}
    listed = ", ".join(f"'{schema}'" for schema in schemas)
    seen = first.do(
        f"SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ({listed}) ORDER BY 2"
    )
    prefix = first.place.get("prefix", "")
    names = [f"{prefix}{name}" for name in ("customers", "named", "orders")]
    assert seen == [(first.place["schema"], name) for name in names]
    if on_mysql:
        assert first.do(f"SHOW TABLES FROM `{first.place['schema']}`") == [(name,) for name in names]
        routines = "SELECT ROUTINE_NAME FROM information_schema.ROUTINES ORDER BY 1"
        assert first.do(routines) == [(f"{prefix}doubled",), (f"{prefix}emptied",)]
    for result in await provision(roles_fleet, dry_run=True):
        assert result.details["instances"]["main"]["statements"] == []


async def test_on_mysql_no_other_database_is_listed(mysql_fleet):
    mysql_fleet.with_roles()
    first, second = (Login(mysql_fleet, id_) for id_ in await provisioned(mysql_fleet))
    try:
        assert {name for (name,) in first.do("SHOW DATABASES")} == {first.place["schema"], "information_schema"}
        first.refused(f"SHOW TABLES FROM `{second.place['schema']}`")
        assert first.do(f"SHOW TABLES FROM `{first.place['schema']}`") == [("customers",), ("orders",)]
    finally:
        drop_roles(mysql_fleet)


async def test_a_second_run_does_nothing_and_keeps_the_password(roles_fleet):
    (id_,) = await provisioned(roles_fleet, 1)
    before = roles_fleet.sink.file(id_).read_text()
    (planned,) = await provision(roles_fleet, dry_run=True)
    assert planned.details["instances"]["main"]["statements"] == []
    await provision(roles_fleet)
    assert roles_fleet.sink.file(id_).read_text() == before


async def test_a_dry_run_makes_no_password_and_tells_what_would_be_done(roles_fleet):
    (id_,) = roles_fleet.tenants(1)
    (planned,) = await provision(roles_fleet, dry_run=True)
    statements = planned.details["instances"]["main"]["statements"]
    assert not roles_fleet.sink.file(id_).exists()
    (login,) = [text for text in statements if "***" in text]
    assert "_login" in login
    (done,) = await provision(roles_fleet)
    assert done.error is None
    assert Login(roles_fleet, id_).told["password"] not in repr(done)


async def test_a_tenant_from_before_gets_its_roles(roles_fleet):
    sink, roles_fleet.sink = roles_fleet.sink, None
    (id_,) = await provisioned(roles_fleet, 1)
    roles_fleet.sink = sink
    assert [result.error for result in await provision(roles_fleet)] == [None]
    login = Login(roles_fleet, id_)
    login.do(f"INSERT INTO {login.table('customers')} (tenant_id) VALUES ('x')")
    login.refused(f"SELECT * FROM {login.table('dbgear_migrations')}")
    (planned,) = await provision(roles_fleet, dry_run=True)
    assert planned.details["instances"]["main"]["statements"] == []


@pytest.mark.parametrize("isolation", ["schema", "database"])
async def test_all_instances_have_one_login_also_one_that_comes_later(roles_fleet, isolation):
    (id_,) = await provisioned(roles_fleet, 1, isolation=isolation)
    password = Login(roles_fleet, id_).told["password"]
    await provisioned(roles_fleet, 1, isolation=isolation, instances="main,test")
    login = Login(roles_fleet, id_)
    assert login.told["password"] == password  # an application goes on with it
    (result,) = await provision(roles_fleet)
    place = result.details["instances"]["test"]
    mark = "`" if login.told["engine"] == "mysql" else '"'
    assert login.do(f"SELECT * FROM {mark}{place['schema']}{mark}.customers", place["database"]) == []


async def test_a_table_that_comes_later_is_covered_by_the_next_run(roles_fleet):
    (id_,) = await provisioned(roles_fleet, 1)
    login = Login(roles_fleet, id_)
    later = login.table("later")
    roles_fleet.query(f"CREATE TABLE {later} (id INT)")
    login.refused(f"SELECT * FROM {later}")
    await provision(roles_fleet)
    assert login.do(f"SELECT * FROM {later}") == []


@isolations
async def test_what_a_plan_makes_anew_the_login_has_again(roles_fleet, isolation):
    rich(roles_fleet)
    ids = await provisioned(roles_fleet, isolation=isolation)
    logins = [Login(roles_fleet, id_) for id_ in ids]
    roles_fleet.query(f"DROP VIEW {logins[0].table('named')}", logins[0].place["database"])
    async with roles_fleet.engine() as engine:
        repaired = await engine.bulk_apply_plans({}, dry_run=False)
    assert [result.error for result in repaired] == [None, None]
    assert [login.do(f"SELECT * FROM {login.table('named')}") for login in logins] == [[], []]
    assert [result.details["instances"]["main"]["created"] for result in await provision(roles_fleet)] == [0, 0]


async def test_many_that_open_a_shared_schema_at_once(roles_fleet):
    ids = await provisioned(roles_fleet, 8, isolation="table")
    for id_ in ids:
        login = Login(roles_fleet, id_)
        login.do(f"INSERT INTO {login.table('customers')} (tenant_id) VALUES ('x')")


async def test_a_role_of_somebody_else_is_left_alone_and_nothing_is_made(roles_fleet):
    (id_,) = roles_fleet.tenants(1)
    name = f"{id_.lower()}_{roles_fleet.database}_jp_login"
    on_mysql = roles_fleet.target().schemas_are_databases
    roles_fleet.query(f"CREATE USER '{name}'@'%'" if on_mysql else f'CREATE ROLE "{name}" LOGIN')
    before = roles_fleet.catalog()
    (result,) = await provision(roles_fleet)
    assert result.details["error_kind"] == "OwnershipError"
    assert name in result.error
    assert not roles_fleet.sink.file(id_).exists()
    assert roles_fleet.catalog() == before


class Broken:
    """A sink that is away."""

    async def put(self, credential: Any) -> None:
        raise SinkUnavailableError("the sink is away", sink="test")


async def test_with_the_sink_away_no_role_is_made(roles_fleet):
    (id_,) = roles_fleet.tenants(1)
    sink, roles_fleet.sink = roles_fleet.sink, Broken()
    async with roles_fleet.engine(retry_attempts=1) as engine:
        (result,) = await engine.bulk_provision_tenants({}, dry_run=False)
    assert result.details["error_kind"] == "SinkUnavailableError"
    roles_fleet.sink = sink
    assert [result.error for result in await provision(roles_fleet)] == [None]
    assert Login(roles_fleet, id_).do("SELECT 1") == [(1,)]


async def test_without_a_sink_a_dry_run_goes_and_no_role_is_made(roles_fleet):
    (id_,) = roles_fleet.tenants(1)
    async with roles_fleet.engine() as engine:
        engine._credentials = None
        (planned,) = await engine.bulk_provision_tenants({}, dry_run=True)
        (refused,) = await engine.bulk_provision_tenants({}, dry_run=False)
    assert planned.error is None
    assert "multi_tenant.access.sink: no sink for passwords was opened" in refused.error
    assert [result.error for result in await provision(roles_fleet)] == [None]
    assert Login(roles_fleet, id_).do("SELECT 1") == [(1,)]


async def test_what_cannot_be_made_leaves_no_role_that_nobody_knows(roles_fleet, monkeypatch):
    """The connection breaks after the sink has the password and before anything is done."""
    (id_,) = roles_fleet.tenants(1)
    from dbgear_airflow_provider.core.errors import ServerUnavailableError

    session = type(roles_fleet.target()).__module__.rpartition(".")[2]
    name = {"mysql": "MySQLSession", "postgresql": "PostgresSession"}[session]
    module = __import__(f"dbgear_airflow_provider.core.engines.{session}", fromlist=[name])
    real = getattr(module, name).apply
    broken = [ServerUnavailableError("cut", statement="")]

    async def apply(self: Any, statements: Any, **options: Any) -> None:
        for statement in statements:
            if "***" in statement and broken:
                raise broken.pop()
            await real(self, [statement])
        if options.get("last") and session == "postgresql":
            await real(self, [], last=True)

    monkeypatch.setattr(getattr(module, name), "apply", apply)
    async with roles_fleet.engine(retry_attempts=1) as engine:
        (result,) = await engine.bulk_provision_tenants({}, dry_run=False)
    assert result.status is OperationStatus.ERROR
    lost = json.loads(roles_fleet.sink.file(id_).read_text())["password"]
    assert [result.error for result in await provision(roles_fleet)] == [None]
    login = Login(roles_fleet, id_)
    assert login.told["password"] != lost
    assert login.do(f"SELECT * FROM {login.table('customers')}") == []


async def test_tenants_that_would_share_a_login_are_not_touched(roles_fleet):
    code = f"x{roles_fleet.database}"
    roles_fleet.write([["A", code, "schema", "main"], ["B", code, "schema", "test"]])
    results = await provision(roles_fleet)
    assert {result.details["error_kind"] for result in results} == {"NameClashError"}
    assert f"{code}_jp_login" in results[0].error


async def test_odd_names_are_no_wildcards_on_mysql(mysql_fleet):
    """`_` in a grant on a database is any character: an owner's grant must not cover a neighbour."""
    mysql_fleet.with_roles()
    (id_,) = await provisioned(mysql_fleet, 1)
    try:
        login = Login(mysql_fleet, id_)
        owner = login.told["user"].replace("_login", "_owner")
        (db,) = mysql_fleet.query(f"SELECT Db FROM mysql.db WHERE User = '{owner}'")
        assert db[0] == login.place["schema"].replace("_", "\\_")
    finally:
        drop_roles(mysql_fleet)


async def test_a_tables_name_is_no_sql_where_tenants_share_a_schema(fleet):
    name = "a$dbgear$;CREATE SCHEMA o;--'%\\"  # with the prefix no longer than a name may be
    quoted = name.replace("\\", "\\\\")
    fleet.template.write_text(fleet.template.read_text().replace("      orders:", f'      "{quoted}":'))
    fleet.with_roles()
    try:
        (id_,) = await provisioned(fleet, 1, "table")
        login = Login(fleet, id_)
        login.do(f"INSERT INTO {login.table(name)} (customer_id) SELECT 1 WHERE false")
        login.do(f"INSERT INTO {login.table('customers')} (tenant_id) VALUES ('x')")
        assert fleet.query("SELECT FROM pg_namespace WHERE nspname = 'o'") == []
    finally:
        drop_roles(fleet)


async def test_a_user_that_may_make_roles_and_is_no_superuser_is_enough(fleet, postgres):
    fleet.with_roles()
    user = f"u{os.urandom(4).hex()}_{fleet.database}"
    fleet.query(f"CREATE ROLE {user} LOGIN CREATEROLE CREATEDB PASSWORD 'geheim'")
    fleet.query(f'GRANT CREATE ON DATABASE "{fleet.database}" TO {user}')
    rich(fleet)
    fleet.user = (user, "geheim")
    try:
        sink, fleet.sink = fleet.sink, None
        await provisioned(fleet, 1)  # and its objects go to the owner later
        fleet.sink = sink
        for isolation in ("schema", "database", "table"):
            ids = fleet.tenants(2, isolation)
            if isolation != "schema":
                fleet.write([[id_, f"{id_.lower()}{isolation[0]}_{fleet.database}", isolation, "main"] for id_ in ids])
            assert [result.error for result in await provision(fleet)] == [None, None]
            login = Login(fleet, ids[0])
            login.do(f"INSERT INTO {login.table('customers')} (tenant_id) VALUES ('x')")
            login.refused(f"SELECT * FROM {login.table('dbgear_migrations')}")
            async with fleet.engine() as engine:
                planned = await engine.bulk_provision_tenants({}, dry_run=True)
            assert [item.details["instances"]["main"]["statements"] for item in planned] == [[], []]
        owners = fleet.query(
            f"SELECT DISTINCT c.relname, r.rolname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner "
            f"WHERE relnamespace = 't0001_{fleet.database}_jp_main'::regnamespace AND relkind IN ('r', 'S') "
            "AND relname NOT LIKE 'dbgear%'"
        )
        assert {owner for _, owner in owners} == {f"t0001_{fleet.database}_jp_owner"}
        assert len(owners) == 4
    finally:
        fleet.drop_databases()
        fleet.user = None
        drop_roles(fleet)


async def rotate(fleet: Any, *, dry_run: bool = False, **options: Any) -> Any:
    async with fleet.engine(**options) as engine:
        (result,) = await engine.bulk_rotate_credentials({}, dry_run=dry_run)
    return result


@pytest.mark.parametrize("isolation", ["schema", "database"])
async def test_a_rotated_password_replaces_the_old_one(roles_fleet, isolation):
    (id_,) = roles_fleet.tenants(1, isolation)
    assert (await rotate(roles_fleet)).details["found"] is False
    await provision(roles_fleet)
    login = Login(roles_fleet, id_)
    old = login.told["password"]
    assert (await rotate(roles_fleet, dry_run=True)).details["found"] is True
    assert Login(roles_fleet, id_).told["password"] == old
    result = await rotate(roles_fleet)
    assert result.error is None
    new = Login(roles_fleet, id_)
    assert new.told["password"] != old
    assert new.told["password"] not in repr(result)
    assert new.do("SELECT 1") == [(1,)]
    with pytest.raises(REFUSED):
        new.do("SELECT 1", password=old)


async def test_a_strangers_password_is_not_rotated(roles_fleet):
    (id_,) = roles_fleet.tenants(1)
    name = f"{id_.lower()}_{roles_fleet.database}_jp_login"
    on_mysql = roles_fleet.target().schemas_are_databases
    roles_fleet.query(f"CREATE USER '{name}'@'%'" if on_mysql else f'CREATE ROLE "{name}" LOGIN')
    assert (await rotate(roles_fleet)).details["error_kind"] == "OwnershipError"
    assert not roles_fleet.sink.file(id_).exists()


async def test_a_kill_between_any_two_statements_is_made_good_on_mysql(mysql_fleet, monkeypatch):
    from dbgear_airflow_provider.core.engines.mysql import MySQLSession
    from dbgear_airflow_provider.core.errors import ServerUnavailableError

    mysql_fleet.with_roles()
    mysql_fleet.tenants(1)
    (planned,) = await provision(mysql_fleet, dry_run=True)
    count = len(planned.details["instances"]["main"]["statements"])
    assert count > 10
    real = MySQLSession.apply
    left: list[int] = []

    async def apply(self: Any, statements: Any, **options: Any) -> None:
        if not left:
            await real(self, statements, **options)
            return
        await real(self, statements[: left.pop()])
        self._wire.close()
        raise ServerUnavailableError("cut", statement="")

    monkeypatch.setattr(MySQLSession, "apply", apply)
    try:
        for number in range(count):
            left.append(number)
            async with mysql_fleet.engine(retry_attempts=1) as engine:
                (result,) = await engine.bulk_provision_tenants({}, dry_run=False)
            assert result.status is OperationStatus.ERROR
            (result,) = await provision(mysql_fleet)
            assert result.error is None, number
            login = Login(mysql_fleet, "T0001")
            assert login.do(f"SELECT * FROM {login.table('orders')}") == []
            (planned,) = await provision(mysql_fleet, dry_run=True)
            assert planned.details["instances"]["main"]["statements"] == []
            mysql_fleet.drop_databases()
            drop_roles(mysql_fleet)
    finally:
        drop_roles(mysql_fleet)


async def test_a_suspended_tenants_login_stays_out_until_it_is_active_again(fleet):
    fleet.with_roles()
    (id_,) = await provisioned(fleet, 1)
    path = fleet.folder / "tenants.csv"
    login = Login(fleet, id_)
    query = f"SELECT * FROM {login.table('customers')}"
    try:
        path.write_text(path.read_text().replace(",active,", ",suspended,"))
        async with fleet.engine() as engine:
            (result,) = await engine.bulk_revoke_access({}, dry_run=False)
        assert result.error is None
        login.refused(query)
        assert [item.error for item in await provision(fleet)] == [None]
        login.refused(query)
        path.write_text(path.read_text().replace(",suspended,", ",active,"))
        async with fleet.engine() as engine:
            (result,) = await engine.bulk_restore_access({}, dry_run=False)
        assert result.error is None
        assert login.do(query) == []
    finally:
        drop_roles(fleet)


async def test_the_server_never_gets_a_password_in_clear_on_postgresql(fleet):
    fleet.with_roles()
    (id_,) = await provisioned(fleet, 1)
    try:
        user = Login(fleet, id_).told["user"]
        ((kept,),) = fleet.query(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'")
        assert kept.startswith("SCRAM-SHA-256$4096:")
    finally:
        drop_roles(fleet)


def set_status(fleet: Any, tenant_id: str, status: str) -> None:
    path = fleet.folder / "tenants.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in rows[1:]:
        row[5] = status if row[0] == tenant_id else row[5]
    path.write_text("\n".join(",".join(row) for row in rows) + "\n")


@isolations
async def test_one_tenant_is_closed_and_opened_and_its_neighbour_goes_on(roles_fleet, isolation):
    rich(roles_fleet)
    first, second = (Login(roles_fleet, id_) for id_ in await provisioned(roles_fleet, isolation=isolation))
    mark = "`" if first.told["engine"] == "mysql" else '"'
    column_grant = f"GRANT REFERENCES (customer_id) ON {first.table('orders')} TO {mark}{first.told['user']}{mark}"
    roles_fleet.query(column_grant, first.place["database"])
    work = [f"SELECT * FROM {first.table('customers')}", f"SELECT * FROM {first.table('named')}"]
    # On PostgreSQL with a schema of its own what is closed is the schema or the database.
    if first.told["engine"] == "mysql":
        work.append(f"SELECT {first.table('doubled')}(2)")
    before = [first.do(sql) for sql in work]
    set_status(roles_fleet, "T0001", "suspended")
    async with roles_fleet.engine() as engine:
        (dry,) = await engine.bulk_revoke_access({"status": "suspended"}, dry_run=True)
        (done,) = await engine.bulk_revoke_access({"status": "suspended"}, dry_run=False)
        (again,) = await engine.bulk_revoke_access({"status": "suspended"}, dry_run=False)
    assert (dry.error, done.error, again.error) == (None, None, None)
    told = done.details["instances"]["main"]
    assert told["statements"] == dry.details["instances"]["main"]["statements"] != []
    assert not [text for text in told["statements"] if second.told["user"] in text]
    assert again.details["changed"] == 0
    for sql in work:
        first.refused(sql)
    assert second.do(f"SELECT * FROM {second.table('named')}") == []
    assert [result.error for result in await provision(roles_fleet)] == [None, None]
    for sql in work:
        first.refused(sql)
    set_status(roles_fleet, "T0001", "active")
    async with roles_fleet.engine() as engine:
        results = await engine.bulk_restore_access({}, dry_run=False)
    assert [result.error for result in results] == [None, None]
    assert results[0].details["instances"]["main"]["grants"] == told["grants"]
    assert [first.do(sql) for sql in work] == before
    for result in await provision(roles_fleet, dry_run=True):
        assert result.details["instances"]["main"]["statements"] == []
