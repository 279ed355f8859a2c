"""The questions of a registry, asked of an API."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import pytest

from dbgear_airflow_provider.core.errors import (
    QueryError,
    RegistryRecordError,
    SettingsError,
    SourceUnavailableError,
    TenantNotFoundError,
)
from dbgear_airflow_provider.core.registries import APITenantProvider, Record, RegistryCache
from dbgear_airflow_provider.core.settings import ApiRegistrySettings
from tests.integration.registries.api.conftest import Open, item
from tests.leaks import TOKEN, error_of
from tests.servers.http import Api, Reply, Request

FLEET = [item(number, tier="premium" if number % 2 else "basic") for number in range(6)]
CRM = {
    "mapping": {
        "fields": {
            "tenant_id": "to_string(id)",
            "customer_name": "company.name",
            "customer_code": "company.code",
            "tier": "plan.level",
            "status": "state",
            "created_at": "dates.created",
            "updated_at": "dates.changed",
            "instances": "copies[?live].name",
            "billing_info": "{plan: plan.level, seats: plan.seats}",
        },
        "defaults": {"isolation_strategy": "schema", "region": "japan"},
        "values": {"status": {"1": "active", "0": "suspended"}, "tier": {"Gold": "premium"}},
    }
}


def crm_item(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "company": {"name": f"会社 {number}", "code": f"k{number}"},
        "plan": {"level": "Gold", "seats": 5},
        "state": 1,
        "dates": {"created": "2025-01-01T09:00:00+09:00", "changed": "2025-02-01"},
        "copies": [{"name": "main", "live": True}, {"name": "old", "live": False}],
        **more,
    }


def rest(api: Api, fleet: list[dict[str, Any]], wrap: bool = False) -> None:
    """Serve a list, its tenants and their settings."""
    by_id = {each["tenant_id"]: each for each in fleet}

    def answer(request: Request) -> Any:
        parts = [unquote(part) for part in request.path.split("/")[1:]]
        if parts == ["tenants"]:
            start = int(request.params["offset"])
            return {"items": fleet[start : start + int(request.params["limit"])], "total": len(fleet)}
        if len(parts) == 2 and parts[1] in by_id:
            return {"data": by_id[parts[1]]} if wrap else by_id[parts[1]]
        if len(parts) == 3 and parts[1] in by_id and "config" in by_id[parts[1]]:
            return {"data": by_id[parts[1]]["config"]} if wrap else by_id[parts[1]]["config"]
        return Reply(status=404)

    api.answer = answer


def paths(api: Api) -> list[str]:
    return [request.path for request in api.requests]


async def test_the_constructor_of_the_spec(api: Api) -> None:
    api.lists(FLEET)
    registry = APITenantProvider(api.url, "token", 30, 3)
    assert len(await registry.list_tenants({"tier": "basic"}, 0, 100)) == 3
    assert len(await registry.search_tenants("tier = 'premium' AND tenant_id > 'T0001'")) == 2
    assert await registry.get_tenant_count() == 6
    assert (await registry.get_tenant("T0001")).tier == "premium"
    assert await registry.get_tenant_config("T0001") == {}
    await registry.aclose()


async def test_the_base_may_have_a_path(api: Api, provider: Open) -> None:
    api.lists(FLEET)
    for base in ("/api/v2", "/api/v2/"):
        assert await provider(api.url + base).get_tenant_count() == 6
    assert set(paths(api)) == {"/api/v2/tenants"}


async def test_timeout_and_tries_of_the_constructor_win(api: Api, provider: Open) -> None:
    api.replies(Reply(hangs=True))
    error = await error_of(
        SourceUnavailableError,
        provider(None, {"timeout": 0.05, "retry_attempts": 2}, timeout=60, retry_attempts=9).list_tenants(),
    )
    assert error.message.endswith("no whole answer within 0.05 s, 2 tries")


async def test_filters_and_limits(api: Api, provider: Open) -> None:
    api.lists(FLEET)
    registry = provider()
    assert [each.tenant_id for each in await registry.list_tenants({"tier": "basic"}, 1, 1)] == ["T0002"]
    assert await registry.list_tenants(limit=0) == []
    with pytest.raises(QueryError):
        await registry.list_tenants({"nothing": 1})
    with pytest.raises(QueryError):
        await registry.search_tenants("nothing = 1")
    assert [each.tenant_id async for each in registry.stream_tenants()] == [each["tenant_id"] for each in FLEET]


# Mapping


async def test_a_mapping(api: Api, provider: Open) -> None:
    api.lists([crm_item(7), crm_item(8, state=0)])
    registry = provider(**CRM)
    tenant = await registry.get_tenant("7")
    assert tenant.model_dump() == {
        "tenant_id": "7",
        "customer_name": "会社 7",
        "customer_code": "k7",
        "region": "japan",
        "tier": "premium",
        "status": "active",
        "created_at": datetime(2025, 1, 1, tzinfo=UTC),
        "updated_at": datetime(2025, 2, 1, tzinfo=UTC),
        "isolation_strategy": "schema",
        "database_prefix": None,
        "schema_suffix": None,
        "table_prefix": None,
        "instances": ["main"],
        "billing_info": {"plan": "Gold", "seats": 5},
        "contract_info": None,
    }
    assert (await registry.search_tenants("status = 'suspended'"))[0].tenant_id == "8"


async def test_a_bad_field_is_told_by_the_apis_own_name(api: Api, provider: Open) -> None:
    api.lists([crm_item(7, plan={"level": "Silver"})])
    (error,) = await provider(**CRM).rejected_records()
    assert error.message == (
        f"GET {api.url}/tenants?limit=100&offset=0, item 1, field plan.level: no such tier; received 'Silver'; "
        "allowed: basic, standard, premium, enterprise"
    )


async def test_records_are_mapped_and_unchecked(api: Api, provider: Open) -> None:
    api.lists([crm_item(8, state="new"), 5, crm_item(7)])
    registry = provider(**CRM)
    found = [record async for record in registry.records(["status"])]
    assert [record.fields for record in found if isinstance(record, Record)] == [
        {"tenant_id": "8", "status": "new"},
        {"tenant_id": "7", "status": "active"},
    ]
    assert isinstance(found[1], RegistryRecordError)
    assert "item 2: no tenant; received 5" in found[1].message
    whole = [record async for record in registry.records()]
    assert isinstance(whole[2], Record)
    assert whole[2].tenant().customer_code == "k7"


# Single tenants


async def test_one_tenant_is_asked_for_alone(api: Api, provider: Open) -> None:
    rest(api, FLEET)
    registry = provider(tenant_path="/tenants/{tenant_id}")
    assert (await registry.get_tenant("T0003")).tier == "premium"
    assert [each.tenant_id for each in await registry.search_tenants("tenant_id = 'T0002'")] == ["T0002"]
    assert await registry.list_tenants({"tenant_id": "T0003", "tier": "basic"}) == []
    assert paths(api) == ["/tenants/T0003", "/tenants/T0002", "/tenants/T0003"]


async def test_a_few_tenants_are_asked_for_one_by_one(api: Api, provider: Open) -> None:
    rest(api, FLEET)
    registry = provider(tenant_path="/tenants/{tenant_id}", page_size=4)
    found = await registry.list_tenants({"tenant_id": ["T0004", "nobody", "T0001"]})
    assert [each.tenant_id for each in found] == ["T0001", "T0004"]
    assert await registry.get_tenant_count({"tenant_id": []}) == 0
    found = await registry.search_tenants("tenant_id = 'T0002' OR (tenant_id IN ('T0003', 'T0000') AND tier = 'basic')")
    assert [each.tenant_id for each in found] == ["T0000", "T0002"]
    assert "/tenants" not in paths(api)


@pytest.mark.parametrize(
    "query",
    ["tenant_id != 'T0001'", "tenant_id = 'T0001' OR tier = 'basic'", "tenant_id > 'T0004'", "NOT tenant_id = 'T0001'"],
)
async def test_other_questions_are_answered_from_the_list(api: Api, provider: Open, query: str) -> None:
    rest(api, FLEET)
    registry = provider(tenant_path="/tenants/{tenant_id}")
    assert await registry.search_tenants(query) == await provider().search_tenants(query)
    assert set(paths(api)) == {"/tenants"}


async def test_many_tenants_are_found_in_the_list(api: Api, provider: Open) -> None:
    rest(api, FLEET)
    registry = provider(tenant_path="/tenants/{tenant_id}")
    assert len(await registry.list_tenants({"tenant_id": [f"T{number:04}" for number in range(30)]})) == 6
    assert set(paths(api)) == {"/tenants"}


async def test_a_tenant_that_is_not_there(api: Api, provider: Open) -> None:
    rest(api, FLEET)
    for options in ({}, {"tenant_path": "/tenants/{tenant_id}"}):
        registry = provider(**options)
        error = await error_of(TenantNotFoundError, registry.get_tenant("nobody"))
        assert error.message == f"{api.url}/tenants: no tenant 'nobody'"
        assert error.details["tenant_id"] == "nobody"
        await error_of(TenantNotFoundError, registry.get_tenant_config("nobody"))


async def test_a_tenant_inside_an_answer(api: Api, provider: Open) -> None:
    rest(api, [item(1, config={"a": 1})], wrap=True)
    path = "/tenants/{tenant_id}"
    registry = provider(tenant_path=path, tenant="data", config_path=f"{path}/config", config="data")
    assert (await registry.get_tenant("T0001")).tenant_id == "T0001"
    assert await registry.get_tenant_config("T0001") == {"a": 1}


async def test_another_tenant_than_asked_for_is_none(api: Api, provider: Open) -> None:
    api.replies(item(1))
    await error_of(TenantNotFoundError, provider(tenant_path="/{tenant_id}").get_tenant("T0002"))


@pytest.mark.parametrize("answer", [item(1, tier="gold"), [], None, {"error": TOKEN}])
async def test_a_bad_tenant_is_as_if_it_were_not_there(api: Api, provider: Open, answer: Any) -> None:
    api.replies(answer)
    registry = provider(None, {"auth_token": TOKEN}, tenant_path="/{tenant_id}")
    await error_of(TenantNotFoundError, registry.get_tenant("T0001"))


HOSTILE_IDS = (
    "../secrets",
    "a/b",
    "a?b=c",
    "a#b",
    "a%2Fb",
    "a b",
    "日本",
    "a&b=c",
    "..;/x",
    "https://evil.example/",
    "{tenant_id}",
    "%",
)


@pytest.mark.parametrize("tenant_id", HOSTILE_IDS)
async def test_a_tenant_id_changes_no_path(api: Api, provider: Open, tenant_id: str) -> None:
    rest(api, [item(1, tenant_id=tenant_id, config={"of": tenant_id})])
    registry = provider(tenant_path="/tenants/{tenant_id}", config_path="/tenants/{tenant_id}/config")
    assert (await registry.get_tenant(tenant_id)).tenant_id == tenant_id
    assert await registry.get_tenant_config(tenant_id) == {"of": tenant_id}
    assert [path.count("/") for path in paths(api)] == [2, 2, 3]
    assert [request.params for request in api.requests] == [{}] * 3


@pytest.mark.parametrize("tenant_id", [".", "..", "a\nb", "\ud800"])
async def test_a_tenant_id_that_no_path_can_hold_is_looked_for_in_the_list(
    api: Api, provider: Open, tenant_id: str
) -> None:
    rest(api, [item(1, tenant_id=tenant_id if tenant_id.isprintable() else "T1")])
    registry = provider(tenant_path="/tenants/{tenant_id}", config_path="/tenants/{tenant_id}/config")
    if tenant_id.isprintable():
        assert (await registry.get_tenant(tenant_id)).tenant_id == tenant_id
        error = await error_of(RegistryRecordError, registry.get_tenant_config(tenant_id))
        assert error.message == f"{api.url}/tenants: tenant_id cannot stand in a path; received {tenant_id!r}"
    else:
        await error_of(TenantNotFoundError, registry.get_tenant(tenant_id))
    assert set(paths(api)) == {"/tenants"}


# Settings of tenants


async def test_settings_of_tenants(api: Api, provider: Open) -> None:
    rest(api, [item(1, config={"plan": {"a": [1]}}), item(2), item(3, config=None)])
    registry = provider(config_path="/tenants/{tenant_id}/config")
    assert await registry.get_tenant_config("T0001") == {"plan": {"a": [1]}}
    assert await registry.get_tenant_config("T0002") == {}
    assert await registry.get_tenant_config("T0003") == {}


@pytest.mark.parametrize("config", [[], "text", 5, True])
async def test_settings_that_are_no_object(api: Api, provider: Open, config: Any) -> None:
    rest(api, [item(1, config=config)])
    error = await error_of(
        RegistryRecordError, provider(config_path="/tenants/{tenant_id}/config").get_tenant_config("T0001")
    )
    assert f"GET {api.url}/tenants/T0001/config: no settings; received " in error.message


@pytest.mark.parametrize("key", ["tenant_path", "config_path"])
def test_paths_without_the_tenant_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"the path has no \{tenant_id\}"):
        ApiRegistrySettings.model_validate({key: "/tenants"})


# Cache


async def test_asking_for_each_tenant_reads_the_list_once(api: Api, provider: Open) -> None:
    fleet = [item(number) for number in range(1000)]
    rest(api, fleet)
    registry = provider(cache_ttl=60, page_size=1000, total="total")
    await asyncio.gather(*(registry.get_tenant(each["tenant_id"]) for each in fleet[:500]))
    for each in fleet[500:]:
        await registry.get_tenant_config(each["tenant_id"])
    assert len(api.requests) == 2  # a full page, and the look whether there is another one


async def test_the_list_is_read_anew_when_its_time_is_over(api: Api, provider: Open) -> None:
    api.lists(FLEET)
    registry = provider(cache_ttl=0.05)
    await registry.get_tenant("T0001")
    asked = len(api.requests)
    while len(api.requests) == asked:
        await registry.get_tenant("T0001")
    api.lists([])
    with pytest.raises(TenantNotFoundError):
        while True:
            await registry.get_tenant("T0001")


async def test_without_a_cache_each_question_reads(api: Api, provider: Open) -> None:
    api.lists(FLEET)
    registry = provider(paging="none")
    for _ in range(3):
        await registry.get_tenant("T0001")
    await registry.get_tenant_count()
    assert len(api.requests) == 4


async def test_answers_are_kept(api: Api, provider: Open) -> None:
    api.lists(FLEET)
    registry = provider(paging="none", cache_ttl=60)
    for _ in range(3):
        assert len(await registry.list_tenants()) == 6
        assert len(await registry.search_tenants("tier = 'basic'")) == 3
    assert len(api.requests) == 2
    assert [tenant async for tenant in registry.stream_tenants()] == await registry.list_tenants()
    assert len(api.requests) == 3  # a stream is read anew


async def test_readings_of_one_url_share_no_answers(api: Api, provider: Open) -> None:
    cache = RegistryCache(60)
    api.answer = lambda request: {"items": FLEET[:1] if request.params else FLEET}
    for _ in range(2):
        assert await provider(None, {"cache": cache}, paging="none").get_tenant_count() == 6
        assert await provider(None, {"cache": cache}, paging="none", params={"a": "b"}).get_tenant_count() == 1
    assert len(api.requests) == 2


async def test_failures_are_not_kept(api: Api, provider: Open) -> None:
    api.replies(Reply(status=400), {"items": FLEET})
    registry = provider(paging="none", cache_ttl=60)
    await error_of(SettingsError, registry.get_tenant_count())
    assert await registry.get_tenant_count() == 6


async def test_get_tenant_sees_that_answers_are_out_of_date(api: Api, provider: Open) -> None:
    api.lists([item(1)])
    registry = provider(paging="none", cache_ttl=60)
    assert (await registry.get_tenant("T0001")).tier == "basic"
    api.lists([item(1, tier="premium")])
    assert (await registry.get_tenant("T0001")).tier == "basic"
    await registry.forget()
    assert (await registry.get_tenant("T0001")).tier == "premium"


async def test_a_tenant_that_answers_to_two_names_is_there_once(api: Api, provider: Open) -> None:
    api.replies(item(1, tenant_id="T1"))
    found = await provider(tenant_path="/{tenant_id}").search_tenants("tenant_id IN ('t1', 'T1')")
    assert [tenant.tenant_id for tenant in found] == ["T1"]
    assert len(api.requests) == 2
