"""Drift: what the instances of a fleet hold, against what their documents say, on the real servers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation import raise_for_failures, reference
from dbgear_airflow_provider.core.automation.drift import DriftCheck, describe
from dbgear_airflow_provider.core.engines import Timeouts
from dbgear_airflow_provider.core.errors import ServerUnavailableError
from dbgear_airflow_provider.core.schema import Namespace
from tests.integration.automation.logins import drop_roles
from tests.integration.schema import nasty

isolations = pytest.mark.parametrize("isolation", ["schema", "database", "table"])
engines = pytest.mark.parametrize("kind", ["fleet", "mysql_fleet"])


@pytest.fixture
def any_fleet(request: pytest.FixtureRequest, kind: str) -> Any:
    return request.getfixturevalue(kind)


def rich(kind: str) -> str:
    """Return a template of all that a document can hold, with texts of the tenant's own."""
    tree = nasty.document()
    if kind == "mysql_fleet":
        for part, objects in nasty.routines().items():
            tree["schemas"]["main"][part] = {**tree["schemas"]["main"].get(part, {}), **objects}
    own = [
        nasty.column("id", "INT", primaryKey=1, nullable=False),
        nasty.column("tenant_id", "VARCHAR(50)", nullable=False, defaultValue="{{ tenant.tenant_id | sql_literal }}"),
        nasty.column("quoted", "VARCHAR(50)", defaultValue="{{ (tenant.tenant_id ~ nasty) | sql_literal }}"),
        nasty.column("data", "JSON", defaultValue="'{\"a\":   1}'"),
        nasty.column("number", "INT", defaultValue="'7'"),
    ]
    tree["schemas"]["main"]["tables"]["own"] = {"columns": own}
    setting = '{% set nasty = "\'s \\\\ \\"%s" %}'
    return setting + json.dumps(tree, ensure_ascii=False)


async def provisioned(fleet: Any, ids: list[str], **options: Any) -> None:
    async with fleet.engine("provision", **options) as engine:
        results = await engine.bulk_provision_tenants({"tenant_id": ids}, dry_run=False)
    raise_for_failures(results)


async def drift(fleet: Any, ids: list[str], **options: Any) -> Any:
    async with fleet.engine("drift", **options) as engine:
        return await engine.check_drift({"tenant_id": ids})


def schema_of(fleet: Any, tenant_id: str) -> str:
    return f"{tenant_id.lower()}_{fleet.database}_jp_main"


def found(report: Any) -> list[str]:
    return sorted(str(difference) for group in report.groups for difference in group.differences)


@engines
@isolations
async def test_tenants_of_one_rich_document_are_equal_and_as_they_should_be(any_fleet, kind, isolation):
    fleet = any_fleet
    fleet.template.write_text(rich(kind))
    # A name that another one begins with, within a tenant and between schemas of a document.
    ids = fleet.tenants(3, isolation=isolation, instances="main,main2")
    await provisioned(fleet, ids, on_unsupported="warn")
    report = await drift(fleet, ids, on_unsupported="warn")
    assert [len(group.members) for group in report.groups] == [6], report.text()
    assert found(report) == []
    assert (report.missing, report.unread, report.drifted) == ([], [], [])


OWN = """
schemas:
  {{ tenant | schema_name(instance) }}:
    tables:
      users:
        columns:
          - {columnName: id, columnType: INT, nullable: false, primaryKey: 1}
          - {columnName: tenant_id, columnType: VARCHAR(50), nullable: false,
             defaultValue: "{{ tenant.tenant_id | sql_literal }}"}
          - {columnName: name, columnType: VARCHAR(100), nullable: false, displayName: 名前}
          - {columnName: state, columnType: VARCHAR(10), defaultValue: "'new'"}
          - {columnName: changed_at, columnType: DATETIME, defaultValue: CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP}
        indexes:
          - {indexName: idx_name, columns: [name]}
          - {indexName: uq_state, columns: [state, id], unique: true}
      orders:
        columns:
          - {columnName: id, columnType: INT, nullable: false, primaryKey: 1}
          - {columnName: user_id, columnType: INT, nullable: false}
        relations:
          - {target: {tableName: users}, bindColumns: [{sourceColumn: user_id, targetColumn: id}], constraintName: fk,
             onDelete: CASCADE}
      parts:
        columns: [{columnName: id, columnType: INT, nullable: false, primaryKey: 1}]
        mysqlOptions: {partitionBy: RANGE COLUMNS, partitionExpression: "id (PARTITION p0 VALUES LESS THAN (10),
                       PARTITION p1 VALUES LESS THAN (20))"}
    views:
      named: {selectStatement: "SELECT id, name FROM users WHERE name <> ''"}
"""
ROUTINES = """
    triggers:
      users_named: {tableName: users, timing: BEFORE, event: INSERT, body: "SET NEW.name = TRIM(NEW.name)"}
    procedures:
      doubled: {parameters: [{parameterName: n, dataType: INT}], returnType: INT, deterministic: true,
                body: RETURN n * 2}
"""

