"""What stops a sync: sources that are empty, shrunken or broken must not empty the registry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ...errors import SyncRefusedError
from ...tenants import Status, TenantInfo
from .merge import Merge
from .plan import SyncPlan

_SHUT_OUT: tuple[Status, ...] = ("terminated", "suspended")  # what may follow the sync takes their access away
_CAN_BE_EMPTY = [name for name, field in TenantInfo.model_fields.items() if field.default is None]


def find_refusals(plan: SyncPlan, merge: Merge, limit_percent: float) -> list[SyncRefusedError]:
    """Return why a plan must not be applied, the gravest first; [] where it may."""
    return [*_empty(plan), *_shares(plan, merge, limit_percent)]


def _empty(plan: SyncPlan) -> Iterator[SyncRefusedError]:
    for name, counts in plan.sources.items():
        if not counts.records:
            text = f"source {name} has no good record; {counts.rejected} were rejected"
            # A source that is empty for good is taken out of the project file; nothing else makes one empty.
            yield SyncRefusedError(text, guard="empty", sources=[name], forceable=False)


def _shares(plan: SyncPlan, merge: Merge, limit_percent: float) -> Iterator[SyncRefusedError]:
    def refusal(guard: str, sources: Sequence[str], count: int, total: int, what: str) -> Iterator[SyncRefusedError]:
        if total and 100 * count / total > limit_percent:
            named = f"source{'s' if len(sources) > 1 else ''} {', '.join(sources)}"
            share = f"{count} of {total} ({100 * count / total:.3g} %, max_change_percent is {limit_percent:g})"
            yield SyncRefusedError(f"{named}: {share} {what}", guard=guard, sources=list(sources), forceable=True)

    for name, counts in plan.sources.items():
        if counts.records and counts.previous is not None:
            lost = counts.previous - counts.records
            yield from refusal(
                "shrunken", [name], lost, counts.previous, "records of the last sync are no longer there"
            )
    for status in _SHUT_OUT:
        count = len(plan.became(status, added=False))
        yield from refusal(status, merge.judges, count, plan.live, f"live tenants would become {status}")
    cleared = Counter(
        name
        for change in plan.changed
        for name in _CAN_BE_EMPTY
        if getattr(change.before, name) is not None and getattr(change.after, name) is None
    )
    for name, count in cleared.items():
        yield from refusal("cleared", merge.order[name], count, plan.live, f"live tenants would lose their {name}")
    for name, counts in plan.sources.items():
        if counts.records:
            total = counts.records + counts.rejected
            yield from refusal("rejected", [name], counts.rejected, total, "records are no tenants")
    incomplete = sum(merge.is_judged(tenant_id) for tenant_id in plan.incomplete)
    judged = sum(merge.is_judged(tenant_id) for tenant_id in merge.tenant_ids())
    yield from refusal("incomplete", list(plan.sources), incomplete, judged, "tenants lack a field that they need")
