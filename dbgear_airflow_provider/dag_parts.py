"""What the DAGs of the provider have in common: schedules, limits, and fields of their forms."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

from airflow.sdk import CronTriggerTimetable, Param

from .core.settings import MultiTenantSettings
from .core.tenants import IsolationStrategy


def scheduled(expression: str) -> dict[str, Any]:
    """Return the arguments of a DAG that runs by itself once somebody has unpaused it, one run at a time, in UTC.

    Without a run for what is past as soon as it is unpaused. run_immediately=False would let it run until a tenth of
    the time to the next run has gone: CronTriggerTimetable of Airflow 3.3 takes False as None.
    """
    return {
        "schedule": CronTriggerTimetable(expression, timezone="UTC", run_immediately=timedelta()),
        "catchup": False,
        "max_active_runs": 1,
        "is_paused_upon_creation": True,
        "tags": ["dbgear"],
    }


def active_tasks(settings: MultiTenantSettings) -> int:
    """Return the `max_active_tasks` of a DAG: the pool is the limit, Airflow's own caps must not bite first."""
    return max(64, settings.automation.max_mapped_tasks)


def query_param() -> Param:
    """Return the field for a tenant query."""
    return Param(
        "status = 'active'",
        type="string",
        minLength=1,
        title="Which tenants",
        description_md="In the tenant query language: `tier IN ('premium', 'enterprise') AND region = 'japan'`",
        examples=["status = 'active'", "tier IN ('premium', 'enterprise')", "tenant_id = 'T0001'"],
    )


def isolation_param() -> Param:
    """Return the field for isolation strategies."""
    strategies = list(get_args(IsolationStrategy))
    return Param(
        [],
        type="array",
        items={"type": "string", "enum": strategies},
        examples=strategies,
        title="Isolation",
        description="Only tenants of these isolation strategies; none chosen means all.",
    )


def in_flight_param(settings: MultiTenantSettings) -> Param:
    """Return the field for how many tenants a task works on at once, up to the project's own number."""
    in_flight = settings.automation.tenants_in_flight
    return Param(
        in_flight,
        type="integer",
        minimum=1,
        maximum=in_flight,
        title="Tenants in flight",
        description="Tenants that one task works on at once. The project file sets the most it may be.",
    )
