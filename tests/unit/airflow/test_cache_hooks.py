"""The cache that a project names: its Redis by URL or by an Airflow connection, its events as metrics of Airflow."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter
from redis.asyncio.connection import parse_url

from dbgear_airflow_provider.core.errors import SettingsError, UnsupportedError
from dbgear_airflow_provider.core.settings.registries import CacheSettings
from tests.metrics import Metrics, collected
from tests.servers import Redis

NUMBER = TypeAdapter(int)
NASTY = "p@ss:w/r%d?#[é]"


async def url_of(conn_id: str) -> str:
    from dbgear_airflow_provider.hooks.cache import RedisExtra, redis_url_of
    from dbgear_airflow_provider.hooks.connection import read_connection

    return redis_url_of(await read_connection(conn_id, {"redis": RedisExtra}, "the cache of registries"))


async def parsed(conn_id: str) -> dict[str, Any]:
    options = dict(parse_url(await url_of(conn_id)))
    options.pop("connection_class", None)
    return options


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    with collected() as metrics:
        yield metrics


async def test_a_connection_with_a_host_alone(connection: Any) -> None:
    connection("shared", conn_type="redis", host="redis.example")
    assert await url_of("shared") == "redis://redis.example:6379/0"


async def test_what_a_connection_says_arrives_at_redis(connection: Any) -> None:
    connection(
        "shared", conn_type="redis", host="redis.example", port=6380, login="a:b", password=NASTY, extra={"db": "3"}
    )
    assert await parsed("shared") == {
        "host": "redis.example",
        "port": 6380,
        "db": 3,
        "username": "a:b",
        "password": NASTY,
    }


async def test_a_password_needs_no_login(connection: Any) -> None:
    connection("shared", conn_type="redis", host="::1", password="secret-word")
    assert await url_of("shared") == "redis://:secret-word@[::1]:6379/0"


async def test_tls_checks_certificates_and_names(connection: Any) -> None:
    connection("shared", conn_type="redis", host="r", extra={"ssl": True, "ssl_ca_certs": "/etc/a b&c.pem"})
    url = await url_of("shared")
    assert url.startswith("rediss://r:6379/0?")
    options = await parsed("shared")
    assert (options["ssl_ca_certs"], options["ssl_check_hostname"]) == ("/etc/a b&c.pem", True)


async def test_tls_without_a_check_only_where_it_is_asked_for(connection: Any) -> None:
    connection("shared", conn_type="redis", host="r", extra={"ssl": True, "ssl_cert_reqs": "none"})
    options = await parsed("shared")
    assert (options["ssl_cert_reqs"], options["ssl_check_hostname"]) == ("none", False)


async def test_a_host_cannot_bring_options_along(connection: Any) -> None:
    connection("shared", conn_type="redis", host="r/1?ssl_cert_reqs=none#", extra={"db": 2})
    assert await parsed("shared") == {"host": "r/1?ssl_cert_reqs=none#", "port": 6379, "db": 2}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": ""}, "no host"),
        ({"host": "r", "extra": {"db": -1}}, "db"),
        ({"host": "r", "extra": {"db": "one"}}, "db"),
        ({"host": "r", "extra": {"socket_timeout": 60}}, "socket_timeout"),
        ({"host": "r", "extra": {"ssl_ca_certs": "/ca.pem"}}, "ssl_ca_certs without ssl"),
        ({"host": "r", "extra": {"ssl": True, "ssl_cert_reqs": "maybe"}}, "ssl_cert_reqs"),
        ({"host": "r", "conn_type": "http"}, "http"),
    ],
)
async def test_what_is_wrong_with_a_connection_is_told(connection: Any, fields: Any, message: str) -> None:
    connection("shared", **{"conn_type": "redis", "password": "secret-word", **fields})
    with pytest.raises(SettingsError, match=message) as caught:
        await url_of("shared")
    assert "connection shared" in str(caught.value)
    assert "secret-word" not in str(caught.value)


async def test_no_time_no_cache() -> None:
    from dbgear_airflow_provider.hooks.cache import open_cache

    assert await open_cache(CacheSettings(redis_connection_id="there_is_none"), 0) is None


@pytest.mark.parametrize("settings", [CacheSettings(max_entries=2), CacheSettings(redis_url=SecretStr(""))])
async def test_memory_only(settings: CacheSettings, metrics: Metrics) -> None:
    from dbgear_airflow_provider.hooks.cache import open_cache

    cache = await open_cache(settings, 60)
    assert cache is not None
    for _ in range(3):
        assert await cache.answer("https://crm.example/api?key=abc", "count", _one, NUMBER) == 1
    source = frozenset({("source", "https_//crm.example/api")})
    assert metrics.told == {
        ("dbgear.registry.cache.miss", source): [1],
        ("dbgear.registry.cache.hit", source): [1, 1],
    }
    await cache.aclose()


async def _one() -> int:
    return 1


async def test_two_redis_are_one_too_many(connection: Any) -> None:
    from dbgear_airflow_provider.hooks.cache import open_cache

    settings = CacheSettings(redis_url=SecretStr("redis://:secret-word@a"), redis_connection_id="shared")
    with pytest.raises(SettingsError, match="both given") as caught:
        await open_cache(settings, 60)
    assert "secret-word" not in str(caught.value)


async def test_a_url_that_is_none_is_told_without_its_password() -> None:
    from dbgear_airflow_provider.hooks.cache import open_cache

    with pytest.raises(SettingsError) as caught:
        await open_cache(CacheSettings(redis_url=SecretStr("redis://:secret-word@[half")), 60)
    assert "secret-word" not in str(caught.value)


async def test_without_the_package_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    from dbgear_airflow_provider.hooks.cache import open_cache

    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(UnsupportedError):
        await open_cache(CacheSettings(redis_url=SecretStr("redis://r")), 60)


async def test_by_url_and_by_connection_it_is_one_redis(
    redis_server: Redis, connection: Any, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    from dbgear_airflow_provider.hooks.cache import open_cache

    caplog.set_level(logging.DEBUG)
    connection(
        "shared", conn_type="redis", host=redis_server.host, port=redis_server.port, password=redis_server.password
    )
    by_url = await open_cache(CacheSettings(redis_url=SecretStr(redis_server.url)), 60)
    by_connection = await open_cache(CacheSettings(redis_connection_id="shared"), 60)
    assert by_url is not None
    assert by_connection is not None
    for cache in (by_url, by_connection):
        assert await cache.answer("crm", "count", _one, NUMBER) == 1
    redis_server.crash()
    assert await by_url.answer("crm", "count", _one, NUMBER) == 1
    for cache in (by_url, by_connection):
        await cache.aclose()
    crm = frozenset({("source", "crm")})
    assert metrics.told == {
        ("dbgear.registry.cache.miss", crm): [1],
        ("dbgear.registry.cache.hit", crm): [1, 1],
        ("dbgear.registry.cache.error", crm): [1],
    }
    assert redis_server.password not in caplog.text


@pytest.mark.parametrize(
    ("source", "tag"),
    [
        ("crm", "crm"),
        ("postgresql://user@db.example:5432/crm, tenants", "postgresql_//user_db.example_5432/crm_tenants"),
        ("https://crm.example/api?key=abc#x", "https_//crm.example/api"),
        ("顧客,a=b|#\n", "_a_b_"),
    ],
)
def test_tags_are_what_every_backend_takes(source: str, tag: str) -> None:
    from dbgear_airflow_provider.hooks.metrics import source_tag

    assert source_tag(source) == tag


def test_long_tags_are_shortened_and_stay_apart() -> None:
    from dbgear_airflow_provider.hooks.metrics import source_tag

    tags = {source_tag("a/" * 100 + end) for end in "xy"}
    assert len(tags) == 2
    assert {len(tag) for tag in tags} == {64}


def test_the_documentation_tells_of_every_key_and_metric() -> None:
    from dbgear_airflow_provider.hooks.cache import RedisExtra

    page = (Path(__file__).parents[3] / "docs" / "registry-cache.md").read_text()
    told = re.findall(r"^\| `([\w.]+)` ", page, re.MULTILINE)
    metrics = {f"dbgear.registry.cache.{event}" for event in ("hit", "miss", "error")}
    assert sorted(told) == sorted({*RedisExtra.model_fields, *metrics})
