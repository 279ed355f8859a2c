"""What is healthy: the section `health`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ..tenants import Tier
from .section import SAFE_NAME, NonEmpty, Section

NotNegative = Annotated[float, Field(ge=0)]


class Limits(Section):
    """Above which figures there is a problem; None: there is none of that severity."""

    warning: NotNegative | None = None
    critical: NotNegative | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Limits:
        if self.warning is not None and self.critical is not None and self.critical < self.warning:
            told = {"field": ("critical",), "allowed": f"{self.warning:g} or more"}
            raise PydanticCustomError("limits", "below the limit of a warning", told)
        return self


class Thresholds(Section):
    """Limits of a tenant's figures.

    latency_s: of the server's answer. connections_percent: of those that the server lets in. tenant_connections: of
    one instance. transaction_s: age of the oldest transaction. lock_wait_s: of the longest wait for a lock.
    counter_percent: numbers of a sequence that are gone. size_mb: of an instance, 10^6 bytes; growth_percent: of it in
    a day. pending: migrations that are not applied.
    """

    latency_s: Limits = Limits(warning=1, critical=5)
    connections_percent: Limits = Limits(warning=80, critical=95)
    tenant_connections: Limits = Limits()
    transaction_s: Limits = Limits(warning=600, critical=3600)
    lock_wait_s: Limits = Limits(warning=30, critical=300)
    counter_percent: Limits = Limits(warning=80, critical=95)
    size_mb: Limits = Limits()
    growth_percent: Limits = Limits()
    pending: Limits = Limits(warning=0)


class SqlCheck(Section):
    """A question of the project's own, asked in each instance, where nothing may be changed.

    sql: one query; names without a schema are the instance's. Without limits each row that it returns is a problem of
    `severity`, and its first column says which; with limits the first column of its first row is a figure.
    engine: only there; None: everywhere.
    """

    name: Annotated[str, Field(pattern=SAFE_NAME, max_length=64)]
    sql: NonEmpty
    engine: Literal["postgresql", "mysql"] | None = None
    limits: Limits | None = None
    severity: Literal["warning", "critical"] = "critical"


class HealthSettings(Section):
    """What is looked at, and from where on it is a problem.

    by_tier: what differs for tenants of a tier. checks: of the project's own. server_timeout: seconds for all that is
    asked of one server. keep_days: how long earlier looks are kept.
    """

    thresholds: Thresholds = Thresholds()
    by_tier: dict[Tier, dict[str, Any]] = {}
    checks: list[SqlCheck] = []
    server_timeout: Annotated[float, Field(gt=0)] = 300
    keep_days: Annotated[int, Field(ge=1)] = 90

    @model_validator(mode="after")
    def _tiers_are_thresholds(self) -> HealthSettings:
        for tier, given in self.by_tier.items():
            for name, value in given.items():
                if name not in Thresholds.model_fields:
                    told = {"field": ("by_tier", tier, name), "allowed": list(Thresholds.model_fields)}
                    raise PydanticCustomError("threshold", "no such threshold", told)
                Limits.model_validate(value)
        names = [check.name for check in self.checks]
        for index, name in enumerate(names):
            if name in names[:index]:
                told = {"field": ("checks", str(index), "name")}
                raise PydanticCustomError("check", "each check has a name of its own", told)
        return self

    def thresholds_of(self, tier: str) -> Thresholds:
        """Return the limits for tenants of a tier."""
        given = self.by_tier.get(tier, {})  # type: ignore[call-overload]
        return Thresholds.model_validate({**dict(self.thresholds), **given})
