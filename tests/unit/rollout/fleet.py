"""Tenants and members for tests of rollouts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from dbgear_airflow_provider.core.fleet import RolloutMember
from dbgear_airflow_provider.core.tenants import TenantInfo

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def tenant(tenant_id: str, **fields: Any) -> TenantInfo:
    defaults = {
        "tenant_id": tenant_id,
        "customer_name": tenant_id,
        "customer_code": tenant_id.lower(),
        "region": "japan",
        "tier": "basic",
        "status": "active",
        "created_at": NOW,
        "updated_at": NOW,
        "isolation_strategy": "schema",
    }
    return TenantInfo.model_validate(defaults | fields)


def member(tenant_id: str, status: Any = "changed", *, at_s: float = 0, **fields: Any) -> RolloutMember:
    """Return a member of the first stage that began `at_s` after NOW and took a second, where it has begun."""
    begun = status not in {"pending", "skipped"}
    defaults: dict[str, Any] = {
        "tenant_id": tenant_id,
        "instance": "main",
        "stage": 0,
        "status": status,
        "started_at": NOW + timedelta(seconds=at_s) if begun else None,
        "duration_s": 1.0 if begun else None,
    }
    if status == "failed":
        defaults |= {"error_kind": "StatementError", "error": f"no such column of {tenant_id}"}
    return RolloutMember(**defaults | fields)
