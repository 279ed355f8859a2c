"""Rendered rows as SQL: what is asked of a table, and what is written then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Dialect

from ..errors import DataError
from ..schema.ddl import literal, quoted
from ..schema.features import features
from .rendering import RenderedRow, RenderedTable
from .values import single

MAX_ROWS = 500
MAX_BYTES = 256 * 1024
ASKED_ROWS = 200  # each is compared with each row that is found
_NEVER = "1 = 0"


@dataclass(frozen=True, kw_only=True)
class TableScript:
    """What brings a table to its rows. beside: rows of the table that are not in the files; None: not counted."""

    statements: Sequence[str]
    deletes: Sequence[str]
    inserted: int
    updated: int
    beside: int | None


def existing_queries(table: RenderedTable, name: str, dialect: Dialect) -> Iterator[str]:
    """Yield queries, one for each ASKED_ROWS rows: of each that is there, 2 * its place among them, + 1 if it differs.

    name: of the table on the server, quoted.
    """
    matcher = _Matcher(table, dialect)
    for start in range(0, len(table.rows), ASKED_ROWS):
        cases, wheres = [], []
        for place, row in enumerate(table.rows[start : start + ASKED_ROWS]):
            found, same = matcher.found(row), matcher.same(row)
            if same:
                cases.append(f"WHEN {found} AND {same} THEN {2 * place}")
            cases.append(f"WHEN {found} THEN {2 * place + bool(same)}")
            wheres.append(f"({found})")
        yield f"SELECT CASE {' '.join(cases)} END FROM {name} WHERE {' OR '.join(wheres)}"  # noqa: S608 - literals


def script(
    table: RenderedTable,
    name: str,
    dialect: Dialect,
    *,
    found: Mapping[int, bool],
    count: int | None,
    delete: bool,
) -> TableScript:
    """Return the statements for a table.

    found: {place of a row that is there: whether it differs}. count: rows of the table, where that was asked. delete:
    rows that are not in the files are deleted. Raises DataError where a new row lacks a column.
    """
    matcher, mode = _Matcher(table, dialect), table.data.model.sync_mode
    known = {matcher.found(table.rows[place]) for place in found}
    new = [row for place, row in enumerate(table.rows) if place not in found and matcher.found(row) not in known]
    for row in new:
        for column in table.columns.values():
            if column.needed and column.name not in row.cells:
                allowed = "a value: it has no default"
                raise DataError("a new row lacks the column", where=row.where, received=column.name, allowed=allowed)
    changed = [] if mode == "drop_create" else [table.rows[place] for place, differs in found.items() if differs]
    statements = [*_inserts(table, new, name, dialect), *(_update(matcher, row, name, dialect) for row in changed)]
    counting = [item.name for item in table.columns.values() if item.counts]
    if not features(dialect).follows_numbers:
        statements += [
            _move_on(name, column, dialect) for column in counting if any(column in row.cells for row in new)
        ]
    beside = None if count is None else count - len(found)
    deletes = [_delete(table, matcher, name, dialect)] if delete and beside else []
    return TableScript(statements=statements, deletes=deletes, inserted=len(new), updated=len(changed), beside=beside)


class _Matcher:
    """Conditions by which a row of the files is the one of the table."""

    def __init__(self, table: RenderedTable, dialect: Dialect) -> None:
        self._table, self._features, self._dialect = table, features(dialect), dialect

    def found(self, row: RenderedRow) -> str:
        key = row.key(self._table.keys)
        if key is not None:
            return " AND ".join(f"{quoted(self._dialect, name)} = {row.cells[name]}" for name in key)
        return " AND ".join(self._equal(name, row) for name in self._compared(row)) or _NEVER

    def same(self, row: RenderedRow) -> str:
        """Return the condition for what the row names beside its key; empty where that is nothing, or not looked at."""
        key = row.key(self._table.keys)
        if key is None or self._table.data.model.sync_mode == "drop_create":
            return ""
        return " AND ".join(self._equal(name, row) for name in self._compared(row) if name not in key)

    def _compared(self, row: RenderedRow) -> list[str]:
        return [name for name in row.cells if name not in row.functions]

    def _equal(self, name: str, row: RenderedRow) -> str:
        column, value, kind = quoted(self._dialect, name), row.cells[name], self._table.columns[name].kind
        if kind in {"text", "set"}:
            column, value = self._features.exact.format(column), self._features.exact.format(value)
        elif kind == "json" and value != "NULL":
            value = self._features.json.format(value)
        elif self._table.columns[name].single and value != "NULL" and not self._features.typed_numbers:
            # MySQL compares a FLOAT as a DOUBLE, which is not what was written into it.
            value = repr(single(float(value)))
        return self._features.same.format(column, value)


def _inserts(table: RenderedTable, rows: Sequence[RenderedRow], name: str, dialect: Dialect) -> Iterator[str]:
    named = {column for row in rows for column in row.cells}
    columns = [column for column in table.columns if column in named]
    if not columns:
        return
    head = f"INSERT INTO {name} ({', '.join(quoted(dialect, column) for column in columns)}) VALUES\n"
    values = (f"({', '.join(row.cells.get(column, 'DEFAULT') for column in columns)})" for row in rows)
    for batch in _batches(values):
        yield head + ",\n".join(batch)


def _batches(values: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for value in values:
        bytes_ = len(value.encode())
        if batch and (len(batch) >= MAX_ROWS or size + bytes_ > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(value)
        size += bytes_
    if batch:
        yield batch


def _update(matcher: _Matcher, row: RenderedRow, name: str, dialect: Dialect) -> str:
    key = row.key(matcher._table.keys) or ()
    cells = ", ".join(f"{quoted(dialect, item)} = {sql}" for item, sql in row.cells.items() if item not in key)
    return f"UPDATE {name} SET {cells} WHERE {matcher.found(row)}"  # noqa: S608 - quoted and literals


def _delete(table: RenderedTable, matcher: _Matcher, name: str, dialect: Dialect) -> str:
    keys = {tuple(row.key(table.keys) or ()) for row in table.rows}
    if len(keys) != 1 or keys == {()}:
        allowed = "rows that all name the primary key, or all the same unique index"
        raise DataError("it cannot be told which rows are not in it", where=table.data.where, allowed=allowed)
    (key,) = keys
    columns = ", ".join(quoted(dialect, column) for column in key)
    values = ", ".join(f"({', '.join(row.cells[column] for column in key)})" for row in table.rows)
    return f"DELETE FROM {name} WHERE ({columns}) NOT IN ({values})"  # noqa: S608 - quoted and literals


def _move_on(name: str, column: str, dialect: Dialect) -> str:
    """Return the statement that moves a column's numbers behind the largest, and never back."""
    sequence = f"pg_get_serial_sequence({literal(name, dialect)}, {literal(column, dialect)})::regclass"
    largest = f"(SELECT max({quoted(dialect, column)}) FROM {name})"  # noqa: S608 - quoted
    return (
        f"SELECT setval(s, m) FROM (SELECT {sequence} AS s, {largest} AS m) AS n "  # noqa: S608
        "WHERE m > coalesce(pg_sequence_last_value(s), 0)"
    )
