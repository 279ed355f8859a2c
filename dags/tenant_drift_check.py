"""Compare every tenant with its schema document, tell who has drifted and how, and repair it where that is asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from dbgear_airflow_provider.dag_parts import active_tasks, isolation_param, query_param, scheduled
from dbgear_airflow_provider.hooks.project import project_settings
from dbgear_airflow_provider.notifications.dbgear import DbgearNotifier
from dbgear_airflow_provider.notifications.late import deadline
from dbgear_airflow_provider.operators.drift import DbgearDriftOperator
from dbgear_airflow_provider.operators.plan import DbgearPlanOperator

# Read at parse time: there is a group of tasks for each target, because a task's pool is fixed when it is parsed.
SETTINGS = project_settings()
IN_FLIGHT = SETTINGS.automation.tenants_in_flight
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(minutes=1)}

with DAG(
    "tenant_drift_check",
    description="Compare tenants with their schema documents",
    **scheduled("0 3 * * *"),
    doc_md=__doc__,
    deadline=deadline("tenant_drift_check", SETTINGS.alerts),
    max_active_tasks=active_tasks(SETTINGS),
    params={
        "query": query_param(),
        "isolation": isolation_param(),
        "repair": Param(
            False,
            type="boolean",
            title="Repair",
            description="Bring the tenants that have drifted back to their documents. Otherwise they are only told, "
            "and the run fails where there are any.",
        ),
        "allow_destructive": Param(
            False,
            type="boolean",
            title="Allow what may lose data",
            description="With repair: also drop what the documents do not have, and narrow types. Without it such "
            "tenants are not touched and fail.",
        ),
    },
) as dag:
    for target in SETTINGS.targets:
        with TaskGroup(target):
            drifted = DbgearDriftOperator(
                task_id="check",
                query="{{ params.query }}",
                isolation="{{ params.isolation }}",
                target=target,
                is_repaired="{{ params.repair }}",
                fail_on_drift=True,
                on_failure_callback=DbgearNotifier(),
                pool=f"dbgear_{target}",
                pool_slots=IN_FLIGHT,
                **RETRIES,
            )
            DbgearPlanOperator.partial(
                task_id="repair",
                is_dry_run=False,  # without repair nothing is selected
                allow_destructive="{{ params.allow_destructive }}",
                pool=f"dbgear_{target}",
                pool_slots=IN_FLIGHT,
                map_index_template="{{ task.batch_label }}",
                **RETRIES,
            ).expand(batch=drifted.output)
