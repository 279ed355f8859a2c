"""Tenants from a GraphQL server."""

from __future__ import annotations

from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import RegistryRecordError, SettingsError, SourceUnavailableError
from dbgear_airflow_provider.core.registries import APITenantProvider
from dbgear_airflow_provider.core.registries.api import OAuth2ClientCredentials
from tests.integration.registries.api.conftest import Open, item
from tests.leaks import SECRET, TOKEN, error_of
from tests.servers.http import Api, Reply, Request

FLEET = [item(number) for number in range(25)]
IDS = [each["tenant_id"] for each in FLEET]
QUERY = "query ($limit: Int, $after: String, $region: String) { tenants(first: $limit, after: $after) { nodes } }"
PAGED = {
    "query": QUERY,
    "cursor_variable": "after",
    "cursor": "data.tenants.page.end",
    "has_more": "data.tenants.page.more",
}


def graphql(provider: Open, arguments: dict[str, Any] | None = None, **more: Any) -> APITenantProvider:
    return provider(None, arguments, items="data.tenants.nodes", page_size=10, graphql={**PAGED, **more})


def pages(request: Request) -> Any:
    variables = request.json["variables"]
    start = int(variables.get("after", 0))
    end = start + variables["limit"]
    page = {"end": str(end), "more": end < len(FLEET)}
    return {"data": {"tenants": {"nodes": FLEET[start:end], "page": page}}}


async def ids(registry: APITenantProvider) -> list[str]:
    return [tenant.tenant_id for tenant in await registry.list_tenants(limit=None)]


async def test_pages_by_cursor(api: Api, provider: Open) -> None:
    api.answer = pages
    assert await ids(graphql(provider, {"auth_token": TOKEN}, variables={"region": "japan"})) == IDS
    assert {(request.method, request.path) for request in api.requests} == {("POST", "/graphql")}
    assert [request.json for request in api.requests] == [
        {"query": QUERY, "variables": {"region": "japan", "limit": 10, **after}}
        for after in ({}, {"after": "10"}, {"after": "20"})
    ]
    assert {request.headers["authorization"] for request in api.requests} == {f"Bearer {TOKEN}"}


async def test_without_has_more_no_cursor_is_the_end(api: Api, provider: Open) -> None:
    api.replies(
        {"data": {"tenants": {"nodes": FLEET[:5], "page": {"end": "a"}}}},
        {"data": {"tenants": {"nodes": FLEET[5:], "page": {"end": None}}}},
    )
    assert await ids(graphql(provider, has_more=None)) == IDS


async def test_without_a_cursor_there_is_one_page(api: Api, provider: Open) -> None:
    api.replies({"data": {"tenants": {"nodes": FLEET}}})
    assert await ids(graphql(provider, query="{ tenants }", cursor=None, has_more=None, path="")) == IDS
    assert [request.json["variables"] for request in api.requests] == [{}]  # the query knows no $limit
    assert api.requests[0].path == "/"


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ({"end": None, "more": True}, "page 1: there are more, but data.tenants.page.end has no cursor"),
        ({"end": "a"}, "page 1: data.tenants.page.more is neither true nor false"),
        ({"end": "a", "more": "no"}, "page 1: data.tenants.page.more is neither true nor false; received 'no'"),
        ({"end": {}, "more": True}, "page 1: data.tenants.page.end is no cursor"),
    ],
)
async def test_pages_that_do_not_go_on(api: Api, provider: Open, page: dict[str, Any], problem: str) -> None:
    api.replies({"data": {"tenants": {"nodes": FLEET[:5], "page": page}}})
    error = await error_of(RegistryRecordError, ids(graphql(provider)))
    assert f"POST {api.url}/graphql, {problem}" in error.message


async def test_a_cursor_that_comes_again(api: Api, provider: Open) -> None:
    answers = [{"data": {"tenants": {"nodes": [each], "page": {"end": "a", "more": True}}}} for each in FLEET]
    api.answer = lambda _: answers[len(api.requests) % 25]
    error = await error_of(RegistryRecordError, ids(graphql(provider)))
    assert error.message == f"POST {api.url}/graphql, page 2: the next page is one that was read before"


async def test_items_are_told_with_their_page(api: Api, provider: Open) -> None:
    more = {"end": "a", "more": True}
    api.replies(
        {"data": {"tenants": {"nodes": FLEET[:2], "page": more}}},
        {"data": {"tenants": {"nodes": [{**FLEET[2], "tier": "gold"}], "page": {"end": "b", "more": False}}}},
    )
    (error,) = await graphql(provider).rejected_records()
    assert error.message.startswith(f"POST {api.url}/graphql, page 2, item 1, field tier: no such tier")


# Errors


