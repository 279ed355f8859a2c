"""Answers of registries in a Redis that workers share, and what happens when it fails."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from collections.abc import AsyncIterator, Callable
from datetime import date
from typing import Any

import pytest
import pytest_asyncio
from pydantic import TypeAdapter

from dbgear_airflow_provider.core.registries import RegistryCache, cache_redis
from tests.servers import Redis

NUMBER = TypeAdapter(int)
CONFIG = TypeAdapter(dict[str, Any])
TEXTS = TypeAdapter(list[str])


class Clock:
    """Goes on by itself, and may be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


class Source:
    """A source whose answer is another number each time: 1, 2, ..."""

    def __init__(self) -> None:
        self.asked = 0
        self.number = 0

    async def read(self) -> int:
        self.asked += 1
        self.number += 1
        return self.number

    def fixed(self, answer: Any) -> Callable[[], Any]:
        async def read() -> Any:
            self.asked += 1
            return answer

        return read


Worker = Callable[..., RegistryCache]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def worker(redis_server: Redis, clock: Clock) -> AsyncIterator[Worker]:
    """Make the cache of one more worker."""
    caches: list[RegistryCache] = []

    def make(ttl_s: float = 60, url: str = redis_server.url, **options: Any) -> RegistryCache:
        caches.append(RegistryCache(ttl_s, redis_url=url, timer=clock, **options))
        return caches[-1]

    yield make
    for cache in caches:
        await cache.aclose()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, redis_server: Redis) -> Callable[[], list[str]]:
    """Return what was logged since the last call; never the password."""
    caplog.set_level(logging.DEBUG)

    def messages() -> list[str]:
        found = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
        assert redis_server.password not in caplog.text
        assert redis_server.url not in caplog.text
        caplog.clear()
        return found

    return messages


def keys(server: Redis) -> dict[str, str]:
    with server.client() as client:
        return {key: client.get(key) for key in client.keys("*")}


async def count(cache: RegistryCache, source: Source) -> int:
    return await cache.answer("crm", "count", source.read, NUMBER)


async def test_workers_share_answers(worker: Worker, source: Source) -> None:
    one, other = worker(), worker()
    assert [await count(cache, source) for cache in (one, other, other, one)] == [1, 1, 1, 1]
    assert (one.statistics.hits, one.statistics.misses) == (1, 1)
    assert (other.statistics.hits, other.statistics.misses) == (2, 0)
    assert one.statistics.errors == other.statistics.errors == 0


async def test_one_invalidates_for_all(worker: Worker, source: Source) -> None:
    one, other, third = worker(), worker(), worker()
    assert [await count(cache, source) for cache in (one, other)] == [1, 1]
    assert await other.answer("billing", "count", source.fixed(10), NUMBER) == 10
    await one.invalidate("crm")
    assert [await count(cache, source) for cache in (other, one, third)] == [2, 2, 2]
    assert await third.answer("billing", "count", source.fixed(20), NUMBER) == 10


async def test_what_was_read_before_an_invalidation_elsewhere_is_given_to_nobody_later(
    worker: Worker, source: Source
) -> None:
    one, other = worker(), worker()
    reads, may_end = asyncio.Event(), asyncio.Event()

    async def slowly() -> int:
        reads.set()
        await may_end.wait()
        return 1

    early = asyncio.create_task(one.answer("crm", "count", slowly, NUMBER))
    await reads.wait()
    await other.invalidate("crm")
    may_end.set()
    assert await early == 1
    assert await other.answer("crm", "count", source.fixed(2), NUMBER) == 2
    assert await one.answer("crm", "count", source.fixed(3), NUMBER) == 2


async def test_keys_tell_nothing_and_end(worker: Worker, redis_server: Redis) -> None:
    cache = worker(ttl_s=60)
    await cache.answer("postgresql://crm.example/db", "tenant Acme", Source().fixed(["T1", "テナント"]), TEXTS)
    with redis_server.client() as client:
        names = client.keys("*")
        assert len(names) == 2
        lives = {name.endswith(":generation"): client.ttl(name) for name in names}
    assert not any("crm" in name or "Acme" in name for name in names)
    assert 55 <= lives[False] <= 60
    assert lives[True] > 24 * 3600


