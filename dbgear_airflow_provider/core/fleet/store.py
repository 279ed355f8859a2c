"""`FleetStore`: the state of every tenant and the history of every operation.

An index, not the truth: what a tenant really has is in the tenant's own database. Losing the store loses history.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.schema import CreateColumn

from ..errors import SourceUnavailableError
from .alerts import AlertStore
from .figures import FigureStore
from .health import HealthStore
from .instances import SEEN, InstanceStore
from .recorder import BATCH_ROWS, Recorder, recording, storable
from .rollouts import RolloutStore
from .status import StatusStore
from .tables import metadata, migration_scripts, operations, tenant_instances
from .tenants import TenantStore
from .upserting import upsert

_SUCCESS = "success"
_STATES = {"provision", "plan"}  # the operations whose results say where an instance is, and of which document
_MIGRATIONS = {"migrate", "undo_migrations", "baseline"}  # those whose results say what a ledger holds


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

    async def succeeded(self, operation: str, tenant_ids: Sequence[str], *, dry_run: bool | None = None) -> set[str]:
        """Return those of the tenants that need not be done again; dry_run: only what was one, or was none, counts."""
        return await self.store.succeeded(self.run_id, operation, tenant_ids, since=self.since, dry_run=dry_run)


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


@dataclass(frozen=True, kw_only=True)
class FingerprintRecord:
    """What an instance was seen to hold. fingerprint: None where nothing is there. checked_at is aware, UTC."""

    tenant_id: str
    instance: str
    fingerprint: str | None
    checked_at: datetime


@dataclass(frozen=True, kw_only=True)
class VersionRecord:
    """What an instance's ledger says. version: the newest migration; ledger: its digest; None: not known."""

    tenant_id: str
    instance: str
    version: str | None = None
    ledger: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScriptRecord:
    """A migration script, by its checksum."""

    checksum: str
    version: str
    file: str
    text: str


