"""The report of a run: what became of every tenant that it was about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import TenantsFailedError
from ..fleet import OperationRecord
from .results import OperationStatus, failure_text
from .tables import text_table

NO_RESULT = "no result: its task did not run, or was killed before it could say"


@dataclass(frozen=True, kw_only=True)
class TenantReport:
    """One tenant's line. status: success, error or missing. duration_s in seconds. created: objects."""

    tenant_id: str
    status: str
    duration_s: float | None = None
    created: int | None = None
    error_kind: str | None = None
    error: str | None = None
    details: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """A whole run. tenants are ordered by tenant_id; rejected are the registry's bad records, as messages."""

    run_id: str
    operation: str
    dry_run: bool
    written_at: str
    tenants: Sequence[TenantReport]
    rejected: Sequence[str]

    @property
    def failed(self) -> list[TenantReport]:
        """Return the tenants that did not succeed."""
        return [tenant for tenant in self.tenants if tenant.status != OperationStatus.SUCCESS.value]

    def counts(self) -> dict[str, int]:
        """Return how many tenants came to what, the registry's bad records among them."""
        counts = Counter(tenant.status for tenant in self.tenants)
        states = ("success", "error", "missing")
        return {
            "tenants": len(self.tenants),
            **{state: counts[state] for state in states},
            "rejected": len(self.rejected),
        }

    def document(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {"counts": self.counts(), "errors": dict(self.error_kinds()), **asdict(self)}

    def error_kinds(self) -> list[tuple[str, int]]:
        """Return how many tenants failed of which kind of error, the most frequent first."""
        return Counter(tenant.error_kind or tenant.status for tenant in self.failed).most_common()

    def table(self) -> str:
        """Return the report as a table for a log: the failed tenants first."""
        rows = []
        for tenant in sorted(self.tenants, key=lambda tenant: tenant.status == OperationStatus.SUCCESS.value):
            seconds = "" if tenant.duration_s is None else f"{tenant.duration_s:.2f}"
            created = "" if tenant.created is None else str(tenant.created)
            rows.append((tenant.tenant_id, tenant.status, seconds, created, " ".join((tenant.error or "").split())))
        return text_table(("tenant", "result", "seconds", "objects", "error"), rows)

    def raise_for_failures(self) -> None:
        """Raise TenantsFailedError, naming the first few with their causes, when a tenant did not succeed."""
        failed = self.failed
        if failed:
            causes = [(tenant.tenant_id, tenant.error) for tenant in failed]
            text = failure_text(causes, len(self.tenants))
            raise TenantsFailedError(text, tenant_ids=[tenant.tenant_id for tenant in failed])


def build_report(
    run_id: str,
    operation: str,
    tenant_ids: Sequence[str],
    records: Sequence[OperationRecord],
    rejected: Sequence[str],
    *,
    dry_run: bool,
) -> RunReport:
    """Return the report of a run over `tenant_ids`; records: the last of each tenant.

    A record of a tenant that was not selected for work (it clashes with another) counts as well. A tenant without
    a record is reported as missing: nothing is lost in silence.
    """
    by_tenant = {record.tenant_id: record for record in records}
    lines = [_line(tenant_id, by_tenant.get(tenant_id)) for tenant_id in sorted({*tenant_ids, *by_tenant})]
    written_at = datetime.now(UTC).isoformat(timespec="seconds")
    return RunReport(
        run_id=run_id,
        operation=operation,
        dry_run=dry_run,
        written_at=written_at,
        tenants=lines,
        rejected=list(rejected),
    )


def _line(tenant_id: str, record: OperationRecord | None) -> TenantReport:
    if record is None:
        return TenantReport(tenant_id=tenant_id, status="missing", error=NO_RESULT)
    details = dict(record.details or {})
    return TenantReport(
        tenant_id=tenant_id,
        status=record.status,
        duration_s=round(record.duration_s, 3),
        created=details.get("created"),
        error_kind=record.error_kind,
        error=record.error,
        details=details,
    )
