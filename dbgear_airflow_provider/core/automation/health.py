"""Looking at the health of many instances: in bulk, each server by itself, so that a dead one keeps nobody waiting."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..engines import Activity, Busy, Server, Session, Timeouts, Vitals, borrowing
from ..errors import DbgearError, LockTimeoutError, NotProvisionedError, OwnershipError, ServerUnavailableError
from ..health import Facts, HealthReport, InstanceHealth, Problem, judge, status_of
from ..health.judge import measured, worst_first
from ..health.report import ServerHealth
from ..isolation import Place, place
from ..migrations import MigrationSet, Names, Statement, parse_query
from ..registries import Filters
from ..schema import LedgerEntry, Namespace
from ..settings import SqlCheck
from ..tenants import TenantInfo
from .instance import Instance
from .migrate import state_of
from .migrations import FleetMigration
from .roles import TenantRoles

if TYPE_CHECKING:
    from .engine import TenantAutomationEngine

_AT_ONCE = 500  # instances that are asked for together
_TIMEOUTS = Timeouts(lock_s=1, statement_s=60)
_CHECK_TIMEOUTS = Timeouts(lock_s=1, statement_s=30)
_GROWTH_OVER = timedelta(hours=20)  # between two looks that growth is told of


@dataclass(kw_only=True)
class _Member:
    """An instance that is looked at. roles: those that own it and log in to it; None: there are none."""

    tenant: TenantInfo
    name: str
    place: Place
    roles: TenantRoles | None = None
    entries: Sequence[LedgerEntry] | None = None
    vitals: Vitals | None = None
    is_there: bool = True
    unreachable: str | None = None
    problems: list[Problem] = field(default_factory=list)


class HealthCheck:
    """One look at the tenants of an engine. fingerprints: whether what they hold is compared with their documents.

    parallel: connections to a server at once, at the most.
    """

    def __init__(self, engine: TenantAutomationEngine, *, fingerprints: bool, parallel: int) -> None:
        self._engine = engine
        self._parallel = parallel
        self._settings = engine.settings.health
        self._fingerprints = fingerprints
        self._now = datetime.now(UTC)
        self._found: list[InstanceHealth] = []
        self._servers: list[ServerHealth] = []
        self._notes: list[str] = []
        self._sizes: Mapping[tuple[str, str], tuple[datetime, int]] = {}
        self._drifted: set[tuple[str, str]] = set()
        self._questions: dict[str, list[tuple[SqlCheck, Statement]]] = {}  # by target

    async def report(self, filters: Filters) -> HealthReport:
        """Look at the tenants that match, keep what is found in the fleet store, and return it."""
        engine, run = self._engine, self._engine._run
        tenants = await engine.registry.list_tenants(filters, limit=None)
        if run is not None:
            self._sizes = await run.store.health.sizes_before(self._now - _GROWTH_OVER)
        if self._fingerprints:
            drift = await engine.check_drift(filters)
            self._drifted = {(member.tenant_id, member.instance) for member in drift.drifted}
        members = self._members(tenants)
        async with asyncio.TaskGroup() as tasks:
            for server, those in members.items():
                tasks.create_task(self._look_at_server(server, those))
        found = sorted(self._found, key=lambda item: (item.tenant_id, item.instance))
        if run is not None:
            await run.store.health.record([item.record(self._now) for item in found])
            await run.store.health.forget_before(self._now - timedelta(days=self._settings.keep_days))
        servers = sorted(self._servers, key=lambda server: server.target)
        return HealthReport(checked_at=self._now, instances=found, servers=servers, notes=self._notes)

    def _members(self, tenants: Sequence[TenantInfo]) -> dict[Server, list[_Member]]:
        engine = self._engine
        members: dict[Server, list[_Member]] = defaultdict(list)
        for tenant in tenants:
            try:
                server = engine._server_of(tenant)
                roles = None
                with suppress(DbgearError):  # its own operations tell it
                    roles = engine._roles_of(tenant, server)
                for name in tenant.instances:
                    members[server].append(
                        _Member(tenant=tenant, name=name, place=place(tenant, name, server), roles=roles)
                    )
            except DbgearError as error:
                problem = Problem(kind="settings", severity="critical", text=error.message)
                for name in tenant.instances:
                    self._tell(tenant, name, "", [problem])
        return members

    async def _look_at_server(self, server: Server, members: Sequence[_Member]) -> None:
        begun, left = time.monotonic(), {(member.tenant.tenant_id, member.name): member for member in members}
        told = ServerHealth(target=server.name, instances=len(members), duration_s=0)
        limit_s, error = self._settings.server_timeout, ""
        with borrowing(f"all on {server.name}", "health") as borrower:
            looking = asyncio.create_task(self._look_at_all(server, members, left, told))
            try:
                done, _ = await asyncio.wait([looking], timeout=limit_s)
                if done:
                    told, error = looking.result()
                else:
                    error = f"target {server.name}: not looked at within {limit_s:g} s"
            finally:
                # A server that is frozen does not answer a ROLLBACK either.
                looking.cancel()
                borrower.take_back()
                await asyncio.wait([looking])
        if error:
            told = replace(told, error=error)
            for member in left.values():
                self._tell_unreachable(server, member, error)
        self._servers.append(replace(told, duration_s=time.monotonic() - begun))

    async def _look_at_all(
        self, server: Server, members: Sequence[_Member], left: dict[tuple[str, str], _Member], told: ServerHealth
    ) -> tuple[ServerHealth, str]:
        """Look at the members, and take those that are done out of `left`; return what is told, and what went wrong."""
        try:
            activity = await self._activity(server)
            told = replace(told, latency_s=activity.latency_s, used=activity.used, limit=activity.limit)
            await server.ready()
            self._questions[server.name] = self._read_questions(server)
            scripts = await self._scripts(server, members)
            async for some in self._looked_at(server, members):
                for member in some:
                    del left[member.tenant.tenant_id, member.name]
                    self._judge(server, member, activity, scripts)
        except DbgearError as error:
            return told, error.message
        return told, ""

    async def _activity(self, server: Server) -> Activity:
        async with _reading(server, server.address.database) as session:
            return await session.activity()

    async def _scripts(self, server: Server, members: Sequence[_Member]) -> MigrationSet | None:
        """Return the project's scripts; None where there are none, or they cannot be read."""
        folder = self._engine.settings.rollout.migrations
        if folder is None:
            return None
        work = FleetMigration(self._engine, folder, instances=None, dry_run=True, parallel_limit=None)
        try:
            return await work._set_of(server, members[0].tenant)
        except DbgearError as error:
            self._notes.append(f"versions are not compared: {error.message}")
            return None

    async def _looked_at(self, server: Server, members: Sequence[_Member]) -> AsyncIterator[Sequence[_Member]]:
        """Yield members as they are looked at. Raises ServerUnavailableError where the server is gone."""
        groups: dict[str, list[_Member]] = defaultdict(list)
        for member in members:
            groups[member.place.database if not server.schemas_are_databases else ""].append(member)
        chunks = [
            (database or server.address.database, those[start : start + _AT_ONCE])
            for database, those in groups.items()
            for start in range(0, len(those), _AT_ONCE)
        ]
        width = asyncio.Semaphore(min(self._parallel, server.max_connections))

        async def look(database: str, those: Sequence[_Member]) -> Sequence[_Member]:
            async with width:
                try:
                    await self._look(server, database, those)
                except ServerUnavailableError as error:
                    await self._activity(server)  # it is the server that is gone, then this raises
                    for member in those:
                        member.unreachable = error.message
            return those

        tasks = [asyncio.create_task(look(database, those)) for database, those in chunks]
        try:
            for task in asyncio.as_completed(tasks):
                yield await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self, server: Server, database: str, members: Sequence[_Member]) -> None:
        spaces = {member.place.namespace: member for member in members}
        try:
            async with _reading(server, database) as session:
                for _ in range(2):  # one that is dropped at this moment may cost others their place in the answer
                    left = [space for space, member in spaces.items() if member.entries is None]
                    for space, entries in (await session.ledgers(left)).items():
                        spaces[space].entries = entries
            await self._vitals(server, database, spaces)
        except ServerUnavailableError:
            raise
        except DbgearError as error:
            own = members[0].place.own_database and not server.schemas_are_databases
            if own and not await server.database_exists(database):
                members[0].is_there = False
                return
            for member in members:
                member.problems.append(Problem(kind="not_looked_at", severity="critical", text=error.message))
            return
        if questions := self._questions[server.name]:
            async with server.session(database, apart=True) as session:
                for member in members:
                    if member.entries is not None:
                        for check, question in questions:
                            await self._ask(server, session, member, check, question)

    async def _vitals(self, server: Server, database: str, spaces: Mapping[Namespace, _Member]) -> None:
        """Learn what the catalog says; where somebody has locked a table, of all but the one that it is in."""
        try:
            async with _reading(server, database) as session:
                for space, vitals in (await session.vitals(list(spaces))).items():
                    spaces[space].vitals = vitals
                    if vitals.locked:
                        spaces[space].problems.append(_locked(", ".join(vitals.locked)))
        except LockTimeoutError:
            if len(spaces) == 1:
                (member,) = spaces.values()
                member.problems.append(_locked("one of its tables"))
                return
            items = list(spaces.items())
            for part in (items[: len(items) // 2], items[len(items) // 2 :]):
                await self._vitals(server, database, dict(part))

    def _read_questions(self, server: Server) -> list[tuple[SqlCheck, Statement]]:
        """Return the questions for a server; one that cannot be read is noted."""
        questions = []
        for check in self._settings.checks:
            if check.engine not in (None, server.dialect.name):
                continue
            where = f"multi_tenant.health.checks: {check.name}"
            try:
                question = parse_query(check.sql, where=where, dialect=server.dialect)
            except DbgearError as error:
                self._notes.append(f"check {check.name} is not asked on target {server.name}: {error.message}")
            else:
                questions.append((check, question))
        return questions

    async def _ask(
        self, server: Server, session: Session, member: _Member, check: SqlCheck, question: Statement
    ) -> None:
        """Ask a question of the project's own."""
        try:
            sql = question.sql(Names(member.place, member.tenant, member.name))
            # With the rights of its owner, as scripts have them. In a shared schema the objects are ours.
            role = None if member.roles is None or member.place.prefix else member.roles.owner
            await session.apply(server.stand(member.place.schema, role, transaction=False))
            async with session.read_only(_CHECK_TIMEOUTS):
                rows = await session.select(sql)
        except ServerUnavailableError:
            raise
        except DbgearError as error:
            text = f"check {check.name} cannot be asked: {error.message}"
            member.problems.append(Problem(kind=check.name, severity=check.severity, text=text))
            return
        if check.limits is None:
            member.problems += [
                Problem(kind=check.name, severity=check.severity, text=f"check {check.name}: {row[0]}")
                for row in rows[:5]
            ]
        elif rows:
            told = f"check {check.name}: {{value}}, {{limit}} are allowed"
            try:
                member.problems += measured(check.name, check.limits, float(rows[0][0]), told)
            except (TypeError, ValueError):
                text = f"check {check.name}: not a figure: {rows[0][0]!r}"
                member.problems.append(Problem(kind=check.name, severity=check.severity, text=text))

    def _judge(self, server: Server, member: _Member, activity: Activity, scripts: MigrationSet | None) -> None:
        if member.unreachable is not None:
            self._tell_unreachable(server, member, member.unreachable)
            return
        tenant, where = member.tenant, member.place
        problems, version = list(member.problems), None
        pending: list[str] = []
        try:
            if not member.is_there:
                raise NotProvisionedError(f"{where.told()} is not there", place=where.told())
            state = state_of(member.entries, _instance(member))
            version = state.newest
            pending = [item.version for item in state.pending(scripts, None)] if scripts is not None else []
        except (NotProvisionedError, OwnershipError) as error:
            kind = "missing" if isinstance(error, NotProvisionedError) else "ownership"
            problems.append(Problem(kind=kind, severity="critical", text=error.message))
        except DbgearError as error:
            problems.append(Problem(kind="migrations", severity="warning", text=error.message))
        if (tenant.tenant_id, member.name) in self._drifted:
            text = "what it holds is not what its document says"
            problems.append(Problem(kind="drifted", severity="warning", text=text))
        facts = replace(self._facts(server, member, activity), pending=pending)
        problems = worst_first(iter([*problems, *judge(facts, self._settings.thresholds_of(tenant.tier))]))
        self._tell(tenant, member.name, server.name, problems, facts=facts, version=version)

    def _facts(self, server: Server, member: _Member, activity: Activity) -> Facts:
        where, login = member.place, member.roles.login if member.roles is not None else None
        alone = where.schema if server.schemas_are_databases else where.database if where.own_database else None
        alone = None if where.prefix else alone  # the database that is the instance's alone

        def is_ours(busy: Busy) -> bool:
            if busy.database == alone or (login is not None and busy.role == login):
                return True
            return any(schema == where.schema and table.startswith(where.prefix) for schema, table in busy.tables)

        ours = [busy for busy in activity.busy if is_ours(busy)]
        waits = [busy.waits_s for busy in ours if busy.waits_s is not None]
        counted = [
            count
            for (database, role), count in activity.connections.items()
            if database == alone or (login is not None and role == login)
        ]
        size = member.vitals.size_bytes if member.vitals is not None else None
        return Facts(
            latency_s=activity.latency_s,
            connections_percent=100 * activity.used / activity.limit if activity.limit else None,
            connections=sum(counted) if alone is not None or login is not None else None,
            transaction_s=max((busy.transaction_s for busy in ours), default=None),
            lock_wait_s=max(waits, default=None),
            size_bytes=size,
            growth_percent=self._growth(member, size),
            invalid_indexes=member.vitals.invalid_indexes if member.vitals is not None else (),
            counters=member.vitals.counters if member.vitals is not None else (),
        )

    def _growth(self, member: _Member, size: int | None) -> float | None:
        before = self._sizes.get((member.tenant.tenant_id, member.name))
        if before is None or size is None or not before[1]:
            return None
        days = (self._now - before[0]) / timedelta(days=1)
        return 100 * (size - before[1]) / before[1] / days

    def _tell_unreachable(self, server: Server, member: _Member, text: str) -> None:
        problem = Problem(kind="unreachable", severity="critical", text=text)
        self._tell(member.tenant, member.name, server.name, [problem], unreachable=True)

    def _tell(
        self,
        tenant: TenantInfo,
        name: str,
        target: str,
        problems: Sequence[Problem],
        *,
        unreachable: bool = False,
        facts: Facts = Facts(),  # noqa: B008 - frozen
        version: str | None = None,
    ) -> None:
        self._found.append(
            InstanceHealth(
                tenant_id=tenant.tenant_id,
                instance=name,
                tier=tenant.tier,
                target=target,
                status="unreachable" if unreachable else status_of(problems),
                problems=problems,
                facts=facts,
                version=version,
            )
        )


@asynccontextmanager
async def _reading(server: Server, database: str) -> AsyncIterator[Session]:
    async with server.session(database) as session, session.read_only(_TIMEOUTS):
        yield session


def _locked(tables: str) -> Problem:
    return Problem(kind="locked", severity="warning", text=f"locked by somebody for himself alone: {tables}")


def _instance(member: _Member) -> Instance:
    document: dict[str, Any] = {"schemas": {member.place.schema: {}}}
    return Instance(
        tenant_id=member.tenant.tenant_id, name=member.name, place=member.place, document=document, template=""
    )
