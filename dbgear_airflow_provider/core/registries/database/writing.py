"""Writing tenants into a table, whether or not it has a key that an upsert could use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ...errors import RegistryRecordError
from ...tenants.fields import Field, excerpt
from ...tenants.predicates import In
from .errors import translated
from .pushdown import narrow
from .tables import TenantColumns, column_of

BATCH_ROWS = 500
_ATTEMPTS = 2

Rows = Mapping[str, Mapping[str, Any]]
Begin = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


@dataclass(frozen=True, slots=True)
class Writing:
    """Rows of tenants, {tenant_id: {column: value}}, into the table of `columns`.

    begin: opens a transaction. source: the table, as errors name it.

    Rows that exist are updated and the others inserted. An engine's own upsert would need a unique key, and one that
    is blind to case would replace another tenant.
    """

    columns: TenantColumns
    begin: Begin
    source: str

    async def write(self, rows: Rows) -> None:
        """Write all rows or none."""
        batches = [dict(list(rows.items())[start : start + BATCH_ROWS]) for start in range(0, len(rows), BATCH_ROWS)]
        for left in range(_ATTEMPTS - 1, -1, -1):
            failed: Rows = {}
            try:
                async with self.begin() as connection:
                    for batch in batches:
                        failed = batch
                        await self._put(connection, batch)
            except RegistryRecordError:
                # Another process may have added the same tenant meanwhile: now it exists.
                if not left:
                    await self._blame(failed)
                    raise
            else:
                return

    async def _put(self, connection: AsyncConnection, rows: Rows) -> None:
        existing = await self._existing(connection, rows)
        table = self._table()
        values = {
            name: sa.bindparam(f"v{number}", type_=table.c[name].type) for number, name in enumerate(table.c.keys())
        }
        id_column = self.columns.names["tenant_id"]

        def bound(tenant_id: str) -> dict[str, Any]:
            row = rows[tenant_id]
            return {f"v{number}": row[name] for number, name in enumerate(table.c.keys())} | {"key": tenant_id}

        added = [bound(tenant_id) for tenant_id in rows if tenant_id not in existing]
        changed = [bound(tenant_id) for tenant_id in rows if tenant_id in existing]
        if changed:
            rest = {name: value for name, value in values.items() if name != id_column}
            update = sa.update(self.columns.clause).where(self._has_id()).values(rest)
            for parameters in changed:
                del parameters[values[id_column].key]
            await connection.execute(update, changed)
        if added:
            for parameters in added:
                del parameters["key"]
            await connection.execute(sa.insert(table).values(values), added)

    async def _existing(self, connection: AsyncConnection, rows: Rows) -> set[str]:
        wanted = In(Field(("tenant_id",), "text"), frozenset(rows))
        condition = narrow(wanted, self.columns.comparable(), self.columns.layout.dialect).condition
        read = self.columns.selected(["tenant_id"])["tenant_id"]
        return set(await connection.scalars(sa.select(read).select_from(self.columns.clause).where(condition)))

    def _has_id(self) -> sa.ColumnElement[bool]:
        dialect, column = self.columns.layout.dialect, self.columns.column("tenant_id")
        lookup = dialect.lookup(column)
        wanted = [
            expression == sa.bindparam("key", type_=sa.Text())
            for expression in (lookup, dialect.key(column))
            if expression is not None
        ]
        return sa.and_(*wanted)

    def _table(self) -> sa.TableClause:
        layout = self.columns.layout
        names = self.columns.clause.c.keys()
        return layout.table.clause(*(column_of(name, layout.dialect.bind_type(layout.columns[name])) for name in names))

    async def _blame(self, rows: Rows) -> None:
        """Write rows one by one, to be undone, until one fails: the error then names its tenant."""
        async with self.begin() as connection:
            for tenant_id, row in rows.items():
                with translated(f"{self.columns.where}, tenant_id {excerpt(tenant_id)!r}"):
                    await self._put(connection, {tenant_id: row})
            await connection.rollback()
