"""`DbgearNotifier`: the notifiers of the project file hear of a task that has failed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseNotifier, Context

from ..core.alerts import AlertMessage, failure_message
from ..hooks.notifiers import send_to_all
from ..hooks.project import open_project


class DbgearNotifier(BaseNotifier):
    """Tell the notifiers of the project file that a task has failed, with its error: counts, and the first tenants.

    For `on_failure_callback` of tasks. Does nothing where the project has no notifiers.

    notifiers: names of those that are told; None: all. project_file: None: the one of Airflow's configuration.
    """

    template_fields: Sequence[str] = ("project_file",)

    def __init__(self, *, notifiers: Sequence[str] | None = None, project_file: str | None = None) -> None:
        super().__init__()
        self.notifiers = notifiers
        self.project_file = project_file

    def notify(self, context: Context) -> None:
        """Tell them. Raises ExceptionGroup of what went wrong, after all others were told."""
        asyncio.run(self.async_notify(context))

    async def async_notify(self, context: Context) -> None:
        """Do the same in an event loop."""
        project = open_project(self.project_file)
        alerts = project.multi_tenant.alerts
        message = _message(project.project_name, context)
        await send_to_all(alerts.named(self.notifiers), message, context)


def _message(project: str, context: Any) -> AlertMessage:
    ti, run = context["ti"], context["run_id"]
    error = context.get("exception") or "it has failed"
    where = f"{ti.dag_id}, task {ti.task_id}, run {run}"
    return failure_message(project, where=where, error=str(error), link=getattr(ti, "log_url", None))
