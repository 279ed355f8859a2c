"""Migrations of tenants that have roles: what is made is the tenant's, and another tenant's is out of reach."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.automation.migrating import INDEX, ISOLATIONS, NOTES, PLAN, Scripts, changed, failures
from tests.integration.automation.test_roles import Login, roles_fleet

__all__ = ["roles_fleet"]
isolations = pytest.mark.parametrize("isolation", ISOLATIONS)


@isolations
@pytest.mark.parametrize("alone", [False, True], ids=["transaction", "alone"])
async def test_the_login_works_with_what_a_script_has_made(roles_fleet: Any, isolation: str, alone: bool) -> None:
    scripts = Scripts(roles_fleet)
    ids = await scripts.provisioned(2, isolation)
    scripts.write("1_notes.sql", NOTES, PLAN, "INSERT INTO ${PREFIX}notes VALUES (1);", alone=alone)
    scripts.write("2_index.sql", INDEX, alone=alone)
    assert failures(await scripts.migrate()) == {}
    for tenant_id, other in (ids, ids[::-1]):
        login = Login(roles_fleet, tenant_id)
        assert login.do(f"SELECT id FROM {login.table('notes')}") == [(1,)]
        login.do(f"UPDATE {login.table('notes')} SET id = 2")
        login.refused(f"SELECT * FROM {login.table('dbgear_migrations')}")
        login.refused(
            f"SELECT * FROM {Login(roles_fleet, other).table('notes')}", Login(roles_fleet, other).place["database"]
        )
        assert scripts.ledger(tenant_id) == ["1", "2"]
    assert changed(await scripts.migrate()) == [0, 0]


@pytest.mark.parametrize("roles_fleet", ["postgresql"], indirect=True)
@pytest.mark.parametrize("alone", [False, True], ids=["transaction", "alone"])
async def test_the_server_refuses_a_script_that_reaches_for_another_tenant(roles_fleet: Any, alone: bool) -> None:
    scripts = Scripts(roles_fleet)
    await scripts.provisioned(2)
    schema = scripts.place("T0002")[1]
    scripts.write("1_plan.sql", PLAN)
    scripts.write("2_steal.sql", f'ALTER TABLE "{schema}".customers ADD COLUMN stolen INT;', alone=alone)
    results = await scripts.migrate()
    assert failures(results) == {"T0001": "StatementError"}
    assert "2_steal.sql, line 2" in results[0].error
    assert "permission denied for schema" in results[0].error
    assert scripts.ledger("T0001") == ["1"]
    assert scripts.columns("T0002") == ["id", "plan", "stolen"]  # its own, by its own script
    owner = scripts.query("T0001", "SELECT DISTINCT tableowner FROM pg_tables WHERE tablename = 'customers'")
    assert len(owner) == 2
