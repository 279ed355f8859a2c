"""Tenants from a table: rows of text cells below a header, as CSV files and spreadsheets have them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import RegistryRecordError
from ...settings.mapping import FieldMapping
from ...tenants.fields import FIELDS, REQUIRED_FIELDS, excerpt
from ..records import Record

logger = logging.getLogger(__name__)

PLAIN = FieldMapping()


@dataclass(frozen=True, slots=True)
class BadCell:
    """A cell that has no text to read, such as a spreadsheet's #REF!: a bad record where its column is one of ours."""

    problem: str
    received: str | None = None


Cell = str | BadCell
Row = tuple[int, Sequence[Cell]]


def table_records(
    rows: Iterable[Row | RegistryRecordError],
    *,
    source: str,
    mapping: FieldMapping = PLAIN,
    fields: Collection[str] | None = None,
) -> Iterator[Record | RegistryRecordError]:
    """Yield the records of a table whose first row is its header.

    rows: (row number, cells), or the error of a row whose cells cannot be told.
    source: the table's name in errors.
    mapping: the column of each field; a column that has a default may be missing.
    fields: those asked for, whose columns are all needed then; None: all, of which the optional ones may be missing.

    Cells are stripped, and an empty cell is an absent field. Rows without anything in them are skipped.
    Columns that are of no field are left out and told in one logged warning.
    Raises RegistryRecordError where there is no header, or it is not one of tenants.
    """
    columns: dict[str, int] | None = None
    width = 0
    for row in rows:
        if isinstance(row, RegistryRecordError):
            if columns is None:
                raise row
            yield row
            continue
        where, cells = f"{source}, row {row[0]}", _stripped(row[1])
        if not cells:
            continue
        if columns is None:
            columns, width = _header(cells, where, mapping, fields), len(cells)
        elif len(cells) > width:
            yield RegistryRecordError(
                f"{len(cells)} cells",
                where=where,
                received=excerpt(", ".join(str(cell) for cell in cells[width:])),
                allowed=f"{width} cells, as the header has",
            )
        else:
            yield _record(cells, columns, where, mapping, fields)
    if columns is None:
        raise RegistryRecordError("no header", where=source, allowed=_names(FIELDS, mapping))


def needed_fields(mapping: FieldMapping, fields: Collection[str] | None) -> list[str]:
    """Return the fields that a source must have: the required ones, or those that are asked for.

    A field that the mapping names is meant to be there, be it optional or not; one that has a default need not.
    """
    needed = {"tenant_id", *((*REQUIRED_FIELDS, *mapping.fields) if fields is None else fields)}
    return [field for field in FIELDS if field in needed and field not in mapping.defaults]


def _stripped(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells stripped and without the empty ones at their end."""
    stripped = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
    while stripped and not stripped[-1]:
        stripped.pop()
    return stripped


def _header(cells: list[Cell], where: str, mapping: FieldMapping, fields: Collection[str] | None) -> dict[str, int]:
    """Return {field: its place in a row} of the fields that have a column."""
    names = [cell if isinstance(cell, str) else cell.problem for cell in cells]
    told = excerpt(", ".join(names))
    known = _names(FIELDS, mapping)
    missing = [name for name in _names(needed_fields(mapping, fields), mapping) if name not in names]
    if missing:
        raise RegistryRecordError(f"missing columns: {', '.join(missing)}", where=where, received=told, allowed=known)
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise RegistryRecordError(f"columns named twice: {', '.join(twice)}", where=where, received=told)
    unknown = [name for name in names if name not in known]
    if unknown:
        logger.warning("%s: columns left out: %s; allowed: %s", where, unknown, ", ".join(known))
    places = {name: place for place, name in enumerate(names)}
    return {field: places[name] for field in FIELDS if (name := mapping.source_name(field)) in places}


def _names(fields: Iterable[str], mapping: FieldMapping) -> list[str]:
    return [mapping.source_name(field) for field in fields]


def _record(
    cells: list[Cell],
    columns: Mapping[str, int],
    where: str,
    mapping: FieldMapping,
    fields: Collection[str] | None,
) -> Record | RegistryRecordError:
    def cell_of(field: str) -> str | None:
        place = columns.get(field, len(cells))
        cell = cells[place] if place < len(cells) else ""
        if isinstance(cell, BadCell):
            column = mapping.source_name(field)
            raise RegistryRecordError(cell.problem, where=f"{where}, column {column}", received=cell.received)
        return cell or None

    try:
        values = mapping.read(cell_of, fields)
    except RegistryRecordError as error:
        return error
    names: Mapping[Any, str] = mapping.fields
    return Record(values, where, "column", names)
