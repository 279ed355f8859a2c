"""Rehearsals on both engines: what a clone tells before tenants are touched, and that nothing is left of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.automation.migrating import INDEX, ISOLATIONS, NOTES, PLAN, Scripts

isolations = pytest.mark.parametrize("isolation", ISOLATIONS)


@pytest.fixture(params=["fleet", "mysql_fleet"])
def scripts(request: Any) -> Scripts:
    return Scripts(request.getfixturevalue(request.param))


async def rehearse(scripts: Scripts, **options: Any) -> Any:
    async with scripts.fleet.engine() as engine:
        return await engine.rehearse_migrations({}, scripts.folder, **options)


def outcomes(report: Any) -> list[tuple[str, int, str]]:
    return [(str(item.group.first), len(item.group.members), item.outcome) for item in report.rehearsals]


@isolations
async def test_smoke(scripts: Scripts, isolation: str) -> None:
    await scripts.provisioned(3, isolation)
    scripts.write("1_plan.sql", PLAN, INDEX)
    scripts.query("T0001", "INSERT INTO {customers} VALUES (7)")
    report = await rehearse(scripts)
    assert outcomes(report) == [("T0001/main", 3, "passed")]
