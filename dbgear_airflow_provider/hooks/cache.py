"""The cache of registries, with the Redis that the project names."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Literal
from urllib.parse import quote, unquote, urlencode, urlsplit

from airflow.sdk.log import amask_secret
from pydantic import Field

from ..core.errors import SettingsError
from ..core.registries import RegistryCache
from ..core.settings.registries import CacheSettings
from .connection import CheckedConnection, Extra, read_connection
from .metrics import count_cache_event


class RedisExtra(Extra):
    """The extra of Airflow's `redis` connections."""

    db: int = Field(default=0, ge=0)
    ssl: bool = False
    ssl_cert_reqs: Literal["required", "optional", "none"] | None = None
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_check_hostname: bool | None = None


async def open_cache(settings: CacheSettings, ttl_s: float) -> RegistryCache | None:
    """Return the project's cache of registries, which counts for Airflow's metrics; None where ttl_s is 0.

    Nothing is connected yet. The caller closes it, after the registries that use it. Raises SettingsError,
    UnsupportedError without the extra `redis`, and AirflowNotFoundException where there is no such connection.
    """
    if ttl_s <= 0:
        return None
    url = await _redis_url(settings)
    cache = RegistryCache(ttl_s, max_entries=settings.max_entries, redis_url=url, on_event=count_cache_event)
    if url is not None:
        written = urlsplit(url).password or ""
        for secret in {url, written, unquote(written)} - {""}:
            await amask_secret(secret)
    return cache


async def _redis_url(settings: CacheSettings) -> str | None:
    # Empty is none: a variable of the environment may be so.
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    if settings.redis_connection_id is None:
        return url
    if url:
        raise SettingsError("redis_url and redis_connection_id are both given", where="multi_tenant.cache")
    return redis_url_of(
        await read_connection(settings.redis_connection_id, {"redis": RedisExtra}, "the cache of registries")
    )


def redis_url_of(connection: CheckedConnection[RedisExtra]) -> str:
    """Return the URL of a `redis` connection, with its password. Raises SettingsError."""
    extra = connection.extra
    host = connection.required("host", "the name or address of a Redis")
    options = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in extra
        if name.startswith("ssl_") and value is not None
    }
    if options and not extra.ssl:
        raise SettingsError(f"{', '.join(options)} without ssl", where=connection.where, allowed='"ssl": true')
    if extra.ssl_cert_reqs == "none":
        options["ssl_check_hostname"] = "false"  # Python has no check of names without certificates
    elif extra.ssl:
        options.setdefault("ssl_check_hostname", "true")  # redis-py before 6 checks no names unless told to
    account = ""
    if connection.login or connection.password:
        account = f"{quote(connection.login or '', safe='')}:{quote(connection.password or '', safe='')}@"
    place = f"{_host(host)}:{connection.port or 6379}"
    return f"redis{'s' if extra.ssl else ''}://{account}{place}/{extra.db}{'?' if options else ''}{urlencode(options)}"


def _host(host: str) -> str:
    try:
        return f"[{IPv6Address(host.strip('[]'))}]"
    except ValueError:
        return quote(host, safe="")