async def test_an_answer_from_redis_is_kept_for_the_rest_of_its_time(
    worker: Worker, source: Source, redis_server: Redis, clock: Clock
) -> None:
    await count(worker(ttl_s=60), source)
    with redis_server.client() as client:
        (answer,) = [key for key in client.keys("*") if not key.endswith(":generation")]
        client.expire(answer, 10)  # as if 50 seconds had gone by
        cache = worker(ttl_s=60)
        assert await count(cache, source) == 1
        client.delete(answer)
        clock.ahead_s += 8
        assert await count(cache, source) == 1
        clock.ahead_s += 3
        assert await count(cache, source) == 2


async def test_answers_are_json_and_come_back_as_they_were(worker: Worker, source: Source, redis_server: Redis) -> None:
    config = {"plan": {"seats": 3, "ratio": 0.5, "on": True, "none": None}, "名前": ["テナント", ""]}
    assert await worker().answer("crm", "config", source.fixed(config), CONFIG) == config
    assert await worker().answer("crm", "config", source.fixed({}), CONFIG) == config
    assert '"seats":3' in "".join(keys(redis_server).values())


@pytest.mark.parametrize(
    "config",
    [{"since": date(2026, 1, 1)}, {"by": {1: "one"}}, {"x": float("nan")}, {"x": (1, 2)}, {"x": b"1"}, {"x": object}],
    ids=lambda config: repr(config)[:20],
)
async def test_what_json_would_change_stays_in_the_process(worker: Worker, source: Source, config: Any) -> None:
    one = worker()
    for _ in range(2):
        assert repr(await one.answer("crm", "config", source.fixed(config), CONFIG)) == repr(config)
    assert source.asked == 1
    await worker().answer("crm", "config", source.fixed(config), CONFIG)
    assert source.asked == 2
    assert one.statistics.errors == 0


async def test_answers_without_a_form_stay_in_the_process(worker: Worker, source: Source) -> None:
    one, other = worker(), worker()
    assert await one.answer("crm", "x", source.read) == await one.answer("crm", "x", source.read) == 1
    assert await other.answer("crm", "x", source.read) == 2
    await one.invalidate("crm")
    assert await other.answer("crm", "x", source.read) == 3


async def test_large_answers_stay_in_the_process(worker: Worker, source: Source, redis_server: Redis) -> None:
    large = ["x" * 1000] * 9000
    cache = worker()
    for _ in range(2):
        assert await cache.answer("crm", "list", source.fixed(large), TEXTS) == large
    assert source.asked == 1
    assert all(len(content) < 100 for content in keys(redis_server).values())


@pytest.mark.parametrize("garbage", [b"", b"[", b'{"a": 1}', b"null", b"\xff\xfe", b"[" * 100_000])
async def test_garbage_is_a_miss_and_is_replaced(
    worker: Worker, source: Source, redis_server: Redis, told: Any, garbage: bytes
) -> None:
    await count(worker(), source)
    with redis_server.client() as client:
        (answer,) = [key for key in client.keys("*") if not key.endswith(":generation")]
        client.set(answer, garbage)
        cache = worker()
        assert await count(cache, source) == 2
        assert client.get(answer) == "2"
    assert cache.statistics.errors == 1
    (message,) = told()
    assert "no answer of crm" in message


async def test_garbage_is_told_once(worker: Worker, source: Source, redis_server: Redis, told: Any) -> None:
    for number in range(3):
        await worker().answer("crm", str(number), source.read, NUMBER)
    with redis_server.client() as client:
        for key in client.keys("*"):
            if not key.endswith(":generation"):
                client.set(key, "garbage-of-a-customer")
    cache = worker()
    for number in range(3):
        assert await cache.answer("crm", str(number), source.read, NUMBER) > 3
    (message,) = told()
    assert "garbage-of-a-customer" not in message


