"""Transactions that a server rolls back for the sake of another one are done again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random

T = TypeVar("T")

# PostgreSQL's SQLSTATE, MySQL's errno: https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference
_DEADLOCKS = {"40P01", "40001", 1205, 1213}
_ATTEMPTS = 8


async def again(write: Callable[[], Awaitable[T]]) -> T:
    """Do a transaction, again where it was the victim of a deadlock."""
    retrying = AsyncRetrying(
        retry=retry_if_exception(_is_deadlock),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random(0, 0.2),
        reraise=True,
    )
    async for attempt in retrying:
        with attempt:
            done = await write()
    return done


def _is_deadlock(error: BaseException) -> bool:
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    codes = {getattr(error.orig, "sqlstate", None), *error.orig.args[:1]}
    return not codes.isdisjoint(_DEADLOCKS)
