"""Carrying out a rollout: the instances of a stage are migrated, judged, and undone where that is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ..errors import DbgearError, RolloutStoppedError
from ..fleet import FleetStore, MemberStatus, Recorder, RolloutMember, RolloutRecord
from ..isolation import Place, place
from ..migrations import LedgerState, version_order
from ..rollout import ErrorBudget, Stage, Verdict, check_gate, held_back, is_open, windows_of
from ..rollout.report import counted
from ..schema import Namespace
from ..settings import RolloutSettings
from .engine import TenantAutomationEngine
from .instance import timeouts
from .results import OperationResult, OperationStatus

_STOPPED = RolloutStoppedError.__name__


class OpenEngine(Protocol):
    """Makes an engine whose results are kept as those of this very moment."""

    def __call__(
        self,
        on_result: Callable[[OperationResult], None] = ...,
        before_tenant: Callable[[str], Awaitable[None]] | None = ...,
    ) -> TenantAutomationEngine:
        """Return it. Arguments as those of `TenantAutomationEngine`."""


@dataclass(frozen=True, kw_only=True)
class RolloutWork:
    """What is done to instances of a rollout. All is safe to repeat: what is done is in the store and in ledgers."""

    store: FleetStore
    record: RolloutRecord
    settings: RolloutSettings
    open_engine: OpenEngine
    in_flight: int | None = None

    async def to_do(self, stage: int) -> list[RolloutMember]:
        """Return the instances of a stage that may begin."""
        members = await self.store.rollouts.members(self.record.id, status=["pending", "failed"])
        held = held_back(members, self.settings.promotion)
        return [
            member
            for member in members
            if member.stage == stage and member.status == "pending" and (member.tenant_id, member.instance) not in held
        ]

    async def migrate(self, stage: int, members: Sequence[RolloutMember]) -> None:
        """Migrate instances of a stage, and record each as soon as it is done.

        Before each tenant the error budget is asked, and whether its maintenance window is still open. Who is not begun
        for the budget stays pending; who is not for its window is left out of the rollout, and comes in when it is cut
        again.
        """
        budget = ErrorBudget(self.store.rollouts, self.record.id, stage, Stage.of(self.record.stages[stage]).budget)
        async with self.store.rollouts.recorder(self.record.id) as recorder:
            taking = _Taking(members=members, budget=budget, recorder=recorder, work=self)
            engine = self.open_engine(taking.take, taking.begin)
            taking.engine = engine
            unknown = [member for member in members if member.from_version is None]
            taking.before = await versions_now(engine, unknown)
            for names, tenant_ids in _by_instances(members).items():
                await engine.bulk_migrate_tenants(
                    {"tenant_id": tenant_ids},
                    self.migrations,
                    self.record.version,
                    instances=names,
                    dry_run=False,
                    parallel_limit=self.in_flight,
                    out_of_order=self.out_of_order,
                    verify=True,  # the plan has seen that they need it, whatever the store says
                )
        if taking.failed:
            # How far a failed one came, so that it can be undone to where it was.
            now = await versions_now(engine, taking.failed)
            await self.store.rollouts.record(
                self.record.id,
                [replace(item, to_version=now.get((item.tenant_id, item.instance))) for item in taking.failed],
            )
        if taking.closed:
            pending = await self.store.rollouts.members(self.record.id, status=["pending"])
            closed = [
                replace(member, status="skipped", error_kind="window", error=taking.closed[member.tenant_id])
                for member in pending
                if member.tenant_id in taking.closed
            ]
            await self.store.rollouts.record(self.record.id, closed)

    async def to_undo(self) -> list[RolloutMember]:
        """Return the instances that the rollout has changed, those that a killed task did not record among them."""
        pending = await self.store.rollouts.members(self.record.id, status=["pending"])
        now = await versions_now(self.open_engine(), pending)
        found = [
            replace(member, status="unchanged", to_version=version)
            for member in pending
            if (version := now.get((member.tenant_id, member.instance))) is not None
            and member.from_version not in (None, version)
        ]
        await self.store.rollouts.record(self.record.id, found)
        return await self.store.rollouts.to_undo(self.record.id)

    async def undo(self, members: Sequence[RolloutMember], *, dry_run: bool) -> list[OperationResult]:
        """Bring instances back to what they had before the rollout, and record it; return a result for each.

        One that has been migrated further since is not touched: that is not this rollout's to undo.
        """
        groups: dict[tuple[str, str | None, str | None], list[str]] = defaultdict(list)
        for member in members:
            groups[member.instance, member.from_version, member.to_version].append(member.tenant_id)
        results: list[OperationResult] = []
        for (name, before, after), tenant_ids in groups.items():
            done = await self._undone(name, before, after, tenant_ids, dry_run=dry_run)
            if not dry_run:
                await self.store.rollouts.record_undoing(self.record.id, [_undoing(result, name) for result in done])
            results += done
        return results

    async def _undone(
        self, name: str, before: str | None, after: str | None, tenant_ids: Sequence[str], *, dry_run: bool
    ) -> list[OperationResult]:
        if before is None:
            return [_refused(tenant_id, f"nobody knows what its {name} had before") for tenant_id in tenant_ids]
        if before == after:
            text = f"what was applied to its {name} is older than {before}, which it had: undo it by hand"
            return [_refused(tenant_id, text) for tenant_id in tenant_ids]
        planned = await self._undoing(name, before, tenant_ids, dry_run=True)
        refused = []
        for result in planned:
            versions = (result.details or {}).get("instances", {}).get(name, {}).get("versions", [])
            newer = [item for item in versions if after and version_order(item) > version_order(after)]
            if newer:
                text = f"its {name} has been migrated further since, to {newer[0]}: undo that before"
                refused.append(_refused(result.tenant_id, text))
            elif result.status is OperationStatus.ERROR or dry_run:
                refused.append(result)
        left = sorted({*tenant_ids} - {result.tenant_id for result in refused})
        return [*refused, *(await self._undoing(name, before, left, dry_run=False) if left else [])]

    async def _undoing(
        self, name: str, before: str, tenant_ids: Sequence[str], *, dry_run: bool
    ) -> list[OperationResult]:
        return await self.open_engine().bulk_undo_migrations(
            {"tenant_id": list(tenant_ids)},
            self.migrations,
            before or "0",
            instances=[name],
            dry_run=dry_run,
            parallel_limit=self.in_flight,
        )

    async def judge(self, stage: int, members: Sequence[RolloutMember]) -> Verdict:
        """Return whether the rollout goes on after a stage whose tasks have ended. members: of the whole rollout.

        What was changed is healthy where it can be read and has all of it.
        """
        stages = [Stage.of(details) for details in self.record.stages]

        async def health(tenant_ids: Sequence[str]) -> Mapping[str, str]:
            those = [member for member in members if member.stage == stage and member.tenant_id in set(tenant_ids)]
            return await self._sick([member for member in those if member.status == "changed"])

        found = await check_gate(
            stages,
            stage,
            members,
            now=datetime.now(UTC),
            health=health,
            approvals=self.record.approvals,
            promotion=self.settings.promotion,
        )
        if found.action == "wait" and found.until is None:
            return Verdict(action="stop", reasons=[*found.reasons, "and nobody works on them: resume the rollout"])
        return found

    async def _sick(self, members: Sequence[RolloutMember]) -> dict[str, str]:
        sick: dict[str, str] = {}
        for names, tenant_ids in _by_instances(members).items():
            for result in await self.open_engine().bulk_migrate_tenants(
                {"tenant_id": tenant_ids},
                self.migrations,
                self.record.version,
                instances=names,
                dry_run=True,
                out_of_order=self.out_of_order,
                verify=True,
            ):
                if result.status is OperationStatus.ERROR:
                    sick[result.tenant_id] = result.error or ""
                elif left := (result.details or {})["changed"]:
                    sick[result.tenant_id] = f"{counted(left, 'script')} not applied any more"
        return sick

    @property
    def migrations(self) -> str:
        """Where the scripts are."""
        return str((self.record.options or {})["migrations"])

    @property
    def out_of_order(self) -> bool:
        """Whether older scripts than the newest applied one may be applied."""
        return bool((self.record.options or {})["out_of_order"])


@dataclass
class _Taking:
    """Takes the results of one task."""

    members: Sequence[RolloutMember]
    budget: ErrorBudget
    recorder: Recorder[RolloutMember]
    work: RolloutWork
    engine: TenantAutomationEngine | None = None
    before: Mapping[tuple[str, str], str] | None = None

    def __post_init__(self) -> None:
        self.names: dict[str, list[str]] = defaultdict(list)
        for member in self.members:
            self.names[member.tenant_id].append(member.instance)
        self.failed: list[RolloutMember] = []
        self.closed: dict[str, str] = {}

    async def begin(self, tenant_id: str) -> None:
        """Return where the tenant may begin. Raises RolloutStoppedError."""
        await self.budget.check()
        assert self.engine is not None  # noqa: S101 - it is the one that asks
        config = await self.engine.registry.get_tenant_config(tenant_id)
        if not is_open(windows_of(tenant_id, config, self.work.settings.windows), datetime.now(UTC)):
            self.closed[tenant_id] = "its maintenance window had closed when it was its turn"
            raise RolloutStoppedError(f"tenant {tenant_id}: {self.closed[tenant_id]}", rollout=None, stage=None)

    def take(self, result: OperationResult) -> None:
        """Record what became of a tenant's instances; one that was not begun has no result."""
        details: Mapping[str, Any] = result.details or {}
        if details.get("error_kind") == _STOPPED:
            return
        for name in self.names[result.tenant_id]:
            member = RolloutMember(
                tenant_id=result.tenant_id,
                instance=name,
                from_version=(self.before or {}).get((result.tenant_id, name)),
                started_at=datetime.now(UTC) - timedelta(seconds=result.duration),
                duration_s=result.duration,
            )
            if result.status is OperationStatus.ERROR:
                kind = details.get("error_kind")
                member = replace(member, status="failed", error_kind=kind, error=result.error)
                self.failed.append(member)
            else:
                item = details["instances"][name]
                status: MemberStatus = "changed" if item["versions"] else "unchanged"
                member = replace(member, status=status, to_version=item["version"] or "")
            self.budget.add(member)
            self.recorder.add(member)