# What is done by hand, and what is told of it. {s}: the schema.
POSTGRES = [
    ("DROP INDEX {s}.users_idx_name", ["index users.users_idx_name: missing"]),
    (
        "ALTER TABLE {s}.users ALTER tenant_id TYPE varchar(60)",
        ["column users.tenant_id: type character varying(60), should be character varying(50)"],
    ),
    ("ALTER TABLE {s}.users ALTER name DROP NOT NULL", ["column users.name: nullable true, should be none"]),
    ("ALTER TABLE {s}.users ALTER state SET DEFAULT 'old'", ["column users.state: default_text old, should be new"]),
    (
        "ALTER TABLE {s}.users ALTER tenant_id SET DEFAULT 'T0003'",
        ["column users.tenant_id: default_text T0003, should be T0002"],
    ),
    (
        "ALTER TABLE {s}.users ALTER state DROP DEFAULT",
        ["column users.state: default none, should be text::character varying; default_text none, should be new"],
    ),
    ("ALTER TABLE {s}.users ADD extra int", ["column users.extra: extra"]),
    ("ALTER TABLE {s}.orders DROP user_id", ["column orders.user_id: missing", "foreign key orders.fk: missing"]),
    (
        "CREATE TABLE {s}.dbgear_report (id int); CREATE TABLE {s}.dbgear_withheld (id int)",
        ["table dbgear_report: extra"],
    ),
    ("CREATE TABLE {s}.notes (id int PRIMARY KEY); CREATE INDEX ON {s}.notes (id)", ["table notes: extra"]),
    ("DROP TABLE {s}.orders", ["table orders: missing"]),
    ("CREATE INDEX by_hand ON {s}.users (state)", ["index users.by_hand: extra"]),
    (
        "CREATE OR REPLACE VIEW {s}.named AS SELECT id, name FROM {s}.users",
        [
            "view named: definition  SELECT id,\n    name\n   FROM <0>.users;, should be  SELECT id,\n    name\n"
            "   FROM <0>.users users\n  WHERE ((name)::text <> ''::text);"
        ],
    ),
    (
        "ALTER TABLE {s}.users DISABLE TRIGGER users_on_update",
        ["trigger users.users_on_update: enabled false, should be none"],
    ),
    ("DROP TRIGGER users_on_update ON {s}.users", ["trigger users.users_on_update: missing"]),
    (
        "CREATE OR REPLACE FUNCTION {s}.users_on_update() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        ["function users_on_update()"],
    ),
    ("COMMENT ON COLUMN {s}.users.name IS 'Name'", ["column users.name: comment Name, should be 名前"]),
    (
        "ALTER TABLE {s}.orders DROP CONSTRAINT fk, ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES {s}.users",
        [
            "foreign key orders.fk: definition FOREIGN KEY (user_id) REFERENCES <0>.users(id), should be "
            "FOREIGN KEY (user_id) REFERENCES <0>.users(id) ON UPDATE RESTRICT ON DELETE CASCADE"
        ],
    ),
    ("ALTER TABLE {s}.users ADD CONSTRAINT positive CHECK (id > 0)", ["check users.positive: extra"]),
    ("ALTER TABLE {s}.users ADD CONSTRAINT one_name UNIQUE (name)", ["unique users.one_name: extra"]),
    (
        "ALTER TABLE {s}.users DROP CONSTRAINT users_pkey CASCADE",
        ["foreign key orders.fk: missing", "primary key users: missing"],
    ),
    ("DROP TABLE {s}.parts_p1", ["partition parts.parts_p1: missing"]),
    ("CREATE SEQUENCE {s}.counter", ["sequence counter: extra"]),
    ("CREATE TYPE {s}.mood AS ENUM ('glad')", ["type mood: extra"]),
]
MARIADB = [
    ("DROP INDEX idx_name ON {s}.users", ["index users.idx_name: missing"]),
    (
        "ALTER TABLE {s}.users MODIFY name varchar(120) NOT NULL COMMENT '名前'",
        ["column users.name: type varchar(120), should be varchar(100)"],
    ),
    (
        "ALTER TABLE {s}.users MODIFY name varchar(100) COMMENT '名前'",
        ["column users.name: nullable true, should be none"],
    ),
    ("ALTER TABLE {s}.users ALTER state SET DEFAULT 'old'", ["column users.state: default_text old, should be new"]),
    (
        "ALTER TABLE {s}.users ALTER tenant_id SET DEFAULT 'T0003'",
        ["column users.tenant_id: default_text T0003, should be T0002"],
    ),
    ("ALTER TABLE {s}.users ADD extra int", ["column users.extra: extra"]),
    ("CREATE TABLE {s}.dbgear_report (id int)", ["table dbgear_report: extra"]),
    ("CREATE TABLE {s}.notes (id int PRIMARY KEY, n int, KEY (n))", ["table notes: extra"]),
    ("DROP TABLE {s}.orders", ["table orders: missing"]),
    ("CREATE INDEX by_hand ON {s}.users (state)", ["index users.by_hand: extra"]),
    (
        "CREATE OR REPLACE SQL SECURITY INVOKER VIEW {s}.named AS SELECT id, name FROM {s}.users",
        [
            "view named: definition select <0>.users.id AS id,<0>.users.name AS name from <0>.users, should be "
            "select <0>.users.id AS id,<0>.users.name AS name from <0>.users where <0>.users.name <> ''"
        ],
    ),
    ("DROP TRIGGER {s}.users_named", ["trigger users.users_named: missing"]),
    ("DROP FUNCTION {s}.doubled", ["function doubled: missing"]),
    (
        "CREATE OR REPLACE FUNCTION {s}.doubled(n INT) RETURNS INT DETERMINISTIC READS SQL DATA RETURN n * 3",
        ["function doubled: definition RETURN n * 3, should be RETURN n * 2"],
    ),
    ("ALTER TABLE {s}.users COMMENT 'Users'", ["table users: comment Users, should be none"]),
    ("ALTER TABLE {s}.users DEFAULT COLLATE utf8mb4_bin", ["table users: collation utf8mb4_bin, should be "]),
    (
        "ALTER TABLE {s}.orders DROP FOREIGN KEY orders_fk, "
        "ADD CONSTRAINT orders_fk2 FOREIGN KEY (user_id) REFERENCES {s}.users (id)",
        [
            *("foreign key orders.orders_fk2: extra", "foreign key orders.orders_fk: missing"),
            *("index orders.orders_fk2: extra", "index orders.orders_fk: missing"),
        ],
    ),
    ("ALTER TABLE {s}.users ADD CONSTRAINT positive CHECK (id > 0)", ["check users.positive: extra"]),
    ("ALTER TABLE {s}.parts DROP PARTITION p1", ["partition parts.p1: missing"]),
    ("CREATE SEQUENCE {s}.counter", ["sequence counter: extra"]),
]


