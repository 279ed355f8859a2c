"""Synchronizing the registry with the sources that know the tenants.

`plan_sync` reads and compares, `apply_sync` writes. What is written is told by the plan alone: one that was refused,
or killed before it was applied, has changed nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from ...errors import SourceUnavailableError, UnsupportedError
from ...fleet import FleetStore, OperationRecord, Run
from ...registries import TenantRegistryProvider, TenantRegistryWriter
from ...settings import SyncSettings
from ..results import OperationResult, OperationStatus
from .compare import compare
from .configs import compare_configs
from .guards import find_refusals
from .merge import Merge, Source, SourceRecords, read_source
from .plan import SourceCounts, SyncPlan

log = logging.getLogger(__name__)

OPERATION = "sync"
_SOURCE_OPERATION = "sync_source"
_BATCH_ROWS = 500


async def plan_sync(
    registry: TenantRegistryProvider,
    sources: Mapping[str, Source],
    settings: SyncSettings,
    *,
    now: datetime,
    configured: Mapping[str, Collection[str] | None] | None = None,
    previous: Mapping[str, SourceCounts] | None = None,
    configs_of: Collection[str] = (),
) -> SyncPlan:
    """Compare the registry with its sources; write nothing.

    sources: {name: (provider, fields that it knows, or None)} of those to ask. now: aware; stands in created_at and
    updated_at where no source knows them. configured: {name: fields} of all sources of the sync, the first one before
    the others; None: `sources` are all. previous: what `last_reads` tells of them. configs_of: names of the sources
    whose settings of single tenants are copied as well.

    Guards do not raise: they are the plan's `refusals`, so that a person can see what they refuse.
    Raises UnsupportedError where the registry cannot be written, SourceUnavailableError where the registry or a
    source does not answer, RegistryRecordError where one is no list of tenants at all.
    """
    _writer(registry)
    previous = previous or {}
    if configured is None:
        configured = {name: fields for name, (_, fields) in sources.items()}
    known = {
        # Of a source that is not asked now, the last sync tells what it knows.
        name: previous[name].fields if fields is None and name in previous else fields
        for name, fields in configured.items()
    }
    read = {
        name: await read_source(name, source, previous[name].fields if name in previous else ())
        for name, source in sources.items()
    }
    merge = Merge(read, known, settings, now)
    plan = await compare(registry, merge, read, previous)
    plan = await _with_configs(plan, registry, {name: sources[name][0] for name in sources if name in configs_of}, read)
    return replace(plan, refusals=find_refusals(plan, merge, settings.max_change_percent))


async def apply_sync(
    registry: TenantRegistryProvider, plan: SyncPlan, *, force: bool = False, run: Run | None = None
) -> None:
    """Write a plan into the registry, the tenants all or none, and what it did into the fleet store.

    Settings of single tenants are written before, in a transaction of their own. force: even where it would change more
    than the guards allow. run: under which id the changes are recorded. Safe to repeat. Raises SyncRefusedError,
    UnsupportedError, SourceUnavailableError, RegistryRecordError; then no tenant is written.
    """
    plan.check(force=force)
    writer = _writer(registry)
    if plan:
        # Settings first: a tenant is never there without them.
        await writer.write_configs({config.tenant_id: config.after for config in plan.configs})
        await writer.write_tenants(plan.tenants())
    if run is not None:
        records = _records(plan, run)
        try:
            for start in range(0, len(records), _BATCH_ROWS):
                await run.store.record(records[start : start + _BATCH_ROWS])
        except SourceUnavailableError as error:
            # The registry is written: to fail now would only hide that.
            log.warning("%s; the history of this sync is not complete", error)


async def _with_configs(
    plan: SyncPlan,
    registry: TenantRegistryProvider,
    sources: Mapping[str, TenantRegistryProvider],
    read: Mapping[str, SourceRecords],
) -> SyncPlan:
    if not sources:
        return plan
    await registry.forget()  # what was written by others in the meantime counts
    known = {tenant_id for name in sources for tenant_id in read[name].records}
    tenant_ids = known - plan.kept.keys() - set(plan.incomplete)
    added = {tenant.tenant_id for tenant in plan.added}
    configs, rejected = await compare_configs(registry, sources, tenant_ids, added)
    return replace(plan, configs=configs, rejected=[*plan.rejected, *rejected])


async def last_reads(store: FleetStore, names: Collection[str]) -> dict[str, SourceCounts]:
    """Return what each of the sources had at its last sync; those that were never read are missing."""
    reads = {}
    for name in names:
        if last := await store.last(_source_id(name)):
            details = last.details or {}
            reads[name] = SourceCounts(
                records=details["records"], rejected=details["rejected"], fields=tuple(details["fields"])
            )
    return reads


def _writer(registry: TenantRegistryProvider) -> TenantRegistryWriter:
    if not isinstance(registry, TenantRegistryWriter):
        source = getattr(registry, "source", type(registry).__name__)
        raise UnsupportedError(f"{source}: a sync needs a registry that can be written: provider database")
    return registry


def _records(plan: SyncPlan, run: Run) -> list[OperationRecord]:
    """Return what the history keeps: the names of the fields that changed, not their values."""
    changes = {"changed": plan.changed, "terminated": plan.gone}
    results = [
        *(_result(tenant.tenant_id, {"change": "added"}) for tenant in plan.added),
        *(
            _result(change.tenant_id, {"change": kind, "fields": list(change.fields)})
            for kind, found in changes.items()
            for change in found
        ),
        *(
            _result(
                _source_id(name),
                {"records": counts.records, "rejected": counts.rejected, "fields": list(counts.fields)},
                _SOURCE_OPERATION,
            )
            for name, counts in plan.sources.items()
        ),
    ]
    return [result.record(run) for result in results]


def _result(tenant_id: str, details: dict[str, Any], operation: str = OPERATION) -> OperationResult:
    return OperationResult(tenant_id, operation, OperationStatus.SUCCESS, 0.0, details=details)


def _source_id(name: str) -> str:
    return f"source {name}"
