"""What an operation on one tenant came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from ..errors import TenantsFailedError, TenantsRetryableError
from ..fleet import OperationRecord, Run

NAMED = 5  # tenants that an error or a log line names


class OperationStatus(Enum):
    """The state of one operation on one tenant."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    ERROR = "error"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class OperationResult:
    """The outcome of one operation on one tenant.

    duration: seconds, retries included. error: what went wrong, without secrets; None unless status is ERROR.
    details: JSON; for errors it has `error_kind` (class of the error) and `transient` (whether a retry may help),
    always `attempts`.
    """

    tenant_id: str
    operation: str
    status: OperationStatus
    duration: float
    error: str | None = None
    details: dict[str, Any] | None = None

    def record(self, run: Run, *, dry_run: bool = False) -> OperationRecord:
        """Return the fleet store's record of an operation that has ended now."""
        return OperationRecord(
            run_id=run.run_id,
            tenant_id=self.tenant_id,
            operation=self.operation,
            status=self.status.value,
            dry_run=dry_run,
            attempt=run.attempt,
            started_at=datetime.now(UTC) - timedelta(seconds=self.duration),
            duration_s=self.duration,
            error_kind=(self.details or {}).get("error_kind"),
            error=self.error,
            details=self.details,
        )


def raise_for_failures(results: Sequence[OperationResult]) -> None:
    """Raise when a tenant failed: TenantsRetryableError where a retry may help one of them, else TenantsFailedError.

    The error names the first few with their causes, and all their ids in `details["tenant_ids"]`.
    """
    failed = [result for result in results if result.status is OperationStatus.ERROR]
    if not failed:
        return
    retryable = any((result.details or {}).get("transient") for result in failed)
    kind = TenantsRetryableError if retryable else TenantsFailedError
    causes = [(result.tenant_id, result.error) for result in failed]
    raise kind(failure_text(causes, len(results)), tenant_ids=[result.tenant_id for result in failed])


def failure_text(failed: Sequence[tuple[str, str | None]], total: int) -> str:
    """Return how many of `total` tenants failed, and the first few (tenant_id, error) of them."""
    causes = [f"{tenant_id}: {error}" for tenant_id, error in failed[:NAMED]]
    if len(failed) > NAMED:
        causes.append(f"and {len(failed) - NAMED} more")
    return f"{len(failed)} of {total} tenants failed: " + "; ".join(causes)
