"""PostgreSQL, over asyncpg.

DDL is transactional here: an instance's objects and its ledger row appear together or not at all. Only CREATE
DATABASE stands alone (https://www.postgresql.org/docs/current/sql-createdatabase.html).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from textwrap import shorten
from typing import Any

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
from ..schema import LEDGER, ObjectKey
from .base import LedgerEntry, Server, ServerAddress, Session, Timeouts

CONNECT_TIMEOUT_S = 15
# Connection.extra keys that reach the driver; all others are refused by the hook.
OPTIONS = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"})

# Every step goes by an index of the catalog: pg_class has none by namespace, and a scan of it for each tenant would
# cost more with every tenant that the server already holds. pg_depend has one:
# https://www.postgresql.org/docs/current/catalog-pg-depend.html
_CATALOG = """
WITH space AS (SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname = ANY($1)),
relation AS (
    SELECT s.nspname, c.oid, c.relname
      FROM space s
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
       AND d.refobjid = s.oid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
      JOIN pg_catalog.pg_class c ON c.oid = d.objid
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
)
SELECT 'schema', nspname::text, nspname::text FROM space
UNION ALL
SELECT 'table', nspname, relname FROM relation
UNION ALL
SELECT 'index', r.nspname, c.relname
  FROM relation r
  JOIN pg_catalog.pg_index i ON i.indrelid = r.oid
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
UNION ALL
SELECT 'foreign key', r.nspname, r.relname || '.' || k.conname
  FROM relation r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'f'
"""

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


class PostgresSession(Session):
    """A connection to a PostgreSQL database."""

    def __init__(self, connection: Any, server: str) -> None:
        self._connection = connection
        self._server = server

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

    @asynccontextmanager
    async def _transaction(self, timeouts: Timeouts, first: str) -> AsyncIterator[None]:
        # Errors of BEGIN and COMMIT are told as well; those of the body come translated already.
        with _translated(self._server, first):
            async with self._connection.transaction():
                await self._connection.execute(
                    f"SET LOCAL lock_timeout = {round(timeouts.lock_s * 1000)};"
                    f"SET LOCAL statement_timeout = {round(timeouts.statement_s * 1000)};" + first
                )
                yield

    @override
    async def objects(self, schemas: Sequence[str]) -> set[ObjectKey]:
        with _translated(self._server, "the catalog"):
            rows = await self._connection.fetch(_CATALOG, list(schemas))
        return {ObjectKey(kind=kind, schema=schema, name=name) for kind, schema, name in rows}

    @override
    async def ledger_entry(self, schema: str, version: str) -> LedgerEntry | None:
        sql = f"SELECT version, tenant_id, instance, checksum FROM {_ledger(schema)} WHERE version = $1"  # noqa: S608
        with _translated(self._server, sql):
            row = await self._connection.fetchrow(sql, version)
        return row and LedgerEntry(**row)

    @override
    async def write_ledger(self, schema: str, entry: LedgerEntry) -> None:
        sql = (
            f"INSERT INTO {_ledger(schema)} (version, tenant_id, instance, checksum) VALUES ($1, $2, $3, $4) "  # noqa: S608
            "ON CONFLICT (version) DO UPDATE SET checksum = EXCLUDED.checksum, applied_at = CURRENT_TIMESTAMP"
        )
        with _translated(self._server, sql):
            await self._connection.execute(sql, entry.version, entry.tenant_id, entry.instance, entry.checksum)

    @override
    async def apply(self, statements: Sequence[str]) -> None:
        if not statements:
            return
        try:
            # One round trip for all; the savepoint leaves the transaction usable when one of them fails.
            with _translated(self._server, statements[0]):
                async with self._connection.transaction():
                    await self._connection.execute(";\n".join(statements))
        except StatementError:
            # The server does not say which one it was: find it, so that the error can.
            for statement in statements:
                with _translated(self._server, statement):
                    await self._connection.execute(statement)
            raise


class PostgresServer(Server):
    """A PostgreSQL server. Connections to the shared database are pooled, those to tenants' own are not."""

    # With a paramstyle of % the compiler would double each % of a name or comment.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]

    def __init__(self, name: str, address: ServerAddress, *, max_connections: int = 8) -> None:
        super().__init__(name, address, max_connections=max_connections)
        self._slots = asyncio.Semaphore(max_connections)
        self._pool: Any = None
        unknown = address.options.keys() - OPTIONS
        if unknown:
            raise UnsupportedError(f"target {name}: option {', '.join(sorted(unknown))} is not supported")

    @override
    @asynccontextmanager
    async def session(self, database: str) -> AsyncIterator[PostgresSession]:
        async with self._slots, AsyncExitStack() as stack:
            with _translated(self.name, f"connect to {database}"):
                if database == self.address.database:
                    connection = await stack.enter_async_context((await self._shared()).acquire())
                else:
                    connection = await asyncpg.connect(**self._arguments(database))
                    stack.push_async_callback(_close, connection)
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
        options = dict(address.options)
        settings = {"application_name": options.pop("application_name", "dbgear")}
        query = "&".join(f"{key}={value}" for key, value in sorted(options.items()))
        return {
            # asyncpg reads the TLS files only from a DSN; the parts that may hold any text are arguments.
            **({"dsn": f"postgresql:///?{query}"} if query else {}),
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "password": address.password,
            "database": database,
            "timeout": CONNECT_TIMEOUT_S,
            "server_settings": settings,
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


def _ledger(schema: str) -> str:
    return f"{_quoted(schema)}.{_quoted(LEDGER)}"


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
