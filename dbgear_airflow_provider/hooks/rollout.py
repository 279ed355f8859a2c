"""What can be done to a rollout of a project that is open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

from ..core.automation import OperationResult, RolloutWork, TenantAutomationEngine
from ..core.fleet import Run
from .project import Fleet


async def rollout_work(
    fleet: Fleet,
    rollout_id: str,
    *,
    run: Run | None,
    tell: Callable[[OperationResult], None],
    in_flight: int | None = None,
) -> RolloutWork:
    """Return what can be done to the rollout. Raises InvalidInputError where there is none of that id.

    run: under which id results are kept; None: they are not. tell: told of each result. in_flight: tenants at once.
    """
    record = await fleet.store.rollouts.require(rollout_id)

    def open_engine(
        on_result: Callable[[OperationResult], None] = lambda _: None,
        before_tenant: Callable[[str], Awaitable[None]] | None = None,
    ) -> TenantAutomationEngine:
        def told(result: OperationResult) -> None:
            tell(result)
            on_result(result)

        # Since now: the store of rollouts knows what is done, and one tenant may come twice in a run.
        fresh = replace(run, since=datetime.now(UTC)) if run is not None else None
        return fleet.automation(fresh, told, before_tenant)

    return RolloutWork(
        store=fleet.store,
        record=record,
        settings=fleet.settings.rollout,
        open_engine=open_engine,
        in_flight=in_flight,
    )
