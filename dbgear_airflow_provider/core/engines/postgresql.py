"""PostgreSQL, over asyncpg.

DDL is transactional here: an instance's objects and its ledger row appear together or not at all. Only CREATE
DATABASE stands alone (https://www.postgresql.org/docs/current/sql-createdatabase.html).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from textwrap import shorten
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import asyncpg
from sqlalchemy.dialects import postgresql
from typing_extensions import override

from ..errors import (
    LockTimeoutError,
    OperationTimeoutError,
    ServerUnavailableError,
    StatementError,
    UnsupportedError,
)
from ..schema import LedgerEntry, Namespace, ObjectKey, Snapshot, ledger_name
from ..schema.ddl import executed, literal
from . import (
    postgresql_catalog,
    postgresql_clone,
    postgresql_describe,
    postgresql_grants,
    postgresql_roles,
    postgresql_vitals,
)
from .base import ExpectedLedger, Grant, OtherSession, Scope, Server, ServerAddress, Session, Timeouts
from .cloning import CloneSource
from .describing import snapshots
from .roles import RoleRequest, RoleScript, RoleState
from .vitals import Activity, Vitals

CONNECT_TIMEOUT_S = 15
# Connection.extra keys that reach the driver; all others are refused by the hook.
OPTIONS = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"})

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
_NO_SUCH_TABLE = "42P01"
# Table or index, column, function, schema, other objects.
_IS_THERE = {"42P07", "42701", "42723", "42P06", "42710"}
_IS_GONE = {_NO_SUCH_TABLE, "42703", "42883", "3F000", "42704"}
_DROPS = re.compile(r"\b(DROP|RENAME)\b", re.IGNORECASE)
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
        with _translated(self._server, "SET"):
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
            tenant_id=_literal(ledger.tenant_id),
            instance=_literal(ledger.instance),
            begun=_literal(ledger.begun),
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
        with _translated(self._server, first):
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
        with _translated(self._server, "the catalog"):
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
        with _translated(self._server, "the catalog"):
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
            with _translated(self._server, "ROLLBACK"):
                await self._connection.execute("ROLLBACK")

    @override
    async def ledger_entry(self, namespace: Namespace, version: str) -> LedgerEntry | None:
        sql = f"SELECT version, tenant_id, instance, checksum FROM {_ledger(namespace)} WHERE version = $1"  # noqa: S608
        with _translated(self._server, sql):
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
                if error.details["code"] != _NO_SUCH_TABLE or len(namespaces) == 1:
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
        with _translated(self._server, "BEGIN"):
            await self._connection.execute("BEGIN")
        try:
            yield
            with _translated(self._server, "COMMIT"):
                await self._connection.execute("COMMIT")
        finally:
            if self._connection.is_in_transaction():
                with _translated(self._server, "ROLLBACK"):
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
            with _translated(self._server, statements[0]):
                script = [executed(statement) for statement in statements]
                end = ["COMMIT", *([_CLEAN] if foreign else [])] if last else []
                await self._connection.execute(";\n".join([*script, *end]))
        except StatementError:
            if len(statements) == 1 or not self._begin:
                raise
            # The server does not say which one it was, and the transaction is lost: find it in another one, which is
            # rolled back as well.
            with _translated(self._server, statements[0]):
                await self._connection.execute("ROLLBACK")
                await self._connection.execute(self._begin)
            for statement in statements:
                with _translated(self._server, statement):
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
        sql = f"SELECT * FROM {_quoted(schema)}.{_quoted(table)}"  # noqa: S608 - quoted
        return [tuple(row) for row in await self._fetch(sql)]

    @override
    async def other_sessions(self, databases: Sequence[str]) -> list[OtherSession]:
        return [OtherSession(**row) for row in await self._fetch(postgresql_grants.SESSIONS, list(databases))]

    @override
    async def end_other_sessions(self, databases: Sequence[str]) -> None:
        await self._fetch(postgresql_grants.END_SESSIONS, list(databases))

    @override
    async def vitals(self, namespaces: Sequence[Namespace]) -> dict[Namespace, Vitals]:
        return await postgresql_vitals.vitals(self._fetch, namespaces)

    @override
    async def activity(self) -> Activity:
        begun = time.perf_counter()
        await self._fetch("SELECT 1")
        return await postgresql_vitals.activity(self._fetch, time.perf_counter() - begun)

    @override
    async def role_state(self, request: RoleRequest) -> RoleState:
        return postgresql_roles.state(request, await self._fetch(*postgresql_roles.state_query(request)))

    async def _fetch(self, sql: str, *arguments: Any) -> Any:
        with _translated(self._server, sql):
            return await self._connection.fetch(sql, *arguments)


class PostgresServer(Server):
    """A PostgreSQL server. Connections to the shared database are pooled, those to tenants' own are not."""

    duplicate_key = "23505"
    ending_needs = "the role pg_signal_backend"
    ending_refused = "42501"
    # With a paramstyle of % the compiler would double each % of a name or comment.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]

    def __init__(
        self, name: str, address: ServerAddress, *, max_connections: int = 8, shared_schema: str | None = None
    ) -> None:
        super().__init__(name, address, max_connections=max_connections, shared_schema=shared_schema)
        self._pool: Any = None
        unknown = address.options.keys() - OPTIONS
        if unknown:
            raise UnsupportedError(f"target {name}: option {', '.join(sorted(unknown))} is not supported")

    @override
    def _usual_schema(self) -> str | None:
        return "public"

    @override
    @asynccontextmanager
    async def session(self, database: str, *, apart: bool = False) -> AsyncIterator[PostgresSession]:
        async with self.connections.loan() as loan, AsyncExitStack() as stack:
            with _translated(self.name, f"connect to {database}"):
                if database == self.address.database and not apart:
                    connection = await stack.enter_async_context((await self._shared()).acquire())
                else:
                    connection = await asyncpg.connect(**self._arguments(database))
                    stack.push_async_callback(_close, connection)
            loan.close = connection.terminate
            yield PostgresSession(connection, self.name)

    async def _shared(self) -> Any:
        if self._pool is None:
            # Assigned before the first await, so that two tasks do not open two pools.
            self._pool = asyncpg.create_pool(
                **self._arguments(self.address.database),
                min_size=0,
                max_size=self.max_connections,
                reset=_as_it_is,
            )
        return await self._pool

    def _arguments(self, database: str) -> dict[str, Any]:
        address = self.address
        return {
            **asyncpg_arguments(address.options),
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "password": address.password,
            "database": database,
            "timeout": CONNECT_TIMEOUT_S,
        }

    @override
    async def database_exists(self, name: str) -> bool:
        async with self._administration() as connection:
            return bool(await connection.fetchval("SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", name))

    @override
    def create_database_statement(self, name: str) -> str:
        return f"CREATE DATABASE {_quoted(name)}"

    @override
    async def create_database(self, name: str) -> bool:
        try:
            async with self._administration() as connection:
                await connection.execute(self.create_database_statement(name))
        except StatementError as error:
            # duplicate_database, or unique_violation on pg_database when both began at once
            if error.details["code"] in {"42P04", "23505"}:
                return False
            raise
        return True

    @override
    def revoke_statements(self, grants: Sequence[Grant]) -> list[str]:
        return postgresql_grants.revoke_statements(grants, _quoted)

    @override
    def grant_statements(self, grants: Sequence[Grant]) -> list[str]:
        return postgresql_grants.grant_statements(grants, _quoted)

    @override
    def role_script(self, request: RoleRequest, state: RoleState, password: str | None) -> RoleScript:
        return postgresql_roles.script(request, state, password, _quoted, _literal)

    @override
    def password_statement(self, login: str, password: str | None) -> str:
        return postgresql_roles.password_statement(_quoted(login), password)

    @override
    def stand(self, schema: str, role: str | None, *, transaction: bool) -> list[str]:
        local = "LOCAL " if transaction else ""
        path = f"SET {local}search_path = {_quoted(schema)}"
        return [path] if role is None else [path, f"SET {local}ROLE {_quoted(role)}"]

    @override
    def stand_up(self, role: str | None) -> list[str]:
        return [] if role is None else ["RESET ROLE"]

    @override
    def is_done_already(self, statement: str, code: str | int) -> bool:
        return code in _IS_THERE or (code in _IS_GONE and _DROPS.search(statement) is not None)

    @override
    def clone(self, source: CloneSource) -> AbstractAsyncContextManager[list[Namespace]]:
        return postgresql_clone.cloned(self, source)

    @override
    async def drop_left_clones(self) -> None:
        await postgresql_clone.drop_left(self)

    @asynccontextmanager
    async def _administration(self) -> AsyncIterator[Any]:
        async with self.session(self.address.database) as session:
            with _translated(self.name, "databases"):
                yield session._connection

    @override
    async def version(self) -> str:
        async with self._administration() as connection:
            return str(await connection.fetchval("SHOW server_version"))

    @override
    async def aclose(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), CONNECT_TIMEOUT_S)
            except (TimeoutError, OSError, asyncpg.PostgresError):
                pool.terminate()


def asyncpg_arguments(options: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of asyncpg for options of OPTIONS."""
    given = dict(options)
    arguments: dict[str, Any] = {"server_settings": {"application_name": given.pop("application_name", "dbgear")}}
    if given:
        # asyncpg reads the TLS files only from a DSN; whatever is an argument goes before it.
        arguments["dsn"] = f"postgresql:///?{urlencode(given, quote_via=quote)}"
    return arguments


def _lock_key(name: str) -> int:
    """Return the 64-bit signed number that PostgreSQL's advisory locks go by."""
    return int.from_bytes(hashlib.sha256(f"dbgear:{name}".encode()).digest()[:8], "big", signed=True)


async def _as_it_is(_: Any) -> None:
    """Give a connection back without asking the server: locks and settings of ours end with their transaction."""


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()


def _quoted(name: str) -> str:
    return PostgresServer.dialect.identifier_preparer.quote_identifier(name)


def _literal(text: str) -> str:
    return literal(text, PostgresServer.dialect)


def _ledger(namespace: Namespace) -> str:
    return f"{_quoted(namespace.schema)}.{_quoted(ledger_name(namespace))}"


@contextmanager
def _translated(server: str, statement: str) -> Iterator[None]:
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