@pytest.mark.parametrize(
    ("kind", "sql", "told"),
    [("fleet", *item) for item in POSTGRES] + [("mysql_fleet", *item) for item in MARIADB],
)
async def test_what_was_changed_by_hand_is_told_and_nothing_else(any_fleet, kind, sql, told):
    fleet = any_fleet
    fleet.template.write_text(OWN + (ROUTINES if kind == "mysql_fleet" else ""))
    ids = fleet.tenants(3)
    await provisioned(fleet, ids)
    fleet.query(sql.format(s=f"t0002_{fleet.database}_jp_main"))
    report = await drift(fleet, ids)
    assert [len(group.members) for group in report.groups] == [2, 1]
    assert [str(member) for member in report.drifted] == ["T0002/main"]
    texts = found(report)
    assert len(texts) == len(told), texts
    assert [text for text, start in zip(texts, told, strict=True) if not text.startswith(start)] == [], texts


async def test_three_of_three_hundred_are_told_as_groups_and_kept_in_the_store(fleet):
    fleet.template.write_text(OWN)
    ids = fleet.tenants(300)
    await provisioned(fleet, ids)
    for tenant, sql in [
        ("t0007", "DROP INDEX {s}.users_idx_name"),
        ("t0100", "ALTER TABLE {s}.users ADD extra int"),
        ("t0200", "ALTER TABLE {s}.users ADD extra int"),
        ("t0300", "DROP SCHEMA {s} CASCADE"),
    ]:
        fleet.query(sql.format(s=f"{tenant}_{fleet.database}_jp_main"))
    report = await drift(fleet, ids)
    assert report.text().splitlines() == [
        "main, schema.j2: 296 are at A, 2 at B, 1 at C",
        "B is not as it should be: T0100/main, T0200/main",
        "  column users.extra: extra",
        "C is not as it should be: T0007/main",
        "  index users.users_idx_name: missing",
        "missing: T0300/main",
    ]
    told = report.details()
    assert [(group["count"], group["as_wanted"]) for group in told["groups"]] == [(296, True), (2, False), (1, False)]
    async with fleet.engine("look") as engine:
        kept = {id_: (await engine._run.store.instances(id_))[0] for id_ in ("T0001", "T0002", "T0100", "T0300")}
    assert kept["T0001"]["fingerprint"] == kept["T0002"]["fingerprint"] == report.groups[0].fingerprint
    assert kept["T0100"]["fingerprint"] == report.groups[1].fingerprint
    assert kept["T0300"]["fingerprint"] is None
    assert all(row["checked_at"] is not None for row in kept.values())


