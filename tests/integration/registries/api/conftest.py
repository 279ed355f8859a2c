"""Providers of a real HTTP server that answers as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from dbgear_airflow_provider.core.registries import APITenantProvider
from dbgear_airflow_provider.core.settings import ApiRegistrySettings
from tests.leaks import nothing_leaks
from tests.servers.http import Api, api, certificate, serving, tls_api

__all__ = ["api", "certificate", "nothing_leaks", "tls_api"]
QUICK = {"retry_wait": 0.001, "timeout": 5.0, "total_timeout": 20.0}


def item(number: int, **more: Any) -> dict[str, Any]:
    """Return a tenant as the API has it."""
    return {
        "tenant_id": f"T{number:04}",
        "customer_name": f"Customer {number}",
        "customer_code": f"c{number}",
        "region": "japan",
        "tier": "basic",
        "status": "active",
        "created_at": "2025-01-01",
        "updated_at": "2025-01-02T03:04:05Z",
        "isolation_strategy": "schema",
        **more,
    }


@pytest.fixture
def other_api() -> Iterator[Api]:
    """Another server, to which nothing of ours must go."""
    with serving() as server:
        yield server


Open = Callable[..., APITenantProvider]


@pytest.fixture
async def provider(api: Api) -> AsyncIterator[Open]:
    """Make providers of the server, with short waits and without a cache; `arguments` are the constructor's."""
    opened: list[APITenantProvider] = []

    def make(url: str | None = None, arguments: dict[str, Any] | None = None, **options: Any) -> APITenantProvider:
        settings = ApiRegistrySettings.model_validate({**QUICK, "cache_ttl": 0, **options})
        opened.append(APITenantProvider(url or api.url, options=settings, **(arguments or {})))
        return opened[-1]

    yield make
    for each in opened:
        await each.aclose()