async def versions_now(engine: TenantAutomationEngine, members: Sequence[RolloutMember]) -> dict[tuple[str, str], str]:
    """Return {(tenant_id, instance): its newest version, "" for none} of those whose ledgers can be read."""
    names: dict[str, list[str]] = defaultdict(list)
    for member in members:
        names[member.tenant_id].append(member.instance)
    if not names:
        return {}
    places: dict[tuple[str, str], dict[Namespace, tuple[str, str]]] = defaultdict(dict)
    for tenant in await engine.registry.list_tenants({"tenant_id": list(names)}, limit=None):
        with suppress(DbgearError):  # its own operation tells it
            server = engine._server_of(tenant)
            for name in names[tenant.tenant_id]:
                where: Place = place(tenant, name, server)
                places[server.name, where.database][where.namespace] = (tenant.tenant_id, name)
    found = {}
    for (target, database), spaces in places.items():
        with suppress(DbgearError):
            async with engine.servers[target].session(database) as session, session.read_only(timeouts()):
                ledgers = await session.ledgers(list(spaces))
            for space, entries in ledgers.items():
                found[spaces[space]] = LedgerState.of(entries).newest or ""
    return found


def _by_instances(members: Sequence[RolloutMember]) -> dict[tuple[str, ...], list[str]]:
    """Return {names of instances: tenants of which just these are meant}."""
    names: dict[str, list[str]] = defaultdict(list)
    for member in members:
        names[member.tenant_id].append(member.instance)
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for tenant_id, of_tenant in names.items():
        groups[tuple(of_tenant)].append(tenant_id)
    return groups


def _refused(tenant_id: str, text: str) -> OperationResult:
    details = {"attempts": 0, "error_kind": _STOPPED, "transient": False}
    return OperationResult(tenant_id, "undo_migrations", OperationStatus.ERROR, 0.0, text, details)


def _undoing(result: OperationResult, name: str) -> RolloutMember:
    if result.status is OperationStatus.SUCCESS:
        return RolloutMember(tenant_id=result.tenant_id, instance=name, status="undone")
    kind = (result.details or {}).get("error_kind")
    return RolloutMember(
        tenant_id=result.tenant_id, instance=name, status="failed", error_kind=kind, error=result.error
    )
