"""Providers of a database, on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider

from ..conftest import Place
from .tenants import Open


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[Open]:
    """Return a function that opens a provider on the place, without a cache unless told."""
    async with AsyncExitStack() as stack:

        def open_(
            tenant_table: str = "tenants",
            config_table: str | None = "tenant_configs",
            *,
            cache_ttl: float = 0,
            **kwargs: Any,
        ) -> DatabaseTenantProvider:
            provider = DatabaseTenantProvider(place.url, tenant_table, config_table, cache_ttl, **kwargs)
            stack.push_async_callback(provider.aclose)
            return provider

        yield open_
