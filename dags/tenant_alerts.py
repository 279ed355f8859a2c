"""Look at the alert rules of the project file every five minutes, and tell what has begun and what is over."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from dbgear_airflow_provider.dag_parts import scheduled
from dbgear_airflow_provider.hooks.project import project_settings
from dbgear_airflow_provider.operators.alert import DbgearAlertOperator

# Read at parse time: a project without rules has nothing to tell, and no DAG.
if project_settings().alerts.rules:
    with DAG(
        "tenant_alerts",
        description="Tell what is wrong with the fleet",
        **scheduled("*/5 * * * *"),
        doc_md=__doc__,
    ) as dag:
        DbgearAlertOperator(task_id="tell", retries=1, retry_delay=timedelta(seconds=30))
