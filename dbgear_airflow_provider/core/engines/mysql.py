"""MySQL and MariaDB, over asyncmy.

A schema is a database here, so one connection reaches every tenant. DDL commits at each statement
(https://dev.mysql.com/doc/refman/8.0/en/implicit-commit.html), and each statement is done whole or not at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from typing_extensions import override

from ..errors import LockTimeoutError, StatementError, UnsupportedError
from ..schema import LedgerEntry, Namespace, ObjectKey, Snapshot, ledger_name
from ..schema.ddl import Secret
from ..tenants.naming import NameLimit
from . import mysql_catalog, mysql_clone, mysql_describe, mysql_roles, mysql_scratch, mysql_vitals
from .base import ServerAddress, Timeouts
from .cloning import CloneSource
from .describing import snapshots
from .mysql_access import AccessServer, AccessSession
from .mysql_variant import Variant, dialect
from .mysql_wire import Wire
from .roles import RoleRequest, RoleScript, RoleState
from .vitals import Activity, Vitals

# Locks are taken by asking again and again: a session that waits inside the server is one that nobody can cancel.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.2
_DATABASE_EXISTS = 1007
_NO_SUCH_TABLE = 1146
# https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html
_IS_SO = {
    *(1050, 1060, 1061, 1068),  # table, column, index, primary key are there
    *(1826, 3822),  # a foreign key, a check of that name
    *(1304, 1359, 1537),  # routine, trigger, event
    *(1051, 1091, 1305, 1360, 1539, 3821, 4092),  # nothing to drop: table, column or key, routine, trigger, ..., view
}
_IS_RENAMED = {1054, _NO_SUCH_TABLE, 1176}  # no such column, table, index
_RENAMES = re.compile(r"\b(RENAME|CHANGE)\b", re.IGNORECASE)
_BEGIN = "START TRANSACTION"


class MySQLSession(AccessSession):
    """A connection to a server of MySQL or MariaDB."""

    def __init__(self, wire: Wire, server: MySQLServer) -> None:
        self._wire = wire
        self._server = server
        self._quote = server.quoted
        self._reads_only = False

    @property
    def node(self) -> str:
        """Which server it is of those behind one address."""
        return self._wire.variant.node

    @override
    @asynccontextmanager
    async def locked(self, name: str, timeouts: Timeouts) -> AsyncIterator[None]:
        await self._wire.bound(timeouts)
        key = _lock_name(name)
        await self._lock(key, name, timeouts.lock_s)
        try:
            yield
        finally:
            # A connection that is closed has lost its locks: by itself, once the server has ended its statement.
            await self._wire.finish("DO RELEASE_LOCK(%s)", key)

    @override
    def held(self, name: str, timeouts: Timeouts) -> AbstractAsyncContextManager[None]:
        return self.locked(name, timeouts)

    async def _lock(self, key: str, name: str, lock_s: float) -> None:
        clock = asyncio.get_running_loop().time
        deadline, pause_s = clock() + lock_s, _FIRST_PAUSE_S
        while await self._wire.run("SELECT GET_LOCK(%s, 0)", key) != [(1,)]:
            if clock() >= deadline:
                text = f"target {self._server.name}: another session holds the lock of {name}"
                raise LockTimeoutError(text, statement="GET_LOCK", timeout_s=lock_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    @override
    @asynccontextmanager
    async def read_only(self, timeouts: Timeouts) -> AsyncIterator[None]:
        await self._wire.bound(timeouts)
        await self._wire.run("START TRANSACTION READ ONLY")
        self._reads_only = True
        try:
            yield
        finally:
            self._reads_only = False
            await self._wire.finish("ROLLBACK")

    @override
    async def objects(self, namespaces: Sequence[Namespace]) -> set[ObjectKey]:
        if not namespaces:
            return set()
        sql, values = mysql_catalog.objects_query(namespaces)
        rows = await self._wire.run(sql, *values, told="the catalog")
        folded = self._wire.variant.folds_names
        return mysql_catalog.objects([(kind, schema, name) for kind, schema, name in rows], namespaces, folded=folded)

    @override
    async def other_charsets(self, schemas: Sequence[str]) -> dict[str, str]:
        sql, values = mysql_catalog.charsets_query(schemas)
        rows = await self._wire.run(sql, *values, told="the catalog")
        asked = {name.lower() if self._wire.variant.folds_names else name for name in schemas}
        return {name: charset for name, charset in rows if name in asked}

    @override
    async def describe(self, groups: Sequence[Sequence[Namespace]]) -> list[Snapshot]:
        schemas = sorted({namespace.schema for group in groups for namespace in group})
        variant = self._wire.variant
        rows: list[tuple[object, ...]] = []
        for some in _parts(mysql_describe.places(groups), mysql_describe.NAMESPACES):
            sql, values = mysql_describe.query(some, is_mariadb=variant.is_mariadb)
            rows += await self._wire.run(sql, *values, told="the catalog")
        found = mysql_describe.found(rows, schemas, folded=variant.folds_names, is_mariadb=variant.is_mariadb)
        return snapshots(groups, found, replace(mysql_describe.GRAMMAR, folds=variant.folds_names))

    @override
    @asynccontextmanager
    async def scratch(self, count: int, timeouts: Timeouts) -> AsyncIterator[list[Namespace]]:
        await self._wire.bound(timeouts)
        ((now,),) = await self._wire.run("SELECT UTC_TIMESTAMP()")
        name = mysql_scratch.name(now)
        schemas = [f"{name}_{index}" for index in range(count)]
        async with self.locked(name, timeouts):
            await self._drop_left_overs(now)
            try:
                yield [Namespace(schema) for schema in schemas]
            finally:
                await self._drop(schemas)

    async def _drop_left_overs(self, now: datetime) -> None:
        present = [str(row[0]) for row in await self._wire.run(mysql_scratch.PRESENT)]
        for name, schemas in mysql_scratch.left_overs(present, now).items():
            if await self._wire.run("SELECT IS_FREE_LOCK(%s)", _lock_name(name)) == [(1,)]:
                await self._drop(schemas)

    async def _drop(self, schemas: Sequence[str]) -> None:
        if not self._wire.usable:
            return  # the next one that needs a scratch place finds them
        # Keys from one of them to another would keep it.
        await self._wire.run("SET SESSION foreign_key_checks = 0")
        try:
            for schema in schemas:
                await self._wire.run(f"DROP DATABASE IF EXISTS {self._server.quoted(schema)}")
        finally:
            await self._wire.finish("SET SESSION foreign_key_checks = 1")

    @override
    async def ledger_entry(self, namespace: Namespace, version: str) -> LedgerEntry | None:
        ledger = self._ledger_of(namespace)
        select = "SELECT version, tenant_id, instance, checksum FROM "
        # A % of the name would be one of the driver's parameters.
        sql = select + ledger.replace("%", "%%") + " WHERE version = %s"
        for found, tenant_id, instance, checksum in await self._wire.run(sql, version, told=select + ledger):
            return LedgerEntry(version=found, tenant_id=tenant_id, instance=instance, checksum=checksum)
        return None

    @override
    async def ledger(self, namespace: Namespace) -> list[LedgerEntry] | None:
        return (await self.ledgers([namespace])).get(namespace)

    @override
    async def ledgers(self, namespaces: Sequence[Namespace]) -> dict[Namespace, list[LedgerEntry]]:
        found: dict[Namespace, list[LedgerEntry]] = {}
        for some in _parts(namespaces, mysql_catalog.LEDGERS_AT_ONCE):
            sql, values = mysql_catalog.ledgers_query(some)
            rows = await self._wire.run(sql, *values, told="the catalog")
            spaces = [some[int(str(number))] for (number,) in rows]
            if not spaces:
                continue
            sql = " UNION ALL ".join(
                f"SELECT {number}, version, tenant_id, instance, checksum FROM {self._ledger_of(space)}"  # noqa: S608
                for number, space in enumerate(spaces)
            )
            try:
                entries = await self._wire.run(sql, told="the ledgers")
            except StatementError as error:
                if error.details["code"] != _NO_SUCH_TABLE or len(namespaces) == 1:
                    raise
                continue
            found |= {space: [] for space in spaces}
            for number, version, tenant_id, instance, checksum in entries:
                entry = LedgerEntry(version=version, tenant_id=tenant_id, instance=instance, checksum=checksum)
                found[spaces[number]].append(entry)
        return found

    def _ledger_of(self, namespace: Namespace) -> str:
        return f"{self._server.quoted(namespace.schema)}.{self._server.quoted(ledger_name(namespace))}"

    @override
    async def select(self, sql: str) -> list[tuple[Any, ...]]:
        return await self._wire.run(sql)

    @override
    @asynccontextmanager
    async def atomic(self) -> AsyncIterator[None]:
        await self._wire.run("START TRANSACTION")
        try:
            yield
            await self._wire.run("COMMIT")
        except BaseException:
            await self._wire.finish("ROLLBACK")
            raise

    @override
    async def apply(self, statements: Sequence[str], *, last: bool = False, foreign: bool = False) -> None:
        if self._reads_only and statements:
            # The server would commit the transaction and execute them.
            raise UnsupportedError(f"target {self._server.name}: nothing is changed while only reading")
        try:
            for statement in statements:
                if isinstance(statement, Secret):
                    await self._apply_secret(statement)
                else:
                    await self._wire.run(statement)
        except BaseException:
            if _BEGIN in statements:
                await self._wire.finish("ROLLBACK")
            raise

    async def _apply_secret(self, statement: Secret) -> None:
        try:
            await self._wire.run(statement.sql, told=str(statement))
        except StatementError as error:
            # The server's text may have a part of the statement in it.
            code = error.details["code"]
            text = f"target {self._server.name}: refused (errno {code}): {statement}"
            raise StatementError(text, code=code, statement=str(statement)) from None

    @override
    async def vitals(self, namespaces: Sequence[Namespace]) -> dict[Namespace, Vitals]:
        if not self._wire.variant.is_mariadb:
            await self._wire.run(mysql_vitals.FRESH)
        return await mysql_vitals.vitals(self._wire.run, namespaces)

    @override
    async def activity(self) -> Activity:
        begun = time.perf_counter()
        await self._wire.run("SELECT 1")
        return await mysql_vitals.activity(self._wire.run, time.perf_counter() - begun)

    @override
    async def role_state(self, request: RoleRequest) -> RoleState:
        sql, values = mysql_roles.state_query(request, folds_names=self._wire.variant.folds_names)
        return mysql_roles.state(request, await self._wire.run(sql, *values, told="the grants"))


class MySQLServer(AccessServer):
    """A server of MySQL 8 or MariaDB. Which of them it is, and what that means, is known by `ready`.

    Connections are kept for all databases together. One that was cut, or cancelled in a statement, is not used again.
    """

    transactional_ddl = False
    duplicate_key = 1062
    schemas_are_databases = True
    # https://dev.mysql.com/doc/refman/8.0/en/identifier-length.html
    name_limit = NameLimit(64, in_bytes=False)
    # https://dev.mysql.com/doc/refman/8.0/en/user-names.html; MariaDB takes 80
    role_limit = NameLimit(32, in_bytes=False)
    marks_roles = False
    keeps_grants = True
    dialect = dialect(False, ())

    def __init__(
        self, name: str, address: ServerAddress, *, max_connections: int = 8, shared_schema: str | None = None
    ) -> None:
        super().__init__(name, address, max_connections=max_connections, shared_schema=shared_schema)
        self._idle: list[Wire] = []
        self._variant: Variant | None = None
        if address.options:
            raise UnsupportedError(f"target {name}: option {', '.join(sorted(address.options))} is not supported")

    @override
    async def ready(self) -> None:
        if self._variant is None:
            async with self.session(""):
                pass

    @override
    @asynccontextmanager
    async def session(self, database: str, *, apart: bool = False) -> AsyncIterator[MySQLSession]:
        # The database is not chosen: all names are qualified, and it need not exist yet.
        async with self.connections.loan() as loan:
            idle, wire = self._idle, await self._take()
            loan.close = wire.close
            try:
                yield MySQLSession(wire, self)
            finally:
                if apart and wire.usable:
                    await wire.leave()
                elif wire.usable and idle is self._idle:
                    wire.rest()
                    idle.append(wire)
                else:
                    wire.close()

    async def _take(self) -> Wire:
        while self._idle:
            wire = self._idle.pop()
            try:
                if await wire.answers():
                    return wire
            except BaseException:
                wire.close()
                raise
            wire.close()
        wire = await Wire.connect(self.name, self.address)
        try:
            self._know(wire.variant)
        except UnsupportedError:
            wire.close()
            raise
        return wire

    def _know(self, variant: Variant) -> None:
        """Take over what a new connection tells: the server may have been upgraded since the last."""
        variant.refuse_too_old(self.name)
        self._variant = variant
        self.dialect = variant.dialect
        self.folds_names = variant.folds_names

    @override
    async def database_exists(self, name: str) -> bool:
        async with self.session("") as session:
            return bool(await session.objects([Namespace(name)]))

    @override
    def create_database_statement(self, name: str) -> str:
        collation = f" COLLATE {self._variant.collation}" if self._variant else ""
        return f"CREATE DATABASE {self.quoted(name)} CHARACTER SET utf8mb4{collation}"

    @override
    async def create_database(self, name: str) -> bool:
        await self.ready()
        try:
            async with self.session("") as session:
                await session.apply([self.create_database_statement(name)])
        except StatementError as error:
            if error.details["code"] == _DATABASE_EXISTS:
                return False
            raise
        return True

    @override
    def stand(self, schema: str, role: str | None, *, transaction: bool) -> list[str]:
        # A role would have to be granted to us, and we need no less than it can do.
        return [f"USE {self.quoted(schema)}"]

    @override
    def stand_up(self, role: str | None) -> list[str]:
        return []

    @override
    def is_done_already(self, statement: str, code: str | int) -> bool:
        return code in _IS_SO or (code in _IS_RENAMED and _RENAMES.search(statement) is not None)

    @override
    def role_script(self, request: RoleRequest, state: RoleState, password: str | None) -> RoleScript:
        folds = self.folds_names
        return mysql_roles.script(request, state, password, self.quoted, takes_hash=self._takes_hash, folds_names=folds)

    @override
    def password_statement(self, login: str, password: str | None) -> str:
        return mysql_roles.password_statement(self.quoted(login), password, takes_hash=self._takes_hash)

    @override
    def clone(self, source: CloneSource) -> AbstractAsyncContextManager[list[Namespace]]:
        return mysql_clone.cloned(self, source)

    @override
    async def drop_left_clones(self) -> None:
        await mysql_clone.drop_left(self)

    @property
    def _takes_hash(self) -> bool:
        return self._variant is not None and self._variant.is_mariadb

    @override
    async def version(self) -> str:
        async with self.session("") as session:
            ((version,),) = await session._wire.run("SELECT VERSION()")
        return str(version)

    @override
    async def aclose(self) -> None:
        # A list of its own for what comes after: connections that are in use now are closed when they come back.
        idle, self._idle = self._idle, []
        for wire in idle:
            await wire.leave()


def _lock_name(name: str) -> str:
    """Return a name of at most 64 characters, on which case has no influence. They are the whole server's."""
    return f"dbgear:{hashlib.sha256(name.encode()).hexdigest()[:48]}"


def _parts(places: Sequence[Namespace], size: int) -> Iterator[Sequence[Namespace]]:
    return (places[start : start + size] for start in range(0, len(places), size))