async def test_errors_are_an_error_without_the_variables(api: Api, provider: Open) -> None:
    message = f"no account {SECRET} for {TOKEN}, nor inside-value"
    api.replies({"errors": [{"message": message, "extensions": {"code": "BAD_USER_INPUT"}}, "odd"], "data": None})
    variables = {"account": SECRET, "more": [{"x": "inside-value"}]}
    error = await error_of(SettingsError, ids(graphql(provider, {"auth_token": TOKEN}, variables=variables)))
    assert error.message == (
        f"POST {api.url}/graphql: the server refuses the query; "
        "received 'no account *** for ***, nor *** (BAD_USER_INPUT); odd'"
    )
    assert len(api.requests) == 1


async def test_errors_beside_data_are_an_error_too(api: Api, provider: Open) -> None:
    page = {"end": "a", "more": False}
    api.replies({"data": {"tenants": {"nodes": FLEET[:3], "page": page}}, "errors": [{"message": "shard 2 is down"}]})
    error = await error_of(SettingsError, ids(graphql(provider)))
    assert error.message.endswith("the server refuses the query; received 'shard 2 is down'")


@pytest.mark.parametrize(
    "error",
    [
        {"message": "slow down", "extensions": {"code": "RATE_LIMITED"}},
        {"message": "slow down", "extensions": {"code": "THROTTLED"}},
        {"message": "slow down", "type": "RATE_LIMITED"},
        {"message": "boom", "extensions": {"code": "INTERNAL_SERVER_ERROR"}},
    ],
)
async def test_errors_that_may_pass_are_tried_again(api: Api, provider: Open, error: dict[str, Any]) -> None:
    api.replies({"errors": [error]}, pages(Request("POST", "", {}, {}, b'{"variables": {"limit": 100}}')))
    assert await ids(graphql(provider)) == IDS
    api.replies({"errors": [error]})
    told = await error_of(SourceUnavailableError, ids(graphql(provider)))
    assert "the server answers with errors, 3 tries; received" in told.message


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "forbidden"])
async def test_credentials_that_are_refused(api: Api, provider: Open, code: str) -> None:
    api.replies({"errors": [{"message": f"who is {TOKEN}", "extensions": {"code": code}}]})
    error = await error_of(SettingsError, ids(graphql(provider, {"auth_token": TOKEN})))
    assert "credentials refused; received 'who is ***" in error.message


@pytest.mark.parametrize("errors", ["down", {"message": "down"}, 1])
async def test_errors_of_an_odd_form(api: Api, provider: Open, errors: Any) -> None:
    api.replies({"errors": errors, "data": None})
    error = await error_of(RegistryRecordError, ids(graphql(provider)))
    assert "errors is no list" in error.message


@pytest.mark.parametrize("body", [{"data": None}, {"data": {"tenants": None}}, [], None])
async def test_an_answer_without_the_list(api: Api, provider: Open, body: Any) -> None:
    api.replies(body)
    error = await error_of(RegistryRecordError, ids(graphql(provider)))
    assert "/graphql, page 1: no list of tenants at data.tenants.nodes" in error.message


async def test_a_refused_query_with_a_status(api: Api, provider: Open) -> None:
    api.replies(Reply({"errors": [{"message": "Cannot query field"}]}, status=400))
    error = await error_of(SettingsError, ids(graphql(provider)))
    assert "the server answers 400 Bad Request" in error.message
    assert "Cannot query field" in error.message


@pytest.mark.parametrize(
    ("graphql_settings", "problem"),
    [
        ({"cursor_variable": "cursor"}, "api.graphql.query: the query has no variable $cursor for the cursor"),
        ({"cursor": None}, "api.graphql.has_more: has_more without cursor"),
        ({"cursor": "a."}, "api.graphql.cursor: no JMESPath expression"),
        ({"has_more": "a."}, "api.graphql.has_more: no JMESPath expression"),
    ],
)
def test_settings_that_do_not_fit(provider: Open, graphql_settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        graphql(provider, **graphql_settings)
    assert caught.value.message.startswith(problem)


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirected_post_is_not_made_a_get(api: Api, provider: Open, status: int) -> None:
    api.replies(Reply(status=status, headers={"Location": "/v2/graphql"}))
    error = await error_of(SettingsError, ids(graphql(provider)))
    assert "a POST is redirected" in error.message
    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [200, 400])
async def test_refusals_tell_neither_variables_nor_a_new_token(api: Api, provider: Open, status: int) -> None:
    def answer(request: Request) -> Any:
        if request.path == "/token":
            return {"access_token": TOKEN}
        return Reply({"errors": [{"message": f"no {SECRET} for {TOKEN}"}]}, status=status)

    api.answer = answer
    graphql = {"query": "query ($key: String) { tenants { id } }", "variables": {"key": SECRET}}
    auth = OAuth2ClientCredentials(f"{api.url}/token", "id", "another-secret")
    error = await error_of(SettingsError, provider(None, {"auth": auth}, graphql=graphql).list_tenants())
    assert "no *** for ***" in error.message
