"""Plans: what brings tenants that were changed by hand back to their document, on the real servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation import plan as plans
from dbgear_airflow_provider.core.automation import raise_for_failures
from dbgear_airflow_provider.core.automation.plan import apply_plan
from dbgear_airflow_provider.core.automation.reference import References
from dbgear_airflow_provider.core.errors import PlanRefusedError
from dbgear_airflow_provider.core.schema import PlannedStatement
from tests.integration.schema import nasty

isolations = pytest.mark.parametrize("isolation", ["schema", "database", "table"])
engines = pytest.mark.parametrize("kind", ["fleet", "mysql_fleet"])
column = nasty.column

USERS = {
    "displayName": "利用者",
    "columns": [
        column("id", "INT", nullable=False, primaryKey=1, autoIncrement=True),
        column("email", "VARCHAR(100)", nullable=False, displayName="メール"),
        column("age", "INT", defaultValue="7"),
        column("price", "DECIMAL(10,2)", nullable=False, defaultValue="0"),
        column("double_price", "DECIMAL(12,2)", expression="price * 2", stored=True),
        column("kind", "ENUM('a','b')"),
        column("tenant_id", "VARCHAR(50)", nullable=False, defaultValue="{{ tenant.tenant_id | sql_literal }}"),
        column("data", "JSON"),
    ],
    "indexes": [
        {"indexName": "idx_age", "columns": ["age DESC", "email"]},
        {"indexName": "uq_email", "columns": ["email"], "unique": True},
    ],
}
ORDERS = {
    "columns": [
        column("id", "INT", nullable=False, primaryKey=1),
        column("user_id", "INT", nullable=False),
        column("at", "DATETIME", nullable=False, defaultValue="CURRENT_TIMESTAMP"),
        column("changed_at", "TIMESTAMP", defaultValue="NULL ON UPDATE CURRENT_TIMESTAMP"),
    ],
    "indexes": [{"indexName": "idx_user", "columns": ["user_id"]}],
    "relations": [nasty.relation("users", ("user_id", "id"), constraintName="fk", onDelete="CASCADE")],
}
VIEWS = {
    "adults": {"displayName": "大人", "selectStatement": "SELECT id, email, age FROM users WHERE age > 17"},
    "old_adults": {"selectStatement": "SELECT email FROM adults WHERE age > 70"},
}


def template(kind: str) -> str:
    schema: dict[str, Any] = {"tables": {"users": USERS, "orders": ORDERS}, "views": VIEWS}
    if kind == "mysql_fleet":
        schema["triggers"] = {
            "lower_email": {
                "tableName": "users",
                "timing": "BEFORE",
                "event": "INSERT",
                "body": "SET NEW.email = LOWER(NEW.email)",
            }
        }
        schema["procedures"] = {
            "twice": {
                "parameters": [{"parameterName": "n", "dataType": "INT"}],
                "returnType": "INT",
                "deterministic": True,
                "body": "RETURN n * 2",
            }
        }
    text = json.dumps({"schemas": {"MAIN": schema}}, ensure_ascii=False)
    return text.replace('"MAIN"', '"{{ tenant | schema_name(instance) }}"')


@pytest.fixture
def any_fleet(request: pytest.FixtureRequest, kind: str) -> Any:
    fleet = request.getfixturevalue(kind)
    fleet.template.write_text(template(kind))
    return fleet


class Tenant:
    """A provisioned tenant with rows in its tables, and a person at its database."""

    def __init__(self, fleet: Any, tenant_id: str, isolation: str, prefix: str = "") -> None:
        self.fleet = fleet
        self.mysql = type(fleet).__name__ == "MySQLFleet"
        own = f"{tenant_id.lower()}_{fleet.database}_jp_main"
        self.database = own if isolation == "database" and not self.mysql else None
        self.schema = fleet.shared if isolation == "table" else "main" if self.database else own
        self.prefix = prefix

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        """Execute statements with `S.` for the schema, and with the prefix."""
        return self.fleet.query(text.replace("S.", f"{self.schema}.{self.prefix}"), self.database)

    def fill(self) -> None:
        self.sql("INSERT INTO S.users (email, age, kind) VALUES ('a@b', 18, 'a'), ('c@d', 80, 'b')")
        self.sql("INSERT INTO S.orders (id, user_id) SELECT id, id FROM S.users")

    def rows(self) -> list[Any]:
        users = self.sql("SELECT id, email, age, price, double_price, kind, tenant_id FROM S.users ORDER BY id")
        return [users, self.sql("SELECT id, user_id FROM S.orders ORDER BY id")]


async def provisioned(fleet: Any, count: int = 1, isolation: str = "schema", **options: Any) -> list[Tenant]:
    ids = fleet.tenants(count, isolation=isolation)
    async with fleet.engine("provision", **options) as engine:
        results = await engine.bulk_provision_tenants({"tenant_id": ids}, dry_run=False)
    raise_for_failures(results)
    prefixes = [item.details["instances"]["main"].get("prefix", "") for item in results]
    return [Tenant(fleet, id_, isolation, prefix) for id_, prefix in zip(ids, prefixes, strict=True)]


async def planned(fleet: Any, **options: Any) -> dict[str, Any]:
    """Return {tenant_id: what its main instance's plan tells}."""
    async with fleet.engine(**options) as engine:
        results = await engine.bulk_plan_tenants({})
    raise_for_failures(results)
    return {item.tenant_id: item.details["instances"]["main"] for item in results}


async def applied(fleet: Any, *, allow_destructive: bool = False, **options: Any) -> list[Any]:
    async with fleet.engine(**options) as engine:
        return list(await engine.bulk_apply_plans({}, dry_run=False, allow_destructive=allow_destructive))


async def repaired(fleet: Any, *, allow_destructive: bool = False) -> None:
    results = await applied(fleet, allow_destructive=allow_destructive)
    raise_for_failures(results)
    for plan in (await planned(fleet)).values():
        assert plan["differences"] == []
        assert plan["statements"] == []
    assert [plan["unrepaired"] for item in results for plan in item.details["instances"].values()] == [[]] * len(
        results
    )


def sql(plan: Any) -> list[str]:
    return [item["sql"] for item in plan["statements"]]


def destructive(plan: Any) -> list[str]:
    return [item["sql"] for item in plan["statements"] if item["destructive"]]


@engines
@isolations
async def test_after_provisioning_there_is_nothing_to_do(any_fleet, kind, isolation):
    await provisioned(any_fleet, 2, isolation)
    for plan in (await planned(any_fleet)).values():
        assert (plan["differences"], plan["statements"], plan["unrepaired"]) == ([], [], [])


# {what a person did: (on both engines | on one, ...)}, each with whether repairing it needs leave.
HARMLESS = {
    "fleet": [
        "DROP INDEX S.users_idx_age",
        "DROP INDEX S.users_uq_email",
        "DROP INDEX S.users_idx_age; CREATE INDEX users_idx_age ON S.users (age)",
        "CREATE INDEX mine ON S.users (kind)",
        "ALTER TABLE S.users ADD CONSTRAINT mine UNIQUE (age)",
        "ALTER TABLE S.users ADD CONSTRAINT mine CHECK (age > 0)",
        "ALTER TABLE S.users DROP CONSTRAINT users_kind_check",
        "ALTER TABLE S.users ALTER email DROP DEFAULT, ALTER age SET DEFAULT 8",
        "ALTER TABLE S.users ALTER age DROP DEFAULT",
        "ALTER TABLE S.users ALTER age SET NOT NULL",
        "ALTER TABLE S.users ALTER tenant_id SET DEFAULT 'T0009'",
        "DROP VIEW S.old_adults; DROP VIEW S.adults; ALTER TABLE S.users ALTER email TYPE varchar(90)",
        'ALTER TABLE S.users ALTER tenant_id TYPE varchar(20) COLLATE "C"',
        "ALTER TABLE S.users ALTER id DROP IDENTITY",
        "ALTER TABLE S.orders DROP CONSTRAINT fk",
        "ALTER TABLE S.orders DROP CONSTRAINT fk; ALTER TABLE S.users DROP CONSTRAINT users_pkey",
        "ALTER TABLE S.orders DROP CONSTRAINT orders_pkey; ALTER TABLE S.orders ADD PRIMARY KEY (id, user_id)",
        "ALTER TABLE S.orders DROP CONSTRAINT fk, ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES S.users",
        "ALTER TABLE S.users DROP double_price",
        "ALTER TABLE S.users DROP double_price, ADD double_price DECIMAL(12,2) GENERATED ALWAYS AS (price * 3) STORED",
        "ALTER TABLE S.orders DROP user_id; TRUNCATE S.users CASCADE; TRUNCATE S.orders",
        "DROP VIEW S.old_adults",
        "CREATE OR REPLACE VIEW S.adults AS SELECT id, email, age FROM S.users WHERE age > 20",
        "CREATE OR REPLACE VIEW S.adults AS SELECT id, email, age, kind FROM S.users WHERE age > 17",
        "COMMENT ON COLUMN S.users.email IS NULL; COMMENT ON TABLE S.users IS 'x'; COMMENT ON TABLE S.orders IS 'x'",
        "DROP TRIGGER orders_on_update ON S.orders; DROP FUNCTION S.orders_on_update",
        "ALTER TABLE S.orders DISABLE TRIGGER orders_on_update",
        "CREATE OR REPLACE FUNCTION S.orders_on_update() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL;END'",
        "DROP TABLE S.orders",
        "ALTER TABLE S.orders SET UNLOGGED",
    ],
    "mysql_fleet": [
        "DROP INDEX idx_age ON S.users",
        "DROP INDEX uq_email ON S.users",
        "ALTER TABLE S.users DROP INDEX idx_age, ADD INDEX idx_age (age)",
        "ALTER TABLE S.orders DROP INDEX idx_user, ADD INDEX other (user_id)",
        "ALTER TABLE S.orders ADD INDEX other (user_id, id), DROP INDEX idx_user, ADD INDEX idx_user (user_id, at)",
        "CREATE INDEX mine ON S.users (kind)",
        "ALTER TABLE S.users ADD CONSTRAINT mine UNIQUE (age)",
        "ALTER TABLE S.users ADD CONSTRAINT mine CHECK (age > 0)",
        "ALTER TABLE S.users ALTER age SET DEFAULT 8",
        "ALTER TABLE S.users ALTER age DROP DEFAULT",
        "ALTER TABLE S.users MODIFY age INT NOT NULL DEFAULT 7",
        "ALTER TABLE S.users ALTER tenant_id SET DEFAULT 'T0009'",
        "ALTER TABLE S.users MODIFY email VARCHAR(90) NOT NULL COMMENT 'メール'",
        "ALTER TABLE S.users MODIFY email VARCHAR(100) COLLATE utf8mb4_bin NOT NULL COMMENT 'メール'",
        "ALTER TABLE S.users MODIFY kind ENUM('b','a')",
        "ALTER TABLE S.users MODIFY data LONGTEXT",
        "ALTER TABLE S.orders DROP FOREIGN KEY orders_fk; ALTER TABLE S.users MODIFY id INT NOT NULL",
        "ALTER TABLE S.orders DROP FOREIGN KEY orders_fk",
        "ALTER TABLE S.orders DROP FOREIGN KEY orders_fk; ALTER TABLE S.users MODIFY id INT NOT NULL, DROP PRIMARY KEY",
        "ALTER TABLE S.orders DROP PRIMARY KEY, ADD PRIMARY KEY (id, user_id)",
        "ALTER TABLE S.orders DROP FOREIGN KEY orders_fk; "
        "ALTER TABLE S.orders ADD CONSTRAINT orders_fk FOREIGN KEY (user_id) REFERENCES S.users (id)",
        "ALTER TABLE S.users DROP double_price",
        "ALTER TABLE S.users DROP double_price, ADD double_price DECIMAL(12,2) AS (price * 3) STORED",
        "DROP VIEW S.old_adults",
        "CREATE OR REPLACE VIEW S.adults AS SELECT id, email, age, kind FROM S.users WHERE age > 20",
        "ALTER TABLE S.users COMMENT 'x'; ALTER TABLE S.orders COMMENT 'x'",
        "ALTER TABLE S.orders ROW_FORMAT=COMPACT",
        "ALTER TABLE S.users DEFAULT CHARACTER SET latin1",
        "DROP TRIGGER S.lower_email",
        "DROP TRIGGER S.lower_email; CREATE TRIGGER S.lower_email BEFORE INSERT ON S.users FOR EACH ROW SET @x = 1",
        "DROP FUNCTION S.twice",
        "DROP FUNCTION S.twice; CREATE FUNCTION S.twice (n INT) RETURNS INT DETERMINISTIC RETURN n * 3",
        "DROP TABLE S.orders",
        "ALTER TABLE S.orders ENGINE=InnoDB, MODIFY changed_at TIMESTAMP NULL",
    ],
}
NEEDS_LEAVE = {
    "fleet": [
        "CREATE TABLE S.mine (id int primary key, user_id int REFERENCES S.users)",
        "ALTER TABLE S.users ADD mine INT",
        "ALTER TABLE S.users ADD mine INT, ADD mine2 INT GENERATED ALWAYS AS (mine * 2) STORED",
        "CREATE VIEW S.mine AS SELECT * FROM S.adults",
        "CREATE MATERIALIZED VIEW S.mine AS SELECT * FROM S.users",
        "CREATE FUNCTION S.mine(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SEQUENCE S.mine",
        "CREATE TYPE S.mine AS ENUM ('a')",
        "CREATE TRIGGER mine BEFORE UPDATE ON S.users FOR EACH ROW EXECUTE FUNCTION S.orders_on_update()",
        "ALTER TABLE S.users ALTER tenant_id DROP NOT NULL",
        "ALTER TABLE S.users ALTER tenant_id TYPE varchar(60)",
        "ALTER TABLE S.users ALTER tenant_id TYPE text",
        "ALTER TABLE S.users DROP double_price, ALTER price TYPE numeric(20,4)",
        "DROP VIEW S.old_adults; DROP VIEW S.adults; ALTER TABLE S.users ALTER age TYPE text, ALTER age DROP DEFAULT",
        "ALTER TABLE S.users DROP double_price, ADD double_price DECIMAL(12,2)",
    ],
    "mysql_fleet": [
        "CREATE TABLE S.mine (id int primary key, user_id int, FOREIGN KEY (user_id) REFERENCES S.users (id))",
        "ALTER TABLE S.users ADD mine INT, ADD INDEX (mine)",
        "ALTER TABLE S.users ADD mine INT, ADD mine2 INT AS (mine * 2) STORED",
        "CREATE VIEW S.mine AS SELECT * FROM S.adults",
        "CREATE PROCEDURE S.mine() SELECT 1",
        "CREATE TRIGGER S.mine BEFORE UPDATE ON S.users FOR EACH ROW SET @x = 1",
        "ALTER TABLE S.users MODIFY tenant_id VARCHAR(50) DEFAULT 'T0001'",
        "ALTER TABLE S.users MODIFY tenant_id VARCHAR(60) NOT NULL DEFAULT 'T0001'",
        "ALTER TABLE S.users MODIFY tenant_id TEXT NOT NULL DEFAULT ('T0001')",
        "ALTER TABLE S.users MODIFY age BIGINT DEFAULT 7",
        "ALTER TABLE S.orders DROP FOREIGN KEY orders_fk; ALTER TABLE S.users MODIFY id BIGINT AUTO_INCREMENT; "
        "ALTER TABLE S.orders MODIFY user_id BIGINT NOT NULL; "
        "ALTER TABLE S.orders ADD CONSTRAINT orders_fk FOREIGN KEY (user_id) REFERENCES S.users (id) ON DELETE CASCADE",
        "ALTER TABLE S.users MODIFY kind ENUM('a','b','c')",
        "ALTER TABLE S.users DROP double_price, ADD double_price DECIMAL(12,2)",
    ],
}


def cases(by_kind: dict[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(kind, change) for kind, changes in by_kind.items() for change in changes]


def broken(tenant: Tenant, change: str) -> None:
    for statement in change.split("; "):
        tenant.sql(statement)


@pytest.mark.parametrize(("kind", "change"), cases(HARMLESS))
async def test_what_was_changed_by_hand_is_repaired_and_rows_are_kept(any_fleet, kind, change):
    tenants = await provisioned(any_fleet, 2)
    first = tenants[0]
    first.fill()
    before = first.rows()
    broken(first, change)
    plans = await planned(any_fleet)
    assert plans["T0002"]["statements"] == []
    assert plans["T0001"]["differences"] != []
    assert sql(plans["T0001"]) != []
    assert destructive(plans["T0001"]) == []
    await repaired(any_fleet)
    if "DROP TABLE" not in change and "TRUNCATE" not in change and "price DECIMAL(12,2)" not in change:
        assert first.rows() == before
    first.sql("INSERT INTO S.users (email, kind) VALUES ('n@w', 'a')")


@pytest.mark.parametrize(("kind", "change"), cases(NEEDS_LEAVE))
async def test_what_may_lose_data_needs_leave(any_fleet, kind, change):
    (tenant,) = await provisioned(any_fleet)
    tenant.fill()
    before = tenant.rows()
    broken(tenant, change)
    plan = (await planned(any_fleet))["T0001"]
    assert destructive(plan) != []
    (result,) = await applied(any_fleet)
    assert result.details["error_kind"] == "PlanRefusedError"
    assert destructive(plan)[0] in result.error
    assert sql((await planned(any_fleet))["T0001"]) == sql(plan)
    await repaired(any_fleet, allow_destructive=True)
    assert tenant.rows() == before


# By hand and without the prefix, also where the document has it.
PREFIXED = {
    "fleet": [
        "DROP INDEX S.users_idx_age",
        "CREATE INDEX mine ON S.users (kind)",
        "ALTER TABLE S.users ADD mine INT, ADD CONSTRAINT mine2 UNIQUE (age), ADD CONSTRAINT mine3 CHECK (age > 0)",
        "DROP VIEW S.old_adults",
        "CREATE VIEW S.extra AS SELECT * FROM S.users",
        "ALTER TABLE S.orders ADD CONSTRAINT mine4 FOREIGN KEY (user_id) REFERENCES S.users",
        "CREATE TRIGGER mine5 BEFORE UPDATE ON S.users FOR EACH ROW EXECUTE FUNCTION S.orders_on_update()",
        "CREATE TABLE S.more (id int primary key)",
        "CREATE SEQUENCE S.counter",
    ],
    "mysql_fleet": [
        "DROP INDEX idx_age ON S.users",
        "ALTER TABLE S.users DROP INDEX uq_email, ADD UNIQUE INDEX uq_email (email, age)",
        "CREATE INDEX mine ON S.users (kind)",
        "ALTER TABLE S.users ADD mine INT, ADD CONSTRAINT mine2 UNIQUE (age), ADD CONSTRAINT mine3 CHECK (age > 0)",
        "DROP VIEW S.old_adults",
        "CREATE VIEW S.extra AS SELECT * FROM S.users",
        "ALTER TABLE S.orders ADD CONSTRAINT mine4 FOREIGN KEY (user_id) REFERENCES S.users (id)",
        "CREATE TRIGGER D.mine5 BEFORE UPDATE ON S.users FOR EACH ROW SET @x = 1",
        "DROP TRIGGER S.lower_email",
        "DROP FUNCTION S.twice",
        "CREATE TABLE S.more (id int primary key)",
    ],
}


@engines
async def test_with_a_prefix_a_plan_touches_its_own_objects_only(any_fleet, kind):
    first, second = await provisioned(any_fleet, 2, "table")
    first.fill()
    second.fill()
    before, schema = first.rows(), first.schema
    neighbour = [text for text in any_fleet.catalog()[schema] if second.prefix in text]
    assert neighbour
    for change in PREFIXED[kind]:
        first.sql(change.replace("D.", f"{schema}."))
    plans = await planned(any_fleet)
    assert plans["T0002"]["statements"] == []
    assert plans["T0001"]["unrepaired"] == []
    for statement in sql(plans["T0001"]):
        assert second.prefix not in statement
    refused, _ = await applied(any_fleet)
    assert refused.details["error_kind"] == "PlanRefusedError"
    await repaired(any_fleet, allow_destructive=True)
    assert [text for text in any_fleet.catalog()[schema] if second.prefix in text] == neighbour
    assert first.rows() == before
    assert second.rows()[1] == before[1]


@engines
@isolations
async def test_each_tenant_gets_what_it_needs(any_fleet, kind, isolation):
    tenants = await provisioned(any_fleet, 3, isolation)
    broken(tenants[0], "CREATE INDEX mine ON S.users (kind)")
    broken(tenants[2], "DROP VIEW S.old_adults")
    plans = await planned(any_fleet)
    assert [len(plan["differences"]) for plan in plans.values()] == [1, 0, 1]
    assert plans["T0001"]["differences"] == ["index users.mine: extra"]
    assert plans["T0003"]["differences"] == ["view old_adults: missing"]
    assert len(sql(plans["T0001"])) == len(sql(plans["T0003"])) == 1
    await repaired(any_fleet)


@engines
async def test_a_new_document_reaches_tenants_that_have_the_old_one(any_fleet, kind):
    (tenant,) = await provisioned(any_fleet)
    tenant.fill()
    before = tenant.rows()
    text = template(kind).replace("VARCHAR(100)", "VARCHAR(200)").replace('"defaultValue": "7"', '"defaultValue": "8"')
    text = text.replace("age > 17", "age > 18").replace("'b')", "'b','c')")
    any_fleet.template.write_text(text)
    plan = (await planned(any_fleet))["T0001"]
    assert destructive(plan) == []
    await repaired(any_fleet)
    assert tenant.rows() == before
    tenant.sql("INSERT INTO S.users (email, kind) VALUES ('e@f', 'c')")
    # The ledger tells that this is what the instance holds now, and that a plan was carried out.
    async with any_fleet.engine() as engine:
        (result,) = await engine.bulk_provision_tenants({}, dry_run=True)
    assert result.details["instances"]["main"]["document_changed"] is False
    versions = [row[0] for row in tenant.sql("SELECT version FROM S.dbgear_migrations ORDER BY version")]
    assert [version.split()[0] for version in versions] == ["alter", "provision"]


@engines
async def test_what_is_not_there_is_not_planned(any_fleet, kind):
    any_fleet.tenants(1, isolation="database")
    async with any_fleet.engine() as engine:
        (result,) = await engine.bulk_plan_tenants({})
    assert result.details["error_kind"] == "NotProvisionedError"
    assert "is not provisioned yet" in result.error


@engines
@pytest.mark.parametrize(
    ("change", "kind_of_error"),
    [("DROP SCHEMA {other} {cascade}", "NotProvisionedError"), ("CREATE TABLE {other}.x (a int)", "PlanRefusedError")],
)
async def test_of_a_tenant_no_instance_is_changed_where_another_must_not_be(any_fleet, kind, change, kind_of_error):
    ids = any_fleet.tenants(1, instances="main,other")
    async with any_fleet.engine("provision") as engine:
        raise_for_failures(await engine.bulk_provision_tenants({"tenant_id": ids}, dry_run=False))
    tenant = Tenant(any_fleet, ids[0], "schema")
    tenant.sql("DROP INDEX S.users_idx_age" if kind == "fleet" else "DROP INDEX idx_age ON S.users")
    cascade = "CASCADE" if kind == "fleet" else ""
    tenant.sql(change.format(other=tenant.schema.replace("_main", "_other"), cascade=cascade))
    (result,) = await applied(any_fleet)
    assert result.details["error_kind"] == kind_of_error
    async with any_fleet.engine() as engine:
        drifted = [str(member) for member in (await engine.check_drift({})).drifted]
    assert "T0001/main" in drifted


@engines
async def test_what_no_statement_changes_is_told(any_fleet, kind):
    (tenant,) = await provisioned(any_fleet)
    change = (
        "ALTER TABLE S.users ENABLE ROW LEVEL SECURITY"
        if kind == "fleet"
        else ("ALTER TABLE S.users STATS_PERSISTENT=1")
    )
    broken(tenant, f"{change}; CREATE INDEX mine ON S.users (kind)")
    results = await applied(any_fleet)
    raise_for_failures(results)
    ((left,),) = [item.details["instances"]["main"]["unrepaired"] for item in results]
    assert "is for a person to change" in left
    assert "mine" not in str((await planned(any_fleet))["T0001"]["differences"])


async def test_a_function_over_a_type_of_its_schema_is_left_and_told(fleet):
    (tenant,) = await provisioned(fleet)
    tenant.sql("CREATE TYPE S.mood AS ENUM ('glad'); CREATE TYPE S.other AS ENUM ('a')")
    tenant.sql("CREATE FUNCTION S.felt(a S.mood) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    (result,) = await applied(fleet, allow_destructive=True)
    raise_for_failures([result])
    done = result.details["instances"]["main"]
    assert [item["sql"] for item in done["statements"]] == [f"DROP TYPE {tenant.schema}.other"]
    told = [text for text in done["unrepaired"] if not text.endswith(": is left")]
    assert told == [
        "function felt(a <0>.mood): extra: it takes a type of the schema's own, drop it by hand",
        "type mood: extra: a function takes it",
    ]


@engines
async def test_a_plan_that_is_not_the_approved_one_is_refused(any_fleet, kind):
    (tenant,) = await provisioned(any_fleet)
    broken(tenant, "CREATE INDEX mine ON S.users (kind)")
    seen = (await planned(any_fleet))["T0001"]["plan"]
    broken(tenant, "DROP VIEW S.old_adults")
    async with any_fleet.engine() as engine:
        (chosen,) = await engine.registry.list_tenants({}, limit=None)
        server, references = engine.servers["main"], References()
        (instance,) = [item async for item in engine._instances_of(chosen, server)]
        with pytest.raises(PlanRefusedError) as caught:
            await apply_plan(instance, server, references, approved=seen)
        plan = await apply_plan(instance, server, references, approved=caught.value.details["plan"])
    assert len(plan.statements) == 2
    assert (await planned(any_fleet))["T0001"]["differences"] == []


@engines
async def test_a_table_in_use_is_a_lock_timeout_and_nothing_is_half_done(any_fleet, kind, monkeypatch):
    monkeypatch.setattr("dbgear_airflow_provider.core.automation.instance.LOCK_S", 0.1)
    (tenant,) = await provisioned(any_fleet)
    broken(tenant, "DROP VIEW S.old_adults")
    broken(tenant, "CREATE INDEX mine ON S.users (kind)")
    with held(tenant, "SELECT 1 FROM S.users"):
        async with any_fleet.engine(retry_attempts=1) as engine:
            (result,) = await engine.bulk_apply_plans({}, dry_run=False)
    assert result.details["error_kind"] == "LockTimeoutError"
    assert result.details["transient"] is True
    if kind == "fleet":
        assert len((await planned(any_fleet))["T0001"]["differences"]) == 2
    await repaired(any_fleet)


@engines
async def test_two_at_once_do_it_once(any_fleet, kind):
    tenants = await provisioned(any_fleet, 4)
    for tenant in tenants:
        broken(tenant, "DROP VIEW S.old_adults; CREATE INDEX mine ON S.users (kind)")
    both = await asyncio.gather(applied(any_fleet), applied(any_fleet))
    for results in both:
        raise_for_failures(results)
    changed = [[item.details["changed"] for item in results] for results in both]
    assert [sum(pair) for pair in zip(*changed, strict=True)] == [2, 2, 2, 2]
    await repaired(any_fleet)


KILL = {"fleet": "SELECT pg_terminate_backend(pg_backend_pid())", "mysql_fleet": "KILL CONNECTION_ID()"}


@engines
@pytest.mark.parametrize("at", range(4))
async def test_what_a_killed_attempt_left_is_finished_by_the_next(any_fleet, kind, at, monkeypatch):
    (tenant,) = await provisioned(any_fleet)
    tenant.fill()
    before = tenant.rows()
    broken(tenant, "CREATE INDEX mine ON S.users (kind)")
    broken(tenant, "ALTER TABLE S.orders DROP " + ("CONSTRAINT fk" if kind == "fleet" else "FOREIGN KEY orders_fk"))
    any_fleet.template.write_text(template(kind).replace("VARCHAR(100)", "VARCHAR(200)").replace("> 17", "> 18"))
    differing = len((await planned(any_fleet))["T0001"]["differences"])
    planning, kill = plans._plan, KILL[kind]

    async def with_kill(*arguments: Any) -> Any:
        plan = await planning(*arguments)
        assert len(plan.statements) > at
        cut = PlannedStatement(sql=kill, destructive=False, why="")
        return replace(plan, statements=[*plan.statements[:at], cut, *plan.statements[at:]])

    with monkeypatch.context() as patched:
        patched.setattr(plans, "_plan", with_kill)
        (result,) = await applied(any_fleet, retry_attempts=1)
    assert result.details["error_kind"] == "ServerUnavailableError"
    left = (await planned(any_fleet))["T0001"]
    assert (len(left["differences"]) == differing) is (kind == "fleet" or at == 0)
    await repaired(any_fleet)
    assert tenant.rows() == before


@contextmanager
def held(tenant: Tenant, text: str) -> Iterator[None]:
    """Hold what a statement takes in a transaction that stays open."""
    text = text.replace("S.", f"{tenant.schema}.")
    if tenant.mysql:
        connection = tenant.fleet.server.connect()
        connection.begin()
        connection.cursor().execute(text)
        try:
            yield
        finally:
            connection.close()
        return
    with tenant.fleet.server.connect(tenant.database or tenant.fleet.database) as connection:
        connection.execute("BEGIN")
        connection.execute(text)
        yield
        connection.execute("ROLLBACK")
