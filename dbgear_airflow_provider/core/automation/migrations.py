"""Migrations of many tenants: which of them need any, and what is done to those."""

from __future__ import annotations

import asyncio
import difflib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engines import Server, Timeouts
from ..errors import DbgearError, EditedMigrationError, MigrationError, TransientError
from ..fleet import ScriptRecord, VersionRecord
from ..isolation import Place, place
from ..migrations import VERSION, LedgerState, Migration, MigrationSet, Names, digests_at, known_state
from ..registries import Filters
from ..tenants import TenantInfo
from .baseline import baseline_instance
from .instance import LOCK_S, STATEMENT_S, Instance
from .migrate import Adopt, Migrated, migrate_instance, state_of, undo_instance
from .results import OperationResult, OperationStatus
from .roles import TenantRoles

if TYPE_CHECKING:
    from .engine import TenantAutomationEngine

MIGRATE, UNDO, BASELINE = "migrate", "undo_migrations", "baseline"  # the operations' names
_LEDGERS_AT_ONCE = 500

Change = Callable[[Instance, Server, MigrationSet, Names, int], Awaitable[Migrated]]


class FleetMigration:
    """One operation with the scripts of a folder, or one script, on the tenants of an engine that match.

    instances: names of those that are meant; None: all. Scripts are read once for each engine that tenants are on.
    """

    def __init__(
        self,
        engine: TenantAutomationEngine,
        migrations: Path | str,
        *,
        instances: Collection[str] | None,
        dry_run: bool,
        parallel_limit: int | None,
    ) -> None:
        self._engine = engine
        self._path = Path(migrations)
        self._instances = instances
        self._dry_run = dry_run
        self._parallel_limit = parallel_limit
        self._sets: dict[str, MigrationSet] = {}  # by target
        self._places: dict[tuple[str, str], Place] = {}  # by (tenant_id, instance)
        # What ledgers say as far as the store knows or they were read, by (tenant_id, instance).
        self._states: dict[tuple[str, str], LedgerState] = {}

    async def migrate(
        self, filters: Filters, *, to: str | None, out_of_order: bool, adopt: Adopt | None, verify: bool
    ) -> list[OperationResult]:
        """Apply what is pending; tenants that the store or the ledgers know to be there are not touched."""
        tenants = await self._read(filters, MIGRATE)
        for migrations in self._sets.values():
            migrations.upto(to)  # a version that is not there is told before anything is done
        current = await self._known_to_store(tenants, to, verify=verify)
        left = [tenant for tenant in tenants if tenant.tenant_id not in current and not self._is_known(tenant)]
        looked = await self._by_ledgers(left, to, out_of_order=out_of_order)
        current |= looked

        async def change(
            instance: Instance, server: Server, migrations: MigrationSet, names: Names, attempt: int
        ) -> Migrated:
            return await migrate_instance(
                instance,
                server,
                migrations,
                names,
                to=to,
                dry_run=self._dry_run,
                attempt=attempt,
                out_of_order=out_of_order,
                adopt=adopt,
                known=self._states.get((instance.tenant_id, instance.name)),
            )

        if not self._dry_run:
            await self._note(looked)
        passed = [self._result(tenant, current[tenant.tenant_id]) for tenant in tenants if tenant.tenant_id in current]
        for result in passed:
            self._engine._on_result(result)
        self._engine.operation_history.extend(passed)
        results = await self._bulk(MIGRATE, [tenant for tenant in tenants if tenant.tenant_id not in current], change)
        by_id = {result.tenant_id: result for result in [*passed, *results]}
        return [by_id[tenant.tenant_id] for tenant in tenants if tenant.tenant_id in by_id]

    async def undo(self, filters: Filters, *, to: str) -> list[OperationResult]:
        """Undo what is newer than a version."""
        tenants = await self._read(filters, UNDO)
        if self._engine._run is not None and not self._dry_run:
            await self._engine._run.store.forget_versions([tenant.tenant_id for tenant in tenants])

        async def change(
            instance: Instance, server: Server, migrations: MigrationSet, names: Names, attempt: int
        ) -> Migrated:
            return await undo_instance(
                instance, server, migrations, names, to=to, dry_run=self._dry_run, attempt=attempt
            )

        return await self._bulk(UNDO, tenants, change)

    async def _read(self, filters: Filters, operation: str) -> list[TenantInfo]:
        """Return the tenants that the run has not done yet, with the scripts read for all of them."""
        engine = self._engine
        tenants = await engine.registry.list_tenants(filters, limit=None)
        if engine._run is not None:
            ids = [tenant.tenant_id for tenant in tenants]
            done = await engine._run.succeeded(operation, ids, dry_run=self._dry_run)
            tenants = [tenant for tenant in tenants if tenant.tenant_id not in done]
        first: dict[str, TenantInfo] = {}
        for tenant in tenants:
            with suppress(DbgearError):  # the tenant's own operation tells it
                first.setdefault(engine._server_of(tenant).name, tenant)
        for target, tenant in first.items():
            with suppress(TransientError):  # likewise
                await self._set_of(engine.servers[target], tenant)
        if engine._run is not None and not self._dry_run:
            scripts = {item.checksum: item for migrations in self._sets.values() for item in migrations.migrations}
            await engine._run.store.record_scripts([_record(item) for item in scripts.values()])
        return list(tenants)

    async def _set_of(self, server: Server, tenant: TenantInfo) -> MigrationSet:
        """Return the scripts for a server. tenant: one that is on it, whose document tells which macros there are."""
        if server.name not in self._sets:
            await server.ready()
            try:
                self._sets[server.name] = await asyncio.to_thread(MigrationSet.load, self._path, dialect=server.dialect)
            except MigrationError:
                config = await self._engine.registry.get_tenant_config(tenant.tenant_id)
                macros = self._engine.template_engine.name_macros(tenant, config)
                if not macros:
                    raise
                self._sets[server.name] = await asyncio.to_thread(
                    MigrationSet.load, self._path, dialect=server.dialect, macros=list(macros)
                )
        return self._sets[server.name]

    # Who needs nothing.

    async def _known_to_store(
        self, tenants: Sequence[TenantInfo], to: str | None, *, verify: bool
    ) -> dict[str, dict[str, Migrated]]:
        """Return {tenant_id: its instances} of those that have all, as far as the store knows; verify: {}.

        Learns of the others what their ledgers say, unless it is told to somebody: a dry run looks.
        """
        run = self._engine._run
        if run is None or (verify and self._dry_run):
            return {}
        rows = await run.store.placements([tenant.tenant_id for tenant in tenants])
        wanted = {target: digests_at(migrations, to) for target, migrations in self._sets.items()}
        found = {}
        states: dict[tuple[str, str, str], LedgerState | None] = {}  # of a few ledgers that are alike
        for tenant, server, places in self._placed(tenants):
            done: dict[str, Migrated] = {}
            for name, where in places.items():
                row = rows.get((tenant.tenant_id, name), {})
                if not row.get("ledger") or not _is_at(row, where):
                    continue
                if row["ledger"] in wanted[server.name]:
                    done[name] = Migrated(place=where, version=row["version"], ledger=row["ledger"], looked="store")
                    if verify:
                        continue
                key = (server.name, str(row["version"]), row["ledger"])
                if key not in states:
                    states[key] = known_state(self._sets[server.name], row["version"], row["ledger"])
                if (state := states[key]) is not None and not self._dry_run:
                    self._states[tenant.tenant_id, name] = state
            if len(done) == len(places) and not verify:
                found[tenant.tenant_id] = done
        return found

    async def _by_ledgers(
        self, tenants: Sequence[TenantInfo], to: str | None, *, out_of_order: bool
    ) -> dict[str, dict[str, Migrated]]:
        """Return {tenant_id: its instances} of those that have all, by the ledgers that can be read together."""
        groups: dict[str, list[tuple[TenantInfo, Mapping[str, Place]]]] = defaultdict(list)
        for tenant, server, places in self._placed(tenants):
            if server.schemas_are_databases or not any(item.own_database for item in places.values()):
                groups[server.name].append((tenant, places))
        found: dict[str, dict[str, Migrated]] = {}

        async def read(server: Server, members: Sequence[tuple[TenantInfo, Mapping[str, Place]]]) -> None:
            with suppress(DbgearError):  # each of them is looked at alone then
                found.update(await self._read_together(server, members, to, out_of_order=out_of_order))

        # A server is quick at one ledger and slow at many, for it opens each table: over several connections at once.
        async with asyncio.TaskGroup() as tasks:
            for target, members in groups.items():
                for start in range(0, len(members), _LEDGERS_AT_ONCE):
                    tasks.create_task(read(self._engine.servers[target], members[start : start + _LEDGERS_AT_ONCE]))
        return found

    async def _read_together(
        self,
        server: Server,
        members: Sequence[tuple[TenantInfo, Mapping[str, Place]]],
        to: str | None,
        *,
        out_of_order: bool,
    ) -> dict[str, dict[str, Migrated]]:
        timeouts = Timeouts(lock_s=LOCK_S, statement_s=STATEMENT_S)
        spaces = [item.namespace for _, places in members for item in places.values()]
        async with server.session(server.address.database) as session, session.read_only(timeouts):
            ledgers = await session.ledgers(spaces)
        found = {}
        for tenant, places in members:
            current = {}
            for name, item in places.items():
                with suppress(DbgearError):  # its own operation tells it
                    state = state_of(ledgers.get(item.namespace), bare_instance(tenant, name, item))
                    if not state.progress:
                        self._states[tenant.tenant_id, name] = state
                    if not state.pending(self._sets[server.name], to, out_of_order=out_of_order):
                        current[name] = Migrated(place=item, version=state.newest, ledger=state.digest)
            if len(current) == len(places):
                found[tenant.tenant_id] = current
        return found

    def _placed(self, tenants: Sequence[TenantInfo]) -> Iterator[tuple[TenantInfo, Server, dict[str, Place]]]:
        """Yield those whose scripts are read, with where their instances are."""
        for tenant in tenants:
            with suppress(DbgearError):  # the tenant's own operation tells it
                server = self._engine._server_of(tenant)
                names = self._names_of(tenant)
                if server.name in self._sets and names:
                    yield tenant, server, {name: self._place_of(tenant, name, server) for name in names}

    def _place_of(self, tenant: TenantInfo, name: str, server: Server) -> Place:
        key = (tenant.tenant_id, name)
        if key not in self._places:
            self._places[key] = place(tenant, name, server)
        return self._places[key]

    def _is_known(self, tenant: TenantInfo) -> bool:
        """Tell whether nothing is gained by a look: it is made again when the scripts are run."""
        return all((tenant.tenant_id, name) in self._states for name in self._names_of(tenant))

    def _names_of(self, tenant: TenantInfo) -> list[str]:
        return [name for name in tenant.instances if self._instances is None or name in self._instances]

    async def _note(self, looked: Mapping[str, Mapping[str, Migrated]]) -> None:
        if self._engine._run is not None:
            records = [
                VersionRecord(tenant_id=tenant_id, instance=name, version=item.version, ledger=item.ledger)
                for tenant_id, instances in looked.items()
                for name, item in instances.items()
            ]
            await self._engine._run.store.record_versions(records)

    def _result(self, tenant: TenantInfo, current: Mapping[str, Migrated]) -> OperationResult:
        details = self._details(self._engine._server_of(tenant), current)
        return OperationResult(
            tenant.tenant_id, MIGRATE, OperationStatus.SUCCESS, 0.0, None, {**details, "attempts": 0}
        )

    def _details(self, server: Server, done: Mapping[str, Migrated]) -> dict[str, Any]:
        return {
            "dry_run": self._dry_run,
            "target": server.name,
            "changed": sum(len(item.versions) for item in done.values()),
            "instances": {name: item.details(dry_run=self._dry_run) for name, item in done.items()},
        }

    # The others.

    async def _bulk(self, operation: str, tenants: Sequence[TenantInfo], change: Change) -> list[OperationResult]:
        engine = self._engine

        async def work(tenant: TenantInfo, attempt: int) -> dict[str, Any]:
            server, done = engine._server_of(tenant), {}
            migrations = await self._set_of(server, tenant)
            roles = engine._roles_of(tenant, server)
            extra = await self._extra_macros(tenant, migrations)
            for name in self._names_of(tenant):
                where = self._place_of(tenant, name, server)
                instance = bare_instance(tenant, name, where, roles)
                names = Names(where, tenant, name, name_macros=extra)
                try:
                    done[name] = await change(instance, server, migrations, names, attempt)
                except EditedMigrationError as error:
                    raise await self._with_difference(error, migrations) from error
            return self._details(server, done)

        return await engine._bulk(operation, tenants, work, dry_run=self._dry_run, parallel_limit=self._parallel_limit)

    async def _extra_macros(self, tenant: TenantInfo, migrations: MigrationSet) -> Callable[[], Mapping[str, str]]:
        if not migrations.macros:
            return dict
        config = await self._engine.registry.get_tenant_config(tenant.tenant_id)
        return lambda: self._engine.template_engine.name_macros(tenant, config)

    async def _with_difference(self, error: EditedMigrationError, migrations: MigrationSet) -> EditedMigrationError:
        """Return the error with what was changed, where the store has the script as it was applied."""
        run, version = self._engine._run, error.details["version"]
        before = await run.store.script(error.details["applied"]) if run is not None else None
        now = next((item.text for item in migrations.migrations if item.version == version), None)
        if before is None or now is None:
            return error
        lines = difflib.unified_diff(before.splitlines(), now.splitlines(), "applied", "now", lineterm="")
        difference = "\n".join(lines)
        return EditedMigrationError(f"{error.message}\n{difference}", **{**error.details, "diff": difference})


