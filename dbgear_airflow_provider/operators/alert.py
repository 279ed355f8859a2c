"""`DbgearAlertOperator`: the alert rules of the project are looked at, and who has to know is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context

from ..core.alerts import judge, measure, message_of
from ..core.errors import NotificationError
from ..hooks.notifiers import send_to_all
from ..hooks.project import open_project, open_store
from .base import DbgearOperator


class DbgearAlertOperator(DbgearOperator):
    """Measure the fleet by the rules of the project file, and tell what has begun and what is over.

    A rule that is broken is told once to each notifier, and once more when it is kept again; in between nobody is told
    anything. A notifier that fails does not stop the others: the task fails, and its next run tells that one again.
    Returns `{"broken": {rule: figure in words}, "told": n}`.
    """

    async def work(self, context: Context) -> dict[str, Any]:
        """Measure, judge, tell, keep."""
        project, now = open_project(self.project_file), datetime.now(UTC)
        alerts = project.multi_tenant.alerts
        link = getattr(context["ti"], "log_url", None)
        kept, failures, told = [], [], 0
        async with open_store(self.fleet_conn_id) as store:
            measured = {rule.name: await measure(store, rule, now) for rule in alerts.rules}
            for alert in judge(alerts, measured, await store.alerts.all(), now):
                taken: set[str] = set()
                if alert.to:
                    message = message_of(alert, project.project_name, now, link)
                    self.log.warning("%s", message.text)
                    failed = await send_to_all(alerts.named(alert.to), message, context, raises=False)
                    failures += [f"{alert.record.rule}: {name}: {error}" for name, error in failed.items()]
                    taken = {*alert.to} - {*failed}
                    told += len(taken)
                kept += [record] if (record := alert.settled(taken)) is not None else []
            await store.alerts.replace(kept)
        if failures:
            raise NotificationError("; ".join(failures))
        return {"broken": {record.rule: record.text for record in kept}, "told": told}
