"""Writing results in the background: one commit for many tenants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Generic, TypeVar

from ..errors import SourceUnavailableError

log = logging.getLogger(__name__)

FLUSH_S = 1.0
BATCH_ROWS = 500

Record = TypeVar("Record")


class Recorder(Generic[Record]):
    """Collects records and writes them a few times a second: one commit for many tenants."""

    def __init__(self, write: Callable[[Sequence[Record]], Awaitable[None]]) -> None:
        self._write = write
        self._records: list[Record] = []
        self._closed = asyncio.Event()

    def add(self, record: Record) -> None:
        """Take a record to be written soon. Never blocks."""
        self._records.append(record)

    def close(self) -> None:
        """Write what is left and stop."""
        self._closed.set()

    async def run(self) -> None:
        """Write until closed. A store that does not answer is asked again, at the end for the last time."""
        last = False
        while not last:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), FLUSH_S)
            last = self._closed.is_set()
            try:
                await self._flush()
            except SourceUnavailableError as error:
                if last:
                    raise
                log.warning("%s; %d results wait to be written", error, len(self._records))

    async def _flush(self) -> None:
        while self._records:
            batch = self._records[:BATCH_ROWS]
            await self._write(batch)
            del self._records[: len(batch)]


@asynccontextmanager
async def recording(write: Callable[[Sequence[Record]], Awaitable[None]]) -> AsyncIterator[Recorder[Record]]:
    """Write records in the background while the block runs; all are written at its end, also on errors."""
    recorder = Recorder(write)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        recorder.close()
        await asyncio.shield(task)


def storable(text: str | None) -> str | None:
    """Return a text as every database takes it: one message must not cost the results that are written with it."""
    return text and text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
