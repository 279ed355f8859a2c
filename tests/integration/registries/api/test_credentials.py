"""Credentials reach the API and nobody else: no other server, log, error or repr."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from base64 import b64encode
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from dbgear_airflow_provider.core.errors import SettingsError, SourceUnavailableError
from dbgear_airflow_provider.core.registries.api import (
    ApiAuth,
    ApiKey,
    APITenantProvider,
    Basic,
    Bearer,
    OAuth2ClientCredentials,
)
from dbgear_airflow_provider.core.registries.api.auth import Redactor
from tests.integration.registries.api.conftest import Open, item
from tests.leaks import SECRET, TOKEN, error_of, secrets_in
from tests.servers.http import Api, Reply, Request


def basic(username: str, password: str) -> str:
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def last(api: Api) -> dict[str, str]:
    return api.requests[-1].headers


async def test_a_bearer_token(api: Api, provider: Open) -> None:
    api.lists([item(1)])
    for arguments in ({"auth_token": TOKEN}, {"auth": Bearer(TOKEN)}):
        await provider(None, arguments).list_tenants()
        assert last(api)["authorization"] == f"Bearer {TOKEN}"


async def test_basic(api: Api, provider: Open) -> None:
    api.lists([item(1)])
    await provider(None, {"auth": Basic("jörg", SECRET)}).list_tenants()
    assert last(api)["authorization"] == basic("jörg", SECRET)
    api.answer = lambda request: Reply({"refused": request.headers["authorization"]}, status=401)
    error = await error_of(SettingsError, provider(None, {"auth": Basic("jörg", SECRET)}).list_tenants())
    assert """received '{"refused": "Basic ***"}'""" in error.message


async def test_an_api_key_in_a_header(api: Api, provider: Open) -> None:
    api.lists([item(1)])
    await provider(None, {"auth": ApiKey(TOKEN)}).list_tenants()
    assert last(api)["x-api-key"] == TOKEN
    await provider(None, {"auth": ApiKey(TOKEN, "X-Other")}).list_tenants()
    assert last(api)["x-other"] == TOKEN
    assert "x-api-key" not in last(api)


async def test_an_api_key_in_the_query(api: Api, provider: Open) -> None:
    api.lists([item(1)])
    registry = provider(
        None, {"auth": ApiKey(SECRET, "api key", "query")}, params={"kind": "a"}, config_path="/c/{tenant_id}"
    )
    assert (await registry.get_tenant("T0001")).tenant_id == "T0001"
    api.replies(Reply({"problem": f"wrong key {SECRET}"}, status=403))
    error = await error_of(SettingsError, registry.list_tenants())
    assert error.message == (
        f"GET {api.url}/tenants?kind=a&limit=100&offset=0: credentials refused, 403 Forbidden; "
        """received '{"problem": "wrong key ***"}'"""
    )
    assert {request.params["api key"] for request in api.requests} == {SECRET}


async def test_an_api_key_that_a_link_repeats(api: Api, provider: Open, caplog: pytest.LogCaptureFixture) -> None:
    def answer(request: Request) -> Any:
        link = f"<{api.url}/tenants?page=2&key={quote_plus(SECRET)}>; rel=next"
        is_last = "page" in request.params
        return Reply([item(int(is_last))], headers={} if is_last else {"Link": link})

    api.answer = answer
    registry = provider(None, {"auth": ApiKey(SECRET, "key", "query")}, paging="link", items="@")
    assert await registry.get_tenant_count() == 2
    assert api.requests[1].params == {"page": "2", "key": SECRET}
    assert "page=2&key=***" in caplog.text


async def test_a_short_api_key_in_the_query_is_hidden_too(
    api: Api, provider: Open, caplog: pytest.LogCaptureFixture
) -> None:
    api.lists([item(1)])
    await provider(None, {"auth": ApiKey("q7", "k", "query")}).list_tenants()
    assert "/tenants?limit=100&offset=0&k=***" in caplog.text
    assert "q7" not in caplog.text


async def test_logs_are_as_ever_once_the_provider_is_closed(api: Api, provider: Open) -> None:
    api.lists([item(1)])
    before = {name: list(logging.getLogger(name).filters) for name in ("httpx", "httpcore.http11")}
    registry = provider(None, {"auth_token": TOKEN})
    await registry.list_tenants()
    await registry.aclose()
    assert {name: logging.getLogger(name).filters for name in before} == before


async def test_headers(api: Api, provider: Open) -> None:
    api.replies(Reply({"problem": f"your account {TOKEN}"}, status=400))
    error = await error_of(
        SettingsError,
        provider(None, {"headers": {"X-Account": TOKEN, "Accept": "application/vnd.crm+json"}}).list_tenants(),
    )
    assert "your account ***" in error.message
    assert last(api)["x-account"] == TOKEN
    assert last(api)["accept"] == "application/vnd.crm+json"


# OAuth2


def oauth(api: Api, **more: Any) -> OAuth2ClientCredentials:
    return OAuth2ClientCredentials(f"{api.url}/token", "the client", SECRET, **more)


def with_tokens(api: Api, *, expires_in: Any = 3600, valid: set[str] | None = None) -> list[str]:
    """Let the server give tokens, and ask for one that is valid; return those that it gave."""
    given: list[str] = []

    def answer(request: Request) -> Any:
        if request.path == "/token":
            given.append(f"{TOKEN}-{len(given)}")
            return {"access_token": given[-1], "token_type": "bearer", "expires_in": expires_in}
        token = request.headers["authorization"].removeprefix("Bearer ")
        if token not in (given[-1:] if valid is None else valid):
            return Reply({"error": f"token {token} has expired"}, status=401)
        return {"items": [item(1)] if request.params["offset"] == "0" else []}

    api.answer = answer
    return given


async def test_a_token_is_asked_for_once(api: Api, provider: Open) -> None:
    given = with_tokens(api)
    registry = provider(None, {"auth": oauth(api, scope="a b", audience="crm"), "headers": {"X-Account": "1234"}})
    await asyncio.gather(*(registry.get_tenant_count() for _ in range(5)))
    assert len(given) == 1
    asked = api.requests[0]
    assert asked.form == {"grant_type": "client_credentials", "scope": "a b", "audience": "crm"}
    assert asked.headers["authorization"] == basic(quote_plus("the client"), quote_plus(SECRET))
    assert "x-account" not in asked.headers


async def test_client_credentials_in_the_body(api: Api, provider: Open) -> None:
    with_tokens(api)
    assert await provider(None, {"auth": oauth(api, credentials_in="body")}).get_tenant_count() == 1
    assert api.requests[0].form == {
        "grant_type": "client_credentials",
        "client_id": "the client",
        "client_secret": SECRET,
    }
    assert "authorization" not in api.requests[0].headers


@pytest.mark.parametrize("lifetime", [3600, "3600", None])
async def test_a_token_is_kept(api: Api, provider: Open, lifetime: Any) -> None:
    given = with_tokens(api, expires_in=lifetime)
    registry = provider(None, {"auth": oauth(api)})
    for _ in range(3):
        await registry.get_tenant_count()
    assert len(given) == 1


async def test_a_token_is_renewed_before_it_ends(api: Api, provider: Open) -> None:
    given = with_tokens(api, expires_in=0)
    registry = provider(None, {"auth": oauth(api)})
    assert await registry.get_tenant_count() == 1
    assert len(given) == 2  # one for each page
    assert not [request for request in api.requests if request.headers.get("authorization") == "Bearer "]


async def test_a_token_that_expired_early_is_renewed(api: Api, provider: Open) -> None:
    valid = {f"{TOKEN}-0"}
    given = with_tokens(api, valid=valid)
    registry = provider(None, {"auth": oauth(api)})
    assert await registry.get_tenant_count() == 1
    valid.clear()
    valid.add(f"{TOKEN}-1")
    assert await registry.get_tenant_count() == 1
    assert len(given) == 2


async def test_a_new_token_that_is_refused_too_is_the_end(api: Api, provider: Open) -> None:
    given = with_tokens(api, valid=set())
    error = await error_of(SettingsError, provider(None, {"auth": oauth(api)}).list_tenants())
    assert "credentials refused, 401 Unauthorized" in error.message
    assert "token *** has expired" in error.message or "token ***-1 has expired" in error.message
    assert len(given) == 2
    assert len(api.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_client_credentials_that_are_refused(api: Api, provider: Open, status: int) -> None:
    api.replies(Reply({"error": "invalid_client", "hint": SECRET}, status=status))
    error = await error_of(SettingsError, provider(None, {"auth": oauth(api)}).list_tenants())
    assert f"POST {api.url}/token: credentials refused, {status} " in error.message
    assert "invalid_client" in error.message
    assert len(api.requests) == 1


async def test_a_token_server_that_is_down(api: Api, provider: Open) -> None:
    api.replies(Reply(status=503))
    error = await error_of(SourceUnavailableError, provider(None, {"auth": oauth(api)}).list_tenants())
    assert error.message == (
        f"GET {api.url}/tenants?limit=100&offset=0: no token from POST {api.url}/token, "
        "the server answers 503 Service Unavailable, 3 tries"
    )


@pytest.mark.parametrize("body", [{}, [], {"access_token": None}, {"access_token": "a\nb"}, {"token": TOKEN}])
async def test_an_answer_without_a_token(api: Api, provider: Open, body: Any) -> None:
    api.replies(body)
    with pytest.raises(SettingsError, match="access_token"):
        await provider(None, {"auth": oauth(api)}).list_tenants()


async def test_the_token_server_may_be_another_one(api: Api, other_api: Api, provider: Open) -> None:
    with_tokens(other_api)
    api.lists([item(1)])
    assert await provider(None, {"auth": oauth(other_api)}).get_tenant_count() == 1
    assert last(api)["authorization"] == f"Bearer {TOKEN}-0"
    assert SECRET not in str(api.requests)


async def test_a_token_server_that_redirects_elsewhere(api: Api, other_api: Api, provider: Open) -> None:
    api.replies(Reply(status=307, headers={"Location": f"{other_api.url}/token"}))
    error = await error_of(SettingsError, provider(None, {"auth": oauth(api)}).list_tenants())
    assert f"POST {api.url}/token: redirected to another server" in error.message
    assert other_api.requests == []


# What is no credential


@pytest.mark.parametrize("value", ["", " ", f"{SECRET}\r\nX: y", f"{TOKEN}\n", "s3cr3t\x00", "s3cr3té", f" {TOKEN}"])
def test_tokens_that_no_header_can_hold(value: str) -> None:
    for make in (Bearer, ApiKey):
        with pytest.raises(SettingsError) as caught:
            make(value)
        assert secrets_in(caught.value.message) == []
    with pytest.raises(SettingsError) as caught:
        APITenantProvider("https://crm.example", headers={"X-Account": value})
    assert caught.value.message.startswith("headers, X-Account: no value of a header; allowed: printable ASCII")


def test_other_mistakes() -> None:
    with pytest.raises(SettingsError, match="two kinds of credentials"):
        APITenantProvider("https://crm.example", TOKEN, auth=Basic("a", "b"))
    with pytest.raises(SettingsError, match="no colon"):
        Basic("a:b", SECRET)
    with pytest.raises(SettingsError, match="no name of a header"):
        ApiKey(TOKEN, "X Key")
    with pytest.raises(SettingsError, match="no such place; received 'cookie'; allowed: header, query"):
        ApiKey(TOKEN, place="cookie")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{quote(SECRET, safe='')}@crm.example",
        f"https://crm.example?key={TOKEN}",
        "crm.example",
        "ftp://crm.example",
        "https://",
        "",
        "https://[",
        "https://crm.example:99999",
        f"https://me:{TOKEN}",
        "https://crm .example",
        "/tenants",
    ],
)
def test_base_urls_that_are_none(url: str) -> None:
    with pytest.raises(SettingsError, match="^api_base_url: ") as caught:
        APITenantProvider(url)
    assert secrets_in(caught.value.message) == []
    with pytest.raises(SettingsError, match="^token_url: "):
        APITenantProvider("https://crm.example", auth=OAuth2ClientCredentials(url, "a", "b"))


@pytest.mark.parametrize(
    "auth",
    [
        Bearer(TOKEN),
        Basic("me", SECRET),
        ApiKey(TOKEN),
        ApiKey(SECRET, "key", "query"),
        OAuth2ClientCredentials("https://login.example", "me", SECRET),
    ],
    ids=lambda auth: type(auth).__name__,
)
async def test_no_repr_tells_a_secret(provider: Open, auth: ApiAuth) -> None:
    registry = provider("https://crm.example", {"auth": auth})
    assert secrets_in(f"{auth!r} {registry!r} {registry.source} {vars(registry)}") == []


@pytest.mark.parametrize("limit", range(1, 60))
def test_an_excerpt_has_no_part_of_a_secret(limit: int) -> None:
    redact = Redactor([SECRET])
    text = f"before {SECRET} after {json.dumps(SECRET)} {quote(SECRET)} {quote_plus(SECRET)} {SECRET!r}"
    assert "s3c" not in redact.excerpt(text, limit)
    assert "s3c" not in redact.excerpt({"a": text}, limit)
    for before in ("x" * 9_980, SECRET * 400):
        assert "s3c" not in redact.excerpt(before + text * 100, 100_000 if limit % 2 else limit)


async def test_two_accounts_of_one_api_share_no_answers(api: Api, provider: Open) -> None:
    from dbgear_airflow_provider.core.registries import RegistryCache

    cache = RegistryCache(60)
    api.answer = lambda request: [item(1)] if request.headers["authorization"] == f"Bearer {TOKEN}" else []
    options = {"paging": "none", "items": "@"}
    assert await provider(None, {"auth_token": TOKEN, "cache": cache}, **options).get_tenant_count() == 1
    assert await provider(None, {"auth_token": "another", "cache": cache}, **options).get_tenant_count() == 0
    assert await provider(None, {"auth_token": TOKEN, "cache": cache}, **options).get_tenant_count() == 1
    assert len(api.requests) == 2


@pytest.mark.parametrize(
    "written",
    [
        *(TOKEN.replace("/", "\\/"), TOKEN.replace("=", "\\u003D").replace("+", "\\u002b"), TOKEN.replace("/", "%2f")),
        *(TOKEN.replace("/", "\\\\\\/"), TOKEN.replace("=", "&#61;"), TOKEN.replace("+", "&#x2b;")),
    ],
)
@pytest.mark.parametrize("charset", ["utf-8", "utf-16"])
async def test_a_token_that_the_server_repeats_in_its_own_way(
    api: Api, provider: Open, written: str, charset: str
) -> None:
    api.replies(Reply(f'{{"error": "no {written}."}}'.encode(charset), status=401))
    error = await error_of(SettingsError, provider(None, {"auth_token": TOKEN}).list_tenants())
    assert "no ***." in error.message


@pytest.mark.parametrize("secret", ["\\" * 40 + "x", "\\/" * 40, "&" * 40, "%" * 40])
def test_redaction_takes_no_longer_for_odd_secrets(secret: str) -> None:
    began_at = time.monotonic()
    assert Redactor([secret])(f"a{secret}b {secret[:-1]}" + "\\" * 1000).startswith("a***b ")
    assert time.monotonic() - began_at < 2


async def test_a_token_without_a_lifetime_that_a_clock_could_tell(api: Api, provider: Open) -> None:
    token = b'{"access_token": "%s", "expires_in": 1%s}' % (TOKEN.encode(), b"0" * 400)
    api.answer = lambda request: Reply(token) if request.path == "/token" else {"items": []}
    auth = OAuth2ClientCredentials(f"{api.url}/token", "id", SECRET)
    assert await provider(None, {"auth": auth}).get_tenant_count() == 0
