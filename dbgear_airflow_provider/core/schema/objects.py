"""MetaData as an ordered list of objects, each with the DDL that creates it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
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

Kind = Literal["schema", "table", "index", "foreign key"]


@dataclass(frozen=True, kw_only=True)
class ObjectKey:
    """What an object is called in the catalog.

    A schema's name is its schema's; a foreign key's is `table.constraint`, for it is unique within its table only.
    """

    kind: Kind
    schema: str
    name: str


@dataclass(frozen=True, kw_only=True)
class SchemaObject:
    """An object and the DDL elements that create it, in order."""

    key: ObjectKey
    ddl: tuple[ExecutableDDLElement, ...]

    def statements(self, dialect: Dialect) -> list[str]:
        """Return the SQL that creates the object, without a semicolon at the end."""
        return [str(element.compile(dialect=dialect)).strip() for element in self.ddl]


def schema_objects(metadata: sa.MetaData) -> Iterator[SchemaObject]:
    """Yield schemas, then tables, then indexes, then foreign keys.

    Foreign keys stand alone and come last, so that the order of tables and cycles between them do not matter.
    All tables of `metadata` must name their schema.
    """
    tables = list(metadata.tables.values())
    for schema in dict.fromkeys(str(table.schema) for table in tables):
        key = ObjectKey(kind="schema", schema=schema, name=schema)
        yield SchemaObject(key=key, ddl=(CreateSchema(schema),))
    for table in tables:
        comments = (SetTableComment(table),) if table.comment else ()
        columns = tuple(SetColumnComment(column) for column in table.c if column.comment)
        create = CreateTable(table, include_foreign_key_constraints=[])
        yield SchemaObject(key=_key("table", table, table.name), ddl=(create, *comments, *columns))
    for table in tables:
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield SchemaObject(key=_key("index", table, str(index.name)), ddl=(CreateIndex(index),))
    for table in tables:
        for constraint in sorted(table.foreign_key_constraints, key=lambda constraint: str(constraint.name)):
            name = f"{table.name}.{constraint.name}"
            yield SchemaObject(key=_key("foreign key", table, name), ddl=(AddConstraint(constraint),))


def _key(kind: Kind, table: sa.Table, name: str) -> ObjectKey:
    return ObjectKey(kind=kind, schema=str(table.schema), name=name)


def checksum(tree: Mapping[str, Any]) -> str:
    """Return the sha256 of a rendered document, in hex."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()
