"""Migrating one instance: its pending scripts are applied, or applied ones undone, each exactly once.

Where DDL is transactional, a script and its ledger row are committed at once. Otherwise, and for `transaction:false`,
the ledger tells of each statement that it was sent and that it is done, so that the next attempt goes on behind it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from ..engines import ExpectedLedger, Server, Session, Timeouts
from ..errors import (
    DbgearError,
    LockTimeoutError,
    MigrationOrderError,
    NotProvisionedError,
    OwnershipError,
    StatementError,
)
from ..isolation import Place
from ..migrations import LedgerState, Migration, MigrationSet, Names, Statement
from ..schema import PROVISIONED, LedgerEntry, insert_statement
from ..tenants import naming
from .instance import LOCK_S, Instance
from .migration_rows import MigrationRows, Step
from .provision import BEGUN, read_owned
from .roles import RoleWork

# Tables have rows: a statement may have to read or write all of them.
STATEMENT_S = 300.0
DBMATE = "schema_migrations"
Adopt = Literal["dbmate"]
Todo = Callable[[LedgerState], list[Migration]]
# What a transaction takes back on every engine: it stands together with the row that says so.
_ROWS = {"INSERT", "UPDATE", "DELETE", "REPLACE", "MERGE", "WITH"}


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """What was done to an instance, or in a dry run would be.

    versions: those applied, or undone, in this order. statements: the exact SQL, of a dry run alone. version: the
    newest that is applied now; None: none is. ledger: sha256 of the rows that say so. looked: where that is known from.
    """

    place: Place
    versions: Sequence[str] = ()
    statements: Sequence[str] = ()
    version: str | None
    ledger: str | None
    looked: Literal["ledger", "store"] = "ledger"

    def details(self, *, dry_run: bool) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            **self.place.details(),
            "versions": list(self.versions),
            "version": self.version,
            "ledger": self.ledger,
            "looked": self.looked,
            **({"statements": list(self.statements)} if dry_run else {}),
        }


async def migrate_instance(
    instance: Instance,
    server: Server,
    migrations: MigrationSet,
    names: Names,
    *,
    to: str | None = None,
    dry_run: bool,
    attempt: int = 1,
    out_of_order: bool = False,
    adopt: Adopt | None = None,
    known: LedgerState | None = None,
) -> Migrated:
    """Apply the migrations up to a version (None: all) that the instance's ledger does not have, in order.

    Safe to repeat: what is applied is left alone, and what was half done is gone on with. adopt: take over what another
    tool has applied, where our ledger has no migration yet. known: what the ledger probably says: where that is so, it
    spares a look. A dry run connects and reads only, and takes `known` for what it has read. attempt: each one waits
    longer for locks than the last. Raises EditedMigrationError, MigrationOrderError, StatementError with file and line,
    NotProvisionedError, OwnershipError.
    """

    def todo(state: LedgerState) -> list[Migration]:
        return state.pending(migrations, to, out_of_order=out_of_order)

    return await _Work(instance, server, migrations, names, attempt, adopt, known=known).do(todo, dry_run=dry_run)


async def undo_instance(
    instance: Instance,
    server: Server,
    migrations: MigrationSet,
    names: Names,
    *,
    to: str,
    dry_run: bool,
    attempt: int = 1,
) -> Migrated:
    """Undo the applied migrations that are newer than a version, the newest first; to "0": all of them.

    Nothing is undone where one of them cannot be: MigrationError. Otherwise as `migrate_instance`.
    """

    def todo(state: LedgerState) -> list[Migration]:
        return state.undoable(migrations, to)

    return await _Work(instance, server, migrations, names, attempt, down=True).do(todo, dry_run=dry_run)


def state_of(entries: Sequence[LedgerEntry] | None, instance: Instance) -> LedgerState:
    """Return what a ledger's rows say of migrations.

    Raises NotProvisionedError where there is no ledger, or provisioning was not finished, and OwnershipError.
    """
    told = instance.place.told()
    entry = next((entry for entry in entries or () if entry.version == PROVISIONED), None)
    if entry is None:
        raise NotProvisionedError(
            f"{told} has no ledger: provision it, or where it was not made by DBGear, give it a baseline", place=told
        )
    if (entry.tenant_id, entry.instance) != (instance.tenant_id, instance.name):
        owner = f"{entry.tenant_id} ({entry.instance})"
        raise OwnershipError(f"{told} belongs to tenant {owner}", place=told, owner=owner)
    if entry.checksum.startswith(BEGUN):
        raise NotProvisionedError(f"{told} is half provisioned: provision it to its end", place=told)
    return LedgerState.of(entries or ())


@dataclass
class _Work:
    instance: Instance
    server: Server
    migrations: MigrationSet
    names: Names
    attempt: int
    adopt: Adopt | None = None
    down: bool = False
    known: LedgerState | None = None
    adopted: list[str] = field(default_factory=list)

    @cached_property
    def rows(self) -> MigrationRows:
        return MigrationRows(self.instance, self.server.dialect, self.names, down=self.down)

    @property
    def place(self) -> Place:
        return self.instance.place

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(lock_s=LOCK_S * self.attempt, statement_s=STATEMENT_S)

    @property
    def role(self) -> str | None:
        """Whose rights a script has. In a shared schema the objects are ours."""
        roles = self.instance.roles
        return None if roles is None or self.place.prefix else roles.owner

    async def do(self, todo: Todo, *, dry_run: bool) -> Migrated:
        await self.server.ready()
        return await (self._plan(todo) if dry_run else self._carry_out(todo))

    async def _plan(self, todo: Todo) -> Migrated:
        if self.known is not None and not (self.adopt and self.known.is_empty):
            state = self.known
        else:
            await self._refuse_absent()
            async with self.server.session(self.place.database) as session, session.read_only(self.timeouts):
                state = await self._state(session)
        items = todo(state)
        statements = list(self.adopted)
        for item in items:
            statements += self._script(item) if not self._alone(item) else self._shown(item, state)
        return self._outcome(state, [item.version for item in items], statements)

    async def _carry_out(self, todo: Todo) -> Migrated:
        versions, is_done = await self._carry_out_known(todo)
        if is_done is not None:
            return self._outcome(is_done, versions)
        await self._refuse_absent()
        alone = not self.server.transactional_ddl
        while True:
            async with self._session(alone=alone) as session:
                state = await self._state(session)
                items = todo(state)
                await session.apply(self.adopted)
                if not items:
                    return self._outcome(state, versions)
                for item in items:
                    if self._alone(item) != alone:
                        alone = not alone
                        break
                    await (self._step_through(session, item, state) if alone else self._at_once(session, item))
                    versions.append(item.version)
                    state = self._after(state, item)
                    if item is items[-1]:
                        return self._outcome(state, versions)
                    if not alone:
                        break  # its transaction, and with it the lock, has ended

    async def _carry_out_known(self, todo: Todo) -> tuple[list[str], LedgerState | None]:
        """Do without a look what can be done so: one round trip for each script.

        Returns the versions that are done, and what the ledger says then, where that was all.
        """
        versions: list[str] = []
        state = self.known
        blind = self.server.transactional_ddl and self.attempt == 1 and not self.place.own_database
        if state is None or not blind or self.instance.roles is not None:
            return versions, None
        try:
            items = todo(state)
        except DbgearError:
            return versions, None  # if it is so, a look tells it
        instance, namespace = self.instance, self.place.namespace
        async with self.server.session(self.place.database) as session:
            for item in items:
                expected = ExpectedLedger(
                    namespace=namespace,
                    tenant_id=instance.tenant_id,
                    instance=instance.name,
                    begun=BEGUN,
                    digest=state.digest,
                )
                if self._alone(item) or not await session.apply_blindly(
                    self.place.lock, self.timeouts, expected, self._script(item)
                ):
                    return versions, None
                versions.append(item.version)
                state = self._after(state, item)
        return versions, state

    @asynccontextmanager
    async def _session(self, *, alone: bool) -> AsyncIterator[Session]:
        place = self.place
        async with self.server.session(place.database, apart=alone) as session:
            lock = session.held if alone else session.locked
            async with lock(place.lock, self.timeouts):
                yield session

    def _alone(self, migration: Migration) -> bool:
        return not (self.server.transactional_ddl and self.rows.section(migration).transaction)

    async def _refuse_absent(self) -> None:
        place = self.place
        apart = place.own_database and not place.schemas_are_databases
        if apart and not await self.server.database_exists(place.database):
            raise NotProvisionedError(f"{place.told()} is not provisioned yet", place=place.told())

    async def _state(self, session: Session) -> LedgerState:
        entries = await session.ledger(self.place.namespace)
        state = state_of(entries, self.instance)
        self.adopted = []
        if self.adopt is None or not state.is_empty:
            return state
        table = naming.prefixed(self.place.prefix, DBMATE)
        rows = await session.rows(self.place.schema, table)
        adopted = [self._adopted(str(row[0]), table) for row in rows or ()]
        if adopted:
            self.adopted = [insert_statement(adopted, self.place.namespace, self.server.dialect)]
        return LedgerState.of([*(entries or ()), *adopted])

    def _adopted(self, version: str, table: str) -> LedgerEntry:
        for item in self.migrations.migrations:
            if item.version == version:
                return self.rows.entry(version, item.checksum)
        told = f"{self.place.told()}: {table} has version {version}, and there is no script of it"
        raise MigrationOrderError(told, version=version, file=str(self.migrations.path))

    def _outcome(self, state: LedgerState, versions: Sequence[str], statements: Sequence[str] = ()) -> Migrated:
        return Migrated(
            place=self.place, versions=versions, statements=statements, version=state.newest, ledger=state.digest
        )

    def _after(self, state: LedgerState, item: Migration) -> LedgerState:
        """Return what the ledger says once a script is applied or undone as a whole."""
        applied = {order: entry for order, entry in state.applied.items() if order != item.order}
        if not self.down:
            applied[item.order] = self.rows.entry(item.version, item.checksum)
        progress = {order: steps for order, steps in state.progress.items() if order != item.order}
        return LedgerState(applied=applied, baseline=state.baseline, progress=progress)

    # A script in one transaction.

    def _script(self, migration: Migration) -> list[str]:
        return [*self._statements(migration), *self.rows.end(migration)]

    def _statements(self, migration: Migration) -> list[str]:
        role = self.role
        return [
            *self.server.stand(self.place.schema, role, transaction=True),
            *(statement.sql(self.names) for statement in self.rows.section(migration).statements),
            *self.server.stand_up(role),
        ]

    async def _at_once(self, session: Session, migration: Migration) -> None:
        statements, end = self._statements(migration), self.rows.end(migration)
        with self._located(migration):
            if self.instance.roles is None:
                return await session.apply([*statements, *end], last=True, foreign=True)
            await session.apply(statements)
        await session.apply([*await self._grants(session), *end], last=True, foreign=True)
        return None

    # A script statement by statement.

    def _shown(self, migration: Migration, state: LedgerState) -> list[str]:
        shown = self.server.stand(self.place.schema, self.role, transaction=False)
        for step in self.rows.steps(migration, state):
            shown += [*step.before, step.sql, *step.after]
        return shown

    async def _step_through(self, session: Session, migration: Migration, state: LedgerState) -> None:
        progress = state.progress.get(migration.order)
        if progress is not None:
            done = self.rows.section(migration).statements[: len(progress.done)]
            texts = [statement.sql(self.names) for statement in done]
            # What an earlier attempt has set ended with its session.
            await session.apply([text for text in texts if _first_word(text) == "SET"])
        for step in self.rows.steps(migration, state):
            with self._located(migration, step.statement):
                await self._step(session, step)
        if progress is not None and len(progress.done) == len(self.rows.section(migration).statements):
            # The statement that failed was taken out of the script.
            async with session.atomic():
                await session.apply(self.rows.end(migration, steps=True))

    async def _step(self, session: Session, step: Step) -> None:
        schema, role = self.place.schema, self.role
        stand, stand_up = self.server.stand(schema, role, transaction=False), self.server.stand_up(role)
        is_of_rows = _first_word(step.sql) in _ROWS
        await session.apply([*step.before, *(await self._grants(session) if is_of_rows and step.is_last else [])])
        await session.apply(stand)
        try:
            if is_of_rows:
                async with session.atomic():
                    await session.apply([step.sql])
                    await session.apply([*stand_up, *step.after])
                return
            await session.before_again(step.sql)
            await session.apply([step.sql])
        except (StatementError, LockTimeoutError) as error:
            # A server that answers has not done it. What an earlier attempt has sent may be done since.
            known = not is_of_rows and step.again
            if not (known and self.server.is_done_already(step.sql, error.details.get("code", ""))):
                with suppress(DbgearError):
                    await session.apply([*stand_up, *step.failed])
                raise
        await session.apply(stand_up)
        await session.apply(await self._grants(session) if step.is_last else [])
        async with session.atomic():
            await session.apply(step.after)

    @contextmanager
    def _located(self, migration: Migration, statement: Statement | None = None) -> Iterator[None]:
        """Let the error of a statement say where it stands. statement: None: any of the script."""
        try:
            yield
        except StatementError as error:
            among = [statement] if statement else self.rows.section(migration).statements
            sql = error.details.get("statement")
            for item in among:
                if item.sql(self.names) == sql:
                    where = {"file": str(migration.file), "line": item.line, "version": migration.version}
                    text = f"{migration.file}, line {item.line}: {error.message}"
                    raise StatementError(text, **{**error.details, **where}) from error
            raise

    async def _grants(self, session: Session) -> list[str]:
        """Return what gives the tenant's roles what is new.

        The document's further schemas get theirs when they are provisioned.
        """
        instance = self.instance
        if instance.roles is None:
            return []
        existing, entry = await read_owned(session, instance, self.server)
        work = RoleWork(
            instance=instance,
            roles=instance.roles,
            server=self.server,
            entry=entry,
            existing=existing,
            wanted=existing,
            missing=(),
        )
        return (await work.script(session, dry_run=False)).around([], [])


def _first_word(sql: str) -> str:
    return sql.split(maxsplit=1)[0].upper()
