"""MetaData as an ordered list of objects, each with the DDL that creates it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import (
    AddConstraint,
    CreateIndex,
    CreateSchema,
    CreateTable,
    ExecutableDDLElement,
    SetColumnComment,
    SetTableComment,
)

from .ddl import Statement

Kind = Literal["schema", "table", "index", "foreign key", "view", "function", "procedure", "trigger"]


@dataclass(frozen=True, kw_only=True)
class ObjectKey:
    """What an object is called in the catalog.

    A schema's name is its schema's; a foreign key's is `table.constraint`, for it is unique within its table only. So
    is an index's where its name is of the table (MySQL); where it is of the schema, its name alone.
    """

    kind: Kind
    schema: str
    name: str


@dataclass(frozen=True, order=True)
class Namespace:
    """Where a document's schema lives on a server: a schema, or that part of it whose names begin with a prefix."""

    schema: str
    prefix: str = ""


def outermost(namespaces: Iterable[Namespace]) -> list[Namespace]:
    """Return the namespaces, sorted, without those that lie in another one."""
    found: list[Namespace] = []
    # Sorted, what begins with a prefix stands right behind it.
    for namespace in sorted(set(namespaces)):
        if not (found and found[-1].schema == namespace.schema and namespace.prefix.startswith(found[-1].prefix)):
            found.append(namespace)
    return found


_COMMENTS = (SetTableComment, SetColumnComment)


@dataclass(frozen=True, kw_only=True)
class SchemaObject:
    """An object and the DDL elements that create it, in order."""

    key: ObjectKey
    ddl: tuple[ExecutableDDLElement, ...]

    def statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that creates the object, without a semicolon at the end."""
        # Where comments are part of CREATE TABLE, they are there already.
        inline = _COMMENTS if dialect.inline_comments else ()
        return [str(item.compile(dialect=dialect)).strip() for item in self.ddl if not isinstance(item, inline)]


def schema_objects(metadata: sa.MetaData) -> Iterator[SchemaObject]:
    """Yield schemas, then tables, indexes and foreign keys, then a document's functions, views and triggers.

    Foreign keys stand alone, so that the order of tables and cycles between them do not matter.
    All tables of `metadata` must name their schema. One that others share is nobody's, and not among the objects.
    """
    tables = list(metadata.tables.values())
    shared = getattr(metadata, "shared", ())
    for schema in dict.fromkeys(str(table.schema) for table in tables if table.schema not in shared):
        key = ObjectKey(kind="schema", schema=schema, name=schema)
        yield SchemaObject(key=key, ddl=(CreateSchema(schema),))
    for table in tables:
        comments = (SetTableComment(table),) if table.comment else ()
        columns = tuple(SetColumnComment(column) for column in table.c if column.comment)
        create = CreateTable(table, include_foreign_key_constraints=[])
        yield SchemaObject(key=_key("table", table, table.name), ddl=(create, *comments, *columns))
        for name, sql in table.info.get("children", ()):
            yield SchemaObject(key=_key("table", table, name), ddl=(Statement(sql),))
    for table in tables:
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            name = index.info.get("key", str(index.name))
            yield SchemaObject(key=_key("index", table, name), ddl=(CreateIndex(index),))
    for table in tables:
        for constraint in sorted(table.foreign_key_constraints, key=lambda constraint: str(constraint.name)):
            name = f"{table.name}.{constraint.name}"
            yield SchemaObject(key=_key("foreign key", table, name), ddl=(AddConstraint(constraint),))
    yield from getattr(metadata, "others", ())


def _key(kind: Kind, table: sa.Table, name: str) -> ObjectKey:
    return ObjectKey(kind=kind, schema=str(table.schema), name=name)


def checksum(tree: Mapping[str, Any]) -> str:
    """Return the sha256 of a rendered document, in hex."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()
