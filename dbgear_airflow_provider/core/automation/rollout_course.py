"""How a rollout begins and ends in the fleet store."""

from __future__ import annotations

from ..fleet import RolloutRecord, RolloutStore
from .rollout_plan import RolloutPlan


async def begin_rollout(store: RolloutStore, plan: RolloutPlan, there: RolloutRecord | None, *, retries: bool) -> int:
    """Write a plan into the store, from where on the rollout is running; return how many failed instances it retries.

    there: the rollout that goes on, None: it is new. retries: whether those that failed are tried again. Safe to
    repeat.
    """
    if there is None:
        there = await store.create(
            plan.rollout_id,
            version=plan.version,
            query=plan.request.query,
            stages=[stage.details() for stage in plan.cut.stages],
            options={**plan.request.options(), "scripts": plan.scripts_told()},
        )
    await store.add_members(plan.rollout_id, plan.cut.records(there.stages, plan.versions))
    count = await store.retry(plan.rollout_id) if retries else 0
    await store.set_status(plan.rollout_id, "running", of=["stopped", "paused", "done"])
    return count


async def end_rollout(store: RolloutStore, rollout_id: str) -> None:
    """Note that nobody works on a running rollout any more: it is done, or stopped where somebody was not reached."""
    counts = await store.counts(rollout_id)
    is_done = not counts.get("failed") and not counts.get("pending")
    await store.set_status(rollout_id, "done" if is_done else "stopped", of=["running"])
