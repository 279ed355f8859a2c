"""The rows of a folder for one tenant: literals by column, in the order in which they can be written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import UnaryExpression

from ..errors import DataError
from .columns import Column, column_facts
from .folder import DataFolder, Row, TableData
from .values import MisfitError, Writer
from .variables import Variables

_MAIN = "main"


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderedRow:
    """A row. cells: {column: SQL}; functions: those whose SQL is a function, and has another value each time."""

    where: str
    cells: Mapping[str, str]
    functions: frozenset[str]

    def key(self, keys: Iterable[Sequence[str]]) -> Sequence[str] | None:
        """Return the first of the keys of which the row names every column; None: it names none."""
        for key in keys:
            if all(self.cells.get(name, "NULL") != "NULL" and name not in self.functions for name in key):
                return key
        return None


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderedTable:
    """A table's rows. place: of its schema in the document. keys: its primary key and its unique indexes.

    digested: what the rows are to a checksum.
    """

    data: TableData
    place: int
    table: sa.Table
    columns: Mapping[str, Column]
    keys: Sequence[Sequence[str]]
    rows: Sequence[RenderedRow]
    digested: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderedData:
    """All tables, those first that others refer to. checksum: sha256 in hex of all that is loaded."""

    tables: Sequence[RenderedTable]
    checksum: str


def render(
    folder: DataFolder,
    tables: Mapping[tuple[int, str], sa.Table],
    schemas: Sequence[str],
    variables: Variables | None,
    dialect: Dialect,
    *,
    delete_rows: bool,
    table_prefix: str = "",
) -> RenderedData:
    """Return a folder's rows as SQL. Raises DataError that names file, row and column.

    tables: of the document; schemas: the names of its schemas. variables: None where no row has any. delete_rows: as of
    `SchemaTemplate`. table_prefix: of the tenant, which its templates may have put before the document's names.
    """
    rendered = [_table(data, tables, schemas, variables, dialect, table_prefix=table_prefix) for data in folder.tables]
    digest = hashlib.sha256()
    for item in rendered:
        mode = item.data.model.sync_mode
        # Unchanged rows are loaded once more where others are to be deleted from now on.
        marked = f"{mode}\0delete_rows" if delete_rows and mode == "replace" else mode
        digest.update(f"{item.data.name}\0{marked}\0".encode())
        digest.update(item.digested)
    return RenderedData(tables=_ordered(rendered), checksum=digest.hexdigest())


def _table(
    data: TableData,
    tables: Mapping[tuple[int, str], sa.Table],
    schemas: Sequence[str],
    variables: Variables | None,
    dialect: Dialect,
    *,
    table_prefix: str,
) -> RenderedTable:
    if data.schema not in schemas and data.schema != _MAIN:
        raise DataError("no such schema", where=data.where, received=data.schema, allowed=[_MAIN, *schemas])
    # A document's first schema is the main one, whatever a template calls it.
    place = list(schemas).index(data.schema) if data.schema in schemas else 0
    table = tables.get((place, data.table))
    if table is None:
        table = tables.get((place, f"{table_prefix}{data.table}"))
    if table is None:
        names = [name for number, name in tables if number == place]
        raise DataError("no such table", where=data.where, received=data.table, allowed=names)
    ignored = frozenset({*table.info["left_out"], *(item.name for item in table.c if item.computed is not None)})
    columns = tuple(column_facts(item, dialect) for item in table.c if item.name not in ignored)
    facts = _Facts(columns=columns, ignored=ignored, keys=tuple(_keys(table)), parents=tuple(sorted(_parents(table))))
    if any(row.varies for row in data.rows):
        rows, digested = _rows(data, facts, dialect, variables)
    else:
        rows, digested = _fixed_rows(data, facts, dialect)
    return RenderedTable(
        data=data, place=place, table=table, columns={item.name: item for item in columns}, keys=facts.keys,
        rows=rows, digested=digested,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """All of a table that its rows depend on. parents: pairs of columns by which it refers to itself."""

    columns: tuple[Column, ...]
    ignored: frozenset[str]
    keys: tuple[tuple[str, ...], ...]
    parents: tuple[tuple[tuple[str, str], ...], ...]


@lru_cache(maxsize=1024)
def _fixed_rows(data: TableData, facts: _Facts, dialect: Dialect) -> tuple[Sequence[RenderedRow], bytes]:
    """Return rows that are alike for all tenants."""
    return _rows(data, facts, dialect, None)


def _rows(
    data: TableData, facts: _Facts, dialect: Dialect, variables: Variables | None
) -> tuple[Sequence[RenderedRow], bytes]:
    """Return the rows in the order in which they can be written, and what they are to a checksum."""
    writer, by_name = Writer(dialect), {column.name: column for column in facts.columns}
    rows: Sequence[RenderedRow] = [_row(row, by_name, facts.ignored, writer, variables) for row in data.rows]
    _refuse_twice(rows, facts.keys)
    for pairs in facts.parents:
        rows = _parents_first(rows, pairs)
    texts = ("\0".join(f"{name}\0{sql}" for name, sql in row.cells.items()) + "\1" for row in rows)
    return rows, "".join(texts).encode()


def _row(
    row: Row, columns: Mapping[str, Column], ignored: frozenset[str], writer: Writer, variables: Variables | None
) -> RenderedRow:
    cells, functions = {}, set()
    for name, value in row.values.items():
        if name in ignored:
            continue
        if name not in columns:
            raise DataError("no such column", where=row.where, received=name, allowed=list(columns))
        column, where = columns[name], f"{row.where}, column {name}"
        try:
            # Of the file's own text alone: what a variable brings is never SQL.
            sql = writer.function(value, column)
            if sql is not None:
                functions.add(name)
            elif value is None and column.counts:
                continue
            else:
                filled = variables.fill(value, where) if row.varies and variables is not None else value
                sql = writer.literal(filled, column)
        except MisfitError as error:
            shown: Any = value if isinstance(value, str | int | float | bool) else None
            raise DataError(str(error), where=where, received=shown, allowed=error.allowed) from None
        cells[name] = sql
    return RenderedRow(where=row.where, cells=cells, functions=frozenset(functions))


def _keys(table: sa.Table) -> Iterable[tuple[str, ...]]:
    if table.primary_key.columns:
        yield tuple(column.name for column in table.primary_key.columns)
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        parts = [part.element if isinstance(part, UnaryExpression) else part for part in index.expressions]
        options = [index.dialect_options[name] for name in ("postgresql", "mysql") if name in index.dialect_options]
        partial = any(option.get("where") is not None or option.get("length") for option in options)
        if index.unique and not partial and all(isinstance(part, sa.Column) for part in parts):
            yield tuple(part.name for part in parts if isinstance(part, sa.Column))


def _refuse_twice(rows: Sequence[RenderedRow], keys: Sequence[Sequence[str]]) -> None:
    seen: dict[Any, str] = {}
    for row in rows:
        key = row.key(keys)
        if key is None:
            continue
        values = (tuple(key), *(row.cells[name] for name in key))
        if values in seen:
            told = ", ".join(f"{name} {row.cells[name]}" for name in key)
            raise DataError("the row is there twice", where=row.where, received=told, allowed=f"{seen[values]} has it")
        seen[values] = row.where


def _parents(table: sa.Table) -> Iterable[tuple[tuple[str, str], ...]]:
    for constraint in table.foreign_key_constraints:
        if constraint.referred_table is table:
            yield tuple((element.parent.name, element.column.name) for element in constraint.elements)


def _parents_first(rows: Sequence[RenderedRow], pairs: Sequence[tuple[str, str]]) -> Sequence[RenderedRow]:
    """Return the rows of a table that refers to itself so that each comes behind the one it refers to."""
    places = {tuple(row.cells.get(two) for _, two in pairs): place for place, row in enumerate(rows)}
    graph = {}
    for place, row in enumerate(rows):
        parent = places.get(tuple(row.cells.get(one) for one, _ in pairs))
        named = all(row.cells.get(one, "NULL") != "NULL" for one, _ in pairs)
        graph[place] = {parent} if named and parent not in {None, place} else set()
    if all(parent < place for place, parents in graph.items() for parent in parents if parent is not None):
        return rows
    try:
        return [rows[place] for place in TopologicalSorter(graph).static_order() if place is not None]
    except CycleError as error:
        cycle = [rows[place].where for place in error.args[1]]
        raise DataError("rows refer to each other in a circle", where=" -> ".join(cycle)) from None


def _ordered(tables: Sequence[RenderedTable]) -> Sequence[RenderedTable]:
    by_table = {item.table: item for item in tables}
    by_name = {item.data.name: item for item in tables}
    graph: dict[str, set[str]] = {}
    for item in tables:
        needs = {name for name in item.data.model.dependencies if name in by_name}
        for constraint in item.table.foreign_key_constraints:
            other = by_table.get(constraint.referred_table)
            names = [element.parent.name for element in constraint.elements]
            used = any(all(row.cells.get(name, "NULL") != "NULL" for name in names) for row in item.rows)
            if other is not None and other is not item and used:
                needs.add(other.data.name)
        graph[item.data.name] = needs
    try:
        return [by_name[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        cycle = " -> ".join(error.args[1])
        where = by_name[error.args[1][0]].data.where
        raise DataError("tables depend on each other in a circle", where=where, received=cycle) from None