class Bomb:
    exploded = False

    def __reduce__(self) -> Any:
        return setattr, (Bomb, "exploded", True)


async def test_whoever_can_write_to_redis_runs_nothing_here(
    worker: Worker, source: Source, redis_server: Redis
) -> None:
    await count(worker(), source)
    with redis_server.client() as client:
        for key in client.keys("*"):
            client.set(key, pickle.dumps(Bomb()))
    for question in ("count", "other"):
        assert await worker().answer("crm", question, source.read, NUMBER) > 1
    assert not Bomb.exploded


async def test_keys_of_another_type_are_no_error(worker: Worker, source: Source, redis_server: Redis) -> None:
    await count(worker(), source)
    with redis_server.client() as client:
        for key in client.keys("*"):
            client.delete(key)
            client.lpush(key, "x")
    assert await count(worker(), source) == 2


async def test_a_redis_that_is_gone_means_slower(
    worker: Worker, source: Source, redis_server: Redis, clock: Clock, told: Any
) -> None:
    cache = worker()
    assert await count(cache, source) == 1
    redis_server.crash()
    for _ in range(20):  # memory still has it, though nobody can tell whether another worker has invalidated it
        assert await count(cache, source) == 1
    assert [await cache.answer("crm", str(number), source.read, NUMBER) for number in range(5)] == [2, 3, 4, 5, 6]
    (message,) = told()
    assert (
        f"Redis at {redis_server.host}:{redis_server.port} does not answer (ConnectionError, ConnectionRefusedError)"
        in message
    )
    assert cache.statistics.errors == 1  # left alone after the first one
    clock.ahead_s += 5
    assert await cache.answer("crm", "more", source.read, NUMBER) == 7
    assert cache.statistics.errors == 2
    assert told() == []


async def test_a_redis_that_is_back_is_used_again(
    worker: Worker, source: Source, redis_server: Redis, clock: Clock, told: Any
) -> None:
    one, other = worker(), worker()
    await count(one, source)
    redis_server.crash()
    await count(one, source)
    redis_server.start()
    assert await count(one, source) == 1
    assert len(told()) == 1
    clock.ahead_s += 5
    assert await count(one, source) == 2  # what Redis knew is gone: nobody can tell whether it is still right
    assert await count(other, source) == 2
    (message,) = told()
    assert message == f"Redis at {redis_server.host}:{redis_server.port} answers again"
    redis_server.crash()
    await count(one, source)
    assert len(told()) == 1


async def test_a_worker_that_starts_without_redis(worker: Worker, source: Source, redis_server: Redis) -> None:
    redis_server.stop()
    cache = worker()
    assert await count(cache, source) == await count(cache, source) == 1


async def test_a_redis_that_was_restarted_between_two_questions_is_no_failure(
    worker: Worker, source: Source, redis_server: Redis, told: Any
) -> None:
    cache = worker()
    await count(cache, source)
    redis_server.stop()
    redis_server.start()
    assert await count(cache, source) == 2
    assert cache.statistics.errors == 0
    assert told() == []


