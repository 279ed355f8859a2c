"""What is written into a database is there, all or none of it, and is read as it was."""

from __future__ import annotations

import asyncio

import pytest

from dbgear_airflow_provider.core.errors import (
    RegistryRecordError,
    TenantNotFoundError,
)
from dbgear_airflow_provider.core.registries import RegistryCache
from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider
from dbgear_airflow_provider.sandbox.postgres import PostgresServer
from tests.servers.mariadb import MySQLServer

from ..conftest import Place, mariadb_place, postgres_place
from .crm import CRM, crm_row, make_crm
from .tenants import MOMENT, RICH, Open, ids, tenant


async def test_what_is_written_is_read(opened: Open) -> None:
    registry = opened()
    assert await registry.list_tenants() == []
    assert await registry.get_tenant_count() == 0
    assert [each async for each in registry.records()] == []
    await registry.write_tenants([RICH, tenant("T1")])
    assert await registry.list_tenants() == [tenant("T1"), RICH]
    assert await registry.get_tenant("T2") == RICH
    changed = RICH.model_copy(update={"status": "terminated", "billing_info": None, "database_prefix": None})
    await registry.write_tenants([changed, tenant("T3")])
    await registry.write_tenants([changed])
    assert await registry.list_tenants() == [tenant("T1"), changed, tenant("T3")]
    assert await registry.get_tenant_count({"status": "active"}) == 2
    assert await registry.search_tenants("'日本' IN instances") == [changed]
    assert await registry.rejected_records() == []
    with pytest.raises(TenantNotFoundError):
        await registry.get_tenant("t1")


async def test_ids_are_told_apart_and_ordered_by_code_point(opened: Open) -> None:
    names = ["a", "A", "a ", " a", "á", "B", "b", "日", "😀", "\uffff", "ß", "ss", "_", "%", "10", "9"]
    registry = opened()
    await registry.write_tenants([tenant(name) for name in names])
    assert ids(await registry.list_tenants()) == sorted(names)
    for name in names:
        assert (await registry.get_tenant(name)).tenant_id == name
    assert ids(await registry.search_tenants("tenant_id > 'a'")) == sorted(name for name in names if name > "a")


async def test_answers_are_kept_until_something_is_written(place: Place, opened: Open) -> None:
    registry = opened(cache_ttl=300)
    await registry.write_tenants([tenant("T1")])
    assert ids(await registry.list_tenants()) == ["T1"]
    place.execute("DELETE FROM tenants")
    assert ids(await registry.list_tenants()) == ["T1"]
    await registry.write_tenants([tenant("T2")])
    assert ids(await registry.list_tenants()) == ["T2"]
    cache = RegistryCache(300)
    place.insert("tenant_configs", [{"tenant_id": "T2", "config": '{"a": 1}'}])
    for config_table, config in ((None, {}), ("tenant_configs", {"a": 1})):
        reader = opened(config_table=config_table, cache=cache)
        assert await reader.get_tenant_config("T2") == config
        await reader.aclose()
    assert cache.statistics.misses > 1
    assert opened(cache_ttl=0).cache is None


async def test_writing_into_tables_of_others(place: Place, opened: Open) -> None:
    make_crm(place)
    place.insert("customers", [crm_row("C1") | {"unrelated %s": "stays"}])
    registry = opened("customers", None, mapping=CRM)
    (one,) = await registry.list_tenants()
    two = one.model_copy(update={"tenant_id": "C2", "status": "terminated", "tier": "basic", "instances": ["a", "b"]})
    await registry.write_tenants([one.model_copy(update={"customer_name": "100%s"}), two])
    assert await registry.list_tenants() == [one.model_copy(update={"customer_name": "100%s"}), two]
    assert place.execute(
        f"SELECT state, plan, copies, {place.name('unrelated %s')} FROM customers ORDER BY code, state"
    ) == [
        (0, "basic", "a,b", None),
        (1, "gold", "main,test", "stays"),
    ]
    for field, value in (("region", "eu"), ("table_prefix", "t_"), ("contract_info", {"a": 1})):
        with pytest.raises(RegistryRecordError, match=f"tenant_id 'C3', column {field}: no column for {field}"):
            await registry.write_tenants([one.model_copy(update={"tenant_id": "C3", field: value})])
    with pytest.raises(RegistryRecordError, match="column tier: cannot be stored under the mapping"):
        await opened(
            "customers", None, mapping=CRM.model_copy(update={"values": CRM.values | {"tier": {"premium": "basic"}}})
        ).write_tenants([one])
    assert len(await registry.list_tenants()) == 2


async def test_writing_is_all_or_nothing(place: Place, opened: Open) -> None:
    registry = opened()
    await registry.write_tenants([tenant("T1")])
    place.execute(
        "CREATE UNIQUE INDEX names ON tenants (customer_code)"
        if place.engine != "mariadb"
        else "CREATE UNIQUE INDEX names ON tenants (customer_code(20))"
    )
    news = [tenant(f"U{number:03}", customer_code=f"c{number}") for number in range(600)]
    with pytest.raises(RegistryRecordError, match="tenant_id 'U599'"):
        await registry.write_tenants([*news[:599], tenant("U599", customer_code="acme")])
    assert ids(await registry.list_tenants()) == ["T1"]
    for impossible in ({"customer_name": "\ud800"}, {"billing_info": {"a": float("nan")}}, {"tenant_id": "a\0b"}):
        with pytest.raises(RegistryRecordError):
            await registry.write_tenants([*news, tenant("V").model_copy(update=impossible)])
    assert ids(await registry.list_tenants()) == ["T1"]


async def test_ids_that_the_database_takes_for_one_are_not_mixed_up(mariadb: MySQLServer, mysql_database: str) -> None:
    place = mariadb_place(mariadb, mysql_database)
    make_crm(place, key=" PRIMARY KEY")
    place.insert("customers", [crm_row("C1")])
    registry = DatabaseTenantProvider(place.url, "customers", None, 0, mapping=CRM)
    (one,) = await registry.list_tenants()
    with pytest.raises(RegistryRecordError, match="tenant_id 'c1'.*1062"):
        await registry.write_tenants([one.model_copy(update={"tenant_id": "c1"})])
    assert await registry.list_tenants() == [one]
    await registry.aclose()


async def test_moments_that_the_column_would_round(postgres: PostgresServer, database: str) -> None:
    place = postgres_place(postgres, database)
    registry = DatabaseTenantProvider(place.url, cache_ttl=0)
    await registry.prepare()
    place.execute("ALTER TABLE tenants ALTER created_at TYPE timestamptz(3), ALTER updated_at TYPE timestamp(0)")
    whole = MOMENT.replace(microsecond=0)
    kept = tenant("T1", created_at=MOMENT.replace(microsecond=678000), updated_at=whole)
    await registry.write_tenants([kept])
    assert await registry.list_tenants() == [kept]
    for changes, digits in (({"updated_at": whole}, 3), ({"created_at": whole}, 0)):
        with pytest.raises(RegistryRecordError, match=f"a fraction of a second.*allowed: {digits} digits"):
            await registry.write_tenants([tenant("T2", **changes)])
    await registry.aclose()


async def test_two_writers_at_once(opened: Open) -> None:
    writers = [opened() for _ in range(3)]
    tenants = [tenant(f"T{number:03}") for number in range(50)]
    await asyncio.gather(*(writer.write_tenants(tenants) for writer in writers))
    assert await writers[0].list_tenants() == tenants
