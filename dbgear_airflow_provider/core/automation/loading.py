"""Loading initial data into an instance: what is asked, what is written, and the ledger's row for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import RenderedData, RenderedTable, TableScript, Variables, existing_queries, read_folder, render, script
from ..data.statements import ASKED_ROWS
from ..engines import Server, Session
from ..schema import DATA, LedgerEntry, ObjectKey, PreparedDocument
from ..schema.ddl import quoted
from ..tenants import TenantInfo, naming

if TYPE_CHECKING:
    from .instance import Instance

# A dry run and the fleet store show that many characters of the statements.
SHOWN_CHARS = 20_000


@dataclass(frozen=True, kw_only=True)
class InitialData:
    """Where an instance's initial data is, and what its variables stand for. delete_rows: as of `SchemaTemplate`.

    name_macros: returns those of the tenant; asked only where a row varies.
    """

    folder: Path
    delete_rows: bool
    tenant: TenantInfo
    config: Mapping[str, Any]
    instance: str
    name_macros: Callable[[], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What loading does to an instance. The numbers are rows; beside: rows of `replace` tables not in the files."""

    statements: Sequence[str] = ()
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    beside: int = 0

    def shown(self) -> list[str]:
        """Return the statements as a dry run shows them: the first ones, and how many more there are."""
        shown: list[str] = []
        size = 0
        for number, statement in enumerate(self.statements):
            size += len(statement)
            if size > SHOWN_CHARS:
                more = len(self.statements) - number
                return [*shown, f"-- and {more} statements more: {self.inserted} rows new, {self.updated} changed"]
            shown.append(statement)
        return shown


NOTHING = Load()


async def rendered_data(
    source: InitialData | None, wanted: PreparedDocument, schemas: Sequence[str], server: Server
) -> RenderedData | None:
    """Return an instance's rows as SQL, before any server is asked. Raises DataError."""
    if source is None:
        return None
    folder = await asyncio.to_thread(read_folder, source.folder)
    variables = None
    if folder.varies:
        variables = Variables(source.tenant, source.instance, source.config, source.name_macros())
    prefix = source.tenant.table_prefix or ""
    return render(
        folder, wanted.tables, schemas, variables, server.dialect, delete_rows=source.delete_rows, table_prefix=prefix
    )


async def plan_load(
    data: RenderedData,
    source: InitialData,
    instance: Instance,
    server: Server,
    *,
    created: Collection[ObjectKey],
    session: Session | None,
    is_known: bool,
) -> Load:
    """Return what there is to write; where the ledger has the data's checksum, into tables that are created alone.

    created: objects that are created with it: their tables are empty. is_known: whether there was a ledger before.
    """
    entry = await session.ledger_entry(instance.place.namespace, DATA) if session is not None and is_known else None
    is_loaded = entry is not None and entry.checksum == data.checksum
    spaces = instance.namespaces
    scripts: list[TableScript] = []
    for table in data.tables:
        space = spaces[table.place]
        name = naming.prefixed(space.prefix, table.table.info["name"])
        is_new = ObjectKey(kind="table", schema=space.schema, name=name) in created
        if is_loaded and not is_new:
            continue
        asks = None if is_new else session
        full = quoted(server.dialect, space.schema, name)
        scripts.append(await _table_script(table, full, server, asks, delete=source.delete_rows))
    row = LedgerEntry(version=DATA, tenant_id=source.tenant.tenant_id, instance=source.instance, checksum=data.checksum)
    told = row.statement(instance.place.namespace, server.dialect, replaces=entry is not None)
    return Load(
        statements=[
            *(sql for item in scripts for sql in item.statements),
            *(sql for item in reversed(scripts) for sql in item.deletes),
            *([] if is_loaded else [told]),
        ],
        inserted=sum(item.inserted for item in scripts),
        updated=sum(item.updated for item in scripts),
        deleted=sum(item.beside or 0 for item in scripts if item.deletes),
        beside=sum(item.beside or 0 for item in scripts if not item.deletes),
    )


async def _table_script(
    table: RenderedTable, name: str, server: Server, session: Session | None, *, delete: bool
) -> TableScript:
    found: dict[int, bool] = {}
    count, replaces = None, table.data.model.sync_mode == "replace"
    if session is not None:
        for batch, query in enumerate(existing_queries(table, name, server.dialect)):
            for (code,) in await session.select(query):
                found[batch * ASKED_ROWS + code // 2] = bool(code % 2)
        if replaces:
            ((count,),) = await session.select(f"SELECT count(*) FROM {name}")  # noqa: S608 - quoted
    return script(table, name, server.dialect, found=found, count=count, delete=delete and replaces)
