"""Clones on PostgreSQL: schemas in the instance's own database, made in one transaction by what the catalog tells.

Only ACCESS SHARE is held on what is copied. A clone is in use while a session holds the lock of its name; one that
nobody holds is what a killed worker left. Those in tenants' own databases are noted in the shared one: an empty schema
of the clone's name, whose comment says which database it is in.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy.engine import Dialect

from ..errors import DbgearError, LockTimeoutError, UnsupportedError
from ..schema import Namespace
from ..schema.ddl import literal, quoted
from . import postgresql_clone_catalog as catalog
from . import postgresql_describe
from .base import Timeouts
from .cloning import CLONE, CloneSource, Renaming

if TYPE_CHECKING:
    from .postgresql import PostgresServer
    from .postgresql_session import PostgresSession

log = logging.getLogger(__name__)

_DROPPING = Timeouts(lock_s=10, statement_s=60)
_PROBING = Timeouts(lock_s=0.2, statement_s=60)


@asynccontextmanager
async def cloned(server: PostgresServer, source: CloneSource) -> AsyncIterator[list[Namespace]]:
    """Copy what is in `source`, see `Server.clone`."""
    name = f"{CLONE}{uuid4().hex[:12]}"
    is_apart = source.database != server.address.database
    async with server.session(source.database, apart=True) as session, session.held(name, source.timeouts):
        try:
            if is_apart:
                await _note(server, name, source.database)
            await _copy(session, server, source, name)
            yield source.copies(name)
        finally:
            await _drop(server, source.database, name)


async def drop_left(server: PostgresServer) -> None:
    """Drop what killed workers left, see `Server.drop_left_clones`."""
    async with server.session(server.address.database) as session:
        found = await session._fetch(catalog.CLONES, CLONE, catalog.NOTE)
    for name, noted in found:
        is_there = noted is not None and await server.database_exists(noted)
        database = noted if is_there else server.address.database
        try:
            async with server.session(database, apart=True) as session, session.held(name, _PROBING):
                await _drop(server, database, name)
        except LockTimeoutError:
            continue  # it is in use


async def _note(server: PostgresServer, name: str, database: str) -> None:
    async with server.session(server.address.database) as session:
        schema, told = quoted(server.dialect, f"{name}_0"), literal(catalog.NOTE + database, server.dialect)
        async with session.atomic():
            await session.apply([f"CREATE SCHEMA {schema}", f"COMMENT ON SCHEMA {schema} IS {told}"])


async def _drop(server: PostgresServer, database: str, name: str) -> None:
    """Drop a clone, then the note of it. What cannot be dropped now is left to the next rehearsal."""
    try:
        # A session of its own: that of the clone may have been cut.
        for where in dict.fromkeys((database, server.address.database)):
            async with server.session(where) as session, session.locked(f"drop {name}", _DROPPING):
                schemas = [schema for (schema,) in await session._fetch(catalog.OF_CLONE, name)]
                await session.apply([f"DROP SCHEMA {quoted(server.dialect, name)} CASCADE" for name in schemas])
    except DbgearError as error:
        log.warning("clone %s in %s is left to the next rehearsal: %s", name, database, error.message)


async def _copy(session: PostgresSession, server: PostgresServer, source: CloneSource, name: str) -> None:
    async with session.read_only(source.timeouts):
        await session.apply([postgresql_describe.BEGIN])
        found = await _read(session, source)
    script = _Script(server.dialect, source, source.schemas(name), found)
    async with session.locked(name, source.timeouts):
        await session.apply(list(script.statements()))


async def _read(session: PostgresSession, source: CloneSource) -> dict[str, list[Any]]:
    """Return what the catalog tells of the originals, {query: its rows}."""
    rows: dict[str, list[Any]] = {query: [] for query in catalog.QUERIES}
    for head, values in postgresql_describe.scopes([source.namespaces]):
        if unsupported := await session._fetch(head + catalog.UNSUPPORTED, *values):
            raise UnsupportedError(f"cannot be cloned: {', '.join(sorted(text for (text,) in unsupported))}")
        for query, sql in catalog.QUERIES.items():
            rows[query] += await session._fetch(head + sql, *values)
    return rows


class _Script:
    """The SQL that makes a clone. schemas: {original: copy}. found: what `_read` returns."""

    def __init__(
        self, dialect: Dialect, source: CloneSource, schemas: Mapping[str, str], found: Mapping[str, Sequence[Any]]
    ) -> None:
        self._dialect = dialect
        self._source = source
        self._schemas = schemas
        self._found = found
        names = [(schema, name) for schema, name in found["names"]]
        self._renaming = Renaming(postgresql_describe.GRAMMAR, schemas, names, self._name)

    def statements(self) -> Iterator[str]:
        """Yield it, in order."""
        source = self._source
        role = source.role and self._name(source.role)
        yield from catalog.SETTINGS
        for schema in self._schemas.values():
            yield f"CREATE SCHEMA {self._name(schema)}" + (f" AUTHORIZATION {role}" if role else "")
        if role:
            yield f"SET LOCAL ROLE {role}"
        yield from self._renamed("types", "sequences", "early routines", "tables", "partitions")
        yield from self._rows(own=False)
        yield from self._renamed("keys")
        if source.rows:
            yield from self._orphans()
        yield from self._renamed("foreign keys", "indexes", "late", "late indexes", "triggers", "owned", "settings")
        yield from self._renamed("comments", executes_texts=False)
        yield from self._counters()
        if role:
            yield "RESET ROLE"  # DBGear's own tables are none of the role's
        yield from self._rows(own=True)
        originals = ", ".join(literal(schema, self._dialect) for schema in self._schemas)
        yield catalog.ONLY_READ.format(originals=originals)

    def _renamed(self, *queries: str, executes_texts: bool = True) -> Iterator[str]:
        for query in queries:
            for (sql,) in self._found[query]:
                text = catalog.SEARCH_PATH.sub(self._path, sql)
                yield self._renaming.text(text, executes_texts=executes_texts)

    def _path(self, match: re.Match[str]) -> str:
        """Return the search_path that a routine sets, with copies in it."""
        path = match[0]
        for schema, copy in self._schemas.items():
            path = path.replace(literal(schema, self._dialect), literal(copy, self._dialect))
        return path

    def _rows(self, *, own: bool) -> Iterator[str]:
        """Yield what copies rows: of DBGear's own tables, or of the others."""
        for schema, table, columns, own_types in self._found["columns"]:
            if not self._source.copies_rows(table) or (table in self._source.kept) is not own:
                continue
            names = list(map(self._name, columns))
            read = [
                name if kind is None else self._cast(name, kind) for name, kind in zip(names, own_types, strict=True)
            ]
            select = f"SELECT {', '.join(read)} FROM {self._name(schema, table)}{self._source.limit(table)}"  # noqa: S608 - quoted
            copy = self._name(self._schemas[schema], table)
            yield f"INSERT INTO {copy} ({', '.join(names)}) OVERRIDING SYSTEM VALUE {select}"

    def _cast(self, column: str, kind: str) -> str:
        """Return a column as a value of the copy of a type of the instance's own."""
        return f"{column}::text::{self._renaming.text(kind, executes_texts=False)}"

    def _orphans(self) -> Iterator[str]:
        """Yield what deletes rows whose parents were not copied, until there are none."""
        deletions = []
        for schema, table, columns, other_schema, other, referenced in self._found["references"]:
            pairs = list(zip(map(self._name, columns), map(self._name, referenced), strict=True))
            given = " AND ".join(f"c.{column} IS NOT NULL" for column, _ in pairs)
            same = " AND ".join(f"p.{target} = c.{column}" for column, target in pairs)
            child, parent = self._name(self._schemas[schema], table), self._name(self._schemas[other_schema], other)
            missing = f"NOT EXISTS (SELECT FROM {parent} p WHERE {same})"
            deletions.append(catalog.DELETION.format(f"DELETE FROM {child} c WHERE {given} AND {missing}"))  # noqa: S608
        if deletions:
            yield catalog.UNTIL_NONE.format(deletions="".join(deletions))

    def _counters(self) -> Iterator[str]:
        for schema, sequence in self._found["counters"]:
            copy = literal(self._name(self._schemas[schema], sequence), self._dialect)
            original = self._name(schema, sequence)
            yield f"SELECT pg_catalog.setval({copy}, last_value, is_called) FROM {original}"  # noqa: S608 - quoted

    def _name(self, *names: str) -> str:
        return quoted(self._dialect, *names)