async def baseline_tenants(
    engine: TenantAutomationEngine,
    filters: Filters,
    version: str,
    *,
    instances: Collection[str] | None,
    dry_run: bool,
    parallel_limit: int | None,
) -> list[OperationResult]:
    """Let all migrations up to a version count as applied, in the tenants that match."""
    version = version.removeprefix("v")
    if not VERSION.fullmatch(version):
        raise MigrationError("no version", where="version", received=version, allowed="digits and dots, such as 2.1")

    async def work(tenant: TenantInfo, attempt: int) -> dict[str, Any]:
        server, done = engine._server_of(tenant), {}
        for name in tenant.instances:
            if instances is None or name in instances:
                instance = bare_instance(tenant, name, place(tenant, name, server))
                done[name] = await baseline_instance(instance, server, version, dry_run=dry_run, attempt=attempt)
        return {
            "dry_run": dry_run,
            "target": server.name,
            "changed": sum(len(item.versions) for item in done.values()),
            "instances": {name: item.details(dry_run=dry_run) for name, item in done.items()},
        }

    tenants = await engine.registry.list_tenants(filters, limit=None)
    return await engine._bulk(BASELINE, tenants, work, dry_run=dry_run, parallel_limit=parallel_limit)


def bare_instance(tenant: TenantInfo, name: str, where: Place, roles: TenantRoles | None = None) -> Instance:
    """Return an instance with a document of its main schema alone: migrations need no more."""
    document: dict[str, Any] = {"schemas": {where.schema: {}}}
    return Instance(tenant_id=tenant.tenant_id, name=name, place=where, document=document, template="", roles=roles)


def _record(item: Migration) -> ScriptRecord:
    return ScriptRecord(checksum=item.checksum, version=item.version, file=str(item.file), text=item.text)


def _is_at(row: Mapping[str, Any], where: Place) -> bool:
    known = (row["target"], row["isolation"], row["database_name"], row["schema_name"], row["prefix"])
    return known == (where.target, where.isolation, where.database, where.schema, where.prefix)
