"""What the fleet store keeps of rollouts: each one's status, and what became of each of its instances."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from ..errors import InvalidInputError
from .recorder import BATCH_ROWS, Recorder, recording, storable
from .retrying import again
from .tables import rollout_members, rollouts

RolloutStatus = Literal["running", "paused", "stopped", "done", "undone"]
MemberStatus = Literal["pending", "changed", "unchanged", "failed", "skipped", "undone"]


@dataclass(frozen=True, kw_only=True)
class RolloutRecord:
    """A rollout. version: None: the newest there is. stages, approvals: JSON, see `tables`. counts: members by status.

    options: JSON, what else it was begun with. Times are aware, UTC.
    """

    id: str
    version: str | None
    query: str
    status: RolloutStatus
    stages: Sequence[Mapping[str, Any]]
    counts: Mapping[str, int]
    approvals: Sequence[Mapping[str, Any]]
    created_at: datetime
    updated_at: datetime
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RolloutMember:
    """One instance in a rollout. stage: index of its stage; None: it is left out (`skipped`), error says why.

    from_version: "" where there was none, None where nobody looked. started_at: aware, UTC; duration_s: seconds.
    """

    tenant_id: str
    instance: str
    stage: int | None = None
    status: MemberStatus = "pending"
    error_kind: str | None = None
    error: str | None = None
    from_version: str | None = None
    to_version: str | None = None
    started_at: datetime | None = None
    duration_s: float | None = None

    @property
    def ended_at(self) -> datetime | None:
        """When the work on it ended, aware, UTC; None: it has not."""
        if self.started_at is None or self.duration_s is None:
            return None
        return self.started_at + timedelta(seconds=self.duration_s)


@dataclass(frozen=True, kw_only=True)
class StageState:
    """What a running task asks of a stage. failed: how many of its tenants have failed; tenants: all of them."""

    status: RolloutStatus
    failed: int
    tenants: int


class RolloutStore:
    """Rollouts in the fleet store, as `FleetStore.rollouts`. All is safe to repeat, and in several processes at once.

    begin: opens a transaction. Methods raise SourceUnavailableError when the database cannot be reached.
    """

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]], dialect: str) -> None:
        self._begin = begin
        self._dialect = dialect

    async def create(
        self,
        rollout_id: str,
        *,
        version: str | None,
        query: str,
        stages: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any] | None = None,
    ) -> RolloutRecord:
        """Begin a rollout, or return the one of that id as it is.

        Raises InvalidInputError where that one is of another version.
        """
        now = datetime.now(UTC)
        row: dict[str, Any] = {
            "id": rollout_id,
            "version": version,
            "query": query,
            "status": "running",
            "stages": list(stages),
            "counts": {},
            "approvals": [],
            "created_at": now,
            "updated_at": now,
            "options": options,
        }

        async def write() -> None:
            async with self._begin() as connection:
                await connection.execute(_insert_new(self._dialect), [row])

        await again(write)
        record = await self.require(rollout_id)
        if record.version != version:
            raise InvalidInputError(
                "it has begun, with another version",
                where=f"rollout {rollout_id}",
                received=version or "the newest",
                allowed=record.version or "the newest",
            )
        return record

    async def get(self, rollout_id: str) -> RolloutRecord | None:
        """Return a rollout; None where there is none of that id."""
        found = await self._rollouts(sa.select(rollouts).where(rollouts.c.id == rollout_id))
        return found[0] if found else None

    async def require(self, rollout_id: str) -> RolloutRecord:
        """Return a rollout. Raises InvalidInputError where there is none of that id."""
        record = await self.get(rollout_id)
        if record is None:
            newest = [item.id for item in await self.newest(5)]
            raise InvalidInputError("no such rollout", where="rollout", received=rollout_id, allowed=newest or None)
        return record

    async def newest(self, limit: int = 20) -> list[RolloutRecord]:
        """Return the last rollouts, the newest first."""
        return await self._rollouts(sa.select(rollouts).order_by(rollouts.c.created_at.desc()).limit(limit))

    async def set_status(self, rollout_id: str, status: RolloutStatus, *, of: Collection[RolloutStatus]) -> bool:
        """Change the status where it is one of `of`, and count the members anew; tell whether it was."""
        change = sa.update(rollouts).where(rollouts.c.id == rollout_id, rollouts.c.status.in_(of))

        async def write() -> bool:
            async with self._begin() as connection:
                done = await connection.execute(change.values(status=status, updated_at=datetime.now(UTC)))
                if not done.rowcount:
                    return False
                counts = await self._counts(connection, rollout_id)
                await connection.execute(sa.update(rollouts).where(rollouts.c.id == rollout_id).values(counts=counts))
                return True

        return await again(write)

    async def approve(self, rollout_id: str, stage: int, by: str) -> None:
        """Note that a person lets a rollout go on after a stage; once for each stage, the first one counts."""
        row = rollouts.c.id == rollout_id

        async def write() -> None:
            async with self._begin() as connection:
                # The row is ours from here on, so that no other approval gets lost.
                await connection.execute(sa.update(rollouts).where(row).values(updated_at=datetime.now(UTC)))
                given = await connection.scalar(sa.select(rollouts.c.approvals).where(row))
                if given is None or any(approval["stage"] == stage for approval in given):
                    return
                new = {"stage": stage, "by": by, "at": datetime.now(UTC).isoformat(timespec="seconds")}
                await connection.execute(sa.update(rollouts).where(row).values(approvals=[*given, new]))

        await again(write)

    async def add_members(self, rollout_id: str, members: Sequence[RolloutMember]) -> None:
        """Add instances. Those that are in the rollout stay as they are, but for those that were left out."""
        await self._in_batches(_insert_or_take_in(self._dialect), [_row(rollout_id, member) for member in members])

    async def record(self, rollout_id: str, results: Sequence[RolloutMember]) -> None:
        """Note what became of instances: changed, unchanged or failed. What has changed or is undone stays so.

        An instance that a killed task has changed is found unchanged by the next one: where it has another version
        than the rollout found it with, it counts as changed.
        """
        await self._in_batches(_RESULT, [_result(rollout_id, result) for result in results])

    async def record_undoing(self, rollout_id: str, results: Sequence[RolloutMember]) -> None:
        """Note which instances are undone. One that failed stays what it was, with the error."""
        undone = [_result(rollout_id, result) for result in results if result.status == "undone"]
        failed = [_result(rollout_id, result) for result in results if result.status != "undone"]
        await self._in_batches(_UNDONE, undone)
        await self._in_batches(_NOT_UNDONE, failed)

    @asynccontextmanager
    async def recorder(self, rollout_id: str) -> AsyncIterator[Recorder[RolloutMember]]:
        """Record results in the background while the block runs; all are written at its end, also on errors."""

        async def write(results: Sequence[RolloutMember]) -> None:
            await self.record(rollout_id, results)

        async with recording(write) as recorder:
            yield recorder

    async def retry(self, rollout_id: str) -> int:
        """Make the failed instances pending again; return how many."""
        those = (rollout_members.c.rollout_id == rollout_id, rollout_members.c.status == "failed")
        change = sa.update(rollout_members).where(*those)

        async def write() -> int:
            async with self._begin() as connection:
                done = await connection.execute(change.values(status="pending", started_at=None, duration_s=None))
                return int(done.rowcount)

        return await again(write)

    async def members(
        self, rollout_id: str, *, status: Collection[MemberStatus] | None = None, stage: int | None = None
    ) -> list[RolloutMember]:
        """Return a rollout's instances, ordered by stage, tenant and name; those left out are at the beginning.

        To resume a rollout is to go on with its `pending` ones.
        """
        wanted: list[sa.ColumnElement[bool]] = [] if status is None else [rollout_members.c.status.in_(status)]
        if stage is not None:
            wanted.append(rollout_members.c.stage == stage)
        return await self._members(rollout_id, *wanted)

    async def to_undo(self, rollout_id: str) -> list[RolloutMember]:
        """Return exactly the instances that the rollout has changed, those that failed half-way among them."""
        return await self._members(rollout_id, _IS_CHANGED)

    async def counts(self, rollout_id: str) -> dict[str, int]:
        """Return how many members have which status, now."""
        async with self._begin() as connection:
            return await self._counts(connection, rollout_id)

    async def state(self, rollout_id: str, stage: int) -> StageState | None:
        """Return how a stage stands; None where there is no such rollout."""
        tenants = sa.func.count(sa.distinct(rollout_members.c.tenant_id))
        of_stage = (rollout_members.c.rollout_id == rollout_id, rollout_members.c.stage == stage)
        everybody = sa.select(tenants).where(*of_stage).scalar_subquery()
        failed = sa.select(tenants).where(*of_stage, rollout_members.c.status == "failed").scalar_subquery()
        query = sa.select(rollouts.c.status, failed, everybody).where(rollouts.c.id == rollout_id)
        async with self._begin() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else StageState(status=row[0], failed=row[1], tenants=row[2])

    async def _rollouts(self, query: sa.Select[Any]) -> list[RolloutRecord]:
        async with self._begin() as connection:
            return [RolloutRecord(**row) for row in (await connection.execute(query)).mappings()]

    async def _members(self, rollout_id: str, *wanted: sa.ColumnElement[bool]) -> list[RolloutMember]:
        table = rollout_members
        columns = [column for column in table.c if column.name != "rollout_id"]
        query = sa.select(*columns).where(table.c.rollout_id == rollout_id, *wanted)
        async with self._begin() as connection:
            rows = (await connection.execute(query)).mappings().all()
        members = [RolloutMember(**row) for row in rows]
        # Not by the database: PostgreSQL's NULLs are last, MySQL's first, and each has its own order of texts.
        return sorted(
            members,
            key=lambda member: (-1 if member.stage is None else member.stage, member.tenant_id, member.instance),
        )

    async def _counts(self, connection: AsyncConnection, rollout_id: str) -> dict[str, int]:
        table = rollout_members
        query = sa.select(table.c.status, sa.func.count()).where(table.c.rollout_id == rollout_id)
        rows = await connection.execute(query.group_by(table.c.status).order_by(table.c.status))
        return {str(status): int(count) for status, count in rows}

    async def _in_batches(self, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
        # In one order everywhere, so that two writers seldom deadlock.
        ordered = sorted(rows, key=lambda row: (row["tenant_id" if "tenant_id" in row else "of_tenant"], str(row)))

        async def write(batch: Sequence[dict[str, Any]]) -> None:
            async with self._begin() as connection:
                await connection.execute(statement, batch)

        for start in range(0, len(ordered), BATCH_ROWS):
            batch = ordered[start : start + BATCH_ROWS]
            await again(partial(write, batch))


def _order(member: RolloutMember) -> tuple[int, str, str]:
    return -1 if member.stage is None else member.stage, member.tenant_id, member.instance


def _row(rollout_id: str, member: RolloutMember) -> dict[str, Any]:
    return {"rollout_id": rollout_id, **vars(member), "error": storable(member.error)}


def _result(rollout_id: str, result: RolloutMember) -> dict[str, Any]:
    return {
        "of_rollout": rollout_id,
        "of_tenant": result.tenant_id,
        "of_instance": result.instance,
        "new_status": result.status,
        "new_error_kind": result.error_kind,
        "new_error": storable(result.error),
        "new_from": result.from_version,
        "new_to": result.to_version,
        "new_started": result.started_at,
        "new_duration": result.duration_s,
    }


def _new(name: str, column: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=rollout_members.c[column].type)


def _status(value: MemberStatus) -> sa.ColumnElement[str]:
    # In the text of the statement: MySQL's driver puts many rows into one INSERT only where nothing else is bound.
    return sa.literal_column(f"'{value}'", sa.String)


_C = rollout_members.c
_IS_CHANGED = sa.or_(
    _C.status == "changed",
    sa.and_(sa.or_(_C.status == "failed", _C.status == "pending"), _C.from_version != _C.to_version),
)
_THIS = (
    _C.rollout_id == sa.bindparam("of_rollout"),
    _C.tenant_id == sa.bindparam("of_tenant"),
    _C.instance == sa.bindparam("of_instance"),
)
_NEW_STATUS, _NEW_TO = _new("new_status", "status"), _new("new_to", "to_version")
# MySQL sets one column after the other: status, which asks for the others, is the first.
_RESULT = (
    sa.update(rollout_members)
    .where(*_THIS, _C.status != "changed", _C.status != "undone")
    .ordered_values(
        (
            _C.status,
            sa.case((sa.and_(_NEW_STATUS == "unchanged", _C.from_version != _NEW_TO), "changed"), else_=_NEW_STATUS),
        ),
        (_C.from_version, sa.func.coalesce(_C.from_version, _new("new_from", "from_version"))),
        (_C.to_version, sa.func.coalesce(_NEW_TO, _C.to_version)),
        (_C.error_kind, _new("new_error_kind", "error_kind")),
        (_C.error, _new("new_error", "error")),
        (_C.started_at, _new("new_started", "started_at")),
        (_C.duration_s, _new("new_duration", "duration_s")),
    )
)
_UNDONE = sa.update(rollout_members).where(*_THIS, _IS_CHANGED).values(status="undone", error_kind=None, error=None)
_NOT_UNDONE = (
    sa.update(rollout_members)
    .where(*_THIS, _IS_CHANGED)
    .values(error_kind=_new("new_error_kind", "error_kind"), error=_new("new_error", "error"))
)


def _insert_new(dialect: str) -> Any:
    if dialect in {"mysql", "mariadb"}:
        return mysql.insert(rollouts).on_duplicate_key_update(id=rollouts.c.id)
    return (postgresql.insert if dialect == "postgresql" else sqlite.insert)(rollouts).on_conflict_do_nothing()


def _insert_or_take_in(dialect: str) -> Any:
    """Return the statement that adds a member; of one that is there, but was left out, it writes all anew."""
    was_left_out = _C.status == _status("skipped")
    # MySQL sets one column after the other: status, for which all ask, is the last.
    names = [*(column.name for column in _C if not column.primary_key and column.name != "status"), "status"]
    if dialect in {"mysql", "mariadb"}:
        insert = mysql.insert(rollout_members)
        return insert.on_duplicate_key_update(
            [(name, sa.case((was_left_out, insert.inserted[name]), else_=_C[name])) for name in names]
        )
    other: Any = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(rollout_members)
    return other.on_conflict_do_update(
        index_elements=[column.name for column in rollout_members.primary_key],
        set_={name: getattr(other.excluded, name) for name in names},
        where=was_left_out,
    )
