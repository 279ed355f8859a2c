"""Provision tenants: create the database or schema of each, and what its schema document says is in it."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, TaskGroup

from dbgear_airflow_provider.dag_parts import active_tasks, in_flight_param, isolation_param, query_param
from dbgear_airflow_provider.hooks.project import project_settings
from dbgear_airflow_provider.notifications.dbgear import DbgearNotifier
from dbgear_airflow_provider.notifications.late import deadline
from dbgear_airflow_provider.operators.list_tenants import DbgearListTenantsOperator
from dbgear_airflow_provider.operators.provision import DbgearProvisionOperator
from dbgear_airflow_provider.operators.render import DbgearRenderOperator
from dbgear_airflow_provider.operators.summarize import DbgearSummarizeOperator

# Read at parse time: there is a group of tasks for each target, because a task's pool is fixed when it is parsed.
SETTINGS = project_settings()
IN_FLIGHT = SETTINGS.automation.tenants_in_flight

with DAG(
    "tenant_provision",
    description="Provision tenants from the tenant registry",
    schedule=None,
    tags=["dbgear"],
    doc_md=__doc__,
    deadline=deadline("tenant_provision", SETTINGS.alerts),
    max_active_tasks=active_tasks(SETTINGS),
    params={
        "query": query_param(),
        "isolation": isolation_param(),
        "dry_run": Param(
            True,
            type="boolean",
            title="Dry run",
            description="Connect and read, report the exact statements, change nothing.",
        ),
        "tenants_in_flight": in_flight_param(SETTINGS),
    },
) as dag:
    summary = DbgearSummarizeOperator(
        task_id="summarize",
        on_failure_callback=DbgearNotifier(),
        list_task_ids=[f"{target}.list_tenants" for target in SETTINGS.targets],
        operation="provision",
        is_dry_run="{{ params.dry_run }}",
        trigger_rule="all_done",
    )

    for target in SETTINGS.targets:
        with TaskGroup(target):
            tenants = DbgearListTenantsOperator(
                task_id="list_tenants",
                query="{{ params.query }}",
                isolation="{{ params.isolation }}",
                target=target,
                operation="provision",
                retries=2,
                retry_delay=timedelta(seconds=15),
            )
            rendered = DbgearRenderOperator(task_id="render", batches=tenants.output)  # type: ignore[arg-type]
            provisioned = DbgearProvisionOperator.partial(
                task_id="provision",
                is_dry_run="{{ params.dry_run }}",
                tenants_in_flight="{{ params.tenants_in_flight }}",
                pool=f"dbgear_{target}",
                pool_slots=IN_FLIGHT,
                map_index_template="{{ task.batch_label }}",
                retries=2,
                retry_delay=timedelta(seconds=15),
            ).expand(batch=tenants.output)
            # Side by side: the files are for people; provisioning renders for itself, and tells of each tenant
            # that does not render under its own name.
            [rendered, provisioned] >> summary
