"""What the REST API answers. Times are aware, UTC; sizes in bytes, durations in seconds; null: not known."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from ...core.tenants import TenantInfo


class Answer(BaseModel):
    """Base of all answers: made of the records of the fleet store, by their attributes."""

    model_config = ConfigDict(from_attributes=True)


class Counts(Answer):
    """Tenants by status, tier, region, target, version and health; "": not known."""

    tenants: dict[str, dict[str, int]]
    runs: list[dict[str, Any]]
    rollouts: list[dict[str, Any]]


class Tenant(Answer):
    """A tenant and how it stands."""

    info: TenantInfo
    target: str | None
    versions: list[str]
    health: str | None


class Tenants(Answer):
    """A page of tenants. total: how many match."""

    total: int
    rows: list[Tenant]


class Instance(Answer):
    """Where an instance is, and in which state."""

    instance: str
    target: str
    isolation: str
    database_name: str
    schema_name: str
    prefix: str
    state: str
    updated_at: datetime
    fingerprint: str | None
    checked_at: datetime | None
    version: str | None


class Health(Answer):
    """The last look at an instance. problems: {kind, severity, text, value, limit}."""

    tenant_id: str
    instance: str
    target: str
    status: str
    checked_at: datetime
    latency_s: float | None
    size_bytes: int | None
    connections: int | None
    problems: list[dict[str, Any]]


class Operation(Answer):
    """One operation on one tenant."""

    run_id: str
    tenant_id: str
    operation: str
    status: str
    dry_run: bool
    attempt: int
    started_at: datetime
    duration_s: float
    error_kind: str | None
    error: str | None


class TenantPage(Answer):
    """All that the fleet store knows of a tenant. operations: the newest first."""

    tenant: Tenant
    instances: list[Instance]
    health: list[Health]
    operations: list[Operation]


class Rollout(Answer):
    """A rollout. counts: instances by status, now."""

    id: str
    version: str | None
    query: str
    status: str
    stages: list[dict[str, Any]]
    counts: dict[str, int]
    approvals: list[dict[str, Any]]
    created_at: datetime
    updated_at: datetime


class Member(Answer):
    """An instance in a rollout. stage: null: it is left out."""

    tenant_id: str
    instance: str
    stage: int | None
    status: str
    error_kind: str | None
    error: str | None
    from_version: str | None
    to_version: str | None
    started_at: datetime | None
    duration_s: float | None


class Members(Answer):
    """A page of a rollout's instances."""

    total: int
    rows: list[Member]
