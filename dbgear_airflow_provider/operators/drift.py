"""`DbgearDriftOperator`: which tenants of a target do not hold what their documents say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context

from ..core.automation import DriftReport, TenantAutomationEngine, cut_batches
from ..core.errors import DbgearError, TenantsFailedError, TenantsRetryableError
from ..core.tenants import IsolationStrategy
from ..hooks.project import open_fleet
from .base import DbgearOperator, as_bool, as_list, run_folder, run_of, write_json

_PLANNED = 20  # groups for which the report has a plan


class DbgearDriftOperator(DbgearOperator):
    """Compare what the tenants of a target hold with their documents, in bulk, and group those that are alike.

    Writes `drift_<target>.json` into the run's report folder, with the plan of each group of drifted tenants, the 20
    largest; a text of the groups goes into the log. Pushes the counts and the path of the report as XCom `summary`.
    Records of the registry that are no tenants are logged and told in the report; they stop nothing.
    Returns batches of all that are not as they should be, to map `DbgearPlanOperator` over; [] unless is_repaired.

    query: in the tenant query language. isolation: only these strategies; [] means all. is_repaired: whether the
    batches are returned; False by default. A tenant that is not provisioned, cannot be read or clashes with another is
    in them too, and fails there under its own name. fail_on_drift: whether the task fails, after the report, where
    there is such a tenant, or one that has drifted, and is_repaired is False; it is retried where one could not be read
    for a reason that may pass. By default it only warns.
    """

    template_fields: Sequence[str] = (
        *DbgearOperator.template_fields,
        "query",
        "target",
        "isolation",
        "is_repaired",
        "fail_on_drift",
    )

    def __init__(
        self,
        *,
        query: str,
        target: str,
        isolation: list[IsolationStrategy] | str = "",
        is_repaired: bool | str = False,
        fail_on_drift: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.query = query
        self.target = target
        self.isolation = isolation
        self.is_repaired = is_repaired
        self.fail_on_drift = fail_on_drift

    async def work(self, context: Context) -> list[dict[str, Any]]:
        """Select, look, tell, and return the batches to repair."""
        repaired, fails = as_bool(self.is_repaired, "is_repaired"), as_bool(self.fail_on_drift, "fail_on_drift")
        selected_at = datetime.now(UTC)
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id, targets=[self.target]) as fleet:
            selection = await fleet.select(self.query, self.target, as_list(self.isolation, "isolation"))
            automation = fleet.automation(run_of(context, fleet.store))
            tenant_ids = [tenant.tenant_id for tenant in selection.tenants]
            report = await automation.check_drift({"tenant_id": tenant_ids})
            document = {**report.details(), "plans": await _plans(automation, report)}
            max_batches = fleet.settings.automation.max_mapped_tasks
        drifted = {member.tenant_id for member in report.drifted}
        missing = {member.tenant_id for member in report.missing}
        unread = {item.member.tenant_id for item in report.unread} | set(selection.clashing)
        counts = {
            "tenants": len(tenant_ids),
            "groups": len(report.groups),
            "drifted": len(drifted),
            "missing": len(missing),
            "unread": len(unread),
        }
        document |= {"target": self.target, "counts": counts, "drifted_tenants": sorted(drifted)}
        document["clashing"] = dict(selection.clashing)
        document["rejected"] = [error.message for error in selection.rejected]
        path = run_folder(context) / f"drift_{self.target}.json"
        await write_json(path, document)
        context["ti"].xcom_push("summary", {"target": self.target, **counts, "report": str(path)})
        for error in selection.rejected:
            self.log.warning("left out: %s", error)
        for tenant_id, why in selection.clashing.items():
            self.log.error("tenant %s: %s", tenant_id, why)
        wrong = sorted(drifted | missing | unread)
        self.log.log(logging.WARNING if wrong else logging.INFO, "%s\n%s\nreport: %s", counts, report.text(), path)
        if repaired:
            batches = cut_batches(wrong, target=self.target, max_batches=max_batches, selected_at=selected_at)
            return [{**batch, "clashing": _of(batch, selection.clashing)} for batch in batches]
        if wrong and fails:
            told = f"{len(drifted)} tenants have drifted, {len(missing)} are missing, {len(unread)} unread"
            kind = TenantsRetryableError if any(item.transient for item in report.unread) else TenantsFailedError
            raise kind(f"target {self.target}: {told}; report: {path}", tenant_ids=wrong)
        return []


def _of(batch: Mapping[str, Any], clashing: Mapping[str, str]) -> dict[str, str]:
    """Return those of a batch that must not be touched: `DbgearPlanOperator` fails them under their own names."""
    return {tenant_id: clashing[tenant_id] for tenant_id in batch["tenant_ids"] if tenant_id in clashing}


async def _plans(automation: TenantAutomationEngine, report: DriftReport) -> list[dict[str, Any]]:
    """Return the plan of each group that drifted."""
    plans = []
    for group in [group for group in report.groups if not group.as_wanted][:_PLANNED]:
        told: dict[str, Any] = {"fingerprint": group.fingerprint, "instance": str(group.members[0])}
        try:
            told |= (await automation.plan_group(group)).details()
        except DbgearError as error:  # the report is about all the others too
            told |= {"error_kind": error.kind, "error": str(error)}
        plans.append(told)
    return plans
