"""Values and names that would be SQL if they were not bound and quoted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgear_airflow_provider.core.errors import (
    QueryError,
    RegistryRecordError,
    SettingsError,
    TenantNotFoundError,
)
from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider
from dbgear_airflow_provider.core.settings.mapping import FieldMapping
from dbgear_airflow_provider.sandbox.postgres import PostgresServer

from ..conftest import Place, postgres_place
from .tenants import PASSWORD, RICH, Open, assert_no_secret, record, tenant


async def test_the_row_is_in_no_traceback(postgres: PostgresServer, database: str) -> None:
    place = postgres_place(postgres, database)
    registry = DatabaseTenantProvider(place.url, cache_ttl=0)
    await registry.prepare()
    place.execute("ALTER TABLE tenants ADD CHECK (region <> 'eu')")
    with pytest.raises(RegistryRecordError, match="tenant_id 'T1'.*23514.*violates check constraint") as caught:
        await registry.write_tenants([tenant("T1", region="eu", billing_info={"account": PASSWORD})])
    assert_no_secret(caught.value)
    await registry.aclose()


HOSTILE = (
    "' OR 1=1 --",
    "'; DROP TABLE tenants; --",
    '"; DROP TABLE tenants; --',
    "`; DROP TABLE tenants; #",
    "\\'; DROP TABLE tenants; -- ",
    "%s",
    "%(a)s",
    "%%",
    ":a",
    "$1",
    "?",
    "{0}",
    "/* */",
    "a'b\"c`d",
    "\\",
    "''",
    "$$; DROP TABLE tenants; $$",
    "1) OR (1=1",
    "日本'; --",
    "x' UNION SELECT 1 --",
    "\n; --",
    "[a]",
    "a.b",
)
MARK = "HoStIlE"


async def assert_bound(registry: DatabaseTenantProvider, text: str, statements: list[tuple[str, Any]]) -> None:
    marked = MARK + text
    quoted = marked.replace("'", "''")
    name = marked.replace('"', '""')
    for query in (
        f"customer_name = '{quoted}'",
        f"customer_name LIKE '{quoted}%'",
        f"tenant_id IN ('{quoted}', 'x')",
        f"NOT customer_name > '{quoted}'",
        f"'{quoted}' IN instances",
        f"billing_info.\"{name}\" = '{quoted}'",
        f"billing_info.\"{name}\" IS NULL AND tenant_id = '{quoted}'",
        f"\"{name}\" = 'x'",
        marked,
    ):
        try:
            assert await registry.search_tenants(query) == []
        except QueryError:
            assert query in (f"\"{name}\" = 'x'", marked)
    with pytest.raises(TenantNotFoundError):
        await registry.get_tenant(marked)
    with pytest.raises(QueryError):
        await registry.list_tenants({marked: "x"})
    assert await registry.get_tenant_count({"region": [marked, "x"]}) == 0
    for statement, _ in statements:
        assert MARK not in statement


async def test_hostile_values_are_bound(place: Place, opened: Open) -> None:
    registry = opened()
    await registry.write_tenants([tenant("T1")])
    statements: list[tuple[str, Any]] = []
    record(registry, statements)
    for text in HOSTILE:
        await assert_bound(registry, text, statements)
        named = tenant(MARK + text, customer_name=MARK + text, billing_info={MARK + text: MARK + text})
        await registry.write_tenants([named])
        assert await registry.get_tenant(MARK + text) == named
        place.execute("DELETE FROM tenants WHERE tenant_id <> 'T1'")
    assert all(MARK not in statement for statement, _ in statements)
    assert any(MARK in repr(parameters) for _, parameters in statements)
    assert await registry.list_tenants() == [tenant("T1")]


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def recorded(
    places: dict[str, Place], loop: asyncio.Runner
) -> Iterator[list[tuple[DatabaseTenantProvider, list[tuple[str, Any]]]]]:
    """A registry on each engine, with the statements that it sends."""
    registries = [DatabaseTenantProvider(place.url, cache_ttl=0) for place in places.values()]
    found: list[tuple[DatabaseTenantProvider, list[tuple[str, Any]]]] = [(registry, []) for registry in registries]
    for registry, statements in found:
        loop.run(registry.write_tenants([tenant("T1")]))
        record(registry, statements)
    yield found
    for registry in registries:
        loop.run(registry.aclose())


@settings(max_examples=70, deadline=None)
@given(text=st.text(st.sampled_from("'\"`\\%_;-$:?#/*() \nA日😀{}[]"), max_size=8))
def test_drawn_values_are_bound(
    text: str, recorded: list[tuple[DatabaseTenantProvider, list[tuple[str, Any]]]], loop: asyncio.Runner
) -> None:
    for registry, statements in recorded:
        statements.clear()
        loop.run(assert_bound(registry, text, statements))
        assert loop.run(registry.list_tenants()) == [tenant("T1")]


async def test_hostile_names_are_quoted(place: Place, opened: Open) -> None:
    victim = opened()
    await victim.write_tenants([tenant("T1")])
    for hostile in HOSTILE:
        text = hostile.replace(".", "").rstrip()  # MySQL has no names that end in a space
        # SQLAlchemy does not read such names of columns from MySQL as they are, and then they are not found.
        column = text.translate({ord("`"): "'", ord("\n"): " "}) if place.engine == "mariadb" else text
        mapping = FieldMapping(fields={"customer_name": column, "billing_info": column + "2"})
        async with aclosing(opened(text, None, mapping=mapping)) as registry:
            assert await registry.list_tenants() == []
            await registry.write_tenants([RICH])
            await registry.write_tenants([RICH, tenant("T3")])
            assert await registry.search_tenants("customer_name LIKE '株%'") == [RICH, tenant("T3")]
        unknown = mapping.model_copy(update={"fields": mapping.fields | {"region": text + "3"}})
        async with aclosing(opened(text, None, mapping=unknown)) as registry:
            with pytest.raises(SettingsError, match="no column for region"):
                await registry.list_tenants()
    assert await victim.list_tenants() == [tenant("T1")]
