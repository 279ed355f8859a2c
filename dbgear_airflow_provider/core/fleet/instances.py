"""Where instances are, as far as the fleet store knows, written anew from what the servers hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .recorder import BATCH_ROWS
from .tables import tenant_instances
from .upserting import upsert

# What a look at what is in an instance tells.
SEEN = ("fingerprint", "checked_at")


@dataclass(frozen=True, kw_only=True)
class InstanceRecord:
    """An instance as its server has it: where it is, and what its ledger says, as the columns of the table tell."""

    tenant_id: str
    instance: str
    target: str
    isolation: str
    database_name: str
    schema_name: str
    prefix: str
    checksum: str
    version: str | None
    ledger: str


class InstanceStore:
    """The state of instances in the fleet store, as `FleetStore.placed`. begin: opens a transaction."""

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]], dialect: str) -> None:
        self._begin = begin
        self._dialect = dialect

    async def replace(self, found: Sequence[InstanceRecord], gone: Collection[tuple[str, str]]) -> None:
        """Write what was found, and forget instances, (tenant_id, instance), that are gone. Safe to repeat.

        Raises SourceUnavailableError when the database cannot be reached.
        """
        now = datetime.now(UTC)
        # In one order everywhere, so that two writers cannot deadlock.
        records = sorted(found, key=lambda record: (record.tenant_id, record.instance))
        rows = [{**vars(record), "state": "provisioned", "updated_at": now} for record in records]
        lost = [{"of_tenant": tenant_id, "of_instance": instance} for tenant_id, instance in sorted(gone)]
        await self._in_batches(_FORGET, lost)
        await self._in_batches(upsert(tenant_instances, self._dialect, keeps=SEEN), rows)

    async def _in_batches(self, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(rows), BATCH_ROWS):
            async with self._begin() as connection:
                await connection.execute(statement, rows[start : start + BATCH_ROWS])


_FORGET = sa.delete(tenant_instances).where(
    tenant_instances.c.tenant_id == sa.bindparam("of_tenant"),
    tenant_instances.c.instance == sa.bindparam("of_instance"),
)
