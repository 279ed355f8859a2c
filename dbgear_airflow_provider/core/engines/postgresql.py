"""PostgreSQL, over asyncpg.

DDL is transactional here: an instance's objects and its ledger row appear together or not at all. Only CREATE
DATABASE stands alone (https://www.postgresql.org/docs/current/sql-createdatabase.html).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
from typing_extensions import override

from ..errors import (
    StatementError,
    UnsupportedError,
)
from ..schema import Namespace
from . import (
    postgresql_clone,
    postgresql_grants,
    postgresql_roles,
)
from .base import Grant, Server, ServerAddress
from .cloning import CloneSource
from .postgresql_session import DIALECT, NO_SUCH_TABLE, PostgresSession, literal_of, quoted, translated
from .roles import RoleRequest, RoleScript, RoleState

CONNECT_TIMEOUT_S = 15
# Connection.extra keys that reach the driver; all others are refused by the hook.
OPTIONS = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"})

# Table or index, column, function, schema, other objects.
_IS_THERE = {"42P07", "42701", "42723", "42P06", "42710"}
_IS_GONE = {NO_SUCH_TABLE, "42703", "42883", "3F000", "42704"}
_DROPS = re.compile(r"\b(DROP|RENAME)\b", re.IGNORECASE)


class PostgresServer(Server):
    """A PostgreSQL server. Connections to the shared database are pooled, those to tenants' own are not."""

    duplicate_key = "23505"
    ending_needs = "the role pg_signal_backend"
    ending_refused = "42501"
    dialect = DIALECT

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
            with translated(self.name, f"connect to {database}"):
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
        return f"CREATE DATABASE {quoted(name)}"

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
        return postgresql_grants.revoke_statements(grants, quoted)

    @override
    def grant_statements(self, grants: Sequence[Grant]) -> list[str]:
        return postgresql_grants.grant_statements(grants, quoted)

    @override
    def role_script(self, request: RoleRequest, state: RoleState, password: str | None) -> RoleScript:
        return postgresql_roles.script(request, state, password, quoted, literal_of)

    @override
    def password_statement(self, login: str, password: str | None) -> str:
        return postgresql_roles.password_statement(quoted(login), password)

    @override
    def stand(self, schema: str, role: str | None, *, transaction: bool) -> list[str]:
        local = "LOCAL " if transaction else ""
        path = f"SET {local}search_path = {quoted(schema)}"
        return [path] if role is None else [path, f"SET {local}ROLE {quoted(role)}"]

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
            with translated(self.name, "databases"):
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


async def _as_it_is(_: Any) -> None:
    """Give a connection back without asking the server: locks and settings of ours end with their transaction."""


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
