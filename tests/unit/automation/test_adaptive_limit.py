"""The adaptive limit against a simulated server: work is shared equally among the tenants that run."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from dbgear_airflow_provider.core.automation.fanout import AdaptiveLimit

FIXED = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
TENANTS = 4000


class Simulation:
    """A server that does `capacity` tenants at once at full speed; each further one costs all of them `overload`."""

    def __init__(self, capacity: float, overload: float = 0, spread: float = 0) -> None:
        self.capacity = capacity
        self.overload = overload
        self.spread = spread
        self.now_s = 0.0

    def run(self, tenants: int, limit: Callable[[], int], done: Callable[[], None] = lambda: None) -> float:
        """Return the tenants per second of a whole run."""
        random_ = random.Random(1)  # noqa: S311
        begun_s, work, ends, started = self.now_s, 0.0, list[float](), 0
        for _ in range(tenants):
            while started < tenants and len(ends) < limit():
                heapq.heappush(ends, work + max(0.05, random_.gauss(1, self.spread)))
                started += 1
            running = len(ends)
            speed = min(running, self.capacity) / (1 + self.overload * max(0, running - self.capacity)) / running
            end = heapq.heappop(ends)
            self.now_s += (end - work) / speed
            work = end
            done()
        return tenants / (self.now_s - begun_s)

    def adaptive(self, tenants: int, gate: AdaptiveLimit) -> float:
        return self.run(tenants, lambda: gate.limit, gate.done)

    def best(self) -> float:
        return max(self.run(TENANTS // 4, lambda fixed=fixed: fixed) for fixed in FIXED)  # type: ignore[misc]


def gate_for(server: Simulation, maximum: int = 32) -> AdaptiveLimit:
    return AdaptiveLimit(maximum, clock=lambda: server.now_s)


@pytest.mark.parametrize("spread", [0, 0.3])
@pytest.mark.parametrize("overload", [0, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("capacity", [1, 2, 4, 8, 16])
def test_it_reaches_80_percent_of_the_best_fixed_limit(capacity: int, overload: float, spread: float) -> None:
    server = Simulation(capacity, overload, spread)
    best = server.best()
    assert server.adaptive(TENANTS, gate_for(server)) >= 0.8 * best


@pytest.mark.parametrize("maximum", [1, 2, 3, 5, 20])
def test_it_stays_between_one_and_the_maximum(maximum: int) -> None:
    server = Simulation(8, 0.1, 0.5)
    gate = gate_for(server, maximum)
    seen = set()
    server.run(2000, lambda: seen.add(gate.limit) or gate.limit, gate.done)  # type: ignore[func-returns-value]
    assert min(seen) >= 1
    assert max(seen) <= maximum


def test_it_follows_a_server_that_changes() -> None:
    server = Simulation(16, 0.1, 0.2)
    gate = gate_for(server)
    server.adaptive(TENANTS, gate)
    server.capacity = 2
    server.adaptive(TENANTS, gate)
    assert server.adaptive(TENANTS, gate) >= 0.8 * server.best()
    server.capacity = 16
    server.adaptive(2 * TENANTS, gate)
    assert server.adaptive(TENANTS, gate) >= 0.8 * server.best()


def test_it_backs_off_when_the_server_suffers_and_recovers() -> None:
    server = Simulation(16, 0, 0.1)
    gate = gate_for(server)
    server.adaptive(TENANTS, gate)
    before = gate.limit
    assert before >= 12
    gate.suffer()
    assert gate.limit == before // 2
    for _ in range(3):
        server.adaptive(before, gate)
        gate.suffer()
    assert gate.limit <= 2
    server.adaptive(TENANTS, gate)
    assert gate.limit >= 12


def test_one_burst_of_errors_halves_it_once() -> None:
    server = Simulation(16)
    gate = gate_for(server)
    server.adaptive(TENANTS, gate)
    before = gate.limit
    gate.running = before
    for _ in range(before):
        gate.suffer()
    assert gate.limit == before // 2
