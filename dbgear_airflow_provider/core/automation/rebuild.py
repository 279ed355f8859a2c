"""The fleet store's state of instances, rebuilt: the servers are asked where each one is and what its ledger says."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..engines import Server
from ..errors import DbgearError, NotProvisionedError, OwnershipError, ServerUnavailableError, SettingsError
from ..fleet import FleetStore, InstanceRecord
from ..isolation import Place, place
from ..schema import PROVISIONED, LedgerEntry, Namespace
from ..tenants import TenantInfo
from .drift import InstanceId
from .engine import TenantAutomationEngine
from .instance import is_absent, timeouts
from .migrate import state_of
from .migrations import bare_instance

_LEDGERS_AT_ONCE = 500
# Their places hold something else, or an instance that is not finished: the store must not say that they are there.
_NOT_THERE = (NotProvisionedError, OwnershipError)
_Wanted = tuple[TenantInfo, str]  # a tenant, and the name of one of its instances


@dataclass(frozen=True, kw_only=True)
class RebuildReport:
    """What the servers hold. All in order.

    found: instances that are there. elsewhere: {instance: target that the rules name} of those of them that are on
    another one; empty where no rule names any. missing: nothing is there. unread: {instance: error} of those that
    could not be looked at, or whose place holds something else.
    """

    found: Sequence[InstanceRecord]
    elsewhere: Mapping[InstanceId, str]
    missing: Sequence[InstanceId]
    unread: Mapping[InstanceId, DbgearError]

    @property
    def gone(self) -> list[InstanceId]:
        """Those that are certainly not there."""
        return [*self.missing, *(member for member, error in self.unread.items() if isinstance(error, _NOT_THERE))]

    def counts(self) -> dict[str, int]:
        """Return how many instances came to what."""
        return {
            "found": len(self.found),
            "elsewhere": len(self.elsewhere),
            "missing": len(self.missing),
            "unread": len(self.unread),
        }


async def rebuild_state(engine: TenantAutomationEngine, store: FleetStore, *, dry_run: bool) -> RebuildReport:
    """Look for the instances of all tenants of the registry, and write what is found into the store.

    engine: connected to all targets, with a run: fingerprints are taken as by a check of drift. What is not on its
    tenant's target is looked for on the others. What cannot be looked at stays in the store as it is; so does what the
    registry does not know. Safe to repeat. Raises SourceUnavailableError where registry or store do not answer.
    """
    tenants = await engine.registry.list_tenants(limit=None)
    own = {tenant.tenant_id: _target_of(engine, tenant) for tenant in tenants}
    search = _Search(engine.servers, own)
    left = [(tenant, name) for tenant in tenants for name in tenant.instances]
    for turn in range(len(engine.servers)):
        asked: dict[str, list[_Wanted]] = defaultdict(list)
        for tenant, name in left:
            first = own[tenant.tenant_id]
            targets = [*([first] if first else []), *(name for name in engine.servers if name != first)]
            asked[targets[turn]].append((tenant, name))
        left = await search.look(asked)
    report = search.report(left)
    if not dry_run:
        await store.placed.replace(report.found, [(item.tenant_id, item.instance) for item in report.gone])
        there = sorted({record.tenant_id for record in report.found if record.target == own[record.tenant_id]})
        if there:
            await engine.check_drift({"tenant_id": there})
    return report


class _Search:
    """What was found so far. servers: by name. own: {tenant_id: the target that the rules name, None: none}."""

    def __init__(self, servers: Mapping[str, Server], own: Mapping[str, str | None]) -> None:
        self._servers, self._own = servers, own
        self._width = {name: asyncio.Semaphore(server.max_connections) for name, server in servers.items()}
        self._dead: dict[str, ServerUnavailableError] = {}
        self._found: list[InstanceRecord] = []
        self._unread: dict[InstanceId, DbgearError] = {}

    async def look(self, asked: Mapping[str, Sequence[_Wanted]]) -> list[_Wanted]:
        """Look for instances, {target: those to look for there}; return those of which nothing is there."""
        nothing: list[_Wanted] = []
        async with asyncio.TaskGroup() as tasks:
            for target, wanted in asked.items():
                for some in self._together(self._servers[target], wanted):
                    tasks.create_task(self._look(self._servers[target], some, nothing))
        return nothing

    def report(self, missing: Sequence[_Wanted]) -> RebuildReport:
        """Return what was found. missing: what was found nowhere."""
        found = sorted(self._found, key=lambda record: (record.tenant_id, record.instance))
        return RebuildReport(
            found=found,
            elsewhere={
                InstanceId(tenant_id=record.tenant_id, instance=record.instance): self._own[record.tenant_id] or ""
                for record in found
                if record.target != self._own[record.tenant_id]
            },
            missing=sorted(map(_id, missing)),
            unread=dict(sorted(self._unread.items())),
        )

    def _together(self, server: Server, wanted: Sequence[_Wanted]) -> list[list[tuple[_Wanted, Place]]]:
        """Return those whose ledgers can be read together."""
        groups: dict[str, list[tuple[_Wanted, Place]]] = defaultdict(list)
        for tenant, name in wanted:
            try:
                where = place(tenant, name, server)
            except DbgearError as error:  # it can have no name there
                if self._own[tenant.tenant_id] == server.name:
                    self._unread[_id((tenant, name))] = error
                continue
            database = server.address.database if server.schemas_are_databases else where.database
            groups[database].append(((tenant, name), where))
        return [
            some[start : start + _LEDGERS_AT_ONCE]
            for some in groups.values()
            for start in range(0, len(some), _LEDGERS_AT_ONCE)
        ]

    async def _look(self, server: Server, some: Sequence[tuple[_Wanted, Place]], nothing: list[_Wanted]) -> None:
        try:
            ledgers = await self._ledgers(server, [where for _, where in some])
        except DbgearError as error:
            for wanted, _ in some:
                self._unread[_id(wanted)] = error
            return
        for wanted, where in some:
            try:
                record = _record(wanted, where, ledgers.get(where.namespace))
            except _NOT_THERE as error:
                if self._own[wanted[0].tenant_id] == server.name:
                    self._unread[_id(wanted)] = error
                else:
                    nothing.append(wanted)
                continue
            if record is None:
                nothing.append(wanted)
            else:
                self._found.append(record)

    async def _ledgers(self, server: Server, places: Sequence[Place]) -> dict[Namespace, list[LedgerEntry]]:
        async with self._width[server.name]:
            if server.name in self._dead:  # thousands of databases need not wait for it one by one
                raise self._dead[server.name]
            try:
                await server.ready()
                first = places[0]
                if await is_absent(first, server):
                    return {}
                database = server.address.database if server.schemas_are_databases else first.database
                async with server.session(database) as session, session.read_only(timeouts()):
                    return await session.ledgers([where.namespace for where in places])
            except ServerUnavailableError as error:
                self._dead[server.name] = error
                raise


def _record(wanted: _Wanted, where: Place, entries: Sequence[LedgerEntry] | None) -> InstanceRecord | None:
    """Return what a ledger says of an instance; None: there is no ledger. Raises as `state_of`."""
    if entries is None:
        return None
    tenant, name = wanted
    state = state_of(entries, bare_instance(tenant, name, where))
    return InstanceRecord(
        tenant_id=tenant.tenant_id,
        instance=name,
        target=where.target,
        isolation=where.isolation,
        database_name=where.database,
        schema_name=where.schema,
        prefix=where.prefix,
        checksum=next(entry.checksum for entry in entries if entry.version == PROVISIONED),
        version=state.newest,
        ledger=state.digest,
    )


def _id(wanted: _Wanted) -> InstanceId:
    tenant, name = wanted
    return InstanceId(tenant_id=tenant.tenant_id, instance=name)


def _target_of(engine: TenantAutomationEngine, tenant: TenantInfo) -> str | None:
    try:
        return engine.settings.target_of(tenant)
    except SettingsError:  # no rule places it; it may be somewhere all the same
        return None
