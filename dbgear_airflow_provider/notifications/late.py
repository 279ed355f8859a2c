"""What is done when a run is late: a Deadline Alert of Airflow's, and whom it tells."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from ..core.alerts import late_message
from ..core.settings import AlertSettings
from ..hooks.notifiers import send_to_all
from ..hooks.project import open_project


def deadline(dag_id: str, alerts: AlertSettings) -> DeadlineAlert | None:
    """Return the deadline of a DAG, counted from when its run is queued; None where the project file has none."""
    minutes = alerts.late_after.get(dag_id)
    if minutes is None:
        return None
    callback = AsyncCallback(tell_late, kwargs={"minutes": minutes})
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=timedelta(minutes=minutes), callback=callback
    )


async def tell_late(minutes: float, context: dict[str, Any]) -> None:
    """Tell all notifiers of the project that a run is late. Called by Airflow's triggerer."""
    project = open_project()
    run = context["dag_run"]
    message = late_message(project.project_name, run["dag_id"], run["dag_run_id"], minutes)
    await send_to_all(project.multi_tenant.alerts.named(None), message)
