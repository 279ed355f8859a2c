"""Lists in pages, and what goes wrong with pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import RegistryRecordError, SettingsError, SourceUnavailableError
from dbgear_airflow_provider.core.registries import APITenantProvider
from tests.integration.registries.api.conftest import Open, item
from tests.leaks import TOKEN, error_of
from tests.servers.http import Api, Reply, Request

FLEET = [item(number) for number in range(25)]
IDS = [each["tenant_id"] for each in FLEET]


async def ids(registry: APITenantProvider) -> list[str]:
    return [tenant.tenant_id for tenant in await registry.list_tenants(limit=None)]


async def rejected(registry: APITenantProvider, api: Api) -> list[str]:
    return [error.message.replace(api.url, "") for error in await registry.rejected_records()]


def cursors(pages: list[list[Any]], nexts: dict[str | None, Any]) -> Callable[[Request], Any]:
    """Answer with pages by number: nexts tells the cursor after each."""

    def answer(request: Request) -> Any:
        cursor = request.params.get("cursor")
        return {"items": pages[int(cursor or 0)], "next_cursor": nexts[cursor]}

    return answer


def links(pages: list[list[Any]], link: Callable[[int], str | None]) -> Callable[[Request], Any]:
    def answer(request: Request) -> Any:
        number = int(request.params.get("page", 0))
        header = link(number)
        return Reply(pages[number], headers={} if header is None else {"Link": header})

    return answer


# Offset


async def test_offset_pages_are_read_in_order_of_tenant_id(api: Api, provider: Open) -> None:
    api.lists(FLEET[::-1])
    registry = provider(
        page_size=10, params={"kind": "a b"}, path="customers", offset_param="from", limit_param="count"
    )
    api.answer = lambda request: {"items": FLEET[::-1][int(request.params["from"]) :][: int(request.params["count"])]}
    assert await ids(registry) == IDS
    assert [request.params for request in api.requests] == [
        {"kind": "a b", "count": "10", "from": str(offset)} for offset in (0, 10, 20, 25)
    ]
    assert {request.path for request in api.requests} == {"/customers"}


async def test_a_total_saves_the_last_request(api: Api, provider: Open) -> None:
    api.lists(FLEET, meta={"total": 25})
    assert await ids(provider(page_size=10, total="meta.total")) == IDS
    assert [request.params["offset"] for request in api.requests] == ["0", "10", "20"]


async def test_a_server_with_smaller_pages_than_asked_for_is_read_to_its_end(api: Api, provider: Open) -> None:
    api.answer = lambda request: {"items": FLEET[int(request.params["offset"]) :][:4]}
    assert await ids(provider(page_size=10)) == IDS


async def test_a_404_behind_the_last_full_page_is_the_end(api: Api, provider: Open) -> None:
    def answer(request: Request) -> Any:
        page = FLEET[:20][int(request.params["offset"]) :][:10]
        return {"items": page, "total": 20} if page else Reply(status=404)

    api.answer = answer
    assert await ids(provider(page_size=10, total="total")) == IDS[:20]


async def test_an_empty_list(api: Api, provider: Open) -> None:
    api.lists([], total=0)
    assert await ids(provider(total="total")) == []
    assert len(api.requests) == 1


async def test_the_same_page_for_each_offset_ends_with_an_error(api: Api, provider: Open) -> None:
    api.replies({"items": FLEET[:5]})
    error = await error_of(RegistryRecordError, ids(provider(page_size=5)))
    assert error.message.replace(api.url, "") == (
        "GET /tenants?limit=5&offset=5: the page is one that was read before, as GET /tenants?limit=5&offset=0"
    )
    assert len(api.requests) == 6  # it is read again, as a list that changes looks like this too


async def test_no_offset_param_needs_no_limit(api: Api, provider: Open) -> None:
    api.lists(FLEET)
    assert await ids(provider(limit_param=None)) == IDS
    assert [request.params for request in api.requests] == [{"offset": "0"}, {"offset": "25"}]


async def test_a_tenant_that_comes_while_pages_are_read(api: Api, provider: Open) -> None:
    fleet = FLEET[:20]

    def answer(request: Request) -> Any:
        offset = int(request.params["offset"])
        page = {"items": fleet[offset : offset + 10], "total": len(fleet)}
        if len(api.requests) == 1:
            fleet.insert(0, FLEET[20])
        return page

    api.answer = answer
    assert await ids(provider(page_size=10, total="total")) == IDS[:21]


async def test_a_tenant_that_goes_while_pages_are_read_hides_no_other(api: Api, provider: Open) -> None:
    fleet = FLEET[:20]

    def answer(request: Request) -> Any:
        offset = int(request.params["offset"])
        page = {"items": fleet[offset : offset + 10], "total": len(fleet)}
        if len(api.requests) == 1:
            del fleet[3]
        return page

    api.answer = answer
    assert await ids(provider(page_size=10, total="total")) == IDS[:3] + IDS[4:20]


async def test_one_that_goes_and_one_that_comes_are_noticed(api: Api, provider: Open) -> None:
    fleet = FLEET[:20]

    def answer(request: Request) -> Any:
        offset = int(request.params["offset"])
        page = {"items": fleet[offset : offset + 10], "total": len(fleet)}
        if len(api.requests) == 1:
            fleet.insert(0, fleet.pop(12))  # the total stays
        return page

    api.answer = answer
    assert await ids(provider(page_size=10, total="total")) == IDS[:20]


async def test_a_list_that_changes_whenever_it_is_read(api: Api, provider: Open) -> None:
    def answer(request: Request) -> Any:
        offset = int(request.params["offset"])
        return {"items": FLEET[:20][offset : offset + 10], "total": 20 + len(api.requests)}

    api.answer = answer
    error = await error_of(SourceUnavailableError, ids(provider(page_size=10, total="total")))
    assert "/tenants?limit=10&offset=0: changed while it was read, 3 times: its total is " in error.message
    assert error.message.endswith("but 20 different items were read")


async def test_a_total_of_one_page_only_is_found_out(api: Api, provider: Open) -> None:
    def answer(request: Request) -> Any:
        page = FLEET[int(request.params["offset"]) :][:5]
        return {"items": page, "count": len(page)}

    api.answer = answer
    error = await error_of(SourceUnavailableError, ids(provider(page_size=5, total="count")))
    assert "its total is 5 and then 0, but 25 different items were read" in error.message


@pytest.mark.parametrize("total", [None, "25", True, -1, 2.5, [25]])
async def test_a_total_that_is_no_number(api: Api, provider: Open, total: Any) -> None:
    api.lists(FLEET, total=total)
    error = await error_of(RegistryRecordError, ids(provider(total="total")))
    assert "/tenants?limit=100&offset=0: no total at total" in error.message
    assert error.message.endswith("allowed: a whole number")


async def test_a_total_may_be_told_on_the_first_page_only(api: Api, provider: Open) -> None:
    def answer(request: Request) -> Any:
        offset = int(request.params["offset"])
        return {"items": FLEET[offset : offset + 10], **({} if offset else {"total": 25})}

    api.answer = answer
    assert await ids(provider(page_size=10, total="total")) == IDS


# One page


async def test_one_page(api: Api, provider: Open) -> None:
    api.replies(FLEET)
    assert await ids(provider(paging="none", items="@", params={"all": "1"})) == IDS
    assert [request.params for request in api.requests] == [{"all": "1"}]


async def test_one_page_of_a_list_that_has_more_is_found_out(api: Api, provider: Open) -> None:
    api.replies({"items": FLEET[:10], "total": 25})
    error = await error_of(SourceUnavailableError, ids(provider(paging="none", total="total")))
    assert error.message.endswith("its total is 25, but 10 different items were read")


# Cursor


async def test_cursors(api: Api, provider: Open) -> None:
    api.answer = cursors([FLEET[:10], FLEET[10:20], FLEET[20:]], {None: 1, "1": "2", "2": None})
    assert await ids(provider(paging="cursor", page_size=10)) == IDS
    assert [request.params for request in api.requests] == [
        {"limit": "10"},
        {"limit": "10", "cursor": "1"},
        {"limit": "10", "cursor": "2"},
    ]


async def test_a_cursor_stays_whole(api: Api, provider: Open) -> None:
    cursor = "a+/=&b c%20é?#"
    api.replies({"items": FLEET[:1], "meta": {"after": cursor}}, {"items": FLEET[1:2], "meta": {}})
    assert await ids(provider(paging="cursor", cursor="meta.after", cursor_param="after")) == IDS[:2]
    assert api.requests[1].params["after"] == cursor


@pytest.mark.parametrize("end", [None, "", False])
async def test_no_cursor_is_the_end(api: Api, provider: Open, end: Any) -> None:
    api.answer = cursors([FLEET[:10], FLEET[10:]], {None: 1, "1": end})
    assert await ids(provider(paging="cursor")) == IDS


async def test_a_cursor_goes_on_after_an_empty_page(api: Api, provider: Open) -> None:
    api.answer = cursors([FLEET[:10], [], [], FLEET[10:]], {None: 1, "1": 2, "2": 3, "3": None})
    assert await ids(provider(paging="cursor")) == IDS


async def test_empty_pages_for_ever(api: Api, provider: Open) -> None:
    api.answer = lambda _: {"items": [], "next_cursor": len(api.requests)}
    error = await error_of(RegistryRecordError, ids(provider(paging="cursor")))
    assert error.message.endswith("21 empty pages, one after the other")
    assert len(api.requests) == 21


async def test_a_cursor_that_comes_again(api: Api, provider: Open) -> None:
    api.answer = cursors([FLEET[:10], FLEET[10:20], FLEET[20:]], {None: 1, "1": 2, "2": 1})
    error = await error_of(RegistryRecordError, ids(provider(paging="cursor")))
    assert error.message.endswith("/tenants?limit=100&cursor=2: the next page is one that was read before")
    assert len(api.requests) == 9


async def test_a_page_that_comes_again_under_new_cursors(api: Api, provider: Open) -> None:
    api.answer = lambda _: {"items": FLEET[:3], "next_cursor": len(api.requests)}
    error = await error_of(RegistryRecordError, ids(provider(paging="cursor")))
    assert "the page is one that was read before, as GET " in error.message


@pytest.mark.parametrize("cursor", [True, [1], {"a": 1}, 1.5])
async def test_a_cursor_that_is_none(api: Api, provider: Open, cursor: Any) -> None:
    api.replies({"items": FLEET[:3], "next_cursor": cursor})
    error = await error_of(RegistryRecordError, ids(provider(paging="cursor")))
    assert "next_cursor is no cursor; received" in error.message


# Link


@pytest.mark.parametrize(
    "form",
    [
        '<{url}/tenants?page={next}>; rel="next"',
        "<{url}/tenants?page={next}>; rel=next",
        '</tenants?page={next}>; rel="next"; title="a, b=c; <d>"',
        '<{url}/tenants?page=0>; rel="first", <?page={next}>; REL="prefetch Next", <{url}/tenants?page=2>;rel=last',
        '<{url}/tenants?page=0>; title="<x>; rel=next, y"; rel=first,</tenants;a=b?page={next}>;rel="next"',
    ],
)
async def test_links(api: Api, provider: Open, form: str) -> None:
    pages = [FLEET[:10], FLEET[10:20], FLEET[20:]]
    last = '<{url}/tenants?page=0>; rel="first"'
    api.answer = links(pages, lambda number: (form if number < 2 else last).format(url=api.url, next=number + 1))
    assert await ids(provider(paging="link", items="@", page_size=10)) == IDS
    assert api.requests[0].params == {"limit": "10"}
    assert [request.params.get("page") for request in api.requests] == [None, "1", "2"]


async def test_links_go_on_after_an_empty_page(api: Api, provider: Open) -> None:
    api.answer = links([[], FLEET], lambda number: None if number else "<?page=1>; rel=next")
    assert await ids(provider(paging="link", items="@")) == IDS


async def test_a_link_that_comes_again(api: Api, provider: Open) -> None:
    api.answer = links([FLEET[:3], FLEET[3:6]], lambda _: "</tenants?page=1>; rel=next")
    error = await error_of(RegistryRecordError, ids(provider(paging="link", items="@")))
    assert error.message.endswith("/tenants?page=1: the next page is one that was read before")


@pytest.mark.parametrize(
    "target", ["{other}/tenants?page=1", "//{host}/tenants", "https://127.0.0.1:1/", "http://[", "file:///x"]
)
async def test_a_link_to_another_server_is_not_followed(api: Api, other_api: Api, provider: Open, target: str) -> None:
    other_api.replies(FLEET)
    link = target.format(other=other_api.url, host=other_api.url.removeprefix("http://"))
    api.answer = links([FLEET[:3]], lambda _: f"<{link}>; rel=next")
    error = await error_of(RegistryRecordError, ids(provider(None, {"auth_token": TOKEN}, paging="link", items="@")))
    assert f"the next page is on another server; received '{link}'; allowed: {api.url}/" in error.message
    assert other_api.requests == []


# Items


async def test_items_that_are_no_tenants_are_left_out(api: Api, provider: Open) -> None:
    bad: list[Any] = [None, "text", [], 7, {}, {**item(30), "tier": "gold"}, {**item(31), "created_at": 5}]
    api.lists([*FLEET[:3], *bad, *FLEET[3:]])
    registry = provider(page_size=5)
    assert await ids(registry) == IDS
    first, second = "GET /tenants?limit=5&offset=0", "GET /tenants?limit=5&offset=5"
    told = await rejected(registry, api)
    assert told[:4] == [
        f"{first}, item 4: no tenant; allowed: a JSON object",
        f"{first}, item 5: no tenant; received 'text'; allowed: a JSON object",
        f"{second}, item 1: no tenant; received '[]'; allowed: a JSON object",
        f"{second}, item 2: no tenant; received 7; allowed: a JSON object",
    ]
    assert told[4].startswith(f"{second}, item 3: field tenant_id: no value; and field customer_name: no value")
    assert told[5] == (
        f"{second}, item 4, field tier: no such tier; received 'gold'; allowed: basic, standard, premium, enterprise"
    )
    assert told[6].startswith(f"{second}, item 5, field created_at: no date-time; received 5")
    assert len(told) == len(bad)


async def test_two_with_one_tenant_id(api: Api, provider: Open) -> None:
    api.lists([item(1), item(2), item(1, region="us"), item(3), item(2, tier="gold")])
    registry = provider(page_size=3)
    assert await ids(registry) == ["T0001", "T0002", "T0003"]
    assert (await registry.get_tenant("T0001")).region == "japan"
    told = await rejected(registry, api)
    assert len(told) == 2
    assert told[0].startswith("GET /tenants?limit=3&offset=0, item 3, field tenant_id: ")
    assert "has this tenant_id already; received 'T0001'" in told[0]


async def test_a_bad_one_does_not_hide_the_good_one_of_its_tenant_id(api: Api, provider: Open) -> None:
    api.lists([item(1, tier="gold"), item(1)])
    registry = provider()
    assert await ids(registry) == ["T0001"]
    assert len(await registry.rejected_records()) == 1


async def test_one_on_two_pages_is_one(api: Api, provider: Open) -> None:
    # What differs is none of the fields.
    api.replies(
        {"items": [item(1), item(2, seen=1)], "next_cursor": "a"}, {"items": [item(2, seen=2), item(3)], "total": 3}
    )
    registry = provider(paging="cursor")
    assert await ids(registry) == ["T0001", "T0002", "T0003"]


async def test_what_an_item_repeats_of_our_credentials_is_not_told(api: Api, provider: Open) -> None:
    api.lists([item(1, tier=TOKEN), item(2, region={"x": TOKEN}), TOKEN])
    errors = await provider(None, {"auth_token": TOKEN}).rejected_records()
    assert len(errors) == 3
    for error in errors:
        assert TOKEN not in error.message
        assert "***" in error.message


@pytest.mark.parametrize("depth", [300, 900, 960])
async def test_deep_items_are_rejected_or_read(api: Api, provider: Open, depth: int) -> None:
    body = f'{{"items": [{{"a": {"[" * depth}{"]" * depth}}}, 1]}}'.encode()
    api.replies(Reply(body), {"items": []})
    try:
        assert len(await provider(None, {"retry_attempts": 1}).rejected_records()) == 2
    except RegistryRecordError as error:
        assert "nested too deeply" in error.message


# Settings


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"items": "data["}, "api.items: no JMESPath expression: Invalid jmespath expression: Incomplete expression"),
        ({"total": "count(items)"}, "api.total: no JMESPath expression: Unknown function: count()"),
        ({"total": "data[].count(@)"}, "api.total: JMESPath has no function count; received 'data[].count(@)'"),
        ({"paging": "cursor", "cursor": "a b"}, "api.cursor: no JMESPath expression: Unexpected token: b"),
        ({"mapping": {"fields": {"tier": "plan."}}}, "api.mapping.fields.tier: no JMESPath expression: Expecting"),
        ({"tenant": "]"}, "api.tenant: no JMESPath expression"),
        ({"config": "length(a, b)"}, "api.config: no JMESPath expression: Expected 1 argument"),
    ],
)
def test_expressions_that_are_none(provider: Open, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        provider(**options)
    assert caught.value.message.startswith(problem)


async def test_an_expression_that_cannot_be_evaluated(api: Api, provider: Open) -> None:
    api.lists([item(1), item(2, plan=[1]), item(3, plan="premium")])
    registry = provider(mapping={"fields": {"tier": "starts_with(plan, 'p') && plan || tier"}})
    assert await ids(registry) == ["T0003"]
    assert "field starts_with(plan, 'p') && plan || tier: " in (await rejected(registry, api))[0]
    for key in ("items", "total"):
        error = await error_of(RegistryRecordError, ids(provider(**{key: "length(nothing)"})))
        assert "/tenants?limit=100&offset=0: length(nothing) cannot be evaluated: In function length()" in error.message


async def test_a_page_that_repeats_is_found_out_whatever_the_length_of_its_url(api: Api, provider: Open) -> None:
    api.replies({"items": [item(1)]})
    error = await error_of(RegistryRecordError, provider(params={"filter": "x" * 400}).list_tenants())
    assert "the page is one that was read before" in error.message
    assert len(api.requests) == 6


@pytest.mark.parametrize(
    ("cursor", "problem"), [("\ud800", "next_cursor is no text of Unicode"), ("a" * 70_000, "too long for a URL")]
)
async def test_cursors_that_cannot_be_sent(api: Api, provider: Open, cursor: str, problem: str) -> None:
    api.replies({"items": [item(1)], "next_cursor": cursor})
    error = await error_of(RegistryRecordError, provider(paging="cursor").list_tenants())
    assert problem in error.message
    assert len(error.message) < 600


@pytest.mark.parametrize("link", ["/\x01", f"?{'a' * 70_000}"])
async def test_a_link_that_is_no_url(api: Api, provider: Open, link: str) -> None:
    api.replies(Reply({"items": [item(1)]}, headers={"Link": f'<{link}>; rel="next"'}))
    error = await error_of(RegistryRecordError, provider(paging="link").list_tenants())
    assert "the link to the next page is no URL" in error.message


async def test_a_default_whose_keys_have_no_order(api: Api, provider: Open) -> None:
    api.lists([item(1)])
    mapping = {"defaults": {"billing_info": {"discounts": {10: "a", "b": 5}}}}
    assert await provider(mapping=mapping).get_tenant_count() == 1
