"""A session on PostgreSQL, over asyncpg: its transactions, what it reads, and errors told apart by SQLSTATE."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from textwrap import shorten
from typing import Any
from uuid import uuid4

import asyncpg
from sqlalchemy.dialects import postgresql
from typing_extensions import override

from ..errors import LockTimeoutError, OperationTimeoutError, ServerUnavailableError, StatementError
from ..schema import LedgerEntry, Namespace, ObjectKey, Snapshot, ledger_name
from ..schema.ddl import executed, literal
from . import postgresql_catalog, postgresql_describe, postgresql_grants, postgresql_roles, postgresql_vitals
from .base import ExpectedLedger, Grant, OtherSession, Scope, Session, Timeouts
from .describing import snapshots
from .roles import RoleRequest, RoleState
from .vitals import Activity, Vitals

# With a paramstyle of % the compiler would double each % of a name or comment.
DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]

# SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOCKED = {"55P03", "40P01", "40001", "55006"}  # lock_timeout, deadlock, serialization, object in use
_CANCELLED = {"57014"}  # statement_timeout
_AWAY = {
    "57P01",
    "57P02",
    "57P03",
    "57P05",
    "53300",
}  # shutdown, crash, starting up, idle, too many connections
NO_SUCH_TABLE = "42P01"
_CONCURRENTLY = re.compile(
    r"""CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>"(?:[^"]|"")+"|[\w$]+)\s+ON\b""",
    re.IGNORECASE,
)
_LEDGERS_AT_ONCE = 200
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.2
# What a script may have left in a connection that others use after it.
_CLEAN = "RESET ALL; RESET SESSION AUTHORIZATION; UNLISTEN *; DISCARD TEMP; SELECT pg_catalog.pg_advisory_unlock_all()"


