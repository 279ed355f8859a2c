"""The fleet store's state of instances, rebuilt from PostgreSQL and MariaDB."""

from __future__ import annotations

from typing import Any

import pytest

from dbgear_airflow_provider.core import FleetStore
from dbgear_airflow_provider.core.automation import rebuild_state
from dbgear_airflow_provider.core.automation.drift import InstanceId

SCRIPT = "-- migrate:up\nALTER TABLE ${PREFIX}customers ADD note varchar(20);\n"


async def state(fleet: Any) -> dict[str, dict[str, Any]]:
    """Return what the store says of all instances, but for when; {"<tenant>/<instance>": its columns}."""
    store = FleetStore(fleet.store_url)
    await store.prepare()
    rows = await store.placements(["T1", "T2", "T3", "T4"])
    await store.aclose()
    return {
        "/".join(key): {name: value for name, value in row.items() if not name.endswith("_at")}
        for key, row in rows.items()
    }


async def rebuild(fleet: Any) -> Any:
    async with fleet.engine("rebuild") as engine:
        return await rebuild_state(engine, engine._run.store, dry_run=False)


@pytest.mark.parametrize("name", ["fleet", "mysql_fleet"])
async def test_the_state_is_that_before_it_was_lost(name: str, request: pytest.FixtureRequest) -> None:
    fleet: Any = request.getfixturevalue(name)
    code = fleet.database
    fleet.write(
        [
            ["T1", f"one{code}", "database", "main,test"],
            ["T2", f"two{code}", "schema", "main"],
            ["T3", f"tri{code}", "table", "main,test"],
            ["T4", f"four{code}", "database", "main"],
        ]
    )
    script = fleet.folder / "v2.1.sql"
    script.write_text(SCRIPT)
    there = {"tenant_id": ["T1", "T2", "T3"]}
    async with fleet.engine("before") as engine:
        await engine.bulk_provision_tenants(there, dry_run=False)
        results = await engine.bulk_migrate_tenants(there, script, dry_run=False)
        assert [result.error for result in results] == [None] * 3
        await engine.check_drift(there)
    before = await state(fleet)
    assert len(before) == 5
    assert {row["version"] for row in before.values()} == {"2.1"}
    assert all(row["fingerprint"] for row in before.values())

    (fleet.folder / "fleet.db").unlink()
    report = await rebuild(fleet)
    assert report.counts() == {"found": 5, "elsewhere": 0, "missing": 1, "unread": 0}
    assert report.missing == [InstanceId(tenant_id="T4", instance="main")]
    assert await state(fleet) == before
    assert (await rebuild(fleet)).found == report.found
    assert await state(fleet) == before


async def test_what_is_half_provisioned_is_no_instance(mysql_fleet: Any) -> None:
    mysql_fleet.write([["T1", f"one{mysql_fleet.database}", "schema", "main"]])
    async with mysql_fleet.engine("before") as engine:
        await engine.bulk_provision_tenants({}, dry_run=False)
    (database,) = mysql_fleet.databases()
    mysql_fleet.query("UPDATE dbgear_migrations SET checksum = 'begun:x' WHERE version = 'provision'", database)
    report = await rebuild(mysql_fleet)
    assert [error.kind for error in report.unread.values()] == ["NotProvisionedError"]
    assert await state(mysql_fleet) == {}
