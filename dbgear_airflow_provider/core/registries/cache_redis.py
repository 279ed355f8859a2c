"""`SharedAnswers`: answers of registries in a Redis that all workers share."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ... import __version__
from ..errors import SettingsError, UnsupportedError

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_ANSWER_BYTES = 8 * 2**20
PAUSE_S = 5.0  # for which a Redis that failed is left alone
_PATIENCE_S = 0.5  # for one command, connecting included
_MAX_CONNECTIONS = 8
_GENERATION_S = 30 * 24 * 3600  # a generation that is gone costs misses, so nothing needs to stay for ever
_LONGEST_S = 365 * 24 * 3600


class SharedAnswers:
    """Answers as bytes, each for ttl_s seconds, under keys that tell neither the source nor the question.

    A source has a generation, a random text in Redis that is part of the keys of its answers. To invalidate is to
    delete it: whoever asks next makes another one. Unlike a counter, it cannot come back to an old value when Redis is
    restarted, fails over or drops keys, and a Redis that is full still deletes.

    Nothing here raises because of Redis. What fails is told by one warning for each outage and by on_error(source),
    and Redis is then left alone for PAUSE_S seconds. Reading and writing fail apart: a full Redis and a read-only
    replica still answer. Raises SettingsError for a URL that is none, and UnsupportedError without the package redis.
    """

    def __init__(
        self, redis_url: str, ttl_s: float, *, timer: Callable[[], float], on_error: Callable[[str], None]
    ) -> None:
        self._connect = _connector(redis_url)
        self._place = _place(redis_url)
        self._ttl_s = min(ttl_s, _LONGEST_S)
        self._on_error = on_error
        self._reading = _Breaker(timer)
        self._writing = _Breaker(timer)
        self._owed: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._redis: Any = None
        self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def generation(self, source: str) -> str | None:
        """Return the generation of a source; "" where Redis has none and takes none, None where it does not answer."""
        key = _generation_key(source)
        made = secrets.token_hex(8)
        try:
            if source in self._owed:
                await self._forget(source)
            found = await self._ask(self._reading, source, lambda redis: redis.get(key))
        except _RedisFailsError:
            return None
        if found is None:
            with suppress(_RedisFailsError):
                await self._ask(self._writing, source, lambda redis: redis.set(key, made, ex=_GENERATION_S, nx=True))
                found = await self._ask(self._reading, source, lambda redis: redis.get(key))
        return "" if found is None else found.decode("ascii", "backslashreplace")

    async def get(self, source: str, generation: str, question: str) -> tuple[bytes, float] | None:
        """Return an answer and for how many seconds it is good; None where there is none."""
        key = _answer_key(source, generation, question)

        async def ask(redis: Any) -> Any:
            async with redis.pipeline(transaction=False) as pipeline:
                return await pipeline.get(key).pttl(key).execute()

        try:
            content, left_ms = await self._ask(self._reading, source, ask)
        except _RedisFailsError:
            return None
        # Below 0 it has no end, which is not of our making.
        return None if content is None else (content, self._ttl_s if left_ms < 0 else left_ms / 1000)

    async def put(self, source: str, generation: str, question: str, content: bytes) -> None:
        """Keep an answer, where Redis takes it and it is not too large."""
        if len(content) > MAX_ANSWER_BYTES:
            logger.debug("an answer of %s has %d bytes: too large for Redis", source, len(content))
            return
        key = _answer_key(source, generation, question)
        ttl_ms = max(1, int(self._ttl_s * 1000))
        with suppress(_RedisFailsError):
            await self._ask(self._writing, source, lambda redis: redis.set(key, content, px=ttl_ms))

    async def invalidate(self, source: str) -> None:
        """Make all answers of a source unknown to everybody; where Redis does not take it now, do it later."""
        try:
            await self._forget(source, now=True)
        except _RedisFailsError as failure:
            self._owed.add(source)
            logger.warning(
                "Redis at %s cannot be told that the answers of %s are out of date (%s): other workers may give old "
                "ones for up to %g s",
                self._place,
                source,
                failure,
                self._ttl_s,
            )

    async def aclose(self) -> None:
        """Close the connections. Safe to repeat; asking again connects again."""
        redis, loop, self._redis, self._loop = self._redis, self._loop, None, None
        if redis is not None and loop is asyncio.get_running_loop():
            with suppress(Exception):
                async with asyncio.timeout(_PATIENCE_S):
                    await redis.aclose()

    async def _forget(self, source: str, *, now: bool = False) -> None:
        await self._ask(self._writing, source, lambda redis: redis.delete(_generation_key(source)), now=now)
        self._owed.discard(source)

    async def _ask(
        self, breaker: _Breaker, source: str, command: Callable[[Any], Awaitable[T]], *, now: bool = False
    ) -> T:
        if breaker.is_shut() and not now:
            raise _RedisFailsError("left alone after a failure")
        redis, slots = self._client()
        async with slots:  # not within the time limit: a crowd of questions is no failure of Redis
            if not breaker.lets_through() and not now:
                raise _RedisFailsError("left alone after a failure")
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    answer = await command(redis)
            except Exception as error:  # noqa: BLE001  whatever its client raises, the registry goes on without it
                kind = _kind(error)
                if breaker.fails():
                    logger.warning(
                        "Redis at %s does not %s (%s): registries are slower until it does; asked again every %g s",
                        self._place,
                        "answer" if breaker is self._reading else "take answers",
                        kind,
                        PAUSE_S,
                    )
                self._on_error(source)
                raise _RedisFailsError(kind) from None
        # A full Redis deletes, so that does not tell that it takes answers.
        if not now and breaker.works():
            logger.info("Redis at %s %s again", self._place, "answers" if breaker is self._reading else "takes answers")
        return answer

    def _client(self) -> tuple[Any, asyncio.Semaphore]:
        # Connections belong to an event loop: whoever calls asyncio.run() twice has two.
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._redis, self._loop = self._connect(), loop
            self._slots = asyncio.Semaphore(_MAX_CONNECTIONS)
        return self._redis, self._slots


class _RedisFailsError(Exception):
    """Redis did not do its part, which has been told already."""


@dataclass(slots=True)
class _Breaker:
    """Lets nothing through for PAUSE_S seconds after a failure, and then one question at a time."""

    timer: Callable[[], float]
    is_open: bool = False
    until: float = 0

    def is_shut(self) -> bool:
        return self.is_open and self.timer() < self.until

    def lets_through(self) -> bool:
        if self.is_shut():
            return False
        self.until = self.timer() + PAUSE_S  # matters where it is open: others wait for how this one ends
        return True

    def fails(self) -> bool:
        """Note a failure; return whether it is the first one."""
        is_first, self.is_open, self.until = not self.is_open, True, self.timer() + PAUSE_S
        return is_first

    def works(self) -> bool:
        """Note a success; return whether it ends an outage."""
        was_open, self.is_open = self.is_open, False
        return was_open


def _connector(redis_url: str) -> Callable[[], Any]:
    """Return what makes a client, after a look at the URL."""
    try:  # here, because it is an extra, and takes 0.4 s to import
        from redis import asyncio as redis  # noqa: PLC0415
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError:
        raise UnsupportedError(
            "redis_url needs the package redis: pip install 'airflow-provider-dbgear[redis]'"
        ) from None

    def connect() -> Any:
        pool = redis.ConnectionPool.from_url(
            redis_url,
            socket_timeout=_PATIENCE_S,
            socket_connect_timeout=_PATIENCE_S,
            # Once, at once: Redis closes connections that were idle for long.
            retry=Retry(NoBackoff(), 1),
        )
        # The URL's options go before the arguments, but answers are bytes, and redis-py would give texts.
        pool.connection_kwargs["decode_responses"] = False
        return redis.Redis.from_pool(pool)

    try:
        connect().connection_pool.make_connection()
    except (ValueError, TypeError, LookupError, redis.RedisError):  # an option that does not exist is a TypeError
        raise SettingsError(
            "no URL of Redis", where="redis_url", allowed="redis://, rediss:// or unix://, and options of redis-py"
        ) from None
    return connect


def _kind(error: Exception) -> str:
    """Return the classes of an error and of the system's error behind it. Their texts could hold what the URL holds."""
    behind = error.__cause__ or error.__context__
    told = [error, behind] if isinstance(behind, OSError) else [error]
    return ", ".join(dict.fromkeys(type(each).__name__ for each in told))


def _place(redis_url: str) -> str:
    """Return where Redis is, without login, password and options."""
    parts = urlsplit(redis_url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


def _generation_key(source: str) -> str:
    return f"dbgear:registry:{_digest(source)}:generation"


def _answer_key(source: str, generation: str, question: str) -> str:
    # Another version of the provider may write answers in another form.
    return f"dbgear:registry:{_digest(source)}:{_digest(__version__, generation, question)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
