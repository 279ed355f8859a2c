"""Reading a table in pages, by keyset: each page begins behind the tenant_id at which the last one ended.

So a table of any size needs the memory of one page, no page costs more than the one before it where an index has the
order, and nothing is held open between pages, however slowly they are worked on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from .tables import TenantColumns

PAGE_ROWS = 1000
SORTED_PAGE_ROWS = 5000  # where no index has the order, every page sorts what is left of the table

Row = Mapping[str, Any]
Fetch = Callable[[sa.Select[Any]], Awaitable[Sequence[Row]]]


async def rows_with_ids(
    columns: TenantColumns, fetch: Fetch, condition: sa.ColumnElement[bool], fields: Collection[str] | None = None
) -> AsyncGenerator[Row]:
    """Yield the rows that meet a condition, {field: value read}, ordered by tenant_id by code point.

    Rows of one tenant_id come in one order as long as they differ. A row is lost or seen twice only where the table
    changes meanwhile.
    """
    key = columns.layout.dialect.key(columns.column("tenant_id"))
    selected = columns.selected(fields)
    statement = _select(columns, selected).where(condition)
    if columns.may_lack_ids:
        statement = statement.where(key.is_not(None))
    statement = statement.order_by(key, *([] if columns.is_unique else _others(columns, selected)))
    is_ordered = columns.is_unique and columns.layout.dialect.is_ordered(columns.column("tenant_id"))
    limit = PAGE_ROWS if is_ordered else SORTED_PAGE_ROWS
    last: str | None = None
    seen = 0  # rows of `last`
    while True:
        page = statement.limit(limit)
        if last is not None:
            bound = columns.layout.dialect.bound_text(last)
            page = page.where(key > bound) if columns.is_unique else page.where(key >= bound).offset(seen)
        rows = await fetch(page)
        for row in rows:
            yield row
        if len(rows) < limit:
            return
        before, last = last, rows[-1]["tenant_id"]
        seen = (seen if last == before else 0) + sum(row["tenant_id"] == last for row in rows)


async def rows_without_ids(
    columns: TenantColumns, fetch: Fetch, fields: Collection[str] | None = None
) -> AsyncGenerator[Row]:
    """Yield the rows whose tenant_id is NULL."""
    if not columns.may_lack_ids:
        return
    selected = columns.selected(fields)
    statement = _select(columns, selected).where(columns.column("tenant_id").sql.is_(None))
    statement = statement.order_by(*_others(columns, selected)).limit(SORTED_PAGE_ROWS)
    start = 0
    while True:
        rows = await fetch(statement.offset(start))
        for row in rows:
            yield row
        start += len(rows)
        if len(rows) < SORTED_PAGE_ROWS:
            return


def with_siblings(columns: TenantColumns, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return the condition that a row, or another row of the same tenant_id, meets one.

    Where nothing keeps rows from sharing a tenant_id, which of them is the tenant must not depend on the question.
    """
    if columns.is_unique or condition.compare(sa.true()):
        return condition
    key = columns.layout.dialect.key(columns.column("tenant_id"))
    return key.in_(sa.select(key).select_from(columns.clause).where(condition).correlate(None))


def _select(columns: TenantColumns, selected: Mapping[str, sa.ColumnElement[Any]]) -> sa.Select[Any]:
    named = [expression.label(field) for field, expression in selected.items()]
    return sa.select(*named).select_from(columns.clause)


def _others(columns: TenantColumns, selected: Collection[str]) -> list[sa.ColumnElement[Any]]:
    # By code point: a collation that is blind to case would leave the order of some rows to chance, page by page.
    return [columns.layout.dialect.key(columns.column(field)) for field in selected if field != "tenant_id"]
