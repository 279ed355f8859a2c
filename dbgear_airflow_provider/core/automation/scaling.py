"""How many tenants a target is worked on at once: its pool's slots follow the load, within bounds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..errors import LockTimeoutError, OperationTimeoutError, ServerUnavailableError
from ..fleet import FleetStore
from ..fleet.tables import operations, scalings, tenant_instances
from ..settings import SlotBounds

# What tells that a server has more to do than it can, whatever the tenant.
SUFFERING: Collection[str] = [
    kind.__name__ for kind in (LockTimeoutError, OperationTimeoutError, ServerUnavailableError)
]
_AT_LEAST = 5  # operations, before a share of them says anything


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a target has to do. running, waiting: slots in use, and those that tasks wait for.

    finished: operations in the window; suffered: those of them that failed for the server's sake.
    """

    running: int
    waiting: int
    finished: int
    suffered: int


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What becomes of a pool. slots: from now on; reason: in words; None: it stays as it is."""

    slots: int
    reason: str | None


def scale(slots: int, bounds: SlotBounds, load: Load, *, step: int, suffering_percent: float) -> Scaling:
    """Return how many slots a pool gets. A pure function. step: slots that one task takes.

    Half where the server suffers; a quarter more where all are taken and tasks wait; one task less where nobody needs
    them. Always a whole number of tasks.
    """
    limit = suffering_percent / 100 * load.finished
    if slots < 0:  # Airflow's way to say: without a limit
        wanted, why = bounds.max_slots, "it was without a limit"
    elif load.finished >= _AT_LEAST and load.suffered > limit:
        wanted, why = slots // 2, f"{load.suffered} of {load.finished} operations failed for the server's sake"
    elif load.waiting and load.running > slots - step:
        wanted, why = slots + max(step, slots // 4), f"all {slots} slots are taken, tasks wait for {load.waiting} more"
    elif load.running + load.waiting <= slots // 2 and slots > bounds.min_slots:
        wanted, why = slots - step, f"{load.running} of {slots} slots are in use"
    else:
        wanted, why = slots, ""
    least, most = -(-bounds.min_slots // step) * step, max(step, bounds.max_slots // step * step)
    after = max(least, min(most, wanted // step * step if why else wanted))
    if after == slots:
        return Scaling(slots=slots, reason=None)
    return Scaling(slots=after, reason=why or f"the bounds are {bounds.min_slots} to {bounds.max_slots}")


async def operations_of(store: FleetStore, target: str, window_min: float) -> tuple[int, int]:
    """Return how many operations on a target's tenants have ended in the last minutes, and how many suffered."""
    since = datetime.now(UTC) - timedelta(minutes=window_min)
    here = sa.select(tenant_instances.c.tenant_id).where(tenant_instances.c.target == target)
    suffered = sa.func.sum(sa.case((operations.c.error_kind.in_(SUFFERING), 1), else_=0))
    query = sa.select(sa.func.count().label("finished"), suffered.label("suffered"))
    (row,) = await store.rows(
        query.where(operations.c.started_at >= since, ~operations.c.dry_run, operations.c.tenant_id.in_(here))
    )
    return int(row["finished"]), int(row["suffered"] or 0)


async def record_scaling(store: FleetStore, target: str, before: int, scaling: Scaling, load: Load) -> None:
    """Keep a change of a pool in the fleet store."""
    row: Mapping[str, Any] = {
        "target": target,
        "at": datetime.now(UTC),
        "slots_before": before,
        "slots_after": scaling.slots,
        "reason": scaling.reason,
        "load": vars(load),
    }
    await store.insert(scalings, row)
