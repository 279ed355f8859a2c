"""Tables that were not made for us, with rows that are no tenants."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dbgear_airflow_provider.core.errors import (
    RegistryRecordError,
)
from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider, pages
from dbgear_airflow_provider.core.registries.records import Record
from dbgear_airflow_provider.core.settings.mapping import FieldMapping
from dbgear_airflow_provider.sandbox.postgres import PostgresServer

from ..conftest import Place, postgres_place, sqlite_place
from .crm import CRM, CRM_TYPES, crm_row, make_crm
from .tenants import MOMENT, Open, ids, tenant


async def test_tables_of_others(place: Place, opened: Open) -> None:
    make_crm(place)
    place.insert(
        "customers",
        [crm_row("c2", state=0, plan=None, copies=None, billing=None), crm_row("C1"), crm_row("C3", copies='["a,b"]')],
    )
    registry = opened("customers", None, mapping=CRM)
    expected = tenant(
        "C1",
        customer_name="星野",
        customer_code="hoshino",
        region="japan",
        tier="premium",
        created_at=MOMENT.replace(microsecond=0),
        updated_at=MOMENT.replace(microsecond=500000),
        instances=["main", "test"],
        billing_info={"seats": 3},
    )
    none = {"status": "terminated", "tier": "standard", "instances": ["main"], "billing_info": None}
    assert await registry.list_tenants() == [
        expected,
        expected.model_copy(update={"tenant_id": "C3", "instances": ["a,b"]}),
        expected.model_copy(update={"tenant_id": "c2", **none}),
    ]
    assert ids(await registry.search_tenants("tier = 'premium' AND status = 'active'")) == ["C1", "C3"]
    assert ids(await registry.search_tenants("customer_code = 'hoshino' AND customer_name LIKE '星_'")) == [
        "C1",
        "C3",
        "c2",
    ]
    assert await registry.search_tenants("tenant_id = 'C2'") == []
    assert ids(await registry.search_tenants("'test' IN instances")) == ["C1"]
    assert ids(await registry.search_tenants("'test' NOT IN instances AND billing_info.seats = 3")) == ["C3"]
    assert ids(await registry.search_tenants("updated_at > '2024-01-02T03:04:05Z'")) == ["C1", "C3", "c2"]
    assert await registry.search_tenants("schema_suffix = 'x' OR NOT table_prefix = 'x'") == []
    assert await registry.get_tenant_config("C1") == {}


async def test_bad_rows_are_told_and_the_rest_goes_on(place: Place, opened: Open) -> None:
    make_crm(place)
    rows = [
        crm_row("C1"),
        crm_row("C2", plan="silver"),
        crm_row("C3", billing="[1]"),
        crm_row("C4", code=None),
        crm_row(""),
    ]
    if place.engine != "postgresql":
        rows.append(crm_row("C5", billing='{"a": 1'))
    place.insert("customers", rows)
    registry = opened("customers", None, mapping=CRM)
    assert ids(await registry.list_tenants()) == ["C1"]
    told = [error.message for error in await registry.rejected_records()]
    assert told[1] == (
        "table customers, tenant_id 'C2', column tier: no such tier; received 'silver'; "
        "allowed: basic, standard, premium, enterprise"
    )
    assert told[0].startswith("table customers, tenant_id '', column tenant_id: ")
    assert "tenant_id 'C3', column billing_info: no JSON object" in told[2]
    assert "tenant_id 'C4', column customer_code: no value" in told[3]
    assert len(told) == len(rows) - 1


@pytest.mark.parametrize("page_rows", [2, 1000])
async def test_ids_that_are_missing_or_there_twice(
    place: Place, opened: Open, monkeypatch: pytest.MonkeyPatch, page_rows: int
) -> None:
    monkeypatch.setattr(pages, "SORTED_PAGE_ROWS", page_rows)
    make_crm(place)
    copies = [crm_row("B", 名前=f"{number}") for number in range(5)]
    place.insert(
        "customers",
        [crm_row(None), crm_row("C"), *copies, crm_row("A"), crm_row(None), crm_row("A", 名前="zzz"), crm_row(None)],
    )
    registry = opened("customers", None, mapping=CRM)
    found = await registry.list_tenants()
    assert ids(found) == ["A", "B", "C"]
    told = [error.message for error in await registry.rejected_records()]
    assert sum("another row has this tenant_id already" in message for message in told) == 5
    assert sum("a row without tenant_id, column tenant_id: no value" in message for message in told) == 3
    # Which row is the tenant does not depend on the question.
    names = {each.customer_name for each in found if each.tenant_id == "B"}
    for number in range(5):
        searched = await registry.search_tenants(f"customer_name = '{number}'")
        assert {each.customer_name for each in searched} == names & {str(number)}
    assert len([each async for each in registry.records()]) == 11


async def test_the_first_row_of_a_tenant_is_the_first_by_code_point(place: Place, opened: Open) -> None:
    make_crm(place)
    if place.engine == "sqlite":
        place.execute("DROP TABLE customers")
        place.execute(
            'CREATE TABLE customers ("Customer No" TEXT, "名前" TEXT COLLATE NOCASE, code TEXT, state INTEGER, '
            "plan TEXT, made TEXT, changed TEXT, copies TEXT, billing TEXT)"
        )
    names = ["abc", "ABC", "Abc", "aBC"]
    place.insert("customers", [crm_row("B", 名前=name) for name in names])
    registry = opened("customers", None, mapping=CRM)
    assert [each.customer_name for each in await registry.list_tenants()] == ["ABC"]
    records = [each async for each in registry.records()]
    assert [each.fields["customer_name"] for each in records if isinstance(each, Record)] == sorted(names)


@pytest.mark.parametrize("page_rows", [1, 2, 1000])
async def test_bytes_that_are_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_rows: int) -> None:
    monkeypatch.setattr(pages, "SORTED_PAGE_ROWS", page_rows)
    place = sqlite_place(tmp_path / "registry.db")
    make_crm(place)
    place.insert("customers", [crm_row("A"), crm_row("日"), crm_row("C", code="x"), crm_row("B")])
    name, code = place.name("Customer No"), "CAST(x'ff' AS TEXT)"
    place.execute(f"UPDATE customers SET code = {code} WHERE {name} = 'C'")
    for broken in ("CAST(x'42ff' AS TEXT)", "CAST(x'42ff' AS TEXT)", "x'42'"):
        place.execute(
            f"INSERT INTO customers SELECT {broken}, 名前, code, state, plan, made, changed, copies, billing, 1 "
            f"FROM customers WHERE {name} = 'A'"
        )
    registry = DatabaseTenantProvider(place.url, "customers", None, 0, mapping=CRM)
    assert ids(await registry.list_tenants()) == ["A", "B", "日"]
    told = [error.message.encode() for error in await registry.rejected_records()]
    assert len(told) == 4
    assert b"tenant_id 'C', column customer_code: " in told[2]
    await registry.aclose()


async def test_ids_that_are_no_text(place: Place, opened: Open) -> None:
    kind = {"sqlite": "INTEGER PRIMARY KEY", "postgresql": "bigint PRIMARY KEY", "mariadb": "bigint PRIMARY KEY"}
    make_crm(place)
    place.execute(f"CREATE TABLE numbered (id {kind[place.engine]}, name {CRM_TYPES[place.engine]['text']})")
    place.insert("numbered", [{"id": number, "name": f"n{number}"} for number in (9, 10, 100, 2)])
    defaults = {
        "customer_code": "x",
        "region": "x",
        "tier": "basic",
        "status": "active",
        "isolation_strategy": "schema",
        **dict.fromkeys(("created_at", "updated_at"), "2024-01-01"),
    }
    mapping = FieldMapping(fields={"tenant_id": "id", "customer_name": "name"}, defaults=defaults)
    registry = opened("numbered", None, mapping=mapping)
    assert ids(await registry.list_tenants()) == ["10", "100", "2", "9"]
    assert ids(await registry.search_tenants("tenant_id IN ('9', '010', 'x', '10')")) == ["10", "9"]
    assert (await registry.get_tenant("2")).customer_name == "n2"
    changed = (await registry.get_tenant("2")).model_copy(update={"customer_name": "two"})
    await registry.write_tenants([changed, changed.model_copy(update={"tenant_id": "77"})])
    assert ids(await registry.search_tenants("customer_name = 'two'")) == ["2", "77"]
    with pytest.raises(RegistryRecordError, match="tenant_id 'abc', column tenant_id: no value of the column's type"):
        await registry.write_tenants([changed.model_copy(update={"tenant_id": "abc"})])
    with pytest.raises(RegistryRecordError, match="tenant_id '9999999999999999999999'"):
        await registry.write_tenants([changed.model_copy(update={"tenant_id": "9" * 22})])


async def test_types_of_postgresql(postgres: PostgresServer, database: str) -> None:
    place = postgres_place(postgres, database)
    place.execute("CREATE SCHEMA crm")
    place.execute("CREATE TYPE crm.tier AS ENUM ('basic', 'premium')")
    place.execute("CREATE DOMAIN crm.region AS text CHECK (value <> '')")
    place.execute(
        "CREATE TABLE crm.customers (tenant_id uuid PRIMARY KEY, customer_name char(20), customer_code text, "
        "region crm.region, tier crm.tier, status varchar(20), created_at date, updated_at timestamptz, "
        "isolation_strategy text, instances text[], billing_info json)"
    )
    place.execute(
        """INSERT INTO crm.customers VALUES
        ('00000000-0000-0000-0000-00000000000B', 'Acme', 'acme', 'asia', 'premium', 'active', '2024-01-02',
         '2024-01-02 03:04:05.678901+00', 'schema', '{main,"a,b"}', '{"a": "\\u65e5"}'),
        ('00000000-0000-0000-0000-00000000000a', 'Old', 'old', 'asia', 'basic', 'active', '0044-03-15 BC',
         'infinity', 'schema', NULL, 'null')"""
    )
    registry = DatabaseTenantProvider(place.url, "crm.customers", cache_ttl=0)
    id_b = str(uuid.UUID(int=11))
    expected = tenant(
        id_b,
        customer_name="Acme",
        tier="premium",
        created_at=datetime(2024, 1, 2, tzinfo=UTC),
        instances=["main", "a,b"],
        billing_info={"a": "日"},
    )
    assert await registry.list_tenants() == [expected]
    for query in (
        f"tenant_id = '{id_b}'",
        "customer_name = 'Acme'",
        "customer_name LIKE 'Acm_'",
        "tier = 'premium'",
        "tier != 'standard' AND region >= 'asia'",
        "'a,b' IN instances",
        "'A,b' NOT IN instances",
        "created_at >= '2024-01-02' AND updated_at > '2024-01-02T03:04:05.6789Z'",
        "billing_info.a = '日'",
    ):
        assert await registry.search_tenants(query) == [expected], query
        assert await registry.search_tenants(f"NOT ({query})") == [], query
    (rejected,) = await registry.rejected_records()
    assert (
        "table crm.customers, tenant_id '00000000-0000-0000-0000-00000000000a', column created_at" in rejected.message
    )
    changed = expected.model_copy(update={"instances": ["x"], "tier": "basic", "billing_info": {"b": [1]}})
    await registry.write_tenants([changed])
    assert await registry.get_tenant(id_b) == changed
    with pytest.raises(RegistryRecordError, match=f"tenant_id '{id_b}'.*22P02"):
        await registry.write_tenants([changed.model_copy(update={"tier": "enterprise"})])
    await registry.aclose()
