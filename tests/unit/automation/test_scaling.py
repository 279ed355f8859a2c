"""How many slots a target's pool gets, by what it has to do."""

from __future__ import annotations

from typing import Any

import pytest

from dbgear_airflow_provider.core.automation.scaling import Load, scale
from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.settings import MultiTenantSettings, SlotBounds, check_section

BOUNDS = SlotBounds(min_slots=2, max_slots=16)


def slots(before: int, *, step: int = 2, bounds: SlotBounds = BOUNDS, **load: int) -> int:
    measured = Load(**{"running": 0, "waiting": 0, "finished": 0, "suffered": 0, **load})
    return scale(before, bounds, measured, step=step, suffering_percent=5).slots


@pytest.mark.parametrize(
    ("before", "load", "after"),
    [
        (8, {"running": 8, "waiting": 20}, 10),  # more to do than may be done: a quarter more
        (4, {"running": 4, "waiting": 2}, 6),  # at least a task more
        (8, {"running": 7, "waiting": 2}, 10),  # a task does not fit into the slot that is left
        (16, {"running": 16, "waiting": 99}, 16),
        (15, {"running": 15, "waiting": 99}, 16),
        (8, {"running": 8}, 8),  # busy, but nobody waits
        (8, {"running": 6, "waiting": 1}, 8),  # there is room: the next task begins at once
        (8, {"running": 4}, 6),  # half of it is enough: one task less
        (8, {}, 6),
        (2, {}, 2),
        (8, {"running": 8, "waiting": 20, "finished": 100, "suffered": 6}, 4),  # the server suffers: half
        (8, {"running": 8, "waiting": 20, "finished": 100, "suffered": 5}, 10),
        (8, {"running": 8, "waiting": 20, "finished": 4, "suffered": 4}, 10),  # too few to say anything
        (2, {"finished": 100, "suffered": 100}, 2),
        (40, {"running": 30}, 16),  # somebody has set it beyond the bounds
        (1, {"running": 0}, 2),
        (-1, {"running": 50}, 16),  # without a limit
    ],
)
def test_a_pool_follows_its_load(before: int, load: dict[str, int], after: int) -> None:
    assert slots(before, **load) == after


def test_a_pool_always_holds_whole_tasks() -> None:
    bounds = SlotBounds(min_slots=4, max_slots=14)
    assert slots(6, step=3, bounds=bounds, running=6, waiting=9) == 9
    assert slots(12, step=3, bounds=bounds, running=12, waiting=9) == 12  # 15 would be too many
    assert slots(6, step=3, bounds=bounds) == 6  # 3 would be too few
    assert slots(5, step=3, bounds=bounds, running=3, waiting=9) == 6


def test_what_changes_says_why_and_what_stays_says_nothing() -> None:
    load = Load(running=8, waiting=20, finished=10, suffered=3)
    told = scale(8, BOUNDS, load, step=2, suffering_percent=5)
    assert told.reason == "3 of 10 operations failed for the server's sake"
    load = Load(running=8, waiting=0, finished=10, suffered=0)
    assert scale(8, BOUNDS, load, step=2, suffering_percent=5).reason is None


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ({"main": {"min_slots": 4, "max_slots": 3}}, r"scaling\.targets\.main\.max_slots.*below min_slots.*4 or more"),
        (
            {"main": {"min_slots": 1, "max_slots": 3}},
            r"scaling\.targets\.main\.min_slots.*tenants_in_flight.*2 or more",
        ),
        ({"other": {"min_slots": 2, "max_slots": 3}}, r"scaling\.targets\.other.*no such target.*main"),
    ],
)
def test_bounds_that_cannot_be(targets: dict[str, Any], told: str) -> None:
    document = {
        "tenant_registry": {"config": {"csv": {"path": "t.csv"}}},
        "targets": {"main": {"connection_id": "main"}},
        "scaling": {"connection_id": "airflow", "targets": targets},
    }
    with pytest.raises(SettingsError, match=told):
        check_section(MultiTenantSettings, document, "multi_tenant")
