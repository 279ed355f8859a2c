"""Cutting a fleet into the stages of a rollout."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any, Literal

from ..errors import SettingsError
from ..fleet import RolloutMember
from ..settings import BudgetSettings, RolloutSettings, StageSettings
from ..tenants import TenantInfo
from .windows import changes_at, is_open, windows_of

Reason = Literal["status", "excluded", "window", "settings", "promotion", "no stage", "current"]

_FIRST_BUDGET = BudgetSettings(count=0)
_BUDGET = BudgetSettings(percent=5)

Instance = tuple[str, str]  # tenant_id, name


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a rollout, as the fleet store keeps it. budget: tenants that may fail; soak_s: seconds."""

    name: str
    budget: BudgetSettings
    soak_s: float = 0
    approval: bool = False
    health: bool = True

    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**vars(self), "budget": self.budget.model_dump(exclude_none=True)}

    @classmethod
    def of(cls, details: Mapping[str, Any]) -> Stage:
        """Return the stage of what `details` gave."""
        return cls(**{**details, "budget": BudgetSettings(**details["budget"])})


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An instance that the rollout does not touch. reason: its kind; text: for people."""

    tenant_id: str
    instance: str
    reason: Reason
    text: str


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A fleet in stages. members: {(tenant_id, instance): index of its stage}; left_out: ordered by tenant."""

    stages: Sequence[Stage]
    members: Mapping[Instance, int]
    left_out: Sequence[LeftOut]

    def records(
        self, stages: Sequence[Mapping[str, Any]], versions: Mapping[Instance, str] | None = None
    ) -> list[RolloutMember]:
        """Return what the fleet store keeps of it.

        stages: those of the rollout as it was begun: this cut may be a later one, of another fleet. Whoever is in a
        stage that it has not comes into its last one. versions: what instances have now; those not in it: unknown.
        """
        indices = {details["name"]: index for index, details in reversed(list(enumerate(stages)))}
        now = versions or {}
        members = [
            RolloutMember(
                tenant_id=tenant,
                instance=name,
                stage=indices.get(self.stages[stage].name, len(stages) - 1),
                from_version=now.get((tenant, name)),
            )
            for (tenant, name), stage in self.members.items()
        ]
        return members + [
            RolloutMember(
                tenant_id=item.tenant_id,
                instance=item.instance,
                status="skipped",
                error_kind=item.reason,
                error=item.text,
            )
            for item in self.left_out
        ]


def cut(
    rollout_id: str,
    tenants: Sequence[TenantInfo],
    settings: RolloutSettings,
    *,
    target_of: Callable[[TenantInfo], str],
    now: datetime,
    configs: Mapping[str, Mapping[str, Any]] | None = None,
    current: Container[str] = (),
) -> Cut:
    """Cut the instances of tenants into stages: each is in one of them, or left out with its reason.

    Who is in which is by chance, but the same at every call with this rollout_id: tenants are taken in the order of a
    hash of both ids. target_of: the name of a tenant's target. configs: {tenant_id: its own settings}. now: aware.
    current: ids of tenants that have it all: a stage of them alone would prove nothing.

    Where `promotion` names instances that would be in one stage, the stage becomes several, one after the other:
    `canary (test)`, `canary (main)`.
    """
    left_out: dict[Instance, LeftOut] = {}
    going: list[TenantInfo] = []
    for tenant in tenants:
        if tenant.tenant_id in current:
            left_out.update(_left_out(tenant, tenant.instances, "current", "it has all of it"))
            continue
        why = _why_not(tenant, settings, (configs or {}).get(tenant.tenant_id, {}), target_of, now)
        if why is None:
            going.append(tenant)
        else:
            left_out.update(_left_out(tenant, tenant.instances, *why))
    going.sort(key=lambda tenant: _chance(rollout_id, tenant.tenant_id))

    stages: list[Stage] = []
    members: dict[Instance, int] = {}
    for index, wanted in enumerate(settings.stages):
        taken = _taken(wanted, going, members, settings.promotion, target_of)
        parts: dict[int, list[Instance]] = defaultdict(list)
        for instance in taken:
            parts[_rank(instance[1], settings.promotion)].append(instance)
        for rank in sorted(parts) or [0]:
            name = f"{wanted.name} ({_names(parts[rank])})" if len(parts) > 1 else wanted.name
            members.update(dict.fromkeys(parts[rank], len(stages)))
            stages.append(_stage(wanted, name, is_first=index == 0))
    stages[-1] = replace(stages[-1], approval=False)  # nothing follows it
    for tenant in going:
        left = [name for name in tenant.instances if (tenant.tenant_id, name) not in members]
        for name in left:
            before = [other for other in _before(name, tenant.instances, settings.promotion) if other in left]
            if before:
                left_out.update(_left_out(tenant, [name], "promotion", f"no stage has its {before[-1]} before it"))
            else:
                left_out.update(_left_out(tenant, [name], "no stage", "no stage takes it"))
    return Cut(
        stages=stages,
        members=dict(sorted(members.items(), key=lambda item: (item[1], item[0]))),
        left_out=[left_out[key] for key in sorted(left_out)],
    )


