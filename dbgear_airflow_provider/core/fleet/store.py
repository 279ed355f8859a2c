"""`FleetStore`: the state of every tenant and the history of every operation.

An index, not the truth: what a tenant really has is in the tenant's own database. Losing the store loses history.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from ..errors import SourceUnavailableError
from .tables import metadata, operations, tenant_instances

log = logging.getLogger(__name__)

FLUSH_S = 0.25
BATCH_ROWS = 500
_SUCCESS = "success"
_PROVISION = "provision"  # the operation whose results say where an instance is


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of one operation, as far as the store is concerned: under which id its results are kept.

    A retry has the same run_id and the next attempt: what has succeeded under that id since `since` (None: ever)
    is not done again.
    """

    store: FleetStore
    run_id: str
    attempt: int = 1
    since: datetime | None = None

    async def succeeded(self, operation: str, tenant_ids: Sequence[str]) -> set[str]:
        """Return those of the tenants that need not be done again."""
        return await self.store.succeeded(self.run_id, operation, tenant_ids, since=self.since)


@dataclass(frozen=True, kw_only=True)
class OperationRecord:
    """One operation on one tenant. started_at is aware, UTC; duration_s in seconds; details is JSON."""

    run_id: str
    tenant_id: str
    operation: str
    status: str
    dry_run: bool
    attempt: int
    started_at: datetime
    duration_s: float
    error_kind: str | None = None
    error: str | None = None
    details: Mapping[str, Any] | None = None


class FleetStore:
    """The fleet store in a database of its own or shared with other tables (all of ours begin with `dbgear_`).

    url: of SQLAlchemy, with an async driver (`sqlite+aiosqlite`, `postgresql+asyncpg`, `mysql+asyncmy`).
    Methods raise SourceUnavailableError when the database cannot be reached.
    """

    def __init__(self, url: str | sa.URL) -> None:
        url = sa.make_url(url)
        connect_args = {"timeout": 30} if url.get_backend_name() == "sqlite" else {}
        self._engine = create_async_engine(url, pool_pre_ping=True, connect_args=connect_args, hide_parameters=True)

    async def prepare(self) -> None:
        """Create the tables that are missing. Safe to repeat, and in several processes at once."""
        for left in range(len(metadata.tables), -1, -1):
            try:
                async with self._begin() as connection:
                    await connection.run_sync(metadata.create_all)
            except (IntegrityError, ProgrammingError, OperationalError):
                # Another process creates the same table right now, and may be ahead of us at each of them.
                if not left:
                    raise
            else:
                return

    async def record(self, records: Sequence[OperationRecord]) -> None:
        """Add results to the history, and what they say of instances to the tenants' state, in one transaction."""
        if not records:
            return
        async with self._begin() as connection:
            await connection.execute(sa.insert(operations), [_row(record) for record in records])
            states = {
                (row["tenant_id"], row["instance"]): row
                for record in records
                if record.operation == _PROVISION and record.status == _SUCCESS and not record.dry_run
                for row in _states(record)
            }
            if states:
                # In one order everywhere, so that two writers cannot deadlock.
                rows = [states[key] for key in sorted(states)]
                await connection.execute(_upsert(self._engine.dialect.name), rows)

    @asynccontextmanager
    async def recorder(self) -> AsyncIterator[Recorder]:
        """Write records in the background while the block runs; all are written at its end, also on errors."""
        recorder = Recorder(self)
        task = asyncio.create_task(recorder.run())
        try:
            yield recorder
        finally:
            recorder.close()
            await asyncio.shield(task)

    async def succeeded(
        self, run_id: str, operation: str, tenant_ids: Sequence[str], *, since: datetime | None = None
    ) -> set[str]:
        """Return those of the tenants whose operation has succeeded in that run, begun at `since` or later."""
        done: set[str] = set()
        recent = operations.c.started_at >= since if since else sa.true()
        async with self._begin() as connection:
            for start in range(0, len(tenant_ids), BATCH_ROWS):
                query = sa.select(operations.c.tenant_id).where(
                    operations.c.run_id == run_id,
                    operations.c.operation == operation,
                    operations.c.status == _SUCCESS,
                    recent,
                    operations.c.tenant_id.in_(tenant_ids[start : start + BATCH_ROWS]),
                )
                done.update(await connection.scalars(query))
        return done

    async def latest(self, run_id: str, operation: str) -> list[OperationRecord]:
        """Return the last result of each tenant in a run, ordered by tenant_id."""
        newest = (
            sa.select(sa.func.max(operations.c.id))
            .where(operations.c.run_id == run_id, operations.c.operation == operation)
            .group_by(operations.c.tenant_id)
        )
        return await self._records(operations.c.id.in_(newest), operations.c.tenant_id)

    async def history(self, tenant_id: str) -> list[OperationRecord]:
        """Return all results of a tenant, the oldest first."""
        return await self._records(operations.c.tenant_id == tenant_id, operations.c.id)

    async def instances(self, tenant_id: str) -> list[dict[str, Any]]:
        """Return the state of a tenant's instances: a dict per instance, keyed as the table's columns."""
        query = sa.select(tenant_instances).where(tenant_instances.c.tenant_id == tenant_id)
        async with self._begin() as connection:
            rows = await connection.execute(query.order_by(tenant_instances.c.instance))
            return [dict(row) for row in rows.mappings()]

    async def aclose(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def _records(self, where: sa.ColumnElement[bool], order: sa.Column[Any]) -> list[OperationRecord]:
        columns = [column for column in operations.c if column.name != "id"]
        async with self._begin() as connection:
            rows = await connection.execute(sa.select(*columns).where(where).order_by(order))
            return [OperationRecord(**row) for row in rows.mappings()]

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._engine.connect())
            except Exception as error:  # whatever the driver raises here, there is no connection
                raise self._unavailable(error) from error
            try:
                async with connection.begin():
                    yield connection
            except (OSError, TimeoutError) as error:
                raise self._unavailable(error) from error
            except DBAPIError as error:
                if error.connection_invalidated or _is_busy(error):
                    raise self._unavailable(error.orig or error) from error
                raise

    def _unavailable(self, error: BaseException) -> SourceUnavailableError:
        where = self._engine.url.render_as_string(hide_password=True)
        return SourceUnavailableError(f"fleet store {where}: {error or type(error).__name__}")


