"""The plan of a sync of a project that is open."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from ..core.automation import SyncPlan, last_reads, plan_sync
from ..core.automation.sync import Source
from ..core.errors import SettingsError
from .project import Fleet
from .registry import open_source


async def plan_registry_sync(fleet: Fleet, wanted: Collection[str]) -> SyncPlan:
    """Compare the project's registry with its sources, as `plan_sync`. wanted: names of sources; none: all.

    Raises SettingsError where the sync has no such source, and as `plan_sync`.
    """
    configured = fleet.settings.synced_sources()
    unknown = [name for name in wanted if name not in configured]
    if unknown or not configured:
        raise SettingsError(
            "no such source of the sync",
            where="multi_tenant.sources",
            received=unknown[0] if unknown else None,
            allowed=list(configured) or "at least one source",
        )
    names = [name for name in configured if name in wanted or not wanted]
    previous = await last_reads(fleet.store, list(configured))
    async with AsyncExitStack() as stack:
        sources: dict[str, Source] = {}
        for name in names:
            provider = await open_source(name, fleet.settings)
            stack.push_async_callback(provider.aclose)
            sources[name] = (provider, configured[name].fields)
        return await plan_sync(
            fleet.registry,
            sources,
            fleet.settings.sync,
            now=datetime.now(UTC),
            configured={name: source.fields for name, source in configured.items()},
            previous=previous,
            configs_of=[name for name in names if configured[name].configs],
        )
