"""Tenants from a table: rows of text cells below a header, as CSV files and spreadsheets have them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import RegistryRecordError
from ..tenants import TenantInfo
from ..tenants.fields import excerpt
from .records import parse_record

logger = logging.getLogger(__name__)

COLUMNS = tuple(TenantInfo.model_fields)
REQUIRED_COLUMNS = tuple(name for name, field in TenantInfo.model_fields.items() if field.is_required())

Row = tuple[int, Sequence[str]]


@dataclass(frozen=True, slots=True)
class TenantTable:
    """tenants: by tenant_id, in that order; rejected: the rows that are no tenant, in the table's order."""

    tenants: dict[str, TenantInfo]
    rejected: list[RegistryRecordError]


def read_table(rows: Iterable[Row | RegistryRecordError], *, source: str) -> TenantTable:
    """Read a table whose first row is its header.

    rows: (row number, cells), or the error of a row whose cells cannot be told.
    source: the table's name in errors.

    Cells are stripped, and an empty cell is an absent field. Rows without anything in them are skipped.
    Columns that are no field of `TenantInfo` are left out and told in one logged warning. Where several good
    rows have one tenant_id, the first stands and the others are rejected.
    Raises RegistryRecordError where there is no header, or it is not one of tenants.
    """
    header: list[str] | None = None
    first_rows: dict[str, int] = {}
    tenants: dict[str, TenantInfo] = {}
    rejected: list[RegistryRecordError] = []
    for row in rows:
        try:
            number, cells = _stripped(row)
            where = f"{source}, row {number}"
            if not cells:
                continue
            if header is None:
                header = _header(cells, where)
                continue
            tenant = parse_record(_fields(header, cells, where), where=where, label="column")
            first_row = first_rows.setdefault(tenant.tenant_id, number)
            if first_row != number:
                raise RegistryRecordError(
                    f"row {first_row} has this tenant_id already",
                    where=f"{where}, column tenant_id",
                    received=tenant.tenant_id,
                )
        except RegistryRecordError as error:
            if header is None:
                raise
            rejected.append(error)
        else:
            tenants[tenant.tenant_id] = tenant
    if header is None:
        raise RegistryRecordError("no header", where=source, allowed=COLUMNS)
    return TenantTable(dict(sorted(tenants.items())), rejected)


def _stripped(row: Row | RegistryRecordError) -> tuple[int, list[str]]:
    """Return the row with its cells stripped and without the empty ones at its end."""
    if isinstance(row, RegistryRecordError):
        raise row
    number, cells = row[0], [cell.strip() for cell in row[1]]
    while cells and not cells[-1]:
        cells.pop()
    return number, cells


def _header(names: list[str], where: str) -> list[str]:
    told = excerpt(", ".join(names))
    missing = [name for name in REQUIRED_COLUMNS if name not in names]
    if missing:
        raise RegistryRecordError(f"missing columns: {', '.join(missing)}", where=where, received=told, allowed=COLUMNS)
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise RegistryRecordError(f"columns named twice: {', '.join(twice)}", where=where, received=told)
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        logger.warning("%s: columns left out: %s; allowed: %s", where, unknown, ", ".join(COLUMNS))
    return names


def _fields(header: list[str], cells: list[str], where: str) -> dict[str, str]:
    if len(cells) > len(header):
        raise RegistryRecordError(
            f"{len(cells)} cells",
            where=where,
            received=excerpt(", ".join(cells[len(header) :])),
            allowed=f"{len(header)} cells, as the header has",
        )
    return {name: cell for name, cell in zip(header, cells, strict=False) if cell and name in COLUMNS}
