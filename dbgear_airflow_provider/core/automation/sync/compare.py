"""The registry compared with what the sources say."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import RegistryRecordError
from ...registries import Record, TenantRegistryProvider
from ...tenants import TenantInfo
from .changes import Change
from .merge import Merge, SourceRecords, named
from .plan import SourceCounts, SyncPlan


async def compare(
    registry: TenantRegistryProvider,
    merge: Merge,
    read: Mapping[str, SourceRecords],
    previous: Mapping[str, SourceCounts],
) -> SyncPlan:
    """Return what is to be changed, without refusals. The registry is read anew, tenant by tenant."""
    comparison = _Comparison(merge)
    async for record in registry.records():
        comparison.add(record)
    comparison.end()
    return SyncPlan(
        added=comparison.added,
        changed=sorted(comparison.changed, key=_tenant_id),
        gone=sorted(comparison.gone, key=_tenant_id),
        unchanged=comparison.unchanged,
        kept=dict(sorted(comparison.kept.items())),
        rejected=[*(error for source in read.values() for error in source.rejected), *comparison.rejected],
        incomplete=comparison.incomplete,
        sources={name: _counts(source, previous.get(name)) for name, source in read.items()},
        unread=merge.unread,
        live=comparison.live,
    )


class _Comparison:
    """What was found so far. Each tenant of the registry is added once, then the new ones are at the end."""

    def __init__(self, merge: Merge) -> None:
        self._merge = merge
        self._seen: set[str] = set()
        self._broken: dict[str, str] = {}
        self.added: list[TenantInfo] = []
        self.changed: list[Change] = []
        self.gone: list[Change] = []
        self.kept: dict[str, str] = {}
        self.rejected: list[RegistryRecordError] = []
        self.incomplete: list[str] = []
        self.unchanged = self.live = 0

    def add(self, record: Record | RegistryRecordError) -> None:
        """Take a record of the registry. Where several good ones have one tenant_id, the first stands."""
        try:
            if isinstance(record, RegistryRecordError):
                raise record
            before = record.tenant()
        except RegistryRecordError as error:
            bad = named("registry", error)
            self.rejected.append(bad)
            if isinstance(record, Record) and record.fields.get("tenant_id") is not None:
                self._broken[str(record.fields["tenant_id"])] = bad.message
            return
        if before.tenant_id not in self._seen:
            self._seen.add(before.tenant_id)
            self.live += before.status != "terminated"
            self.unchanged += not self._changes(before)

    def end(self) -> None:
        """Add the tenants that the sources have and the registry has not."""
        for tenant_id, why in self._broken.items():
            if tenant_id not in self._seen:
                # Not to be written over: what it holds beside the mistake, no source may know.
                self._seen.add(tenant_id)
                self.kept[tenant_id] = why
                self.unchanged += 1
        for tenant_id in self._merge.tenant_ids():
            if tenant_id not in self._seen and self._merge.doubt(tenant_id) is None:
                tenant = self._merged(tenant_id, None)
                if tenant is not None:
                    self.added.append(tenant)

    def _changes(self, before: TenantInfo) -> bool:
        tenant_id, merge = before.tenant_id, self._merge
        if (doubt := merge.doubt(tenant_id)) is not None:
            self.kept[tenant_id] = doubt
        elif merge.is_gone(tenant_id):
            return before.status != "terminated" and self._ends(before)
        elif merge.knowing(tenant_id) and (after := self._merged(tenant_id, before)) is not None:
            if after.updated_at == before.updated_at:
                after = after.model_copy(update={"updated_at": merge.now})
            change = Change.between(before, after)
            if change.fields.keys() - {"updated_at"}:  # which alone says nothing
                self.changed.append(change)
                return True
        return False

    def _ends(self, before: TenantInfo) -> bool:
        if self._merge.unreadable:
            why = f"in no source, but {self._merge.unreadable} records cannot be told apart"
            self.kept[before.tenant_id] = why
            return False
        update = {"status": "terminated", "updated_at": self._merge.now}
        self.gone.append(Change.between(before, before.model_copy(update=update)))
        return True

    def _merged(self, tenant_id: str, before: TenantInfo | None) -> TenantInfo | None:
        """Return what a tenant is to be; None where too little is known of it."""
        try:
            return self._merge.tenant(tenant_id, before)
        except RegistryRecordError as error:
            self.rejected.append(error)
            self.incomplete.append(tenant_id)
            if before is not None:
                self.kept[tenant_id] = error.message
        return None


def _counts(source: SourceRecords, previous: SourceCounts | None) -> SourceCounts:
    return SourceCounts(
        records=len(source.records),
        rejected=len(source.rejected),
        fields=tuple(sorted(source.filled)),
        previous=None if previous is None else previous.records,
    )


def _tenant_id(change: Change) -> str:
    return change.tenant_id
