"""The fleet that the project ships: include/registry."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dbgear_airflow_provider.core.registries import CSVTenantProvider
from dbgear_airflow_provider.core.tenants.naming import find_clashes

REGISTRY = Path(__file__).parents[3] / "include" / "registry"


@pytest.fixture
def provider() -> CSVTenantProvider:
    return CSVTenantProvider(REGISTRY / "tenants.csv", REGISTRY / "configs")


async def test_44_tenants_and_2_bad_rows(provider: CSVTenantProvider) -> None:
    assert await provider.get_tenant_count() == 44
    source = REGISTRY / "tenants.csv"
    assert [str(error) for error in await provider.rejected_records()] == [
        f"{source}, row 17, column tier: no such tier; received 'gold'; allowed: basic, standard, premium, enterprise",
        f"{source}, row 41, column billing_info: no JSON, Expecting ',' delimiter at character 32; "
        """received '{"plan": "monthly", "seats": 12'; allowed: a JSON object""",
    ]


async def test_is_a_fleet_of_all_kinds(provider: CSVTenantProvider) -> None:
    tenants = await provider.list_tenants(limit=None)
    assert Counter(tenant.status for tenant in tenants) == {
        "active": 37,
        "inactive": 3,
        "suspended": 2,
        "terminated": 2,
    }
    active = [tenant for tenant in tenants if tenant.status == "active"]
    assert Counter(tenant.isolation_strategy for tenant in active) == {"schema": 26, "database": 8, "table": 3}
    assert {tenant.tier for tenant in active} == {"basic", "standard", "premium", "enterprise"}
    assert {tenant.region for tenant in active} == {"asia", "europe", "japan", "latam", "oceania", "us"}
    assert len({(tenant.customer_code, tenant.region) for tenant in tenants}) == len(tenants)
    assert find_clashes(tenants) == {}


async def test_names_are_kept_as_written(provider: CSVTenantProvider) -> None:
    names = {tenant.customer_name for tenant in await provider.list_tenants(limit=None)}
    assert {
        "株式会社ホシノ",
        'Big "Bob" Burgers',
        "Café Zoë, S.A.",
        "Nordic: Fjord Logistics AS",
        "{{ Mustache }} Studios",
        "${HOME} Improvement Inc.",
        "Aurora\nNorthern Lights Tours",
    } <= names


async def test_queries_of_the_documentation(provider: CSVTenantProvider) -> None:
    async def ids(query: str) -> list[str]:
        return [tenant.tenant_id for tenant in await provider.search_tenants(query)]

    assert await ids("region='asia' AND tier IN ('premium', 'enterprise')") == ["T0003", "T0017", "T0024"]
    assert await ids("billing_info.seats >= 1000 AND 'staging' IN instances") == ["T0001", "T0007", "T0029"]
    assert await ids("created_at < '2021-04-01' AND NOT status = 'active'") == ["T0040", "T0045"]


async def test_settings_of_single_tenants(provider: CSVTenantProvider) -> None:
    assert await provider.get_tenant_config("T0002") == {
        "features": ["audit"],
        "retention_days": 180,
        "locale": "ja_JP",
    }
    assert (await provider.get_tenant_config("T0027"))["locale"] == "de_DE"
    assert await provider.get_tenant_config("T0004") == {}
    ids = {tenant.tenant_id for tenant in await provider.list_tenants(limit=None)}
    assert {path.stem for path in (REGISTRY / "configs").iterdir()} <= ids
