"""A registry server that fails in every way: each outcome is right and told clearly."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from dbgear_airflow_provider.core.errors import RegistryRecordError, SettingsError, SourceUnavailableError
from dbgear_airflow_provider.core.registries.api import http as api_http
from dbgear_airflow_provider.core.registries.api.answers import read_json
from dbgear_airflow_provider.core.registries.api.auth import Redactor
from dbgear_airflow_provider.core.registries.api.http import HttpAnswer, RetryError
from dbgear_airflow_provider.sandbox import ports
from tests.integration.registries.api.conftest import Open, item
from tests.leaks import TOKEN, error_of
from tests.servers.http import Api, Reply, Request, serving

ONE = {"items": [item(1)], "total": 1}
WITH_TOKEN = {"auth_token": TOKEN}


async def test_refuses_connections(provider: Open) -> None:
    url = f"http://127.0.0.1:{ports.any_free()}"
    error = await error_of(SourceUnavailableError, provider(url, WITH_TOKEN).list_tenants())
    assert error.message == (
        f"GET {url}/tenants?limit=100&offset=0: ConnectError: All connection attempts failed, 3 tries"
    )


async def test_no_such_host(provider: Open) -> None:
    error = await error_of(SourceUnavailableError, provider("https://registry.invalid", WITH_TOKEN).list_tenants())
    assert error.message.startswith("GET https://registry.invalid/tenants?limit=100&offset=0: ConnectError: ")


async def test_hangs(api: Api, provider: Open) -> None:
    api.replies(Reply(hangs=True))
    error = await error_of(SourceUnavailableError, provider(None, WITH_TOKEN, timeout=0.1).list_tenants())
    assert error.message.endswith("/tenants?limit=100&offset=0: no whole answer within 0.1 s, 3 tries")
    assert len(api.requests) == 3


async def test_hangs_once(api: Api, provider: Open) -> None:
    api.replies(Reply(hangs=True), ONE)
    assert await provider(timeout=0.2, total="total").get_tenant_count() == 1


async def test_drips_for_longer_than_a_request_may_take(api: Api, provider: Open) -> None:
    api.replies(Reply(ONE, drips=True))
    error = await error_of(SourceUnavailableError, provider(None, WITH_TOKEN, timeout=0.2).list_tenants())
    assert error.message.endswith("no whole answer within 0.2 s, 3 tries")


async def test_drips_for_longer_than_all_may_take(api: Api, provider: Open) -> None:
    api.replies(Reply(ONE, drips=True))
    began_at = time.monotonic()
    error = await error_of(SourceUnavailableError, provider(None, WITH_TOKEN, total_timeout=0.3).list_tenants())
    assert error.message.endswith("no whole answer within total_timeout, 0.3 s")
    assert time.monotonic() - began_at < 2
    assert len(api.requests) == 1


async def test_all_pages_together_have_a_limit_of_time(api: Api, provider: Open) -> None:
    def answer(request: Request) -> Any:
        api.over.wait(0.05)
        return {"items": [item(int(request.params["offset"]))]}

    api.answer = answer
    error = await error_of(SourceUnavailableError, provider(total_timeout=0.5, page_size=1).list_tenants())
    assert "no whole answer within total_timeout, 0.5 s" in error.message
    assert len(api.requests) > 2


async def test_500_twice_then_fine(api: Api, provider: Open, caplog: pytest.LogCaptureFixture) -> None:
    api.replies(Reply(status=500), Reply(status=500), ONE)
    assert [tenant.tenant_id for tenant in await provider(total="total").list_tenants()] == ["T0001"]
    assert len(api.requests) == 3
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert "the server answers 500 Internal Server Error; trying again in 0.0 s" in warnings[0]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
async def test_fails_for_ever(api: Api, provider: Open, status: int) -> None:
    api.replies(Reply({"error": f"down, and you are {TOKEN}"}, status=status))
    error = await error_of(SourceUnavailableError, provider(None, {**WITH_TOKEN, "retry_attempts": 2}).list_tenants())
    assert f": the server answers {status}" in error.message
    assert error.message.endswith(""", 2 tries; received '{"error": "down, and you are ***"}'""")
    assert len(api.requests) == 2


@pytest.mark.parametrize("status", [400, 404, 405, 410, 418, 422])
async def test_is_asked_once_when_it_refuses_the_request(api: Api, provider: Open, status: int) -> None:
    api.replies(Reply({"error": "no"}, status=status))
    error = await error_of(SettingsError, provider(None, WITH_TOKEN).list_tenants())
    assert f"/tenants?limit=100&offset=0: the server answers {status} " in error.message
    assert """received '{"error": "no"}'""" in error.message
    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_wrong_credentials(api: Api, provider: Open, status: int) -> None:
    api.replies(Reply({"message": f"bad token {TOKEN}"}, status=status))
    error = await error_of(SettingsError, provider(None, WITH_TOKEN).list_tenants())
    assert f"credentials refused, {status} " in error.message
    assert "bad token ***" in error.message
    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_seconds_is_obeyed(api: Api, provider: Open, status: int) -> None:
    api.replies(Reply(status=status, headers={"Retry-After": "1"}), ONE)
    began_at = time.monotonic()
    assert await provider(total="total").get_tenant_count() == 1
    assert 1 <= time.monotonic() - began_at < 3


async def test_retry_after_a_date_is_obeyed_by_the_servers_own_clock(api: Api, provider: Open) -> None:
    now = datetime(2020, 1, 1, tzinfo=UTC)
    later = format_datetime(now + timedelta(seconds=1), usegmt=True)
    api.replies(Reply(status=429, headers={"Retry-After": later, "Date": format_datetime(now, usegmt=True)}), ONE)
    began_at = time.monotonic()
    assert await provider(total="total").get_tenant_count() == 1
    assert 1 <= time.monotonic() - began_at < 3


@pytest.mark.parametrize(
    "value",
    [
        *("soon", "-5", "1e9", "", "Wed, 21 Oct 2015 07:28:00 GMT"),
        *("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", "Wed, 21 Oct 2015 07:28:00 +99999999999999"),
    ],
)
async def test_retry_after_that_is_no_time_to_come_is_left_aside(api: Api, provider: Open, value: str) -> None:
    api.replies(Reply(status=429, headers={"Retry-After": value}), ONE)
    assert await provider(total="total").get_tenant_count() == 1


async def test_retry_after_beyond_the_total_time_is_not_waited_for(api: Api, provider: Open) -> None:
    api.replies(Reply({"error": "slow down"}, status=429, headers={"Retry-After": "3600"}))
    began_at = time.monotonic()
    error = await error_of(SourceUnavailableError, provider(None, WITH_TOKEN).list_tenants())
    assert "429 Too Many Requests and asks to wait 3600 s, longer than total_timeout leaves" in error.message
    assert time.monotonic() - began_at < 2
    assert len(api.requests) == 1


async def test_breaks_off_in_the_middle(api: Api, provider: Open) -> None:
    api.replies(Reply(ONE, missing_bytes=10))
    error = await error_of(SourceUnavailableError, provider(None, WITH_TOKEN).list_tenants())
    assert "RemoteProtocolError: peer closed connection without sending complete message body" in error.message
    assert len(api.requests) == 3


async def test_breaks_off_once(api: Api, provider: Open) -> None:
    api.replies(Reply(ONE, missing_bytes=10), ONE)
    assert await provider(total="total").get_tenant_count() == 1


def test_json_that_is_cut_off_anywhere_is_an_outage() -> None:
    whole = {"items": [{"a": None, "b": True, "c": -1.5, "d": '日"\n', "e": 1e-9}]}
    for body in (json.dumps(whole).encode(), json.dumps(whole, ensure_ascii=False).encode()):
        for cut in range(1, len(body)):
            with pytest.raises(RetryError) as caught:
                read_json(HttpAnswer(httpx.URL("/"), 200, httpx.Headers(), body[:cut]), Redactor())
            error = caught.value.final("GET /", 3)
            assert type(error) is SourceUnavailableError, body[:cut]
            assert error.message.startswith("GET /: the answer's JSON ends in the middle, 3 tries; received")


async def test_json_that_is_always_cut_off(api: Api, provider: Open) -> None:
    api.replies(Reply(json.dumps(ONE).encode()[:-20]))
    error = await error_of(SourceUnavailableError, provider(None, WITH_TOKEN).list_tenants())
    assert "the answer's JSON ends in the middle, 3 tries; received" in error.message


async def test_json_that_is_cut_off_once(api: Api, provider: Open) -> None:
    api.replies(Reply(json.dumps(ONE).encode()[:-20]), ONE)
    assert await provider(total="total").get_tenant_count() == 1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "an empty answer"),
        (b"ok", "no JSON, Expecting value at character 1"),
        (b'{"items": [}', "no JSON, Expecting value at character 12"),
        (b'{"items": [NaN]}', "no JSON, NaN is no number"),
        (b'{"items": [-1e999]}', "no JSON, -1e999 is too large a number"),
        (b'{"items": [{}], "items": []}', "no JSON, the key 'items' is there twice in one object"),
        (b'{"items": ["\xff"]}', "no JSON, 'utf-8' codec can't decode"),
        (b"[" * 100_000, "no JSON, nested too deeply"),
        (b'{"items": ' + b"9" * 5000 + b"}", "no JSON, Exceeds the limit"),
    ],
)
async def test_no_json(api: Api, provider: Open, body: bytes, problem: str) -> None:
    api.replies(Reply(body))
    error = await error_of(RegistryRecordError, provider(None, WITH_TOKEN).list_tenants())
    assert problem in error.message
    assert len(error.message) < 600
    assert len(api.requests) == 3  # a proxy may have answered for it


async def test_html_instead_of_json(api: Api, provider: Open) -> None:
    page = f"<html>\n<title>Log in</title>\n<p>{TOKEN}</p>{'x' * 1000}".encode()
    api.replies(Reply(page, headers={"Content-Type": "text/html; charset=utf-8"}))
    error = await error_of(RegistryRecordError, provider(None, WITH_TOKEN).list_tenants())
    assert ": no JSON but text/html, 3 tries; received '<html> <title>Log in</title> <p>***</p>xxx" in error.message
    assert error.message.endswith("xxx...'; allowed: JSON")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"tenants": []}, "no list of tenants at items; received \"{'tenants': []}\"; allowed: a JSON array"),
        ({"items": None}, "no list of tenants at items"),
        ({"items": {"a": 1}}, "no list of tenants at items; received \"{'a': 1}\""),
        ({"items": TOKEN}, "no list of tenants at items; received '***'"),
        ([item(1)], "no list of tenants at items"),
        ("text", "no list of tenants at items; received 'text'"),
        (None, "no list of tenants at items"),
        (7, "no list of tenants at items; received 7"),
    ],
)
async def test_wrong_types(api: Api, provider: Open, body: Any, problem: str) -> None:
    api.replies(body)
    error = await error_of(RegistryRecordError, provider(None, WITH_TOKEN).list_tenants())
    assert f"GET {api.url}/tenants?limit=100&offset=0: {problem}" in error.message
    assert len(api.requests) == 1


async def test_an_answer_without_end_is_not_read(api: Api, provider: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_http, "MAX_ANSWER_BYTES", 1024**2)
    api.replies(Reply(b" " * (1024**2 + 1)))
    error = await error_of(RegistryRecordError, provider().list_tenants())
    assert "the answer is too large; allowed: 1 MB; a smaller page_size" in error.message


async def test_an_answer_that_grows_in_one_step_is_not_read(api: Api, provider: Open) -> None:
    twice = gzip.compress(gzip.compress(json.dumps(ONE).encode()))
    for body, compression in ((twice, "gzip, gzip"), (b"", "br")):
        api.replies(Reply(body, headers={"Content-Encoding": compression}))
        error = await error_of(RegistryRecordError, provider(None, WITH_TOKEN).list_tenants())
        assert f"another way than was asked for; received '{compression}'; allowed: gzip or deflate" in error.message
    api.replies(Reply(b"no", status=500, headers={"Content-Encoding": "br"}), ONE)
    assert await provider(paging="none").get_tenant_count() == 1
    assert {request.headers["accept-encoding"] for request in api.requests} == {"gzip, deflate"}


async def test_a_compressed_answer(api: Api, provider: Open) -> None:
    api.replies(Reply(gzip.compress(json.dumps(ONE).encode()), headers={"Content-Encoding": "gzip"}))
    assert await provider(total="total", paging="none").get_tenant_count() == 1


@pytest.mark.parametrize("cookie", ["session=1; Path=/", "session=\xff; Path=/"])
async def test_cookies_are_not_sent_back(api: Api, provider: Open, cookie: str) -> None:
    api.replies(Reply(ONE, headers={"Set-Cookie": cookie}))
    registry = provider(paging="none")
    assert [await registry.get_tenant_count() for _ in range(2)] == [1, 1]
    assert [request.headers.get("cookie") for request in api.requests] == [None, None]


async def test_a_self_signed_certificate(tls_api: Api, provider: Open, certificate: Path) -> None:
    tls_api.lists([item(1)])
    error = await error_of(SettingsError, provider(tls_api.url, WITH_TOKEN).list_tenants())
    assert error.message == (
        f"{tls_api.url}/: the server's certificate is not trusted: self-signed certificate; "
        "allowed: verify: a file with the certificate of the authority that signed it"
    )
    assert tls_api.requests == []
    trusting = provider(tls_api.url, {**WITH_TOKEN, "verify": str(certificate)})
    assert await trusting.get_tenant_count() == 1


async def test_a_certificate_for_another_host(tls_api: Api, provider: Open, certificate: Path) -> None:
    url = tls_api.url.replace("127.0.0.1", "localhost")
    error = await error_of(SettingsError, provider(url, {**WITH_TOKEN, "verify": str(certificate)}).list_tenants())
    assert "the server's certificate is not trusted: Hostname mismatch" in error.message


async def test_no_check_of_certificates_is_told(tls_api: Api, provider: Open, caplog: pytest.LogCaptureFixture) -> None:
    tls_api.lists([item(1)])
    assert await provider(tls_api.url, {"verify": False}).get_tenant_count() == 1
    assert f"{tls_api.url}: the server's certificate is not checked" in caplog.text


@pytest.mark.parametrize(("name", "content"), [("missing.pem", None), ("empty.pem", ""), ("bad.pem", "no certificate")])
def test_a_bad_file_of_authorities(provider: Open, tmp_path: Path, name: str, content: str | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(
        SettingsError, match=f"verify: no certificates of authorities: .*{name}.*; allowed: a file in PEM"
    ):
        provider("https://registry.invalid", {"verify": str(path)})


async def test_no_tls_where_tls_is_expected(api: Api, provider: Open) -> None:
    url = api.url.replace("http:", "https:")
    error = await error_of(SourceUnavailableError, provider(url, {"retry_attempts": 1}).list_tenants())
    assert "ConnectError: [SSL" in error.message


async def test_follows_redirects_on_the_same_server(api: Api, provider: Open) -> None:
    def answer(request: Request) -> Any:
        if request.path == "/tenants":
            return Reply(
                status=307,
                headers={"Location": f"/v2/tenants?{'&'.join(f'{k}={v}' for k, v in request.params.items())}"},
            )
        return {"items": [item(1)] if request.params["offset"] == "0" else []}

    api.answer = answer
    assert await provider(None, WITH_TOKEN).get_tenant_count() == 1
    assert {request.headers["authorization"] for request in api.requests} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_follows_no_redirect_to_another_server(api: Api, other_api: Api, provider: Open, status: int) -> None:
    other_api.lists([item(1)])
    api.replies(Reply(status=status, headers={"Location": f"{other_api.url}/tenants?token={TOKEN}"}))
    error = await error_of(SettingsError, provider(None, WITH_TOKEN).list_tenants())
    assert f"redirected to another server; received '{other_api.url}/tenants'" in error.message
    assert other_api.requests == []


@pytest.mark.parametrize("location", ["", "http://[", "/tenants?limit=100&offset=0"])
async def test_redirects_that_lead_nowhere(api: Api, provider: Open, location: str) -> None:
    api.replies(Reply(status=302, headers={"Location": location}))
    error = await error_of(SettingsError, provider(None, WITH_TOKEN).list_tenants())
    assert "redirect" in error.message
    assert len(api.requests) <= 6


async def test_connections_are_closed(api: Api, provider: Open) -> None:
    api.lists([item(1)])
    registry = provider()
    await registry.list_tenants()
    await registry.aclose()
    await registry.aclose()


async def test_goes_away_after_it_was_there(provider: Open) -> None:
    with serving() as first:
        first.answer = lambda _: Reply({"items": []}, headers={"Connection": "close"})
        registry = provider(first.url)
        assert await registry.get_tenant_count() == 0
    await error_of(SourceUnavailableError, registry.list_tenants())