class FleetStore:
    """The fleet store in a database of its own or shared with other tables (all of ours begin with `dbgear_`).

    url: of SQLAlchemy, with an async driver (`sqlite+aiosqlite`, `postgresql+asyncpg`, `mysql+asyncmy`).
    Methods raise SourceUnavailableError when the database cannot be reached. rollouts, alerts, health, tenants: what
    it keeps of those.
    placed: where instances are, written anew. status, figures: how the fleet stands.
    """

    def __init__(self, url: str | sa.URL) -> None:
        url = sa.make_url(url)
        connect_args = {"timeout": 30} if url.get_backend_name() == "sqlite" else {}
        self._engine = create_async_engine(url, pool_pre_ping=True, connect_args=connect_args, hide_parameters=True)
        self.rollouts = RolloutStore(self._begin, url.get_backend_name())
        self.alerts = AlertStore(self._begin)
        self.tenants = TenantStore(self._begin, url.get_backend_name())
        self.health = HealthStore(self._begin, url.get_backend_name())
        self.placed = InstanceStore(self._begin, url.get_backend_name())
        self.figures = FigureStore(self._begin)
        self.status = StatusStore(self._begin, self.rollouts)

    async def prepare(self) -> None:
        """Create the tables, columns and indexes that are missing. Safe to repeat, and in several processes at once."""
        parts = sum(1 + len(table.columns) + len(table.indexes) for table in metadata.tables.values())
        for left in range(parts, -1, -1):
            try:
                async with self._begin() as connection:
                    await connection.run_sync(_create_missing)
            except (IntegrityError, ProgrammingError, OperationalError):
                # Another process creates the same thing right now, and may be ahead of us at each of them.
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
                if record.operation in _STATES and record.status == _SUCCESS and not record.dry_run
                for row in _states(record)
            }
            if states:
                # In one order everywhere, so that two writers cannot deadlock.
                rows = [states[key] for key in sorted(states)]
                keeps = (*SEEN, "version", "ledger")
                await connection.execute(upsert(tenant_instances, self._engine.dialect.name, keeps=keeps), rows)
            await _write_versions(connection, [item for record in records for item in _versions(record)])

    async def record_fingerprints(self, records: Sequence[FingerprintRecord]) -> None:
        """Note what instances were seen to hold, in one transaction. Those that are not in the store are left out."""
        if not records:
            return
        table = tenant_instances
        change = (
            sa.update(table)
            .where(table.c.tenant_id == sa.bindparam("of_tenant"), table.c.instance == sa.bindparam("of_instance"))
            .values(fingerprint=sa.bindparam("seen"), checked_at=sa.bindparam("at"))
        )
        ordered = sorted(records, key=lambda record: (record.tenant_id, record.instance))  # no deadlocks
        rows = [
            {
                "of_tenant": record.tenant_id,
                "of_instance": record.instance,
                "seen": record.fingerprint,
                "at": record.checked_at,
            }
            for record in ordered
        ]
        async with self._begin() as connection:
            await connection.execute(change, rows)

    async def record_versions(self, records: Sequence[VersionRecord]) -> None:
        """Note what ledgers say, in one transaction. Instances that are not in the store are left out."""
        if records:
            async with self._begin() as connection:
                await _write_versions(connection, records)

    async def forget_versions(self, tenant_ids: Sequence[str]) -> None:
        """Note that the ledgers of these tenants are about to change: nobody knows what they say until it is told."""
        records = [(tenant_id, instance) for tenant_id, instance in await self.placements(tenant_ids)]
        await self.record_versions([VersionRecord(tenant_id=tenant_id, instance=name) for tenant_id, name in records])

    async def placements(self, tenant_ids: Sequence[str]) -> dict[tuple[str, str], dict[str, Any]]:
        """Return {(tenant_id, instance): its row, keyed as the table's columns} of these tenants."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        async with self._begin() as connection:
            for start in range(0, len(tenant_ids), BATCH_ROWS):
                some = tenant_ids[start : start + BATCH_ROWS]
                rows = await connection.execute(
                    sa.select(tenant_instances).where(tenant_instances.c.tenant_id.in_(some))
                )
                found |= {(row["tenant_id"], row["instance"]): dict(row) for row in rows.mappings()}
        return found

    async def record_scripts(self, scripts: Sequence[ScriptRecord]) -> None:
        """Keep the texts of migrations that are not kept yet."""
        table = migration_scripts
        for left in (1, 0):
            async with self._begin() as connection:
                checksums = [script.checksum for script in scripts]
                known: set[str] = set()
                for start in range(0, len(checksums), BATCH_ROWS):
                    some = checksums[start : start + BATCH_ROWS]
                    known |= set(
                        await connection.scalars(sa.select(table.c.checksum).where(table.c.checksum.in_(some)))
                    )
                new = {script.checksum: script for script in scripts if script.checksum not in known}
                rows = [{**vars(new[key]), "first_seen": datetime.now(UTC)} for key in sorted(new)]
                try:
                    if rows:
                        await connection.execute(sa.insert(table), rows)
                except IntegrityError:
                    if not left:
                        raise
                    await connection.rollback()  # another process keeps the same ones right now
                    continue
            return

    async def script(self, checksum: str) -> str | None:
        """Return the text of the migration with this checksum; None where it is not kept."""
        async with self._begin() as connection:
            query = sa.select(migration_scripts.c.text).where(migration_scripts.c.checksum == checksum)
            return (await connection.scalars(query)).one_or_none()

    @asynccontextmanager
    async def recorder(self) -> AsyncIterator[Recorder[OperationRecord]]:
        """Write records in the background while the block runs; all are written at its end, also on errors."""

        async def write(records: Sequence[OperationRecord]) -> None:
            await self.record(records)

        async with recording(write) as recorder:
            yield recorder

    async def succeeded(
        self,
        run_id: str,
        operation: str,
        tenant_ids: Sequence[str],
        *,
        since: datetime | None = None,
        dry_run: bool | None = None,
    ) -> set[str]:
        """Return those of the tenants whose operation has succeeded in that run, begun at `since` or later.

        dry_run: only dry runs, or only real ones; None: both.
        """
        done: set[str] = set()
        recent = operations.c.started_at >= since if since else sa.true()
        real = sa.true() if dry_run is None else operations.c.dry_run == dry_run
        async with self._begin() as connection:
            for start in range(0, len(tenant_ids), BATCH_ROWS):
                query = sa.select(operations.c.tenant_id).where(
                    operations.c.run_id == run_id,
                    operations.c.operation == operation,
                    operations.c.status == _SUCCESS,
                    recent,
                    real,
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

    async def last(self, tenant_id: str) -> OperationRecord | None:
        """Return the newest result of a tenant; None where there is none."""
        newest = sa.select(sa.func.max(operations.c.id)).where(operations.c.tenant_id == tenant_id).scalar_subquery()
        records = await self._records(operations.c.id == newest, operations.c.id)
        return records[0] if records else None

    async def instances(self, tenant_id: str) -> list[dict[str, Any]]:
        """Return the state of a tenant's instances: a dict per instance, keyed as the table's columns."""
        query = sa.select(tenant_instances).where(tenant_instances.c.tenant_id == tenant_id)
        return await self.rows(query.order_by(tenant_instances.c.instance))

    async def rows(self, query: sa.Executable) -> list[dict[str, Any]]:
        """Return the rows of a query over the store's tables, each keyed by its columns."""
        async with self._begin() as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def insert(self, table: sa.Table, row: Mapping[str, Any]) -> None:
        """Add a row to one of the store's tables."""
        async with self._begin() as connection:
            await connection.execute(sa.insert(table), dict(row))

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