async def test_three_of_three_hundred_are_found_grouped_and_repaired(fleet):
    fleet.template.write_text(OWN)
    ids = fleet.tenants(300)
    await provisioned(fleet, ids)
    changes = {
        "T0007": "DROP INDEX {s}.users_idx_name",
        "T0100": "ALTER TABLE {s}.users ALTER state TYPE varchar(40)",
        "T0300": "CREATE TABLE {s}.extra (id int)",
    }
    for id_, sql in changes.items():
        fleet.query(sql.format(s=schema_of(fleet, id_)))
    report = await drift(fleet, ids)
    assert [(len(group.members), group.as_wanted) for group in report.groups] == [
        (297, True), (1, False), (1, False), (1, False),
    ]  # fmt: skip
    async with fleet.engine("repair") as engine:
        plans = {
            group.members[0].tenant_id: await engine.plan_group(group) for group in report.groups if not group.as_wanted
        }
        statements = {id_: [item.sql for item in plan.statements] for id_, plan in plans.items()}
        assert statements["T0007"] == [f"CREATE INDEX users_idx_name ON {schema_of(fleet, 'T0007')}.users (name)"]
        assert statements["T0300"] == [f"DROP TABLE {schema_of(fleet, 'T0300')}.extra"]
        # The view does not read that column, but its table: it is made anew all the same.
        let_go, narrowed, again = statements["T0100"]
        assert let_go == f"DROP VIEW {schema_of(fleet, 'T0100')}.named"
        assert narrowed.startswith(f"ALTER TABLE {schema_of(fleet, 'T0100')}.users ALTER COLUMN state")
        assert "TYPE VARCHAR(10)" in narrowed
        assert again.startswith(f"CREATE VIEW {schema_of(fleet, 'T0100')}.named AS SELECT")
        assert {id_ for id_, plan in plans.items() if plan.destructive} == {"T0100", "T0300"}
        drifted = {"tenant_id": [member.tenant_id for member in report.drifted]}
        done = await engine.bulk_apply_plans(drifted, dry_run=False, allow_destructive=True)
    assert [(result.tenant_id, result.error) for result in done] == [(id_, None) for id_ in changes]
    report = await drift(fleet, ids)
    assert [(len(group.members), group.as_wanted) for group in report.groups] == [(300, True)]


async def test_a_database_that_is_closed_or_was_never_made_does_not_stop_the_others(fleet):
    ids = fleet.tenants(4, isolation="database")
    await provisioned(fleet, ids[:3])
    name = f"t0002_{fleet.database}_jp_main"
    fleet.query(f"UPDATE pg_database SET datallowconn = false WHERE datname = '{name}'")
    report = await drift(fleet, ids)
    fleet.query(f"UPDATE pg_database SET datallowconn = true WHERE datname = '{name}'")
    assert [str(member) for group in report.groups for member in group.members] == ["T0001/main", "T0003/main"]
    assert [str(member) for member in report.missing] == ["T0004/main"]
    assert [str(item.member) for item in report.unread] == ["T0002/main"]
    assert name in report.unread[0].error


