"""Questions to a database: its columns, pages, and the index that answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import (
    RegistryRecordError,
    SettingsError,
    TenantNotFoundError,
)
from dbgear_airflow_provider.core.registries.database import pages
from dbgear_airflow_provider.core.registries.records import Record
from dbgear_airflow_provider.core.settings.mapping import FieldMapping

from ..conftest import Place
from .crm import CRM, crm_row, make_crm
from .tenants import Open, ids, record, tenant


@pytest.mark.parametrize("rows", [2, 5])
async def test_pages_have_each_tenant_once(opened: Open, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(pages, "PAGE_ROWS", rows)
    names = [f"T{number:02}" for number in range(10)]
    registry = opened()
    await registry.write_tenants([tenant(name, region="a" if int(name[1:]) % 2 else "b") for name in names])
    assert ids([each async for each in registry.stream_tenants()]) == names
    assert ids(await registry.search_tenants("region = 'a'")) == names[1::2]
    assert ids(await registry.list_tenants(offset=3, limit=4)) == names[3:7]


async def test_views_are_tables(place: Place, opened: Open) -> None:
    await opened().write_tenants([tenant("T1"), tenant("T2", region="eu"), tenant("T3")])
    place.execute("CREATE VIEW crm AS SELECT * FROM tenants WHERE region = 'asia'")
    registry = opened("crm")
    assert ids(await registry.list_tenants()) == ["T1", "T3"]
    assert ids(await registry.search_tenants("tenant_id = 'T3' AND status = 'active'")) == ["T3"]


@pytest.mark.parametrize(
    ("mapping", "missing", "told"),
    [
        (
            CRM,
            "code",
            "table customers: no column for customer_code; received 'code'; allowed: Customer No, 名前, state",
        ),
        (CRM, "billing", "table customers: no column for billing_info; received 'billing'"),
        (FieldMapping(fields=CRM.fields), "", "table customers: no column for region; received 'region'"),
    ],
)
async def test_missing_columns(place: Place, opened: Open, mapping: FieldMapping, missing: str, told: str) -> None:
    make_crm(place)
    if missing:
        place.execute(f"ALTER TABLE customers DROP COLUMN {missing}")
    registry = opened("customers", mapping=mapping)
    with pytest.raises(SettingsError) as caught:
        await registry.list_tenants()
    assert caught.value.message.startswith(told)
    assert "unrelated %s" in caught.value.message


async def test_missing_tables(place: Place, opened: Open) -> None:
    with pytest.raises(SettingsError, match="no such table; received 'nowhere.tenants'|unknown database"):
        await opened("nowhere.tenants", create_tables=False).list_tenants()
    assert await opened("tenants_x").list_tenants() == []
    await opened().write_tenants([tenant("T1")])
    place.execute("DROP TABLE tenant_configs")
    assert await opened().get_tenant_config("T1") == {}
    with pytest.raises(SettingsError, match="no such table; received 'settings'"):
        await opened(config_table="settings").get_tenant_config("T1")


async def test_a_column_that_goes_while_the_provider_is_open(place: Place, opened: Open) -> None:
    registry = opened()
    await registry.write_tenants([tenant("T1")])
    place.execute("ALTER TABLE tenants DROP COLUMN table_prefix")
    with pytest.raises(SettingsError, match="refuses the statement"):
        await registry.list_tenants()
    assert await registry.list_tenants() == [tenant("T1")]


async def test_a_column_that_comes_while_the_provider_is_open(place: Place, opened: Open) -> None:
    await opened().write_tenants([tenant("T1")])
    place.execute("ALTER TABLE tenants DROP COLUMN region")
    registry = opened()
    with pytest.raises(SettingsError, match="no column for region"):
        await registry.list_tenants()
    place.execute("ALTER TABLE tenants ADD COLUMN region varchar(10) DEFAULT 'asia'")
    assert await registry.list_tenants() == [tenant("T1")]


async def test_settings_of_tenants(place: Place, opened: Open) -> None:
    registry = opened()
    await registry.write_tenants([tenant("T1"), tenant("T2"), tenant("T3"), tenant("t1")])
    rows = [("T1", {"features": ["sso"], "日本": 1}), ("T3", [1]), ("nobody", {})]
    place.insert("tenant_configs", [{"tenant_id": name, "config": json.dumps(value)} for name, value in rows])
    assert await registry.get_tenant_config("T1") == {"features": ["sso"], "日本": 1}
    assert await registry.get_tenant_config("T2") == {}
    assert await registry.get_tenant_config("t1") == {}
    with pytest.raises(
        RegistryRecordError, match="table tenant_configs, tenant_id 'T3', column config: no JSON object"
    ):
        await registry.get_tenant_config("T3")
    with pytest.raises(TenantNotFoundError):
        await registry.get_tenant_config("nobody")
    place.execute("CREATE TABLE other (tenant_id varchar(20), settings varchar(20))")
    with pytest.raises(
        SettingsError, match="table other: no such column; received 'config'; allowed: tenant_id, settings"
    ):
        await opened(config_table="other").get_tenant_config("T1")


async def test_records_are_raw(place: Place, opened: Open) -> None:
    make_crm(place)
    place.insert("customers", [crm_row("C1"), crm_row("C2", plan="silver")])
    registry = opened("customers", None, mapping=CRM)
    records = [each async for each in registry.records(["tier", "instances"])]
    assert all(isinstance(each, Record) for each in records)
    assert [each.fields for each in records if isinstance(each, Record)] == [
        {"tenant_id": "C1", "tier": "premium", "instances": "main, test"},
        {"tenant_id": "C2", "tier": "silver", "instances": "main, test"},
    ]
    assert isinstance(records[0], Record)
    assert records[0].known()["instances"] == ["main", "test"]
    assert (records[0].where, records[0].label) == ("table customers, tenant_id 'C1'", "column")
    with pytest.raises(SettingsError, match="no column for region"):
        [each async for each in opened("customers", mapping=FieldMapping(fields=CRM.fields)).records(["region"])]


async def test_lists_of_any_length(opened: Open) -> None:
    registry = opened()
    names = [f"T{number:03}" for number in range(100)]
    await registry.write_tenants([tenant(name) for name in names])
    many = [f"X{number}" for number in range(20_000)] + names[10:20]
    assert ids(await registry.list_tenants({"tenant_id": many}, limit=None)) == names[10:20]
    assert ids(await registry.list_tenants({"customer_code": [*many, "acme"]}, limit=None)) == names
    chain = " OR ".join(f"tenant_id = '{name}'" for name in many[:1500] + names[:2])
    assert ids(await registry.search_tenants(chain)) == names[:2]
    assert ids(await registry.search_tenants(f"NOT ({chain})")) == names[2:]


async def test_the_index_is_used(place: Place, opened: Open) -> None:
    registry = opened()
    await registry.write_tenants([tenant(f"T{number:04}") for number in range(1000)])
    if place.engine == "postgresql":
        place.execute("ANALYZE tenants")
    statements: list[tuple[str, Any]] = []
    record(registry, statements)
    assert len(await registry.search_tenants("tenant_id IN ('T0001', 'T0999')")) == 2
    (plan,) = [each for each in statements if "ORDER BY" in each[0]]
    async with registry._engine.connect() as connection:
        explained = await connection.exec_driver_sql(
            {"sqlite": "EXPLAIN QUERY PLAN "}.get(place.engine, "EXPLAIN ") + plan[0], plan[1]
        )
        told = str(explained.all())
    wanted = {"sqlite": "SEARCH tenants USING INDEX", "postgresql": "tenants_pkey", "mariadb": "'range', 'PRIMARY'"}
    assert wanted[place.engine] in told, told