def _create_missing(connection: sa.Connection) -> None:
    metadata.create_all(connection)
    inspector, prepare = sa.inspect(connection), connection.dialect.identifier_preparer
    names = list(metadata.tables)
    columns = _names(inspector.get_multi_columns(filter_names=names))
    indexes = _names(inspector.get_multi_indexes(filter_names=names))
    for table in metadata.sorted_tables:
        for column in table.columns:
            if column.name not in columns[table.name]:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(sa.text(f"ALTER TABLE {prepare.format_table(table)} ADD COLUMN {definition}"))
        for index in table.indexes:
            if index.name not in indexes[table.name]:
                index.create(connection)


def _names(found: Mapping[Any, Sequence[Any]]) -> dict[str, set[str]]:
    """Return {table: names} of what an inspector has found."""
    return {table: {item["name"] for item in items} for (_, table), items in found.items()}


def _row(record: OperationRecord) -> dict[str, Any]:
    return {**vars(record), "error": storable(record.error)}


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
            "prefix": item.get("prefix", ""),
            "state": "provisioned",
            "checksum": item["checksum"],
            "updated_at": record.started_at + timedelta(seconds=record.duration_s),
        }
        for name, item in details.get("instances", {}).items()
    ]


def _versions(record: OperationRecord) -> Iterator[VersionRecord]:
    if record.status != _SUCCESS or record.dry_run or record.operation not in {*_STATES, *_MIGRATIONS}:
        return
    for name, item in (record.details or {}).get("instances", {}).items():
        if record.operation in _MIGRATIONS:
            told = {"version": item["version"], "ledger": item["ledger"]}
            yield VersionRecord(tenant_id=record.tenant_id, instance=name, **told)
        elif item.get("created"):  # it may have been dropped before, and its ledger with it
            yield VersionRecord(tenant_id=record.tenant_id, instance=name)


async def _write_versions(connection: AsyncConnection, records: Sequence[VersionRecord]) -> None:
    if not records:
        return
    table = tenant_instances
    change = (
        sa.update(table)
        .where(table.c.tenant_id == sa.bindparam("of_tenant"), table.c.instance == sa.bindparam("of_instance"))
        .values(version=sa.bindparam("newest"), ledger=sa.bindparam("digest"))
    )
    rows = {
        (record.tenant_id, record.instance): {
            "of_tenant": record.tenant_id,
            "of_instance": record.instance,
            "newest": record.version,
            "digest": record.ledger,
        }
        for record in records
    }
    await connection.execute(change, [rows[key] for key in sorted(rows)])  # in one order: no deadlocks


def _is_busy(error: DBAPIError) -> bool:
    # SQLite: https://www.sqlite.org/rescode.html; SQLITE_ERROR is a fault of the statement, and so is SQLITE_SCHEMA:
    # it comes with "table already exists", now and then, when another process made it while ours was being compiled.
    name = getattr(error.orig, "sqlite_errorname", "SQLITE_ERROR")
    return isinstance(error, OperationalError) and name not in {"SQLITE_ERROR", "SQLITE_SCHEMA"}
