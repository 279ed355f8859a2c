"""`DbgearRevokeAccessOperator`: suspended tenants lose their access, active ones get it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from ..core.automation import OperationResult, OperationStatus, raise_for_failures, text_table
from ..core.errors import SettingsError
from ..core.settings import MultiTenantSettings
from ..core.tenants import TenantInfo
from ..hooks.project import open_fleet
from .base import DbgearOperator, as_bool, as_int, run_of

# {key of an instance's details: what to warn of where it is true, or names something}
_WARNINGS = {
    "still_inside": "these roles need no grant and still get in",
    "gone": "not given back, for its role or schema is gone",
    "record_lost": "the record of what was revoked before is lost; the fleet store's history may tell it",
}


class DbgearRevokeAccessOperator(DbgearOperator):
    """Revoke the access of roles other than the owner to the selected tenants, or with `restore` give it back.

    Not to be mapped over targets: it works on all that the tenants live on. An active tenant is refused, with `restore`
    one that is not active. Logs a table and returns (and, before it fails, pushes as XCom `summary`)
    `{tenants, succeeded, failed, changed, sessions}`: failed are tenant_ids; changed counts grants and sessions those
    ended, or in a dry run what would be. A retry does only the tenants that have not succeeded since the DAG run
    began.

    query: in the tenant query language. tenants_in_flight: tenants at once; None: the project's limit.
    """

    template_fields: Sequence[str] = (
        *DbgearOperator.template_fields,
        "query",
        "is_dry_run",
        "restore",
        "tenants_in_flight",
    )

    def __init__(
        self,
        *,
        query: str,
        is_dry_run: bool | str = True,
        restore: bool | str = False,
        tenants_in_flight: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.query = query
        self.is_dry_run = is_dry_run
        self.restore = restore
        self.tenants_in_flight = tenants_in_flight

    async def work(self, context: Context) -> dict[str, Any]:
        """Select, change the access, tell."""
        dry_run, restore = as_bool(self.is_dry_run, "is_dry_run"), as_bool(self.restore, "restore")
        in_flight = None if self.tenants_in_flight is None else as_int(self.tenants_in_flight, "tenants_in_flight")
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id) as fleet:
            tenants = await fleet.registry.search_tenants(self.query)
            for error in await fleet.registry.rejected_records():
                self.log.warning("left out: %s", error)
            await fleet.connect(_targets(tenants, fleet.settings))
            run = run_of(context, fleet.store, since=context["dag_run"].start_date)
            engine = fleet.automation(run, self._tell)
            change = engine.bulk_restore_access if restore else engine.bulk_revoke_access
            results = await change(
                {"tenant_id": [tenant.tenant_id for tenant in tenants]}, dry_run=dry_run, parallel_limit=in_flight
            )
        summary = _summary(results, len(tenants))
        self.log.info("%s\n%s", summary, _table(results))
        context["ti"].xcom_push("summary", summary)
        raise_for_failures(results)
        return summary

    def _tell_success(self, result: OperationResult, details: Mapping[str, Any]) -> None:
        for name, instance in details["instances"].items():
            for key, warning in _WARNINGS.items():
                if found := instance[key]:
                    told = warning if found is True else f"{warning}: {'; '.join(found)}"
                    self.log.warning("tenant %s, instance %s: %s", result.tenant_id, name, told)


def _targets(tenants: Sequence[TenantInfo], settings: MultiTenantSettings) -> list[str]:
    targets = set()
    for tenant in tenants:
        try:
            targets.add(settings.target_of(tenant))
        except SettingsError:  # becomes the result of that tenant alone
            continue
    return sorted(targets)


def _summary(results: Sequence[OperationResult], selected: int) -> dict[str, Any]:
    failed = [result.tenant_id for result in results if result.status is OperationStatus.ERROR]
    return {
        "tenants": selected,
        "succeeded": selected - len(failed),
        "failed": failed,
        **{key: sum((result.details or {}).get(key, 0) for result in results) for key in ("changed", "sessions")},
    }


def _table(results: Sequence[OperationResult]) -> str:
    """Return the results as a table for the log: the failed tenants first."""
    rows: list[tuple[str, ...]] = []
    for result in sorted(results, key=lambda result: result.status is OperationStatus.SUCCESS):
        details = result.details or {}
        instances = details.get("instances", {})
        note = " ".join((result.error or "").split())
        if instances and not any(instance["found"] for instance in instances.values()):
            note = "nothing there: not provisioned"
        elif not result.error and not details["changed"]:
            note = "nothing to do"
        counts = [str(details.get(key, "")) for key in ("changed", "sessions")]
        rows.append((result.tenant_id, result.status.value, f"{result.duration:.2f}", *counts, note))
    return text_table(("tenant", "result", "seconds", "grants", "sessions", ""), rows)
