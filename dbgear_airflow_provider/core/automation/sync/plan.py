"""`SyncPlan`: what a sync would change in the registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic_core import to_jsonable_python

from ...errors import RegistryRecordError, SyncRefusedError
from ...tenants import Status, TenantInfo
from ..tables import text_table
from .changes import Change, line
from .configs import ConfigChange

LOG_ROWS = 1000
COLUMNS = ("tenant", "change", "field", "old", "new")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceCounts:
    """What one source had.

    records: good ones, each a tenant. rejected: the others. fields: those that it is said to know, else those for
    which it has a value, tenant_id aside.
    previous: records at the last sync; None: there was none.
    """

    records: int
    rejected: int
    fields: Sequence[str]
    previous: int | None = None


@dataclass(frozen=True, kw_only=True)
class SyncPlan:
    """What a sync would do. Nothing is written yet. Lists of tenants are ordered by tenant_id.

    gone: tenants that the sources no longer have; they become `terminated` and are never deleted.
    unchanged: number of the registry's tenants that stay as they are, `kept` among them.
    kept: {tenant_id: why} of tenants that stay as they are because of a bad record.
    rejected: records that are no tenants, and tenants of which too little is known: these are `incomplete`, too.
    sources: what each source had. unread: sources that were not asked. live: tenants of the registry that are not
    terminated. refusals: why it must not be applied; [] where it may. configs: settings of tenants that differ.
    """

    added: Sequence[TenantInfo]
    changed: Sequence[Change]
    gone: Sequence[Change]
    unchanged: int
    kept: Mapping[str, str]
    rejected: Sequence[RegistryRecordError]
    incomplete: Sequence[str]
    sources: Mapping[str, SourceCounts]
    unread: Sequence[str]
    live: int
    refusals: Sequence[SyncRefusedError] = ()
    configs: Sequence[ConfigChange] = ()

    def __bool__(self) -> bool:
        """Tell whether there is anything to write."""
        return bool(self.added or self.changed or self.gone or self.configs)

    def counts(self) -> dict[str, int]:
        """Return how many tenants came to what, and the bad records."""
        return {
            "added": len(self.added),
            "changed": len(self.changed),
            "terminated": len(self.gone),
            "unchanged": self.unchanged,
            "kept": len(self.kept),
            "rejected": len(self.rejected),
            "configs": len(self.configs),
        }

    def tenants(self) -> list[TenantInfo]:
        """Return the tenants to write, as they will be."""
        return [*self.added, *(change.after for change in (*self.changed, *self.gone))]

    def became(self, status: Status, *, added: bool = True) -> list[str]:
        """Return the ids of the tenants that come to have a status, ordered; added: those that are new as well."""
        new = [tenant.tenant_id for tenant in self.added if added and tenant.status == status]
        moved = [
            change.tenant_id
            for change in (*self.changed, *self.gone)
            if change.before.status != status == change.after.status
        ]
        return sorted(new + moved)

    def check(self, *, force: bool = False) -> None:
        """Raise the first of the refusals; force: only where force does not help.

        Raises SyncRefusedError.
        """
        for refusal in self.refusals:
            if not (force and refusal.details["forceable"]):
                raise refusal

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON, with all values of all differences: for a report file, not for a log."""
        report: dict[str, Any] = to_jsonable_python(
            {
                "counts": self.counts(),
                "sources": self.sources,
                "unread": self.unread,
                "refusals": [refusal.message for refusal in self.refusals],
                "added": self.added,
                "changed": [change.document() for change in self.changed],
                "terminated": [change.document() for change in self.gone],
                "configs": [{"tenant_id": config.tenant_id, "fields": list(config.fields)} for config in self.configs],
                "kept": self.kept,
                "rejected": [error.message for error in self.rejected],
            }
        )
        return report

    def table(self, limit_rows: int = LOG_ROWS) -> str:
        """Return the plan as a table for a log, a line for each field that differs, limit_rows at the most.

        Values are shortened; those of billing_info and contract_info are left out.
        """
        found = list(islice(self.rows(), limit_rows + 1))
        table = text_table(COLUMNS, found[:limit_rows])
        return table + "\n... and more, all of it in the report" if len(found) > limit_rows else table

    def rows(self) -> Iterator[tuple[str, str, str, str, str]]:
        """Yield the cells of the table's lines, in the order of COLUMNS."""
        for kind, changes in (("terminated", self.gone), ("changed", self.changed)):
            for change in changes:
                for cells in change.lines():
                    yield line(change.tenant_id), kind, *cells
        for tenant in self.added:
            told = f"{tenant.customer_name}, {tenant.tier}, {tenant.status}"
            yield line(tenant.tenant_id), "added", "", "", line(told)
        for config in self.configs:
            yield line(config.tenant_id), "settings", line(", ".join(config.fields)), "", ""
        for tenant_id in self.kept:
            yield line(tenant_id), "kept", "", "", ""
