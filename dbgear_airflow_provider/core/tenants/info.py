"""`TenantInfo`: what a registry knows of one tenant."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

Tier = Literal["basic", "standard", "premium", "enterprise"]
Status = Literal["active", "inactive", "suspended", "terminated"]
IsolationStrategy = Literal["database", "schema", "table"]

NonEmpty = Annotated[str, Field(min_length=1)]


class TenantInfo(BaseModel):
    """One tenant, as its registry describes it.

    created_at and updated_at are aware datetimes. database_prefix, schema_suffix and table_prefix override a
    part of the tenant's names (see `naming`); None means the name is made from customer_code and region.
    instances are the tenant's copies ("main", "test", ...), at least one, each once.
    billing_info and contract_info are free-form JSON objects; None where the registry has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant_id: NonEmpty
    customer_name: NonEmpty
    customer_code: NonEmpty
    region: NonEmpty
    tier: Tier
    status: Status
    created_at: AwareDatetime
    updated_at: AwareDatetime

    isolation_strategy: IsolationStrategy
    database_prefix: NonEmpty | None = None
    schema_suffix: NonEmpty | None = None
    table_prefix: NonEmpty | None = None

    instances: Annotated[list[NonEmpty], Field(min_length=1)] = ["main"]

    billing_info: dict[str, Any] | None = None
    contract_info: dict[str, Any] | None = None

    @field_validator("instances")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("each instance may be named once")
        return value
