"""The settings of tenants in a database: what `write_configs` writes is what `get_tenant_config` reads."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import (
    RegistryRecordError,
    SettingsError,
    TenantNotFoundError,
    UnsupportedError,
)
from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider, configs
from dbgear_airflow_provider.core.tenants import TenantInfo

from .conftest import Place

ODD_IDS = ["a'b", "日本", "a", "a ", "A", "á", "😀", "x" * 255, "a\\b", "%s", ":a", "a\nb", "10", "010", "--"]
SECRET = "s3cret"

Open = Callable[..., DatabaseTenantProvider]


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[Open]:
    """Return a function that opens a provider on the place, without a cache."""
    async with AsyncExitStack() as stack:

        def open_(config_table: str | None = "tenant_configs", **kwargs: Any) -> DatabaseTenantProvider:
            provider = DatabaseTenantProvider(place.url, "tenants", config_table, 0, **kwargs)
            stack.push_async_callback(provider.aclose)
            return provider

        yield open_


def tenants(*tenant_ids: str) -> list[TenantInfo]:
    fields: dict[str, Any] = {
        **dict.fromkeys(("customer_name", "customer_code", "region"), "x"),
        **dict.fromkeys(("created_at", "updated_at"), "2024-01-02T03:04:05Z"),
        "tier": "basic",
        "status": "active",
        "isolation_strategy": "schema",
    }
    return [TenantInfo.model_validate(fields | {"tenant_id": tenant_id}) for tenant_id in tenant_ids]


async def test_odd_ids(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "BATCH_ROWS", 4)
    registry = opened()
    await registry.write_tenants(tenants(*ODD_IDS, "none"))
    written = {
        tenant_id: {"id": tenant_id, "none": None, "deep": [1, {"é": "日'\"\\"}], "rate": 0.1} for tenant_id in ODD_IDS
    }
    await registry.write_configs(written)
    assert {tenant_id: await registry.get_tenant_config(tenant_id) for tenant_id in ODD_IDS} == written
    changed = {"a": {}, "none": {"new": True}}
    await registry.write_configs(changed)
    await registry.write_configs(changed)
    await registry.write_configs({})
    expected = written | changed
    assert {tenant_id: await registry.get_tenant_config(tenant_id) for tenant_id in expected} == expected
    with pytest.raises(TenantNotFoundError):
        await registry.get_tenant_config("á ")


@pytest.mark.parametrize("kind", ["json", "text"])
async def test_ids_that_are_no_text(place: Place, opened: Open, kind: str) -> None:
    place.execute(f"CREATE TABLE numbered (tenant_id bigint PRIMARY KEY, config {kind})")
    registry = opened("numbered")
    await registry.write_tenants(tenants("9", "10", "010"))
    await registry.write_configs({"9": {"a": 1}, "10": {"a": 2}})
    await registry.write_configs({"10": {"a": 3}})
    found = {tenant_id: await registry.get_tenant_config(tenant_id) for tenant_id in ("9", "10", "010")}
    assert found == {"9": {"a": 1}, "10": {"a": 3}, "010": {}}
    for tenant_id in ("abc", "010", "9" * 25):  # a database would round the last one, or take it for a text
        with pytest.raises(RegistryRecordError, match=f"table numbered, tenant_id '{tenant_id}'"):
            await registry.write_configs({"9": {"a": 4}, tenant_id: {}})
    assert await registry.get_tenant_config("9") == {"a": 1}
    assert place.execute("SELECT COUNT(*) FROM numbered")[0][0] == 2


@pytest.mark.parametrize(
    ("tenant_id", "config", "told"),
    [
        ("T1", {"key": SECRET, "a": float("nan")}, "tenant_id 'T1', column config: no JSON: Out of range float"),
        ("T1", {"key": SECRET, "a": {1}}, "tenant_id 'T1', column config: no JSON: Object of type set"),
        ("T1", {"key": SECRET + "\ud800"}, "tenant_id 'T1', column config: half a character"),
        ("\ud800", {"key": SECRET}, "column tenant_id: half a character"),
        ("a\0b", {"key": SECRET}, "column tenant_id: a NUL"),
    ],
)
async def test_what_cannot_be_stored(opened: Open, tenant_id: str, config: dict[str, Any], told: str) -> None:
    registry = opened()
    await registry.write_tenants(tenants("A", "T1"))
    with pytest.raises(RegistryRecordError) as caught:
        await registry.write_configs({"A": {"a": 1}, tenant_id: config})
    assert told in caught.value.message
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert await registry.get_tenant_config("A") == {}


async def test_what_the_server_refuses_names_the_tenant_and_no_settings(place: Place, opened: Open) -> None:
    config = {"sqlite": "text", "postgresql": "json", "mariadb": "longtext"}[place.engine]
    place.execute(
        f"CREATE TABLE settings (tenant_id varchar(20) PRIMARY KEY, config {config}, CHECK (tenant_id <> 'T2'))"
    )
    registry = opened("settings")
    await registry.write_tenants(tenants("T1", "T2"))
    with pytest.raises(RegistryRecordError, match="table settings, tenant_id 'T2': the database refuses") as caught:
        await registry.write_configs({"T1": {"a": 1}, "T2": {"key": SECRET}})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert await registry.get_tenant_config("T1") == {}


async def test_tables_that_are_missing(place: Place, opened: Open) -> None:
    await opened().write_tenants(tenants("T1"))
    missing = opened("settings", create_tables=False)
    with pytest.raises(SettingsError, match="no such table; received 'settings'"):
        await missing.write_configs({"T1": {}})
    with pytest.raises(UnsupportedError, match="no config_table"):
        await opened(None).write_configs({"T1": {}})
    await opened("settings").write_configs({"T1": {"a": 1}})
    assert await missing.get_tenant_config("T1") == {"a": 1}
    place.execute("CREATE TABLE other (tenant_id varchar(20))")
    other = opened("other")
    with pytest.raises(SettingsError, match="table other: no such column; received 'config'; allowed: tenant_id"):
        await other.write_configs({"T1": {}})
    place.execute("ALTER TABLE other ADD COLUMN config varchar(10)")
    await other.write_configs({"T1": {"a": 1}})
    assert await other.get_tenant_config("T1") == {"a": 1}
    if place.engine != "sqlite":  # which holds columns to no length
        with pytest.raises(RegistryRecordError, match="column config: 13 characters; allowed: 10 characters"):
            await other.write_configs({"T1": {"a": "2345"}})


async def test_two_writers_at_once(place: Place, opened: Open) -> None:
    written: dict[str, dict[str, Any]] = {f"T{number:02}": {"number": number} for number in range(50)}
    await opened().prepare()
    await asyncio.gather(*(opened().write_configs(written) for _ in range(4)))
    found = place.execute("SELECT tenant_id, config FROM tenant_configs ORDER BY tenant_id")
    assert {name: json.loads(config) if isinstance(config, str) else config for name, config in found} == written
