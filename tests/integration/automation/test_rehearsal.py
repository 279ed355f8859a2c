"""Rehearsals on both engines: what clones tell before a tenant is touched, and that nothing is left of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation import raise_for_failures
from dbgear_airflow_provider.core.errors import TenantsFailedError
from tests.integration.automation.migrating import INDEX, ISOLATIONS, NOTES, PLAN, Scripts
from tests.integration.automation.test_drift import rich
from tests.integration.automation.test_roles import roles_fleet

__all__ = ["roles_fleet"]
isolations = pytest.mark.parametrize("isolation", ISOLATIONS)
EMAIL = "ALTER TABLE ${PREFIX}customers ADD COLUMN email VARCHAR(100);"
NOT_NULL = {
    False: "ALTER TABLE ${PREFIX}customers ALTER COLUMN email SET NOT NULL;",
    True: "ALTER TABLE ${PREFIX}customers MODIFY email VARCHAR(100) NOT NULL;",
}
UNIQUE = "CREATE UNIQUE INDEX ${PREFIX}uq_email ON ${PREFIX}customers (email);"


@pytest.fixture(params=["fleet", "mysql_fleet"])
def scripts(request: Any) -> Scripts:
    return Scripts(request.getfixturevalue(request.param))


@pytest.fixture
def on_postgres(fleet: Any) -> Scripts:
    return Scripts(fleet)


async def rehearse(scripts: Scripts, **options: Any) -> Any:
    settings = {
        key: options.pop(key) for key in ("on_unsupported", "retry_attempts", "operation_timeout") if key in options
    }
    async with scripts.fleet.engine(**settings) as engine:
        return await engine.rehearse_migrations(options.pop("filters", {}), scripts.folder, **options)


def outcomes(report: Any) -> list[tuple[str, int, str]]:
    return [(str(item.group.first), len(item.group.members), item.outcome) for item in report.rehearsals]


def clones(scripts: Scripts, tenant_id: str = "T0001") -> list[str]:
    """Return the schemas of clones, those in the tenant's own database too, with what is noted of them."""
    names = "information_schema.SCHEMATA" if scripts.is_mysql else "pg_namespace"
    column = "SCHEMA_NAME" if scripts.is_mysql else "nspname"
    sql = f"SELECT {column} FROM {names} WHERE {column} LIKE 'dbgear|_rehearsal%' ESCAPE '|'"
    databases = {None, scripts.place(tenant_id)[0]}
    return [name for database in databases for (name,) in scripts.fleet.query(sql, database)]


def everything(scripts: Scripts, ids: list[str]) -> Any:
    """Return what the tenants have, with when, or as what, the server made each."""
    catalogs = [scripts.fleet.catalog(scripts.place(tenant_id)[0]) for tenant_id in ids]
    return [{name: held for name, held in it.items() if not name.startswith("dbgear_rehearsal")} for it in catalogs]


@isolations
async def test_of_nine_tenants_in_three_groups_three_are_cloned(scripts: Scripts, isolation: str) -> None:
    ids = await scripts.provisioned(9, isolation)
    scripts.write("1_plan.sql", PLAN)
    scripts.write("2_index.sql", INDEX)
    for tenant_id in ("T0003", "T0005", "T0009"):  # with a column that nobody knows of
        scripts.query(tenant_id, "ALTER TABLE {customers} ADD COLUMN extra INT")
    async with scripts.fleet.engine() as engine:  # they hold the same as nobody else, and need less
        raise_for_failures(
            await engine.bulk_migrate_tenants({"tenant_id": ["T0004"]}, scripts.folder, "1", dry_run=False)
        )
    before = everything(scripts, ids)
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 5, "passed"), ("T0003/main", 3, "passed"), ("T0004/main", 1, "passed")]
    added = ["column customers.plan: added", "index customers.idx_plan: added"]
    assert [item.changes for item in report.rehearsals] == [added, added, added[1:]]
    assert [list(item.group.versions) for item in report.rehearsals] == [["1", "2"], ["1", "2"], ["2"]]
    report.refuse_failed()
    assert clones(scripts) == []
    assert everything(scripts, ids) == before
    assert [scripts.ledger(tenant_id) for tenant_id in ids] == [["1"] if id_ == "T0004" else [] for id_ in ids]

    first = json.loads(json.dumps(report.details()))[0]
    assert (first["count"], first["rehearsed_on"], first["outcome"]) == (5, "T0001/main", "passed")
    assert first["isolation"] == isolation
    assert "T0003/main: column customers.plan: added" in report.text()


@isolations
async def test_a_script_that_fails_on_one_group_is_told_with_its_size_and_the_statement(
    scripts: Scripts, isolation: str
) -> None:
    ids = await scripts.provisioned(5, isolation)
    for tenant_id in ("T0002", "T0004"):
        scripts.query(tenant_id, "ALTER TABLE {customers} ADD COLUMN plan INT")
    scripts.write("1_plan.sql", NOTES, PLAN)
    before = everything(scripts, ids)
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 3, "passed"), ("T0002/main", 2, "failed")]
    failed = report.rehearsals[1]
    assert failed.error_kind == "StatementError"
    assert failed.where == f"{scripts.folder / '1_plan.sql'}, line 3"
    assert failed.statement.endswith("customers ADD COLUMN plan VARCHAR(20)")
    assert "plan" in failed.error
    with pytest.raises(
        TenantsFailedError, match=r"1 of 2 groups failed: T0002: .* \(stands for 2 instances\)"
    ) as caught:
        report.refuse_failed()
    assert caught.value.details["tenant_ids"] == ["T0002", "T0004"]
    assert failed.statement in report.text()
    assert clones(scripts) == []
    assert everything(scripts, ids) == before


