"""Let the pools of targets follow their load, within the bounds of the project file, every two minutes."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from dbgear_airflow_provider.dag_parts import scheduled
from dbgear_airflow_provider.hooks.project import project_settings
from dbgear_airflow_provider.operators.scale import DbgearScaleOperator

# Read at parse time: where nothing is scaled, there is no DAG.
if project_settings().scaling is not None:
    with DAG(
        "tenant_scaling",
        description="Let pools follow the load",
        **scheduled("*/2 * * * *"),
        doc_md=__doc__,
    ) as dag:
        DbgearScaleOperator(task_id="scale", retries=1, retry_delay=timedelta(seconds=30))
