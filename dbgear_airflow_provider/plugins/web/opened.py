"""The fleet store of the API server's process: opened at the first request, and kept."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import Depends

from ...core.fleet import FleetStore, Overview
from ...hooks.fleet import FleetStoreHook


class _Opened:
    """One store, with one pool of connections, for as long as the process lives. What failed is tried again."""

    def __init__(self) -> None:
        self._overview: Overview | None = None
        self._store: FleetStore | None = None
        self._opening = asyncio.Lock()

    async def store(self) -> FleetStore:
        async with self._opening:
            if self._store is None:
                self._store = await FleetStoreHook().get_store()
            return self._store

    async def overview(self) -> Overview:
        store = await self.store()
        if self._overview is None:
            self._overview = Overview(store)
        return self._overview

    async def aclose(self) -> None:
        if self._store is not None:
            await self._store.aclose()


opened = _Opened()


async def _store() -> FleetStore:
    return await opened.store()


async def _overview() -> Overview:
    return await opened.overview()


StoreDep = Annotated[FleetStore, Depends(_store)]
OverviewDep = Annotated[Overview, Depends(_overview)]
