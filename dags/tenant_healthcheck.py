"""Look at the health of every tenant each night, and tell what is wrong."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from dbgear_airflow_provider.dag_parts import query_param, scheduled
from dbgear_airflow_provider.hooks.project import project_settings
from dbgear_airflow_provider.notifications.dbgear import DbgearNotifier
from dbgear_airflow_provider.notifications.late import deadline
from dbgear_airflow_provider.operators.healthcheck import DbgearHealthcheckOperator

SETTINGS = project_settings()  # read at parse time: deadlines are fixed then

with DAG(
    "tenant_healthcheck",
    description="Look at the health of tenants",
    **scheduled("0 4 * * *"),
    doc_md=__doc__,
    deadline=deadline("tenant_healthcheck", SETTINGS.alerts),
    params={
        "query": query_param(),
        "fingerprints": Param(
            False,
            type="boolean",
            title="Compare with documents",
            description="Also tell tenants that do not hold what their schema documents say. Takes longer.",
        ),
        "fail_on": Param(
            "critical",
            type="string",
            enum=["warning", "critical", "unreachable", "never"],
            title="Fail from",
            description="The least status of a tenant that fails the run, after its report.",
        ),
        "tenants_in_flight": Param(
            50,
            type="integer",
            minimum=1,
            maximum=1000,
            title="Databases at once",
            description="Databases of a server that are looked into at once, up to its max_connections.",
        ),
    },
) as dag:
    DbgearHealthcheckOperator(
        task_id="check",
        query="{{ params.query }}",
        fingerprints="{{ params.fingerprints }}",
        fail_on="{{ params.fail_on }}",
        tenants_in_flight="{{ params.tenants_in_flight }}",
        on_failure_callback=DbgearNotifier(),
        retries=2,
        retry_delay=timedelta(minutes=1),
    )
