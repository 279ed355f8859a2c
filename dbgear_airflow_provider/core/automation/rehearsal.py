"""Rehearsals: pending migrations are run on the clone of one instance for each group that is alike.

Alike are instances on one target, of one isolation, that hold the same, should hold the same and have the same ledger.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engines import Server
from ..errors import DbgearError, SettingsError, TenantNotFoundError, TransientError
from ..isolation import Place
from ..migrations import MigrationSet, Names, ServerFacts, lint
from ..registries import Filters
from ..tenants import TenantInfo
from .drift import DriftGroup, InstanceId
from .fanout import fanout
from .instance import Instance
from .migrations import FleetMigration
from .rehearsal_report import Outcome, Rehearsal, RehearsalGroup, RehearsalReport
from .rehearse import InstanceRehearsal
from .results import OperationResult, OperationStatus

if TYPE_CHECKING:
    from .engine import TenantAutomationEngine

REHEARSE = "rehearse_migrations"
# What reaches beyond the clone: it would be done for good.
_BEYOND = {"other-schema", "not-a-migration"}
_SESSIONS = 2  # of one rehearsal: the clone's own, and that which works on it


@dataclass(frozen=True, kw_only=True)
class _Pending:
    """What an instance needs by a dry run."""

    isolation: str
    ledger: str | None
    versions: tuple[str, ...]


class FleetRehearsal:
    """A rehearsal of the scripts of a folder, or of one script. rows: copied of each table; 0: none."""

    def __init__(
        self, engine: TenantAutomationEngine, migrations: Path | str, *, to: str | None, out_of_order: bool, rows: int
    ) -> None:
        if rows < 0:
            raise SettingsError("no number of rows", where="rows", received=rows, allowed="0 or more")
        self._engine = engine
        self._path = migrations
        self._to = to
        self._out_of_order = out_of_order
        self._rows = rows
        self._work = FleetMigration(engine, migrations, instances=None, dry_run=True, parallel_limit=None)

    async def rehearse(
        self, filters: Filters, planned: Sequence[OperationResult] | None, parallel_limit: int | None
    ) -> RehearsalReport:
        """Rehearse what the instances of the tenants that match need. planned: what a dry run has found, if any did."""
        if planned is None:
            planned = await self._engine.bulk_migrate_tenants(
                filters, self._path, self._to, out_of_order=self._out_of_order, verify=True
            )
        pending = _pending(planned)
        if not pending:
            return RehearsalReport(rehearsals=[])
        drift = await self._engine.check_drift({"tenant_id": sorted({member.tenant_id for member in pending})})
        groups: dict[str, list[RehearsalGroup]] = defaultdict(list)
        for group in drift.groups:
            groups[group.target] += _cut(group, pending)
        unread = [
            Rehearsal(
                group=_group(item.target, "", pending[item.member], [item.member]),
                outcome="not rehearsed",
                error=item.error,
                error_kind=item.error_kind,
                transient=item.transient,
            )
            for item in drift.unread
            if item.member in pending
        ]
        targets = [(self._engine.servers[target], some) for target, some in sorted(groups.items()) if some]
        for server, _ in targets:
            _refuse_too_few_sessions(server)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(self._on_target(server, some, parallel_limit)) for server, some in targets]
        return RehearsalReport(rehearsals=[*(item for task in running for item in task.result()), *unread])

    async def _on_target(
        self, server: Server, groups: Sequence[RehearsalGroup], parallel_limit: int | None
    ) -> list[Rehearsal]:
        try:
            await server.drop_left_clones()
            tenant = await self._engine.registry.get_tenant(groups[0].first.tenant_id)
            beyond = await _beyond(await self._work._set_of(server, tenant), server)
        except DbgearError as error:
            outcome: Outcome = "failed" if isinstance(error, TransientError) else "not rehearsed"
            return [Rehearsal.of_error(group, outcome, error) for group in groups]
        by_name = {str(group.first): group for group in groups}
        told: dict[str, Rehearsal] = {}

        async def work(name: str, attempt: int) -> Mapping[str, Any]:
            told[name] = await self._one(server, by_name[name], beyond, attempt)
            return {}

        limits = self._engine._limits(parallel_limit)
        limits = replace(limits, parallel=min(limits.parallel, server.max_connections // _SESSIONS))
        results = await fanout(list(by_name), work, operation=REHEARSE, limits=limits)
        return [
            _broken(by_name[result.tenant_id], result)
            if result.status is OperationStatus.ERROR
            else told[result.tenant_id]
            for result in results
        ]

    async def _one(self, server: Server, group: RehearsalGroup, beyond: Mapping[str, str], attempt: int) -> Rehearsal:
        reasons = [beyond[version] for version in group.versions if version in beyond]
        if reasons:
            return Rehearsal(group=group, outcome="not rehearsed", error="; ".join(reasons))
        tenant = await self._engine.registry.get_tenant(group.first.tenant_id)
        instance = await self._instance(tenant, server, group.first)
        migrations = await self._work._set_of(server, tenant)
        macros = await self._work._extra_macros(tenant, migrations)

        def names_of(place: Place) -> Names:
            return Names(place, tenant, instance.name, name_macros=macros)

        rehearsal = InstanceRehearsal(
            group=group,
            instance=instance,
            server=server,
            migrations=migrations,
            names_of=names_of,
            to=self._to,
            out_of_order=self._out_of_order,
            rows=self._rows,
        )
        return await rehearsal.run(attempt)

    async def _instance(self, tenant: TenantInfo, server: Server, member: InstanceId) -> Instance:
        async for instance in self._engine._instances_of(tenant, server):
            if instance.name == member.instance:
                return instance
        raise TenantNotFoundError(f"tenant {member.tenant_id} has no instance {member.instance} any more")


def _refuse_too_few_sessions(server: Server) -> None:
    if server.max_connections < _SESSIONS:
        where, allowed = f"multi_tenant.targets.{server.name}.max_connections", f"{_SESSIONS} or more"
        raise SettingsError("too few to rehearse", where=where, received=server.max_connections, allowed=allowed)


def _pending(planned: Sequence[OperationResult]) -> dict[InstanceId, _Pending]:
    """Return those that need anything. Who cannot be looked at is told by the dry run."""
    return {
        InstanceId(tenant_id=result.tenant_id, instance=name): _Pending(
            isolation=item["isolation"], ledger=item["ledger"], versions=tuple(item["versions"])
        )
        for result in planned
        if result.status is OperationStatus.SUCCESS
        for name, item in (result.details or {})["instances"].items()
        if item["versions"]
    }


def _cut(group: DriftGroup, pending: Mapping[InstanceId, _Pending]) -> list[RehearsalGroup]:
    """Return the groups of those that hold the same, the largest first."""
    alike: dict[_Pending, list[InstanceId]] = defaultdict(list)
    for member in group.members:
        if member in pending:
            alike[pending[member]].append(member)
    found = [_group(group.target, group.fingerprint, need, members) for need, members in alike.items()]
    return sorted(found, key=lambda item: (-len(item.members), item.first))


def _group(target: str, fingerprint: str, need: _Pending, members: Sequence[InstanceId]) -> RehearsalGroup:
    return RehearsalGroup(
        target=target,
        isolation=need.isolation,
        fingerprint=fingerprint,
        ledger=need.ledger,
        versions=need.versions,
        members=members,
    )


async def _beyond(migrations: MigrationSet, server: Server) -> dict[str, str]:
    """Return {version: why} of the scripts that would change more than a clone, whether lint was told so or not."""
    found = await asyncio.to_thread(lint, migrations, ServerFacts(dialect=server.dialect))
    files = {str(item.file): item.version for item in migrations.migrations}
    return {files[item.file]: f"{item.file}, line {item.line}: {item.text}" for item in found if item.rule in _BEYOND}


def _broken(group: RehearsalGroup, result: OperationResult) -> Rehearsal:
    """Return what became of a group whose rehearsal came to no end: no server, no lock, no time."""
    details = result.details or {}
    return Rehearsal(
        group=group,
        outcome="failed",
        duration_s=result.duration,
        error=result.error,
        error_kind=details.get("error_kind"),
        transient=bool(details.get("transient")),
    )