async def test_a_redis_that_hangs_costs_one_short_wait(
    worker: Worker, source: Source, redis_server: Redis, clock: Clock, told: Any
) -> None:
    cache, other = worker(), worker()
    await count(cache, source)
    redis_server.freeze()
    began = time.monotonic()
    for number in range(10):
        assert await cache.answer("crm", str(number), source.read, NUMBER) == number + 2
    assert await count(cache, source) == 1
    assert time.monotonic() - began < 1.5
    assert len(told()) == 1
    began = time.monotonic()
    answers = await asyncio.gather(*(other.answer("crm", f"all {n}", source.fixed(n), NUMBER) for n in range(50)))
    assert answers == list(range(50))
    assert time.monotonic() - began < 2
    assert len(told()) == 1
    redis_server.thaw()
    clock.ahead_s += 5
    # No late answer of Redis is taken for the answer to another question.
    for thawed in (cache, other):
        answers = [await thawed.answer("crm", f"anew {n}", source.fixed(n), NUMBER) for n in range(20)]
        assert answers == list(range(20))
    assert await worker().answer("crm", "anew 7", source.read, NUMBER) == 7
    assert len(told()) == 2


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_question_that_is_given_up_leaves_no_answer_for_the_next(
    worker: Worker, source: Source, redis_server: Redis, hangs: bool
) -> None:
    cache = worker()
    for number in range(3):
        await worker().answer("crm", str(number), source.fixed(number), NUMBER)
    for turns in range(0, 60, 3):  # at any point of a command
        cache._memory.clear()
        if hangs:
            redis_server.freeze()
        asked = [asyncio.create_task(cache.answer("crm", str(number), source.read, NUMBER)) for number in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)
        redis_server.thaw()
        for number in range(3):
            assert await cache.answer("crm", str(number), source.read, NUMBER) == number
    assert cache.statistics.errors == 0
    assert source.asked == 3


async def test_a_wrong_password_is_told_once(worker: Worker, source: Source, redis_server: Redis, told: Any) -> None:
    cache = worker(url=redis_server.url.replace("redis%3Ap%40ss", "wr0ng-password"))
    for _ in range(5):
        assert await count(cache, source) == 1
    (message,) = told()
    assert "AuthenticationError" in message
    assert "wr0ng-password" not in message


async def test_a_full_redis_still_answers_and_still_invalidates(
    worker: Worker, source: Source, redis_server: Redis, told: Any
) -> None:
    one, other = worker(), worker()
    assert [await count(cache, source) for cache in (one, other)] == [1, 1]
    with redis_server.client() as client:
        client.config_set("maxmemory", "1")
        for number in range(5):
            await one.answer("crm", str(number), source.fixed(number), NUMBER)
        assert [await count(cache, source) for cache in (one, worker())] == [1, 1]
        (message,) = told()
        assert "does not take answers (OutOfMemoryError)" in message
        await one.invalidate("crm")
        assert [await count(cache, source) for cache in (one, other)] == [2, 3]  # each reads for itself
        assert [await count(cache, source) for cache in (one, other)] == [2, 3]
        assert len(told()) == 1  # of `other`, which had not written before
        client.config_set("maxmemory", "0")


async def test_a_full_redis_that_has_room_again_is_used_again(
    worker: Worker, source: Source, redis_server: Redis, clock: Clock, told: Any
) -> None:
    one, other = worker(), worker()
    with redis_server.client() as client:
        client.config_set("maxmemory", "1")
        assert await count(one, source) == 1
        client.config_set("maxmemory", "0")
        clock.ahead_s += 5
        assert await count(one, source) == 2
        assert await count(other, source) == 2
    assert [message.split("Redis at ")[1].partition(" ")[2][:19] for message in told()] == [
        "does not take answe",
        "takes answers again",
    ]


async def test_a_read_only_replica_answers_and_tells_that_it_cannot_be_invalidated(
    worker: Worker, source: Source, redis_server: Redis, told: Any
) -> None:
    cache = worker()
    assert await count(cache, source) == 1
    with redis_server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")  # a primary that is away: its data stay, read-only
        assert await count(worker(), source) == 1
        for number in range(3):
            assert await cache.answer("crm", str(number), source.fixed(number), NUMBER) == number
        (message,) = told()
        assert "does not take answers (ReadOnlyError)" in message
        await cache.invalidate("crm")
        (message,) = told()
        assert "cannot be told that the answers of crm are out of date (ReadOnlyError)" in message
        assert "up to 60 s" in message
        assert await count(cache, source) == 2  # not Redis's old answer
        assert await count(cache, source) == 2
        client.execute_command("REPLICAOF", "NO", "ONE")


