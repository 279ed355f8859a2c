"""Answers of registries, kept in the memory of one process."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import SettingsError, SourceUnavailableError, UnsupportedError
from dbgear_airflow_provider.core.registries import RegistryCache


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Source:
    """A source that answers when it is let, and counts how often it was asked."""

    def __init__(self, answer: Any = None, error: Exception | None = None) -> None:
        self.answer, self.error = answer, error
        self.asked = 0
        self.ended = 0
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def read(self) -> Any:
        self.asked += 1
        self.is_asked.set()
        try:
            await self.may_answer.wait()
            if self.error is not None:
                raise self.error
            return self.answer
        finally:
            self.ended += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def cache(clock: Clock, events: list[tuple[str, str]]) -> RegistryCache:
    return RegistryCache(60, timer=clock, on_event=lambda *event: events.append(event))


async def test_an_answer_is_kept_until_its_time_is_over(cache: RegistryCache, clock: Clock) -> None:
    source = Source(1)
    assert [await cache.answer("crm", "count", source.read) for _ in range(3)] == [1, 1, 1]
    clock.now_s += 59.9
    assert await cache.answer("crm", "count", source.read) == 1
    assert source.asked == 1
    clock.now_s += 0.2
    source.answer = 2
    assert await cache.answer("crm", "count", source.read) == 2
    assert (cache.statistics.hits, cache.statistics.misses, cache.statistics.errors) == (3, 2, 0)


async def test_sources_and_questions_have_answers_of_their_own(cache: RegistryCache, events: list[Any]) -> None:
    assert await cache.answer("crm", "count", Source(1).read) == 1
    assert await cache.answer("billing", "count", Source(2).read) == 2
    assert await cache.answer("crm", "list", Source([3]).read) == [3]
    assert await cache.answer("crm", "count", Source().read) == 1
    assert events == [("miss", "crm"), ("miss", "billing"), ("miss", "crm"), ("hit", "crm")]


async def test_empty_answers_are_answers(cache: RegistryCache) -> None:
    for answer in (0, [], {}, None):
        source = Source(answer)
        assert [await cache.answer("crm", repr(answer), source.read) for _ in range(2)] == [answer, answer]
        assert source.asked == 1


async def test_the_answer_that_was_not_used_for_longest_goes_first(clock: Clock) -> None:
    cache = RegistryCache(60, max_entries=2, timer=clock)
    for question in ("a", "b", "a", "c"):
        await cache.answer("crm", question, Source(question).read)
    assert await cache.answer("crm", "a", Source("read again").read) == "a"
    assert await cache.answer("crm", "b", Source("read again").read) == "read again"


async def test_a_caller_may_change_what_it_got(cache: RegistryCache) -> None:
    source = Source({"plan": {"seats": [1]}})
    for _ in range(3):
        config = await cache.answer("crm", "config T1", source.read)
        assert config == {"plan": {"seats": [1]}}
        config["plan"]["seats"].append(2)
        config["more"] = True
    one, other = await asyncio.gather(*(cache.answer("crm", "config T2", source.read) for _ in range(2)))
    one["more"] = True
    assert "more" not in other


async def test_invalidating_forgets_one_source(cache: RegistryCache) -> None:
    await cache.answer("crm", "a", Source(1).read)
    await cache.answer("crm", "b", Source(2).read)
    await cache.answer("billing", "a", Source(3).read)
    await cache.invalidate("crm")
    assert await cache.answer("crm", "a", Source(10).read) == 10
    assert await cache.answer("crm", "b", Source(20).read) == 20
    assert await cache.answer("billing", "a", Source(30).read) == 3
    await cache.invalidate("never asked")


async def test_what_was_read_before_the_invalidation_is_neither_kept_nor_given_to_later_questions(
    cache: RegistryCache,
) -> None:
    before, after = Source("before"), Source("after")
    before.may_answer.clear()
    early = asyncio.create_task(cache.answer("crm", "list", before.read))
    await before.is_asked.wait()
    await cache.invalidate("crm")
    assert await cache.answer("crm", "list", after.read) == "after"
    before.may_answer.set()
    assert await early == "before"
    assert await cache.answer("crm", "list", after.read) == "after"
    assert after.asked == 1


async def test_simultaneous_questions_read_once(cache: RegistryCache) -> None:
    source = Source(["T1"])
    source.may_answer.clear()
    asked = [asyncio.create_task(cache.answer("crm", "list", source.read)) for _ in range(50)]
    await source.is_asked.wait()
    source.may_answer.set()
    assert await asyncio.gather(*asked) == [["T1"]] * 50
    assert source.asked == 1
    assert (cache.statistics.hits, cache.statistics.misses) == (49, 1)


async def test_an_error_is_everybodys_and_is_not_kept(cache: RegistryCache) -> None:
    source = Source("fine", SourceUnavailableError("crm: no answer"))
    source.may_answer.clear()
    asked = [asyncio.create_task(cache.answer("crm", "list", source.read)) for _ in range(5)]
    await source.is_asked.wait()
    source.may_answer.set()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [SourceUnavailableError] * 5
    assert source.asked == 1
    source.error = None
    assert await cache.answer("crm", "list", source.read) == "fine"


@pytest.mark.parametrize("cancelled", [0, 1], ids=["the first", "another"])
async def test_one_that_gives_up_takes_nothing_from_the_others(cache: RegistryCache, cancelled: int) -> None:
    source = Source("read")
    source.may_answer.clear()
    asked = [asyncio.create_task(cache.answer("crm", "list", source.read)) for _ in range(3)]
    await source.is_asked.wait()
    asked[cancelled].cancel()
    await asyncio.wait([asked[cancelled]])
    source.may_answer.set()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(results.pop(cancelled), asyncio.CancelledError)
    assert results == ["read", "read"]
    assert source.asked == 1


async def test_the_reading_ends_when_nobody_waits_for_it(cache: RegistryCache) -> None:
    source = Source("read")
    source.may_answer.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.gather(*(cache.answer("crm", "list", source.read) for _ in range(3)))
    assert (source.asked, source.ended) == (1, 1)
    source.may_answer.set()
    assert await cache.answer("crm", "list", source.read) == "read"


async def test_whoever_asks_while_a_given_up_reading_ends_reads_anew(cache: RegistryCache) -> None:
    ending = asyncio.Event()

    async def read() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await ending.wait()
        return "never"

    first = asyncio.create_task(cache.answer("crm", "list", read))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    assert await cache.answer("crm", "list", Source("anew").read) == "anew"
    ending.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await cache.answer("crm", "list", Source("not read").read) == "anew"


async def test_a_question_may_ask_another_one(cache: RegistryCache) -> None:
    async def config() -> str:
        return "config of " + await cache.answer("crm", "tenant", Source("T1").read)

    assert await cache.answer("crm", "config", config) == "config of T1"


def test_a_cache_outlives_an_event_loop() -> None:
    cache = RegistryCache(60)
    ask: Callable[[], Awaitable[int]] = lambda: cache.answer("crm", "count", Source(1).read)  # noqa: E731
    assert [asyncio.run(_awaited(ask)) for _ in range(2)] == [1, 1]
    assert cache.statistics.hits == 1


async def _awaited(ask: Callable[[], Awaitable[int]]) -> int:
    return await ask()


@pytest.mark.parametrize("ttl_s", [0, -1, math.nan])
def test_a_cache_keeps_for_some_time(ttl_s: float) -> None:
    with pytest.raises(ValueError, match="ttl_s"):
        RegistryCache(ttl_s)


async def test_closing_is_safe_to_repeat(cache: RegistryCache) -> None:
    await cache.aclose()
    await cache.aclose()
    assert await cache.answer("crm", "count", Source(1).read) == 1


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://:s3cret-word@localhost",
        "redis://:s3cret-word@localhost:port/0",
        "redis://:s3cret-word@localhost/0?no_such_option=1",
        "redis://:s3cret-word@localhost/0?socket_timeout=soon",
        "redis://:s3cret-word@[::1/0",
        "",
    ],
)
def test_a_redis_url_that_is_none_is_told_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        RegistryCache(60, redis_url=url)
    assert caught.value.details["where"] == "redis_url"
    assert "rediss://" in str(caught.value)
    assert "s3cret-word" not in str(caught.value) + repr(caught.value.details)
    assert caught.value.__cause__ is None


def test_without_the_package_redis_there_is_a_word_on_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(UnsupportedError, match=r"airflow-provider-dbgear\[redis\]"):
        RegistryCache(60, redis_url="redis://localhost")
    RegistryCache(60)
