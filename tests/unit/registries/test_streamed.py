"""The five questions of a registry, answered from one stream of tenants, with and without a cache."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from datetime import UTC, datetime
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import (
    QueryError,
    RegistryRecordError,
    SourceUnavailableError,
    TenantNotFoundError,
)
from dbgear_airflow_provider.core.registries import Record, RegistryCache, StreamedTenantProvider
from dbgear_airflow_provider.core.registries.streamed import Found
from dbgear_airflow_provider.core.tenants import TenantInfo, TenantQuery


def tenant(number: int, **fields: Any) -> TenantInfo:
    basis = {
        "tenant_id": f"T{number}",
        "customer_name": "Acme",
        "customer_code": f"acme{number}",
        "region": "asia" if number % 2 else "europe",
        "tier": "basic",
        "status": "active",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "updated_at": datetime(2026, 1, 1, tzinfo=UTC),
        "isolation_strategy": "schema",
    }
    return TenantInfo.model_validate({**basis, **fields})


class Crm(StreamedTenantProvider):
    """Seven tenants, and a bad record between them."""

    def __init__(self, cache: RegistryCache | None = None, settings: str = "") -> None:
        super().__init__("crm", cache, settings=settings)
        self.tenants = [tenant(number) for number in range(1, 8)]
        self.bad = RegistryRecordError("no such tier", where="crm, T9", received="gold", allowed=("basic", "premium"))
        self.streams = self.yielded = self.closed = self.configs = 0
        self.is_down = False

    async def _stream(self, query: TenantQuery) -> AsyncGenerator[Found]:
        self.streams += 1
        try:
            for found in (*self.tenants[:2], self.bad, *self.tenants[2:]):
                if self.is_down:
                    raise SourceUnavailableError("crm: no answer")
                if not isinstance(found, TenantInfo) or query.matches(found):
                    self.yielded += 1
                    yield found
        finally:
            self.closed += 1

    async def records(self, fields: Collection[str] | None = None) -> AsyncGenerator[Record | RegistryRecordError]:
        for found in self.tenants:
            yield Record(dict(found), where=found.tenant_id)

    async def _config(self, tenant_id: str) -> dict[str, Any]:
        self.configs += 1
        return {"of": tenant_id, "features": {"export": True}}


@pytest.fixture(params=[True, False], ids=["cached", "uncached"])
def crm(request: pytest.FixtureRequest) -> Crm:
    return Crm(RegistryCache(60) if request.param else None)


@pytest.fixture
def cached() -> Crm:
    return Crm(RegistryCache(60))


def ids(tenants: list[TenantInfo]) -> str:
    return " ".join(tenant.tenant_id for tenant in tenants)


@pytest.mark.parametrize(
    ("offset", "limit", "expected"),
    [
        (0, None, "T1 T2 T3 T4 T5 T6 T7"),
        (0, 100, "T1 T2 T3 T4 T5 T6 T7"),
        (0, 7, "T1 T2 T3 T4 T5 T6 T7"),
        (0, 3, "T1 T2 T3"),
        (3, 2, "T4 T5"),
        (5, 5, "T6 T7"),
        (6, None, "T7"),
        (7, 1, ""),
        (700, None, ""),
        (0, 0, ""),
        (3, 0, ""),
    ],
)
async def test_pages(crm: Crm, offset: int, limit: int | None, expected: str) -> None:
    for _ in range(2):
        assert ids(await crm.list_tenants(offset=offset, limit=limit)) == expected


async def test_a_page_reads_no_further_than_its_end_and_closes_the_source(crm: Crm) -> None:
    assert ids(await crm.list_tenants(offset=1, limit=2)) == "T2 T3"
    assert (crm.yielded, crm.closed) == (4, 1)  # the bad record is one of them


async def test_a_stream_that_is_left_early_closes_the_source(crm: Crm) -> None:
    stream = crm.stream_tenants()
    assert (await anext(stream)).tenant_id == "T1"
    assert crm.closed == 0
    await stream.aclose()
    assert (crm.yielded, crm.closed) == (1, 1)


async def test_streams_are_read_anew(cached: Crm) -> None:
    await cached.list_tenants()
    assert len([found async for found in cached.stream_tenants()]) == 7
    query = TenantQuery.parse("region = 'europe'")
    assert ids([found async for found in cached.stream_tenants(query)]) == "T2 T4 T6"
    assert cached.streams == 3


async def test_each_question_is_asked_once(cached: Crm) -> None:
    for times in (1, 2):
        assert ids(await cached.list_tenants({"region": "asia"}, limit=2)) == "T1 T3"
        assert ids(await cached.list_tenants({"region": "asia"}, offset=2, limit=2)) == "T5 T7"
        assert ids(await cached.list_tenants({"region": ["asia", "europe"]}, limit=2)) == "T1 T2"
        assert ids(await cached.search_tenants("region = 'asia'")) == "T1 T3 T5 T7"
        assert await cached.get_tenant_count() == 7
        assert await cached.get_tenant_count({"region": "asia"}) == 4
        assert (await cached.get_tenant("T2")).tenant_id == "T2"
        assert await cached.get_tenant_config("T2") == {"of": "T2", "features": {"export": True}}
        assert [str(error) for error in await cached.rejected_records()] == [str(cached.bad)]
        assert (cached.streams, cached.configs) == (8, 1), times


async def test_filters_of_one_meaning_are_one_question(cached: Crm) -> None:
    await cached.get_tenant_count({"region": ["asia", "europe"], "tier": "basic"})
    await cached.get_tenant_count({"tier": "basic", "region": {"europe", "asia"}})
    assert cached.streams == 1


async def test_filters_of_another_meaning_are_another_question(cached: Crm) -> None:
    cached.tenants = [tenant(1, billing_info={"a": "x", "b": "y"})]
    assert await cached.get_tenant_count({"billing_info.a": "x", "billing_info.b": "y"}) == 1
    assert await cached.get_tenant_count({"billing_info.a = 'x' AND billing_info.b": "y"}) == 0
    assert await cached.get_tenant_count({"tenant_id": "['T1']"}) == 0
    assert await cached.get_tenant_count({"tenant_id": ["T1"]}) == 1


async def test_what_is_handed_out_may_be_changed(cached: Crm) -> None:
    for _ in range(2):
        for answer in (
            await cached.list_tenants(),
            await cached.search_tenants("TRUE"),
            await cached.rejected_records(),
            await cached.get_tenant_config("T1"),
        ):
            assert len(answer) in (7, 1, 2)
            answer.clear()
        config = await cached.get_tenant_config("T2")
        assert config["features"].pop("export") is True


async def test_a_tenant_that_is_not_there_is_looked_for_in_each_page_of_time(cached: Crm) -> None:
    for question in (cached.get_tenant, cached.get_tenant_config):
        with pytest.raises(TenantNotFoundError, match="T8") as caught:
            await question("T8")
        assert caught.value.details["tenant_id"] == "T8"
    cached.tenants.append(tenant(8))
    await cached.forget()
    assert (await cached.get_tenant("T8")).tenant_id == "T8"
    assert (await cached.get_tenant_config("T8"))["of"] == "T8"


async def test_a_provider_that_keeps_nothing_has_nothing_to_forget(crm: Crm) -> None:
    await crm.forget()
    await crm.list_tenants()
    await crm.forget()
    await crm.list_tenants()
    assert crm.streams == 2


async def test_errors_are_not_kept(cached: Crm) -> None:
    cached.is_down = True
    questions = (
        cached.list_tenants,
        cached.get_tenant_count,
        cached.rejected_records,
        lambda: cached.search_tenants("TRUE"),
        lambda: cached.get_tenant("T1"),
        lambda: cached.get_tenant_config("T1"),
    )
    for question in questions:
        with pytest.raises(SourceUnavailableError):
            await question()
    cached.is_down = False
    for question in questions:
        assert await question()
    assert cached.streams == cached.closed


async def test_wrong_questions_do_not_reach_the_source(crm: Crm) -> None:
    for _ in range(2):
        with pytest.raises(QueryError):
            await crm.list_tenants({"colour": "red"})
        with pytest.raises(QueryError):
            await crm.get_tenant_count({"tier": "gold"})
        with pytest.raises(QueryError):
            await crm.search_tenants("tier = 'gold'")
    assert crm.streams == 0


async def test_rejected_records_come_out_as_they_went_in(crm: Crm) -> None:
    (first,) = await crm.rejected_records()
    (again,) = await crm.rejected_records()
    for error in (first, again):
        assert type(error) is RegistryRecordError
        assert str(error) == str(crm.bad)
        assert error.details == crm.bad.details
    assert first is not again


async def test_providers_that_read_in_another_way_share_a_cache_but_no_answers() -> None:
    cache = RegistryCache(60)
    one, same, other = Crm(cache, "a mapping"), Crm(cache, "a mapping"), Crm(cache, "another mapping")
    for crm in (one, same, other):
        await crm.list_tenants()
    assert (one.streams, same.streams, other.streams) == (1, 0, 1)
    await cache.invalidate("crm")
    await other.list_tenants()
    assert other.streams == 2


async def test_a_provider_does_not_close_the_cache_that_it_was_given(cached: Crm) -> None:
    await cached.list_tenants()
    await cached.aclose()
    await cached.aclose()
    again = Crm(cached.cache)
    await again.list_tenants()
    assert again.streams == 0
