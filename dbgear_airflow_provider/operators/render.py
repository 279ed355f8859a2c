"""`DbgearRenderOperator`: the documents of tenants as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from airflow.sdk import Context, ObjectStoragePath

from ..core.automation import OperationStatus, rendered_file
from ..hooks.project import open_fleet
from .base import DbgearOperator, run_folder, write_text


class DbgearRenderOperator(DbgearOperator):
    """Render the configuration and the schemas of tenants, as they are now, into the run's report folder.

    One file per tenant, `rendered/<tenant_id>.yaml`: `environment`, and `schemas` by instance. For a person to look
    at, and to keep; operations render for themselves. A tenant that cannot be rendered is logged and counted; it
    fails in the operation that needs it. Returns `{"rendered": n, "failed": [tenant_ids], "folder": url}`.

    batches: of `DbgearListTenantsOperator`.
    """

    template_fields: Sequence[str] = (*DbgearOperator.template_fields, "batches")

    def __init__(self, *, batches: list[dict[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batches = batches

    async def work(self, context: Context) -> dict[str, Any]:
        """Render and write."""
        folder = run_folder(context) / "rendered"
        folder.mkdir(parents=True, exist_ok=True)
        tenant_ids = [tenant_id for batch in self.batches for tenant_id in batch["tenant_ids"]]
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id) as fleet:
            results = await fleet.automation().render_tenants({"tenant_id": tenant_ids}, partial(_write, folder))
        failed = [result for result in results if result.status is OperationStatus.ERROR]
        for result in failed:
            self.log.error("tenant %s: %s", result.tenant_id, result.error)
        self.log.info("%d tenants rendered into %s", len(results) - len(failed), folder)
        return {
            "rendered": len(results) - len(failed),
            "failed": [result.tenant_id for result in failed],
            "folder": str(folder),
        }


def _write(folder: ObjectStoragePath, tenant_id: str, documents: Mapping[str, Any]) -> None:
    name, text = rendered_file(tenant_id, documents)
    write_text(folder / name, text)
