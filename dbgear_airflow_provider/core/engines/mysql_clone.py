"""Clones on MySQL and MariaDB: databases beside the instance's, made by what the server itself tells of the originals.

Rows are read without locks: https://dev.mysql.com/doc/refman/8.0/en/innodb-locks-set.html (INSERT ... SELECT)
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..errors import DbgearError, LockTimeoutError, StatementError, UnsupportedError
from ..schema import Namespace, ObjectKey, outermost
from ..schema.ddl import literal, literals
from . import mysql_scratch
from .base import Timeouts
from .cloning import CloneSource, Renaming
from .mysql_describe import GRAMMAR

if TYPE_CHECKING:
    from .mysql import MySQLServer, MySQLSession

log = logging.getLogger(__name__)

_PROBING = Timeouts(lock_s=0.2, statement_s=60)
# The lock is that of a session which says nothing while others work on the clone.
_WAIT_S = 3600
_SESSION = (
    f"SET SESSION wait_timeout = {_WAIT_S}, foreign_key_checks = 0",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
)
# Only a few may make an object that is to run with the rights of somebody else.
_DEFINER = re.compile(r"\sDEFINER\s*=\s*(?:`(?:[^`]|``)*`@`(?:[^`]|``)*`|\S+)")
_NO_SUCH_TABLE = 1146
_CHARSET = """
SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}
"""
_TABLES = "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME IN ({})"
_COLUMNS = """
SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS
 WHERE TABLE_SCHEMA = {} AND TABLE_NAME IN ({}) AND COALESCE(GENERATION_EXPRESSION, '') = '' ORDER BY ORDINAL_POSITION
"""
_REFERENCES = """
SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
  FROM information_schema.KEY_COLUMN_USAGE
 WHERE TABLE_SCHEMA = {} AND TABLE_NAME IN ({}) AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY ORDINAL_POSITION
"""
_TRIGGERS = """
SELECT TRIGGER_NAME FROM information_schema.TRIGGERS
 WHERE EVENT_OBJECT_SCHEMA = {} AND EVENT_OBJECT_TABLE IN ({}) ORDER BY ACTION_ORDER, TRIGGER_NAME
