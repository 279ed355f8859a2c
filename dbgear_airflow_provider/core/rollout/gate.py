"""The gate behind a stage: whether the rollout goes on to the next one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from ..fleet import RolloutMember
from .budget import allowed_failures, grouped
from .stages import Stage, held_back

# Asked for tenant ids; returns {tenant_id: what is wrong} of those that are not healthy.
HealthCheck = Callable[[Sequence[str]], Awaitable[Mapping[str, str]]]

NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a rollout goes on after a stage, and why not.

    wait: look again at `until`, or where that is None, when more of the stage is done. stop: its budget is spent.
    ask: a person has to say go.
    """

    action: Literal["go", "wait", "stop", "ask"]
    reasons: Sequence[str] = ()
    until: datetime | None = None

    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        until = self.until.isoformat(timespec="seconds") if self.until else None
        return {"action": self.action, "reasons": list(self.reasons), "until": until}


def verdict(
    stages: Sequence[Stage],
    index: int,
    members: Sequence[RolloutMember],
    *,
    now: datetime,
    approvals: Sequence[Mapping[str, Any]] = (),
    sick: Mapping[str, str] | None = None,
    promotion: Sequence[str] = (),
) -> Verdict:
    """Return whether the rollout goes on after stage `index`. A pure function.

    members: of the whole rollout. approvals: as the store keeps them. sick: what a check of health found, see
    `check_gate`: such a tenant counts as a failed one. now: aware.
    Pending members that must wait for a failed instance of their tenant do not hold up the others.
    """
    stage = stages[index]
    of_stage = [member for member in members if member.stage == index]
    failed = {member.tenant_id for member in of_stage if member.status == "failed"}
    sick = {tenant: text for tenant, text in (sick or {}).items() if tenant not in failed}
    tenants = {member.tenant_id for member in of_stage}
    allowed = allowed_failures(stage.budget, len(tenants))
    if len(failed) + len(sick) > allowed:
        spent = f"{len(failed) + len(sick)} of {len(tenants)} tenants failed or are not healthy, {allowed} may"
        groups = [f"{group.kind}: {_named(group.tenant_ids)}; {group.example}" for group in grouped(of_stage)]
        if sick:
            first = min(sick)
            groups.append(f"not healthy: {_named(sorted(sick))}; {sick[first]}")
        return Verdict(action="stop", reasons=[spent, *groups])

    held = held_back(members, promotion)
    left = [
        member for member in of_stage if member.status == "pending" and (member.tenant_id, member.instance) not in held
    ]
    if left:
        return Verdict(action="wait", reasons=[f"{len(left)} of {len(of_stage)} instances are not done"])
    ended = max((member.ended_at for member in of_stage if member.ended_at), default=None)
    if ended is not None and ended + timedelta(seconds=stage.soak_s) > now:
        until = (ended + timedelta(seconds=stage.soak_s)).astimezone(UTC)
        return Verdict(action="wait", until=until, reasons=[f"{stage.name} soaks until {until:%Y-%m-%d %H:%M:%S} UTC"])
    follows = any(item.status == "pending" and item.stage is not None and item.stage > index for item in members)
    if stage.approval and of_stage and follows and not any(approval["stage"] == index for approval in approvals):
        return Verdict(action="ask", reasons=[f"a person has to approve what follows {stage.name}"])
    return Verdict(action="go", reasons=_held_texts(of_stage, held))


async def check_gate(
    stages: Sequence[Stage],
    index: int,
    members: Sequence[RolloutMember],
    *,
    now: datetime,
    health: HealthCheck | None = None,
    approvals: Sequence[Mapping[str, Any]] = (),
    promotion: Sequence[str] = (),
) -> Verdict:
    """Return the verdict on a stage, with the health of what it has changed, which is asked when all else says go."""
    now_known = verdict(stages, index, members, now=now, approvals=approvals, promotion=promotion)
    changed = sorted({member.tenant_id for member in members if member.stage == index and member.status == "changed"})
    if health is None or not stages[index].health or not changed or now_known.action not in {"go", "ask"}:
        return now_known
    sick = await health(changed)
    return verdict(stages, index, members, now=now, approvals=approvals, sick=sick, promotion=promotion)


def _named(tenant_ids: Sequence[str]) -> str:
    more = f" and {len(tenant_ids) - NAMED} more" if len(tenant_ids) > NAMED else ""
    return ", ".join(tenant_ids[:NAMED]) + more


def _held_texts(of_stage: Sequence[RolloutMember], held: Mapping[tuple[str, str], str]) -> list[str]:
    texts = [
        f"{member.tenant_id}/{member.instance} waits: {held[member.tenant_id, member.instance]}"
        for member in of_stage
        if (member.tenant_id, member.instance) in held
    ]
    return texts[:NAMED] + ([f"and {len(texts) - NAMED} more"] if len(texts) > NAMED else [])