class PostgresSession(Session):
    """A connection to a PostgreSQL database."""

    def __init__(self, connection: Any, server: str) -> None:
        self._connection = connection
        self._server = server
        self._begin = ""

    @override
    @asynccontextmanager
    async def locked(self, name: str, timeouts: Timeouts) -> AsyncIterator[None]:
        # lock_timeout bounds the wait for advisory locks as well.
        async with self._transaction(timeouts, f"SELECT pg_catalog.pg_advisory_xact_lock({_lock_key(name)})"):
            yield

    @override
    @asynccontextmanager
    async def read_only(self, timeouts: Timeouts) -> AsyncIterator[None]:
        async with self._transaction(timeouts, "SET TRANSACTION READ ONLY"):
            yield

    @override
    @asynccontextmanager
    async def held(self, name: str, timeouts: Timeouts) -> AsyncIterator[None]:
        # Who waits inside the server is a transaction that CREATE INDEX CONCURRENTLY waits for in turn.
        milliseconds = (round(timeouts.lock_s * 1000), round(timeouts.statement_s * 1000))
        with translated(self._server, "SET"):
            await self._connection.execute("SET lock_timeout = {}; SET statement_timeout = {}".format(*milliseconds))
        clock, pause_s = asyncio.get_running_loop().time, _FIRST_PAUSE_S
        deadline = clock() + timeouts.lock_s
        while await self._fetch(f"SELECT pg_catalog.pg_try_advisory_lock({_lock_key(name)})") != [(True,)]:
            if clock() >= deadline:
                text = f"target {self._server}: another session holds the lock of {name}"
                raise LockTimeoutError(text, statement="pg_try_advisory_lock", timeout_s=timeouts.lock_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        yield  # the lock ends with the connection

    @override
    async def apply_blindly(
        self, name: str, timeouts: Timeouts, ledger: ExpectedLedger, statements: Sequence[str]
    ) -> bool:
        check = postgresql_catalog.UNCHANGED.format(
            ledger=_ledger(ledger.namespace),
            digest=ledger.digest,
            tenant_id=literal_of(ledger.tenant_id),
            instance=literal_of(ledger.instance),
            begun=literal_of(ledger.begun),
        )
        lock = f"SELECT pg_catalog.pg_advisory_xact_lock({_lock_key(name)})"
        try:
            # In order: each statement sees what is committed when it begins, so the check what the lock's holder did.
            async with self._transaction(timeouts, ";\n".join([lock, check, *statements, "COMMIT", _CLEAN])):
                return True
        except StatementError:
            return False

    @asynccontextmanager
    async def _transaction(self, timeouts: Timeouts, first: str) -> AsyncIterator[None]:
        # Round trips are what a tenant costs here, so the transaction begins with what it needs in one of them.
        self._begin = (
            f"BEGIN; SET LOCAL lock_timeout = {round(timeouts.lock_s * 1000)};"
            f"SET LOCAL statement_timeout = {round(timeouts.statement_s * 1000)};" + first
        )
        # Errors of BEGIN and COMMIT are told as well; those of the body come translated already.
        with translated(self._server, first):
            try:
                await self._connection.execute(self._begin)
                yield
                if self._connection.is_in_transaction():
                    await self._connection.execute("COMMIT")
            finally:
                if self._connection.is_in_transaction():
                    await self._connection.execute("ROLLBACK")

    @override
    async def objects(self, namespaces: Sequence[Namespace]) -> set[ObjectKey]:
        with translated(self._server, "the catalog"):
            whole = sorted({namespace.schema for namespace in namespaces if not namespace.prefix})
            # Planning the catalog's query costs more than executing it, and each new schema voids its plan: a tenant
            # that has nothing yet is not asked for what it has.
            if whole:
                whole = [name for (name,) in await self._connection.fetch(postgresql_catalog.SCHEMAS, whole)]
            rows = await self._connection.fetch(postgresql_catalog.IN_SCHEMAS, whole) if whole else []
            for names in postgresql_catalog.ranges(namespaces):
                rows += await self._connection.fetch(postgresql_catalog.WITH_PREFIX, *names)
        return {ObjectKey(kind=kind, schema=schema, name=name) for kind, schema, name in rows}

    @override
    async def other_charsets(self, schemas: Sequence[str]) -> dict[str, str]:
        encoding = self._connection.get_settings().server_encoding  # told when the session began
        return {} if encoding == "UTF8" else dict.fromkeys(schemas, encoding)

    @override
    async def describe(self, groups: Sequence[Sequence[Namespace]]) -> list[Snapshot]:
        rows: list[Any] = []
        with translated(self._server, "the catalog"):
            await self._connection.execute(postgresql_describe.BEGIN)
            for sql, values in postgresql_describe.queries(groups):
                rows += await self._connection.fetch(sql, *values)
            await self._connection.execute(postgresql_describe.END)
        return snapshots(groups, postgresql_describe.found(rows), postgresql_describe.GRAMMAR)

    @override
    @asynccontextmanager
    async def scratch(self, count: int, timeouts: Timeouts) -> AsyncIterator[list[Namespace]]:
        # Nobody else ever sees them: what the transaction made goes with it.
        async with self._transaction(timeouts, "SELECT 1"):
            yield [Namespace(f"dbgear_reference_{uuid4().hex[:12]}_{index}") for index in range(count)]
            with translated(self._server, "ROLLBACK"):
                await self._connection.execute("ROLLBACK")

    @override
    async def ledger_entry(self, namespace: Namespace, version: str) -> LedgerEntry | None:
        sql = f"SELECT version, tenant_id, instance, checksum FROM {_ledger(namespace)} WHERE version = $1"  # noqa: S608
        with translated(self._server, sql):
            row = await self._connection.fetchrow(sql, version)
        return row and LedgerEntry(**row)

    @override
    async def ledger(self, namespace: Namespace) -> list[LedgerEntry] | None:
        return (await self.ledgers([namespace])).get(namespace)

    @override
    async def ledgers(self, namespaces: Sequence[Namespace]) -> dict[Namespace, list[LedgerEntry]]:
        if not namespaces:
            return {}
        names = {(space.schema, ledger_name(space)): space for space in namespaces}
        there = await self._fetch(postgresql_catalog.LEDGERS, *(list(part) for part in zip(*names, strict=True)))
        found: dict[Namespace, list[LedgerEntry]] = {}
        for start in range(0, len(there), _LEDGERS_AT_ONCE):
            spaces = [names[schema, name] for schema, name in there[start : start + _LEDGERS_AT_ONCE]]
            sql = " UNION ALL ".join(postgresql_catalog.LEDGER.format(n, _ledger(s)) for n, s in enumerate(spaces))
            try:
                rows = await self._fetch(sql)
            except StatementError as error:
                if error.details["code"] != NO_SUCH_TABLE or len(namespaces) == 1:
                    raise
                continue
            found |= {space: [] for space in spaces}
            for number, version, tenant_id, instance, checksum in rows:
                entry = LedgerEntry(version=version, tenant_id=tenant_id, instance=instance, checksum=checksum)
                found[spaces[number]].append(entry)
        return found

    @override
    async def select(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._fetch(sql)]

    @override
    @asynccontextmanager
    async def atomic(self) -> AsyncIterator[None]:
        if self._connection.is_in_transaction():
            yield  # that of `locked` does
            return
        with translated(self._server, "BEGIN"):
            await self._connection.execute("BEGIN")
        try:
            yield
            with translated(self._server, "COMMIT"):
                await self._connection.execute("COMMIT")
        finally:
            if self._connection.is_in_transaction():
                with translated(self._server, "ROLLBACK"):
                    await self._connection.execute("ROLLBACK")

    @override
    async def before_again(self, statement: str) -> None:
        match = _CONCURRENTLY.match(statement)
        if match is None:
            return
        for (name,) in await self._fetch(postgresql_catalog.INVALID_INDEX, match["name"]):
            await self.apply([f"DROP INDEX CONCURRENTLY {name}"])

    @override
    async def apply(self, statements: Sequence[str], *, last: bool = False, foreign: bool = False) -> None:
        if not statements:
            return
        try:
            with translated(self._server, statements[0]):
                script = [executed(statement) for statement in statements]
                end = ["COMMIT", *([_CLEAN] if foreign else [])] if last else []
                await self._connection.execute(";\n".join([*script, *end]))
        except StatementError:
            if len(statements) == 1 or not self._begin:
                raise
            # The server does not say which one it was, and the transaction is lost: find it in another one, which is
            # rolled back as well.
            with translated(self._server, statements[0]):
                await self._connection.execute("ROLLBACK")
                await self._connection.execute(self._begin)
            for statement in statements:
                with translated(self._server, statement):
                    await self._connection.execute(executed(statement))
            raise

    @override
    async def grants(self, scope: Scope) -> list[Grant]:
        return [Grant(**row) for row in await self._fetch(*postgresql_grants.grants_query(scope))]

    @override
    async def roles_with_access(self, scope: Scope) -> list[str]:
        return [role for (role,) in await self._fetch(*postgresql_grants.access_query(scope))]

    @override
    async def existing_roles(self, names: Sequence[str]) -> set[str]:
        return {name for (name,) in await self._fetch(postgresql_grants.ROLES, list(names))}

    @override
    async def rows(self, schema: str, table: str) -> list[tuple[object, ...]] | None:
        if not await self._fetch(postgresql_grants.OWN_TABLE, schema, table):
            return None
        sql = f"SELECT * FROM {quoted(schema)}.{quoted(table)}"  # noqa: S608 - quoted
        return [tuple(row) for row in await self._fetch(sql)]

    @override
    async def other_sessions(self, databases: Sequence[str]) -> list[OtherSession]:
        return [OtherSession(**row) for row in await self._fetch(postgresql_grants.SESSIONS, list(databases))]

    @override
    async def end_other_sessions(self, databases: Sequence[str]) -> None:
        await self._fetch(postgresql_grants.END_SESSIONS, list(databases))

    @override
    async def vitals(self, namespaces: Sequence[Namespace]) -> dict[Namespace, Vitals]:
        return await postgresql_vitals.vitals(self._fetch, self._anew, namespaces)

    async def _anew(self) -> None:
        """Give back the locks of the open transaction: the next one is of the same kind."""
        with translated(self._server, "COMMIT"):
            await self._connection.execute("COMMIT")
            await self._connection.execute(self._begin)

    @override
    async def activity(self) -> Activity:
        begun = time.perf_counter()
        await self._fetch("SELECT 1")
        return await postgresql_vitals.activity(self._fetch, time.perf_counter() - begun)

    @override
    async def role_state(self, request: RoleRequest) -> RoleState:
        return postgresql_roles.state(request, await self._fetch(*postgresql_roles.state_query(request)))

    async def _fetch(self, sql: str, *arguments: Any) -> Any:
        with translated(self._server, sql):
            return await self._connection.fetch(sql, *arguments)


def _lock_key(name: str) -> int:
    """Return the 64-bit signed number that PostgreSQL's advisory locks go by."""
    return int.from_bytes(hashlib.sha256(f"dbgear:{name}".encode()).digest()[:8], "big", signed=True)


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return DIALECT.identifier_preparer.quote_identifier(name)


def literal_of(text: str) -> str:
    """Return a text as a literal of SQL."""
    return literal(text, DIALECT)


def _ledger(namespace: Namespace) -> str:
    return f"{quoted(namespace.schema)}.{quoted(ledger_name(namespace))}"


@contextmanager
def translated(server: str, statement: str) -> Iterator[None]:
    """Raise the driver's errors as ours; `statement` is what was done, for the error's text."""
    try:
        yield
    except asyncpg.PostgresError as error:
        code = error.sqlstate or ""
        text = f"target {server}: {error.args[0] if error.args else code}"
        details = {"code": code, "statement": statement, "hint": getattr(error, "detail", None)}
        if code in _LOCKED:
            raise LockTimeoutError(text, **details) from error
        if code in _CANCELLED:
            raise OperationTimeoutError(text, **details) from error
        if code in _AWAY or code.startswith("08"):
            raise ServerUnavailableError(text, **details) from error
        raise StatementError(f"{text} (SQLSTATE {code}) in: {shorten(statement, 300)}", **details) from error
    except (asyncpg.InterfaceError, OSError, TimeoutError) as error:
        text = str(error) or type(error).__name__
        raise ServerUnavailableError(f"target {server}: {text}", statement=statement) from error