@isolations
async def test_rows_show_what_structure_alone_does_not_and_are_told_nowhere(scripts: Scripts, isolation: str) -> None:
    await scripts.provisioned(1, isolation)
    scripts.write("1_email.sql", EMAIL)
    await scripts.migrate()
    scripts.query("T0001", "INSERT INTO {customers} VALUES (1, 'secret@example.com'), (2, 'secret@example.com')")
    scripts.write("2_unique.sql", UNIQUE)
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "failed")]
    assert "secret" not in report.text() + json.dumps(report.details())
    assert "uq_email" in report.rehearsals[0].statement

    assert outcomes(await rehearse(scripts, rows=0)) == [("T0001/main", 1, "passed")]
    assert outcomes(await rehearse(scripts, rows=1)) == [("T0001/main", 1, "passed")]

    scripts.query("T0001", "UPDATE {customers} SET email = NULL WHERE id = 2")
    (scripts.folder / "2_unique.sql").unlink()
    scripts.write("2_not_null.sql", NOT_NULL[scripts.is_mysql])
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "failed")]
    assert "null" in report.rehearsals[0].error.lower() or "truncated" in report.rehearsals[0].error.lower()
    assert scripts.query("T0001", "SELECT id, email FROM {customers} ORDER BY id") == [
        (1, "secret@example.com"),
        (2, None),
    ]


FAMILY = """
schemas:
  main:
    tables:
      customers:
        columns: [{columnName: id, columnType: INT AUTO_INCREMENT, nullable: false, primaryKey: 1},
                  {columnName: boss, columnType: INT, nullable: true}]
        relations: [{target: {tableName: customers}, bindColumns: [{sourceColumn: boss, targetColumn: id}]}]
      orders:
        columns: [{columnName: id, columnType: INT, nullable: false, primaryKey: 1},
                  {columnName: customer_id, columnType: INT, nullable: false}]
        relations: [{target: {tableName: customers}, bindColumns: [{sourceColumn: customer_id, targetColumn: id}]}]
"""


@isolations
async def test_rows_keep_their_keys_and_new_ones_go_on_counting(scripts: Scripts, isolation: str) -> None:
    scripts.fleet.template.write_text(FAMILY)
    await scripts.provisioned(1, isolation)
    for number in range(1, 6):
        scripts.query("T0001", "INSERT INTO {customers} (boss) VALUES (NULL)")
        scripts.query("T0001", f"INSERT INTO {{orders}} VALUES ({6 - number}, {number})")
    for number in range(2, 6):  # each is the next one's
        scripts.query("T0001", f"UPDATE {{customers}} SET boss = {number - 1} WHERE id = {number}")
    # Three of each: the orders 5, 4, 3 or 1, 2, 3, as the server reads them. Some of them have no customer then.
    count = "SELECT count(*) FROM ${PREFIX}orders o LEFT JOIN ${PREFIX}customers c ON c.id = o.customer_id"
    scripts.write(
        "1_count.sql",
        "CREATE TABLE ${PREFIX}told (orders INT, orphans INT, customers INT CHECK (customers <= 3));",
        f"INSERT INTO ${{PREFIX}}told SELECT ({count}), ({count} WHERE c.id IS NULL), "
        "(SELECT count(*) FROM ${PREFIX}customers);",
        "ALTER TABLE ${PREFIX}told ADD CONSTRAINT none CHECK (orphans = 0 AND orders BETWEEN 1 AND 3);",
        "INSERT INTO ${PREFIX}customers (boss) VALUES (NULL);",
    )
    report = await rehearse(scripts, rows=3)
    assert outcomes(report) == [("T0001/main", 1, "passed")], report.text()
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 1, "failed")]  # all rows are there
    assert "customers <= 3" in report.text() or "told" in report.text()


@isolations
async def test_a_clone_holds_all_that_a_document_can_hold(scripts: Scripts, isolation: str) -> None:
    scripts.fleet.template.write_text(rich("mysql_fleet" if scripts.is_mysql else "fleet"))
    scripts.isolation = isolation
    ids = scripts.fleet.tenants(2, isolation=isolation, instances="main,main2")
    async with scripts.fleet.engine(on_unsupported="warn") as engine:
        raise_for_failures(await engine.bulk_provision_tenants({}, dry_run=False))
    scripts.query("T0001", "INSERT INTO {by_hash} VALUES (1)")
    scripts.write("1_notes.sql", NOTES)
    before = everything(scripts, ids)
    report = await rehearse(scripts, on_unsupported="warn")
    assert outcomes(report) == [("T0001/main", 4, "passed")], report.text()
    assert clones(scripts) == []
    assert everything(scripts, ids) == before