async def test_an_invalidation_that_redis_missed_is_made_up_for(
    worker: Worker, source: Source, redis_server: Redis, clock: Clock, told: Any
) -> None:
    one, other = worker(), worker()
    assert [await count(cache, source) for cache in (one, other)] == [1, 1]
    redis_server.freeze()
    await one.invalidate("crm")
    assert any("other workers may give old ones" in message for message in told())
    assert await count(one, source) == 2
    redis_server.thaw()
    assert await count(one, source) == 2
    clock.ahead_s += 5
    assert [await count(cache, source) for cache in (one, other)] == [3, 3]


async def test_invalidating_asks_a_redis_that_is_left_alone(
    worker: Worker, source: Source, redis_server: Redis
) -> None:
    one, other = worker(), worker()
    await count(one, source)
    redis_server.freeze()
    await one.answer("crm", "x", source.read, NUMBER)
    redis_server.thaw()
    await one.invalidate("crm")
    assert await count(other, source) == 3


async def test_a_thousand_questions_at_once(
    worker: Worker, source: Source, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine the event loop itself stands still for longer than a Redis may.
    monkeypatch.setattr(cache_redis, "_PATIENCE_S", 30)
    one, other = worker(), worker()
    for cache in (one, other):
        answers = await asyncio.gather(*(cache.answer("crm", str(n), source.fixed(n), NUMBER) for n in range(1000)))
        assert answers == list(range(1000))
    assert source.asked == 1000
    assert told() == []


async def test_events_are_told_with_their_source(worker: Worker, source: Source, redis_server: Redis) -> None:
    events: list[tuple[str, str]] = []
    await count(worker(), source)
    cache = worker(on_event=lambda *event: events.append(event))
    await count(cache, source)
    await cache.answer("billing", "count", source.read, NUMBER)
    redis_server.crash()
    await count(cache, source)
    assert events == [("hit", "crm"), ("miss", "billing"), ("error", "crm"), ("hit", "crm")]


async def test_closing_is_safe_to_repeat_and_not_final(worker: Worker, source: Source, redis_server: Redis) -> None:
    cache = worker()
    await count(cache, source)
    await cache.aclose()
    await cache.aclose()
    with redis_server.client() as client:
        assert len([one for one in client.client_list() if one["id"] != str(client.client_id())]) == 0
    assert await count(cache, source) == 1


async def test_closing_does_not_wait_for_a_redis_that_hangs(
    worker: Worker, source: Source, redis_server: Redis
) -> None:
    cache = worker()
    await count(cache, source)
    redis_server.freeze()
    async with asyncio.timeout(2):
        await cache.aclose()


def test_a_cache_outlives_an_event_loop(redis_server: Redis) -> None:
    cache, source = RegistryCache(60, redis_url=redis_server.url), Source()

    async def ask(question: str) -> int:
        try:
            return await cache.answer("crm", question, source.read, NUMBER)
        finally:
            await cache.aclose()

    assert [asyncio.run(ask(question)) for question in "aba"] == [1, 2, 1]
    assert cache.statistics.errors == 0


async def test_a_login_needs_four_commands_and_its_keys(
    worker: Worker, source: Source, redis_server: Redis, told: Any
) -> None:
    with redis_server.client() as client:
        rules = ["on", ">its-password", "~dbgear:registry:*", "-@all", "+get", "+set", "+del", "+pttl"]
        client.execute_command("ACL", "SETUSER", "workers", *rules)
    url = f"redis://workers:its-password@{redis_server.host}:{redis_server.port}"
    one, other = worker(url=url), worker(url=url)
    assert [await count(cache, source) for cache in (one, other)] == [1, 1]
    await other.invalidate("crm")
    assert await count(one, source) == 2
    assert told() == []


@pytest.mark.parametrize("options", ["decode_responses=true", "protocol=3", "max_connections=1"])
async def test_options_of_the_url_change_no_answers(
    worker: Worker, source: Source, redis_server: Redis, options: str
) -> None:
    for _ in range(2):
        assert await worker(url=f"{redis_server.url}?{options}").answer("crm", options, source.read, NUMBER) == 1
    assert source.asked == 1