def held_back(members: Sequence[RolloutMember], promotion: Sequence[str]) -> dict[Instance, str]:
    """Return the pending members that must not begin yet, and why: an instance before them is not done."""
    open_ones: dict[str, set[str]] = defaultdict(set)
    for member in members:
        if member.status not in {"changed", "unchanged", "skipped"}:
            open_ones[member.tenant_id].add(member.instance)
    held = {}
    for member in members:
        if member.status == "pending":
            before = _before(member.instance, sorted(open_ones[member.tenant_id]), promotion)
            if before:
                held[member.tenant_id, member.instance] = f"its {before[-1]} is not done"
    return held


def _why_not(
    tenant: TenantInfo,
    settings: RolloutSettings,
    config: Mapping[str, Any],
    target_of: Callable[[TenantInfo], str],
    now: datetime,
) -> tuple[Reason, str] | None:
    if tenant.status != "active":
        return "status", f"the tenant is {tenant.status}"
    if settings.excludes(tenant):
        return "excluded", f"the tenant matches exclude: {settings.exclude}"
    try:
        target_of(tenant)
        windows = windows_of(tenant.tenant_id, config, settings.windows)
    except SettingsError as error:
        return "settings", error.message
    if is_open(windows, now):
        return None
    opens = changes_at(windows, now)
    when = f"the next one opens at {opens:%Y-%m-%d %H:%M} UTC" if opens else "none opens in the next two weeks"
    return "window", f"outside its maintenance windows; {when}"


def _left_out(tenant: TenantInfo, names: Sequence[str], reason: Reason, text: str) -> dict[Instance, LeftOut]:
    return {
        (tenant.tenant_id, name): LeftOut(tenant_id=tenant.tenant_id, instance=name, reason=reason, text=text)
        for name in names
    }


def _chance(rollout_id: str, tenant_id: str) -> tuple[bytes, str]:
    text = f"{len(rollout_id)} {rollout_id} {tenant_id}"
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest(), tenant_id


def _taken(
    wanted: StageSettings,
    going: Sequence[TenantInfo],
    members: Mapping[Instance, int],
    promotion: Sequence[str],
    target_of: Callable[[TenantInfo], str],
) -> list[Instance]:
    """Return the instances that a stage takes of those that are in no earlier one."""
    matching = [tenant for tenant in going if wanted.selects(tenant)]
    free: dict[str, list[Instance]] = {}
    for tenant in matching:
        names = [
            name
            for name in tenant.instances
            if (tenant.tenant_id, name) not in members and (wanted.instances is None or name in wanted.instances)
        ]
        there = [*names, *(name for name in tenant.instances if (tenant.tenant_id, name) in members)]
        ready = [name for name in names if all(other in there for other in _before(name, tenant.instances, promotion))]
        if ready:
            free[tenant.tenant_id] = [(tenant.tenant_id, name) for name in ready]
    left = [tenant for tenant in matching if tenant.tenant_id in free]
    if wanted.percent is not None:
        left = left[: math.ceil(Fraction(str(wanted.percent)) * len(matching) / 100)]
    elif wanted.count is not None:
        left = _some_of_each(left, wanted, wanted.count, target_of)
    return [instance for tenant in left for instance in free[tenant.tenant_id]]


def _some_of_each(
    tenants: Sequence[TenantInfo], wanted: StageSettings, count: int, target_of: Callable[[TenantInfo], str]
) -> list[TenantInfo]:
    groups: dict[str, list[TenantInfo]] = defaultdict(list)
    for tenant in tenants:
        value = target_of(tenant) if wanted.per == "target" else getattr(tenant, wanted.per) if wanted.per else ""
        groups[value].append(tenant)
    return [tenant for group in groups.values() for tenant in group[:count]]


def _before(name: str, names: Sequence[str], promotion: Sequence[str]) -> list[str]:
    """Return those of a tenant's instances that have to be done before one of them, in their order."""
    if name not in promotion:
        return []
    return [other for other in promotion[: promotion.index(name)] if other in names]


def _rank(name: str, promotion: Sequence[str]) -> int:
    return promotion.index(name) if name in promotion else 0


def _names(instances: Sequence[Instance]) -> str:
    return ", ".join(sorted({name for _, name in instances}))


def _stage(wanted: StageSettings, name: str, *, is_first: bool) -> Stage:
    return Stage(
        name=name,
        budget=wanted.budget or (_FIRST_BUDGET if is_first else _BUDGET),
        soak_s=wanted.soak,
        approval=wanted.approval,
        health=wanted.health,
    )