class Recorder:
    """Collects records and writes them a few times a second: one commit for many tenants."""

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._records: list[OperationRecord] = []
        self._closed = asyncio.Event()

    def add(self, record: OperationRecord) -> None:
        """Take a record to be written soon. Never blocks."""
        self._records.append(record)

    def close(self) -> None:
        """Write what is left and stop."""
        self._closed.set()

    async def run(self) -> None:
        """Write until closed. A store that does not answer is asked again, at the end for the last time."""
        last = False
        while not last:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), FLUSH_S)
            last = self._closed.is_set()
            try:
                await self._flush()
            except SourceUnavailableError as error:
                if last:
                    raise
                log.warning("%s; %d results wait to be written", error, len(self._records))

    async def _flush(self) -> None:
        while self._records:
            batch = self._records[:BATCH_ROWS]
            await self._store.record(batch)
            del self._records[: len(batch)]


def _row(record: OperationRecord) -> dict[str, Any]:
    # Not every text can be stored, and one such message must not cost the results that are written with it.
    error = record.error and record.error.encode(errors="backslashreplace").decode().replace("\0", "\\0")
    return {**vars(record), "error": error}


def _states(record: OperationRecord) -> list[dict[str, Any]]:
    details = record.details or {}
    return [
        {
            "tenant_id": record.tenant_id,
            "instance": name,
            "target": details["target"],
            "isolation": item["isolation"],
            "database_name": item["database"],
            "schema_name": item["schema"],
            "state": "provisioned",
            "checksum": item["checksum"],
            "updated_at": record.started_at + timedelta(seconds=record.duration_s),
        }
        for name, item in details.get("instances", {}).items()
    ]


def _upsert(dialect: str) -> Any:
    keys = [column.name for column in tenant_instances.primary_key]
    others = [column.name for column in tenant_instances.c if column.name not in keys]
    if dialect in {"mysql", "mariadb"}:
        replace = mysql.insert(tenant_instances)
        return replace.on_duplicate_key_update({name: replace.inserted[name] for name in others})
    insert: Any = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(tenant_instances)
    return insert.on_conflict_do_update(
        index_elements=keys, set_={name: getattr(insert.excluded, name) for name in others}
    )


def _is_busy(error: DBAPIError) -> bool:
    # SQLite: https://www.sqlite.org/rescode.html; SQLITE_ERROR is a fault of the statement.
    name = getattr(error.orig, "sqlite_errorname", "SQLITE_ERROR")
    return isinstance(error, OperationalError) and name != "SQLITE_ERROR"