"""
_EVENTS = "SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {}"


@asynccontextmanager
async def cloned(server: MySQLServer, source: CloneSource) -> AsyncIterator[list[Namespace]]:
    """Copy what is in `source`, see `Server.clone`."""
    async with server.session("", apart=True) as session:
        ((now,),) = await session.select("SELECT UTC_TIMESTAMP()")
        name = mysql_scratch.clone_name(now, session.node)
        async with session.locked(name, source.timeouts):
            try:
                await _Copy(session, server, source, name).make()
                yield source.copies(name)
            finally:
                await _drop(server, source.schemas(name).values())


async def drop_left(server: MySQLServer) -> None:
    """Drop what killed workers left, see `Server.drop_left_clones`."""
    async with server.session("") as session:
        ((now,),) = await session.select("SELECT UTC_TIMESTAMP()")
        present = [str(row[0]) for row in await session.select(mysql_scratch.CLONES)]
        for name, schemas in mysql_scratch.left_clones(present, now, session.node).items():
            try:
                async with session.locked(name, _PROBING):
                    await _drop(server, schemas)
            except LockTimeoutError:
                continue  # it is in use


async def _drop(server: MySQLServer, schemas: Iterable[str]) -> None:
    """Drop a clone. What cannot be dropped now is left to the next rehearsal."""
    try:
        # A session of its own: that of the clone may have been cut.
        async with server.session("", apart=True) as session:
            # Keys from one of them to another would keep it.
            await session.apply(["SET SESSION foreign_key_checks = 0"])
            await session.apply([f"DROP DATABASE IF EXISTS {server.quoted(schema)}" for schema in schemas])
    except DbgearError as error:
        log.warning("clone %s is left to the next rehearsal: %s", ", ".join(schemas), error.message)


class _Copy:
    def __init__(self, session: MySQLSession, server: MySQLServer, source: CloneSource, name: str) -> None:
        self._session = session
        self._server = server
        self._source = source
        self._schemas = source.schemas(name)
        self._literal: Callable[[str], str] = literals(server.dialect)
        self._renaming: Renaming

    async def make(self) -> None:
        """Make it. Tables come first, with their rows; what is made of other objects afterwards."""
        session = self._session
        found = await session.objects(outermost(self._source.namespaces))
        names = [(key.schema, key.name) for key in found]
        grammar = replace(GRAMMAR, folds=self._server.folds_names)
        self._renaming = Renaming(grammar, self._schemas, names, self._server.quoted)
        tables = {schema: self._of(found, schema, "table") for schema in self._schemas}
        await self._refuse_events()
        await session.apply(_SESSION)
        for schema, copy in self._schemas.items():
            ((charset, collation),) = await session.select(_CHARSET.format(self._literal(schema)))
            name = self._server.quoted(copy)
            await session.apply([f"CREATE DATABASE {name} CHARACTER SET {charset} COLLATE {collation}"])
        for schema, some in tables.items():
            await self._tables(schema, some)
        await self._delete_orphans(tables)
        for schema in self._schemas:
            for kind in ("function", "procedure"):
                for name in self._of(found, schema, kind):
                    await self._create(schema, f"SHOW CREATE {kind.upper()} {self._name(schema, name)}")
        await self._views({schema: self._of(found, schema, "view") for schema in self._schemas})
        for schema, some in tables.items():
            for (name,) in await self._about(_TRIGGERS, schema, some):
                await self._create(schema, f"SHOW CREATE TRIGGER {self._name(schema, name)}")

    def _of(self, found: Iterable[ObjectKey], schema: str, kind: str) -> list[str]:
        return sorted(key.name for key in found if (key.schema, key.kind) == (schema, kind))

    async def _refuse_events(self) -> None:
        for namespace in self._source.namespaces:
            events = await self._session.select(_EVENTS.format(self._literal(namespace.schema)))
            if events and not namespace.prefix:
                raise UnsupportedError(f"cannot be cloned: event {', '.join(str(name) for (name,) in events)}")

    async def _tables(self, schema: str, tables: Sequence[str]) -> None:
        session, copy = self._session, self._schemas[schema]
        kinds = dict(await self._about(_TABLES, schema, tables))
        for table in sorted(tables, key=lambda name: kinds.get(name) != "SEQUENCE"):  # tables may need sequences
            if kinds.get(table) not in {"BASE TABLE", "SEQUENCE"}:
                raise UnsupportedError(f"cannot be cloned: {kinds.get(table)} {table}")
            what = "SEQUENCE" if kinds[table] == "SEQUENCE" else "TABLE"
            await self._create(schema, f"SHOW CREATE {what} {self._name(schema, table)}")
        columns: dict[str, list[str]] = {}
        for table, column in await self._about(_COLUMNS, schema, tables):
            columns.setdefault(table, []).append(self._server.quoted(column))
        # A key may be 0, and is not to be made anew.
        await session.apply(["SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')"])
        for table in tables:
            if kinds[table] == "SEQUENCE":
                original = self._name(schema, table)
                ((value,),) = await session.select(f"SELECT next_not_cached_value FROM {original}")  # noqa: S608 - quoted
                await session.select(f"SELECT SETVAL({self._name(copy, table)}, {int(value)}, 0)")
            elif self._source.copies_rows(table):
                listed, limit = ", ".join(columns[table]), self._source.limit(table)
                select = f"SELECT {listed} FROM {self._name(schema, table)}{limit}"  # noqa: S608 - quoted
                await session.apply([f"INSERT INTO {self._name(copy, table)} ({listed}) {select}"])

    async def _delete_orphans(self, tables: Mapping[str, Sequence[str]]) -> None:
        """Delete rows whose parents were not copied, until there are none."""
        deletions = []
        for schema, some in tables.items():
            keys: dict[tuple[str, str], list[tuple[str, ...]]] = {}
            for table, key, *rest in await self._about(_REFERENCES, schema, some):
                keys.setdefault((table, key), []).append(tuple(map(str, rest)))
            for (table, key), pairs in keys.items():
                _, other_schema, other, _ = pairs[0]
                if other not in tables.get(other_schema, ()):
                    raise UnsupportedError(f"cannot be cloned: key {key} of {table} to a table elsewhere")
                quoted = [(self._server.quoted(pair[0]), self._server.quoted(pair[3])) for pair in pairs]
                child = self._name(self._schemas[schema], table)
                parent = self._name(self._schemas[other_schema], other)
                same = " AND ".join(f"p.{target} = c.{column}" for column, target in quoted)
                given = " AND ".join(f"c.{column} IS NOT NULL" for column, _ in quoted)
                missing = f"p.{quoted[0][1]} IS NULL AND {given}"
                deletions.append(f"DELETE c FROM {child} c LEFT JOIN {parent} p ON {same} WHERE {missing}")
        found = self._source.rows > 0
        while found:
            found = False
            for deletion in deletions:
                await self._session.apply([deletion])
                found = await self._session.select("SELECT ROW_COUNT() > 0") == [(1,)] or found

    async def _views(self, views: Mapping[str, Sequence[str]]) -> None:
        """Make them, those that others are made of first."""
        waiting = [(schema, name) for schema, names in views.items() for name in names]
        while waiting:
            left = []
            for schema, name in waiting:
                try:
                    await self._create(schema, f"SHOW CREATE VIEW {self._name(schema, name)}")
                except StatementError as error:
                    if error.details["code"] != _NO_SUCH_TABLE:
                        raise
                    left.append((schema, name))
            if len(left) == len(waiting):
                raise UnsupportedError(f"cannot be cloned: view {', '.join(name for _, name in left)}")
            waiting = left

    async def _create(self, schema: str, show: str) -> None:
        """Make the copy of what the server tells of an object: its name, and the SQL in the column that says so."""
        (row,) = await self._session.select(show)
        # Of what has a body, the mode in which it was made stands between.
        is_body = show.startswith(("SHOW CREATE FUNCTION", "SHOW CREATE PROCEDURE", "SHOW CREATE TRIGGER"))
        sql = _DEFINER.sub("", row[2 if is_body else 1], count=1)
        mode = [f"SET SESSION sql_mode = {literal(str(row[1]), self._server.dialect)}"] if is_body else []
        await self._session.apply([*self._server.stand(self._schemas[schema], None, transaction=False), *mode])
        await self._session.apply([self._renaming.text(sql, executes_texts=is_body)])

    async def _about(self, sql: str, schema: str, tables: Sequence[str]) -> list[tuple[Any, ...]]:
        listed = ", ".join(map(self._literal, tables)) or "NULL"
        return await self._session.select(sql.format(self._literal(schema), listed))

    def _name(self, *names: str) -> str:
        return ".".join(map(self._server.quoted, names))