@engines
async def test_tenants_of_a_dead_server_are_each_told(any_fleet):
    fleet = any_fleet
    ids = fleet.tenants(3)
    async with fleet.engine() as engine:
        engine.servers["main"].address = replace(engine.servers["main"].address, port=1)
        report = await engine.check_drift({"tenant_id": ids})
    assert [(str(item.member), item.error_kind) for item in report.unread] == [
        (f"{id_}/main", "ServerUnavailableError") for id_ in ids
    ]


async def test_a_tenant_with_a_bad_document_is_told_and_does_not_stop_the_others(fleet):
    ids = fleet.tenants(3)
    await provisioned(fleet, ids)
    nonsense = "{{ 'NONSENSE(' if tenant.tenant_id == 'T0002' else 'VARCHAR(50)' }}"
    fleet.template.write_text(fleet.template.read_text().replace("VARCHAR(50)", nonsense))
    report = await drift(fleet, ids)
    assert [str(item.member) for item in report.unread] == ["T0002/main"]
    assert report.unread[0].error_kind == "DocumentError"
    assert [len(group.members) for group in report.groups] == [2]


async def test_an_instance_that_is_not_read_is_told_once_with_its_first_cause(fleet, monkeypatch):
    ids = fleet.tenants(3)
    await provisioned(fleet, ids)
    nonsense = "{{ 'NONSENSE(' if tenant.tenant_id == 'T0002' else 'VARCHAR(50)' }}"
    fleet.template.write_text(fleet.template.read_text().replace("VARCHAR(50)", nonsense))

    async def breaks(*_: Any) -> Any:
        raise ServerUnavailableError("connection lost")

    monkeypatch.setattr(DriftCheck, "_read", breaks)
    report = await drift(fleet, ids)
    assert [(str(item.member), item.error_kind, item.transient) for item in report.unread] == [
        ("T0001/main", "ServerUnavailableError", True),
        ("T0002/main", "DocumentError", False),
        ("T0003/main", "ServerUnavailableError", True),
    ]


async def test_a_tenant_whose_template_fails_is_told_with_its_target(fleet):
    ids = fleet.tenants(2)
    await provisioned(fleet, ids)
    failing = "{% if tenant.tenant_id == 'T0002' %}{{ nothing.of_this }}{% endif %}"
    fleet.template.write_text(failing + fleet.template.read_text())
    report = await drift(fleet, ids)
    assert [(str(item.member), item.target, item.error_kind) for item in report.unread] == [
        ("T0002/main", "main", "TemplateError")
    ]


async def test_settings_are_asked_for_several_tenants_at_once_and_a_document_is_created_once(fleet, monkeypatch):
    ids = fleet.tenants(9)
    await provisioned(fleet, ids)
    fleet.query(f"ALTER TABLE {schema_of(fleet, 'T0001')}.orders ADD extra int")
    asked, created, create = [0, 0], [], reference.create_reference  # asked: now, and the most at once

    async def counted(*arguments: Any) -> Any:
        created.append(arguments)
        return await create(*arguments)

    monkeypatch.setattr(reference, "create_reference", counted)
    async with fleet.engine() as engine:
        engine.max_parallel = 3
        ask = engine.registry.get_tenant_config

        async def slowly(tenant_id: str) -> Any:
            asked[0] += 1
            asked[1] = max(asked)
            await asyncio.sleep(0.01)
            asked[0] -= 1
            return await ask(tenant_id)

        monkeypatch.setattr(engine.registry, "get_tenant_config", slowly)
        report = await engine.check_drift({"tenant_id": ids})
        for group in report.groups:
            await engine.plan_group(group)
    assert asked == [0, 3]
    assert len(created) == 1


@engines
async def test_nothing_is_left_of_the_reference(any_fleet, kind):
    fleet = any_fleet
    ids = fleet.tenants(2)
    await provisioned(fleet, ids)
    before = everything(fleet, kind)
    await drift(fleet, ids)
    assert everything(fleet, kind) == before


