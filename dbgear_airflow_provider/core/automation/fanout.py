"""Bounded, timed, adaptive work on many tenants: one result per tenant, whatever happens to the others."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..engines import borrowing
from ..errors import (
    DbgearError,
    LockTimeoutError,
    OperationTimeoutError,
    ServerUnavailableError,
    TransientError,
)
from .results import OperationResult, OperationStatus

log = logging.getLogger(__name__)

# What tells that a server has more to do than it can.
_SUFFERING = (LockTimeoutError, ServerUnavailableError)
_LONGEST_PAUSE_S = 30

Work = Callable[[str, int], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much at once and how long.

    parallel: tenants at once, at the most. timeout_s: for one tenant, its retries included. attempts: tries of
    one tenant on transient errors, the first included. backoff_s: the longest first pause between tries;
    it doubles with each and is drawn at random, so that tenants that failed together do not come back together.
    """

    parallel: int
    timeout_s: float = 300
    attempts: int = 3
    backoff_s: float = 0.5

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ValueError(f"parallel is at least 1, not {self.parallel}")


class AdaptiveLimit:
    """How many tenants to work on now: between 1 and `maximum`, by what the server makes of it.

    It has a home, the best limit so far, and now and then tries the next rung of the ladder above or below it for
    one window of completions. More at once must gain GAIN to become the new home, fewer must only not lose. While
    a direction pays it goes on; where neither does, it tries ever more seldom. When the server suffers (locks
    waited for in vain, connections refused) the limit halves. running: tenants that are worked on, which its user
    counts.
    """

    LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
    START = 4
    GAIN = 1.05
    HOLD = (4, 32)  # windows at home between two tries: at first, and at the most
    AFTER_SUFFERING = 8
    SMOOTHING = 0.3

    def __init__(self, maximum: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.maximum = maximum
        self.limit = min(self.START, maximum)
        self.running = 0
        self._clock = clock
        self._home = self.limit
        self._rate: float | None = None  # completions a second at home
        self._up = True
        self._hold, self._wait = self.HOLD[0], 0
        self._grace = 0  # completions until the limit may halve again
        self._open_window()

    def done(self) -> None:
        """Count a finished tenant and set the limit anew at the end of a window."""
        self._done += 1
        if self._done >= self._window:
            self._adapt(self._done / max(self._clock() - self._since, 1e-9))

    def suffer(self) -> None:
        """Halve the limit, once for all the tenants that run now."""
        if self._done >= self._grace:
            self._home, self._rate = max(1, self.limit // 2), None
            self._up, self._wait = True, self.AFTER_SUFFERING
            self._set(self._home)
            self._grace = self.running

    def _adapt(self, rate: float) -> None:
        if self.limit != self._home:  # a try is over
            paid = rate >= (self._rate or 0) * (self.GAIN if self._up else 1)
            if paid:
                self._home, self._rate = self.limit, rate
                self._hold, self._wait = self.HOLD[0], 0
            else:
                self._up = not self._up
                self._wait, self._hold = self._hold, min(2 * self._hold, self.HOLD[1])
                self._set(self._home)
                return
        else:
            self._rate = rate if self._rate is None else self._rate + self.SMOOTHING * (rate - self._rate)
        if self._wait > 0:
            self._wait -= 1
            self._open_window()
        else:
            self._set(self._next())

    def _next(self) -> int:
        """Return the limit to try: the next one in the direction that pays, or where there is none, the other."""
        rungs = sorted({*(rung for rung in self.LADDER if rung < self.maximum), self.maximum, self._home})
        at = rungs.index(self._home)
        if at + (1 if self._up else -1) not in range(len(rungs)):
            self._up = not self._up
        return rungs[max(0, min(len(rungs) - 1, at + (1 if self._up else -1)))]

    def _set(self, limit: int) -> None:
        if limit != self.limit:
            log.debug("tenants at once: %d -> %d", self.limit, limit)
        self.limit = limit
        self._open_window()

    def _open_window(self) -> None:
        self._done = 0
        self._grace = 0
        self._window = max(24, 2 * self.limit)
        self._since = self._clock()


async def fanout(
    tenant_ids: Sequence[str],
    work: Work,
    *,
    operation: str,
    limits: Limits,
    on_result: Callable[[OperationResult], None] = lambda _: None,
) -> list[OperationResult]:
    """Do `work(tenant_id, attempt)` for each tenant; return one result per tenant, in the order of tenant_ids.

    attempt counts from 1. Transient errors are tried again, terminal ones are not; an error that is no
    DbgearError is a defect of ours: it is logged with its trace and becomes that tenant's result as well.
    Connections that an operation has not given back when it ends are closed, and told in its details as
    `leaked_connections`, {target: how many}. on_result is told each result as soon as it is there. Cancelling starts
    no further tenant, cancels the running ones and waits until each has rolled back.
    """
    adaptive = AdaptiveLimit(limits.parallel)
    queue = deque(enumerate(tenant_ids))
    results: dict[int, OperationResult] = {}

    async def watched(tenant_id: str, attempt: int) -> Mapping[str, Any]:
        try:
            return await work(tenant_id, attempt)
        except _SUFFERING:
            adaptive.suffer()  # at each try: one that succeeds in the end tells nothing of this
            raise

    async def worker() -> None:
        while queue and adaptive.running <= adaptive.limit:
            index, tenant_id = queue.popleft()
            with borrowing(tenant_id, operation) as borrower:
                result = await _one(tenant_id, watched, operation, limits)
            if borrower.leaked:
                result = replace(result, details={**(result.details or {}), "leaked_connections": borrower.leaked})
            adaptive.done()
            results[index] = result
            on_result(result)
            hire()
        adaptive.running -= 1

    def hire() -> None:
        for _ in range(min(adaptive.limit - adaptive.running, len(queue))):
            adaptive.running += 1
            group.create_task(worker())

    async with asyncio.TaskGroup() as group:
        hire()
    return [results[index] for index in range(len(tenant_ids))]


async def _one(tenant_id: str, work: Work, operation: str, limits: Limits) -> OperationResult:
    started = time.monotonic()
    attempts = 0
    error: DbgearError
    try:
        async with asyncio.timeout(limits.timeout_s) as limit:
            while True:
                attempts += 1
                try:
                    details = {**await work(tenant_id, attempts), "attempts": attempts}
                    break
                except TransientError:
                    if attempts >= limits.attempts:
                        raise
                longest_s = min(_LONGEST_PAUSE_S, limits.backoff_s * 2 ** (attempts - 1))
                await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311 - no secret
        seconds = time.monotonic() - started
        return OperationResult(tenant_id, operation, OperationStatus.SUCCESS, seconds, details=details)
    except DbgearError as caught:
        error = caught
    except (Exception, asyncio.CancelledError) as caught:
        task = asyncio.current_task()
        if isinstance(caught, asyncio.CancelledError) and task is not None and task.cancelling():
            raise  # it is the fanout that is cancelled, not something within the work
        if isinstance(caught, TimeoutError) and limit.expired():
            error = OperationTimeoutError(f"not done after {limits.timeout_s:g} s", timeout_s=limits.timeout_s)
        else:
            log.exception("tenant %s: unexpected error", tenant_id)
            error = DbgearError(f"unexpected {type(caught).__name__}: {caught}")
    details = {"attempts": attempts, "error_kind": error.kind, "transient": isinstance(error, TransientError)}
    seconds = time.monotonic() - started
    return OperationResult(tenant_id, operation, OperationStatus.ERROR, seconds, error.message, details)
