"""`RegistryCache`: answers of registries, kept for a while."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

from cachetools import TLRUCache
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from .cache_redis import SharedAnswers

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What a cache did so far.

    hits: questions answered without the source; misses: times that the source was read; errors: times that Redis
    failed or held something that was no answer.
    """

    hits: int
    misses: int
    errors: int


class RegistryCache:
    """Answers of registries, kept for ttl_s seconds from when they were read.

    They are in the memory of this process, the least recently used of max_entries going first, and with a redis_url
    (`redis://[login]:[password]@host:port/db`, `rediss://` for TLS, `unix://`) in a Redis too, for all processes that
    use the same one. Redis failing means slower, never an error.

    timer: seconds, as time.monotonic. on_event(event, source) is told of each "hit", "miss" and "error", see
    `CacheStatistics`.

    For one event loop. Whoever creates a cache closes it; providers do not close one that they were given.
    Raises ValueError where ttl_s is not above 0, SettingsError for a redis_url that is none, and UnsupportedError
    where the package redis is not installed.
    """

    def __init__(
        self,
        ttl_s: float,
        *,
        max_entries: int = 1000,
        redis_url: str | None = None,
        timer: Callable[[], float] = time.monotonic,
        on_event: Callable[[str, str], None] = lambda _event, _source: None,
    ) -> None:
        if not ttl_s > 0:
            raise ValueError("ttl_s is not above 0: use no cache")
        self.ttl_s = ttl_s
        self._timer = timer
        self._on_event = on_event
        self._counts: Counter[str] = Counter()
        self._memory: TLRUCache[tuple[str, str], _Kept] = TLRUCache(
            max_entries, ttu=lambda _key, kept, _now: kept.until, timer=timer
        )
        self._epochs: defaultdict[str, int] = defaultdict(int)
        self._flights: dict[_Key, _Flight] = {}
        self._garbled_told = False
        self._shared = (
            SharedAnswers(redis_url, ttl_s, timer=timer, on_error=lambda source: self._tell("error", source))
            if redis_url is not None
            else None
        )

    @property
    def statistics(self) -> CacheStatistics:
        """What the cache did so far, of all sources."""
        return CacheStatistics(self._counts["hit"], self._counts["miss"], self._counts["error"])

    async def answer(
        self,
        source: str,
        question: str,
        read: Callable[[], Awaitable[T]],
        adapter: TypeAdapter[T] | None = None,
        *,
        copy: Callable[[T], T] = deepcopy,
    ) -> T:
        """Return the kept answer of a source to a question, else what `read` returns, and keep that.

        source, question: texts; the question tells all that the answer depends on.
        adapter: how the answer is written as JSON for other processes; None: it stays in this one. An answer that
        JSON does not give back as it was stays in this one too.
        copy: makes what is handed out, so that a caller may change it.

        Simultaneous questions read once. An error of `read` is given to all who wait for it, and nothing is kept.
        The reading goes on while somebody waits for it.
        """
        epoch = self._epochs[source]
        generation = None if self._shared is None else await self._shared.generation(source)
        kept = self._memory.get((source, question))
        if kept is not None and kept.is_of(epoch, generation):
            self._tell("hit", source)
            return copy(kept.answer)
        key = (source, question, epoch, generation)
        flight = self._flights.get(key)
        joins = flight is not None
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._load(key, read, adapter)))
        answer = await self._wait(key, flight)
        if joins:
            self._tell("hit", source)
        return copy(answer)

    async def invalidate(self, source: str) -> None:
        """Forget all answers of a source, for every process that shares the cache.

        Readings that are under way are not kept. Where Redis does not answer, other processes may give old answers
        until ttl_s is over: a warning tells.
        """
        self._epochs[source] += 1
        for key in list(self._memory):
            if key[0] == source:
                self._memory.pop(key, None)
        if self._shared is not None:
            await self._shared.invalidate(source)

    async def aclose(self) -> None:
        """Close what the cache holds open. Safe to repeat."""
        if self._shared is not None:
            await self._shared.aclose()

    async def _wait(self, key: _Key, flight: _Flight) -> Any:
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                if not flight.task.done():
                    flight.task.cancel()
                    # The source's connection is given back before we go.
                    await asyncio.wait([flight.task])

    async def _load(self, key: _Key, read: Callable[[], Awaitable[T]], adapter: TypeAdapter[T] | None) -> T:
        source, question, _, generation = key
        shared = self._shared
        if shared is None or adapter is None or not generation:
            return await self._read(key, read)
        found = await shared.get(source, generation, question)
        if found is not None:
            content, left_s = found
            try:
                answer = adapter.validate_json(content)
            except ValidationError:
                self._tell_garbled(source)
            else:
                self._tell("hit", source)
                self._keep(key, answer, min(left_s, self.ttl_s))
                return answer
        answer = await self._read(key, read)
        written = _as_json(answer, adapter)
        if written is not None:
            await shared.put(source, generation, question, written)
        return answer

    async def _read(self, key: _Key, read: Callable[[], Awaitable[T]]) -> T:
        self._tell("miss", key[0])
        answer = await read()
        self._keep(key, answer, self.ttl_s)
        return answer

    def _keep(self, key: _Key, answer: object, for_s: float) -> None:
        source, question, epoch, generation = key
        if epoch == self._epochs[source]:
            self._memory[source, question] = _Kept(answer, epoch, generation, self._timer() + for_s)

    def _tell(self, event: str, source: str) -> None:
        self._counts[event] += 1
        self._on_event(event, source)

    def _tell_garbled(self, source: str) -> None:
        if not self._garbled_told:
            # Its text stays out: it is what customers' data would look like.
            logger.warning("Redis holds something that is no answer of %s; it is read anew, this is told once", source)
            self._garbled_told = True
        self._tell("error", source)


_Key = tuple[str, str, int, str | None]  # source, question, epoch, generation


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer in memory.

    epoch: how often this process had invalidated the source. generation: Redis's, None where it was not known.
    """

    answer: Any
    epoch: int
    generation: str | None
    until: float

    def is_of(self, epoch: int, generation: str | None) -> bool:
        """Tell whether nobody has invalidated it, as far as is known: Redis may not answer now."""
        return self.epoch == epoch and generation in (None, self.generation)


@dataclass(slots=True)
class _Flight:
    """A reading that is under way, and how many wait for it."""

    task: asyncio.Task[Any]
    waiting: int = 0


def _as_json(answer: T, adapter: TypeAdapter[T]) -> bytes | None:
    """Return the answer as JSON; None where that would not give the same answer back, as with dates in settings."""
    try:
        written = adapter.dump_json(answer, warnings="none")
        return written if adapter.validate_json(written) == answer else None
    except (PydanticSerializationError, ValueError, RecursionError):
        return None