def everything(fleet: Any, kind: str) -> set[str]:
    sql = "SHOW DATABASES" if kind == "mysql_fleet" else "SELECT nspname FROM pg_namespace"
    return {name for (name,) in fleet.query(sql)}


async def test_reference_databases_of_killed_runs_are_dropped_once_they_are_old_and_nobody_uses_them(mysql_fleet):
    fleet = mysql_fleet
    ids = fleet.tenants(1)
    await provisioned(fleet, ids)
    now = datetime.now(UTC)
    old, young = (f"dbgear_reference_{now - ago:%Y%m%d%H%M}_{'ab' * 6}_0" for ago in (timedelta(hours=2), timedelta()))
    used = old.replace("ab", "cd")
    for name in (old, young, used):
        fleet.query(f"CREATE DATABASE {name}")
    async with fleet.engine() as engine:
        timeouts = Timeouts(lock_s=1, statement_s=10)
        async with (
            engine.servers["main"].session("") as session,
            session.locked(used.removesuffix("_0"), timeouts),
        ):
            await engine.check_drift({"tenant_id": ids})
    left = everything(fleet, "mysql_fleet") & {old, young, used}
    for name in left:
        fleet.query(f"DROP DATABASE {name}")
    assert left == {young, used}


async def test_instances_that_share_a_schema_by_prefix_are_equal(fleet):
    fleet.query("CREATE SCHEMA shared")
    for prefix in ("t1_", "t1_b_", "T2_"):
        fleet.query(
            f'''CREATE TABLE shared."{prefix}order" (id int PRIMARY KEY, total int, CHECK (id > 0));
            CREATE TABLE shared."{prefix}items" (id int PRIMARY KEY, "order" int REFERENCES shared."{prefix}order");
            CREATE INDEX "{prefix}idx" ON shared."{prefix}items" ("order");
            CREATE VIEW shared."{prefix}all" AS SELECT o.id FROM shared."{prefix}order" o
              JOIN shared."{prefix}items" ON o.id = "{prefix}items".id'''
        )
    fleet.query("CREATE TABLE shared.other (id int)")
    async with fleet.engine() as engine, engine.servers["main"].session(fleet.database) as session:
        groups = [[Namespace("shared", prefix)] for prefix in ("t1_", "t1_b_", "T2_", "none_")]
        first, second, third, none = await describe(session, groups)
    assert {key.told for key in first.objects if key.kind in {"table", "view"}} == {"order", "items", "all"}
    assert first.objects == second.objects == third.objects
    assert len({first.fingerprint, second.fingerprint, third.fingerprint}) == 1
    assert none.objects == {}


@engines
async def test_prefixes_of_any_length_with_roles_are_as_they_should_be_until_something_is_dropped(any_fleet, kind):
    fleet = any_fleet
    fleet.template.write_text(OWN + (ROUTINES if kind == "mysql_fleet" else ""))
    fleet.with_roles()
    codes = {"T0001": "a", "T0002": f"b{fleet.database}"}
    fleet.write([[id_, f"{code}{fleet.database}", "table", "main"] for id_, code in codes.items()])
    ids = list(codes)
    try:
        await provisioned(fleet, ids)
        assert found(await drift(fleet, ids)) == []
        path = fleet.folder / "tenants.csv"
        active = path.read_text()
        path.write_text(active.replace(",active,", ",suspended,"))
        async with fleet.engine() as engine:
            raise_for_failures(await engine.bulk_revoke_access({}, dry_run=False))
        assert (await drift(fleet, ids)).drifted == []
        path.write_text(active)
        async with fleet.engine() as engine:
            (first, _) = results = await engine.bulk_restore_access({}, dry_run=False)
        raise_for_failures(results)
        assert (await drift(fleet, ids)).drifted == []
        prefix = first.details["instances"]["main"]["prefix"]
        on = f" ON {fleet.shared}.{prefix}users" if kind == "mysql_fleet" else ""
        fleet.query(f"DROP INDEX {'idx_name' if on else f'{fleet.shared}.{prefix}users_idx_name'}{on}")
        report = await drift(fleet, ids)
        assert [str(member) for member in report.drifted] == ["T0001/main"]
        assert len(found(report)) == 1
    finally:
        fleet.drop_databases()
        drop_roles(fleet)
