"""`DbgearSyncedTenantsOperator`: whom a sync concerns."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Literal

from airflow.sdk import Context, ObjectStoragePath
from airflow.sdk.exceptions import AirflowSkipException

from ..core.automation.sync import id_queries
from .base import DbgearOperator, as_bool


class DbgearSyncedTenantsOperator(DbgearOperator):
    """Select tenants that a sync has moved, to map another operator over; skipped where there are none.

    Returns `[{query, dry_run}]`: together the queries select those of the tenants that still have the status. After a
    dry run dry_run is true, and they select those that would come to have it and are in the registry already.

    report: path of the report of `DbgearSyncOperator`. became: those that became active, or suspended. is_enabled:
    False skips. access: select for a change of access: no tenants that are new to the registry, and none after a dry
    run, because access is revoked, restored, or that tried, only where the registry says so.
    """

    template_fields: Sequence[str] = (*DbgearOperator.template_fields, "report", "is_enabled")

    def __init__(
        self,
        *,
        report: str,
        became: Literal["active", "suspended"],
        is_enabled: bool | str = False,
        access: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.report = report
        self.became = became
        self.is_enabled = is_enabled
        self.access = access

    async def work(self, context: Context) -> list[dict[str, Any]]:
        """Read the report and cut its ids into queries."""
        if not as_bool(self.is_enabled, "is_enabled"):
            self.log.info("skipped: switched off")  # Airflow's own log does not tell why
            raise AirflowSkipException("switched off")
        path = ObjectStoragePath(self.report)
        report = json.loads(await asyncio.to_thread(path.read_text, encoding="utf-8"))
        tenant_ids = report["became"][self.became]
        dry_run = report["state"] != "applied"
        if dry_run or self.access:
            added = {tenant["tenant_id"] for tenant in report["added"]}
            tenant_ids = [tenant_id for tenant_id in tenant_ids if tenant_id not in added]
        self.log.info("%d tenants %s %s", len(tenant_ids), "would become" if dry_run else "became", self.became)
        if not tenant_ids or (dry_run and self.access):
            self.log.info("skipped: %s", "access is not changed in a dry run" if tenant_ids else "nobody is concerned")
            raise AirflowSkipException("nothing to do")
        status = None if dry_run else self.became
        return [{"query": query, "dry_run": dry_run} for query in id_queries(tenant_ids, status=status)]
