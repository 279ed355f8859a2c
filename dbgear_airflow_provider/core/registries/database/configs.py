"""The table of tenants' settings: `tenant_id` and `config`, a JSON object."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ...errors import SettingsError
from ...tenants.fields import Field, excerpt
from ...tenants.predicates import In
from .errors import translated
from .pushdown import Column, Sql, narrow
from .tables import Layout, column_of, stored

BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class ConfigTable:
    """The two columns of a table of settings."""

    layout: Layout
    table: sa.TableClause
    tenant_id: Column
    config: Column

    @classmethod
    def of(cls, layout: Layout) -> ConfigTable:
        """Find the columns. Raises SettingsError where one is missing."""
        names = {wanted: layout.find(wanted) for wanted in ("tenant_id", "config")}
        for wanted, name in names.items():
            if name is None:
                raise SettingsError(
                    "no such column", where=f"table {layout.table}", received=wanted, allowed=list(layout.columns)
                )
        table = layout.table.clause(*(column_of(str(name)) for name in names.values()))
        return cls(layout, table, *(Column(table.c[name], layout.columns[name]) for name in names.values() if name))

    def read(self, tenant_ids: Collection[str]) -> sa.Select[Any]:
        """Return the statement that reads tenants' settings as `tenant_id` and `config`."""
        dialect = self.layout.dialect
        columns = (dialect.text(self.tenant_id).label("tenant_id"), dialect.value(self.config).label("config"))
        return sa.select(*columns).select_from(self.table).where(self._is_one_of(tenant_ids))

    def rows(self, configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[Sql, Any]]:
        """Return the rows that tenants' settings become, {tenant_id: {column: value}}.

        Raises RegistryRecordError that names the tenant, but no settings: they may be secret.
        """
        # In one order everywhere, so that two writers cannot deadlock.
        return {tenant_id: self._row(tenant_id, configs[tenant_id]) for tenant_id in sorted(configs)}

    def _row(self, tenant_id: str, config: Mapping[str, Any]) -> dict[Sql, Any]:
        dialect, where = self.layout.dialect, self._where(tenant_id)
        typed_id = stored("tenant_id", tenant_id, self.tenant_id, dialect, f"{where}, column tenant_id")
        # As the other JSON objects of a tenant are.
        typed_config = stored("contract_info", config, self.config, dialect, f"{where}, column config", is_secret=True)
        return {
            self.tenant_id.sql: sa.literal(typed_id, dialect.bind_type(self.tenant_id.type)),
            self.config.sql: sa.literal(typed_config, dialect.bind_type(self.config.type)),
        }

    async def write(self, connection: AsyncConnection, rows: Mapping[str, Mapping[Sql, Any]]) -> None:
        """Update the rows that exist and insert the others. Raises RegistryRecordError that names the tenant."""
        ids = list(rows)
        for start in range(0, len(ids), BATCH_ROWS):
            batch = ids[start : start + BATCH_ROWS]
            existing = {row.tenant_id for row in await connection.execute(self.read(batch))}
            for tenant_id in batch:
                change: sa.Update | sa.Insert = sa.insert(self.table).values(rows[tenant_id])
                if tenant_id in existing:
                    config = {self.config.sql: rows[tenant_id][self.config.sql]}
                    change = sa.update(self.table).where(self._is_one_of([tenant_id])).values(config)
                with translated(self._where(tenant_id)):
                    await connection.execute(change)

    def _where(self, tenant_id: str) -> str:
        return f"table {self.layout.table}, tenant_id {excerpt(tenant_id)!r}"

    def _is_one_of(self, tenant_ids: Collection[str]) -> sa.ColumnElement[bool]:
        wanted = In(Field(("tenant_id",), "text"), frozenset(tenant_ids))
        return narrow(wanted, {"tenant_id": self.tenant_id}, self.layout.dialect).condition
