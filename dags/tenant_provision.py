"""Provision tenants: create the database or schema of each, and what its schema document says is in it."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param, TaskGroup

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
    # The pool is the limit; Airflow's own caps must not bite first.
    max_active_tasks=max(64, SETTINGS.automation.max_mapped_tasks),
    params={
        "query": Param(
            "status = 'active'",
            type="string",
            minLength=1,
            title="Which tenants",
            description_md="In the tenant query language: `tier IN ('premium', 'enterprise') AND region = 'japan'`",
            examples=["status = 'active'", "tier IN ('premium', 'enterprise')", "tenant_id = 'T0001'"],
        ),
        "isolation": Param(
            [],
            type="array",
            items={"type": "string", "enum": ["database", "schema", "table"]},
            examples=["database", "schema", "table"],
            title="Isolation",
            description="Only tenants of these isolation strategies; none chosen means all.",
        ),
        "dry_run": Param(
            True,
            type="boolean",
            title="Dry run",
            description="Connect and read, report the exact statements, change nothing.",
        ),
        "tenants_in_flight": Param(
            IN_FLIGHT,
            type="integer",
            minimum=1,
            maximum=IN_FLIGHT,
            title="Tenants in flight",
            description="Tenants that one task works on at once. The project file sets the most it may be.",
        ),
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
