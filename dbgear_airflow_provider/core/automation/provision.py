"""Provisioning: an instance's database or schema, and the objects of its document that are not there yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engines import LedgerEntry, Server, Session, Timeouts
from ..errors import OwnershipError
from ..isolation import Place
from ..schema import (
    LEDGER,
    PROVISIONED,
    ObjectKey,
    PreparedDocument,
    PreparedObject,
    checksum,
    prepare,
    schema_names,
)

LOCK_S = 2.0
STATEMENT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance of a tenant: where it lives and the rendered document of what it holds."""

    tenant_id: str
    name: str
    place: Place
    document: Mapping[str, Any]
    template: str


@dataclass(frozen=True, kw_only=True)
class Provisioned:
    """What provisioning an instance did, or in a dry run would do.

    statements: the exact SQL. created: how many objects. document_changed: the document is another one than at
    the last provisioning; its new objects were created, its changes to old ones were not.
    """

    instance: str
    place: Place
    checksum: str
    statements: list[str]
    created: int
    document_changed: bool


async def provision_instance(instance: Instance, server: Server, *, dry_run: bool, attempt: int = 1) -> Provisioned:
    """Bring an instance to where every object of its document exists. Nothing is altered or dropped.

    Safe to repeat: what exists is left alone. All objects and the ledger's row are committed at once, so that
    an attempt that fails or is killed leaves nothing but, at the worst, an empty database, which the next one
    takes over. A dry run connects and reads only. attempt: each one waits longer for locks than the last.
    """
    names = schema_names(instance.document, where=instance.template)
    wanted = prepare(instance.document, instance.place.schemas(names), server.dialect, where=instance.template)
    digest = checksum(instance.document)
    timeouts = Timeouts(lock_s=LOCK_S * attempt, statement_s=STATEMENT_S)
    work = _Work(instance, server, wanted, digest, timeouts)
    return await (work.plan() if dry_run else work.carry_out())


@dataclass(frozen=True)
class _Work:
    instance: Instance
    server: Server
    wanted: PreparedDocument
    digest: str
    timeouts: Timeouts

    async def plan(self) -> Provisioned:
        place = self.instance.place
        if place.own_database and not await self.server.database_exists(place.database):
            create = self.server.create_database_statement(place.database)
            return self._outcome(self.wanted.missing(set()), [create], None)
        async with self.server.session(place.database) as session, session.read_only(self.timeouts):
            existing, entry = await self._read(session)
        return self._outcome(self.wanted.missing(existing), [], entry)

    async def carry_out(self) -> Provisioned:
        place = self.instance.place
        before: list[str] = []
        if (
            place.own_database
            and not await self.server.database_exists(place.database)
            and await self.server.create_database(place.database)
        ):
            before = [self.server.create_database_statement(place.database)]
        # Should the rest fail, the empty database stays for the next attempt: dropping it here could hit what
        # another run has put into it in the meantime.
        lock = f"{place.database}.{place.schema}"
        async with self.server.session(place.database) as session, session.locked(lock, self.timeouts):
            existing, entry = await self._read(session)
            missing = self.wanted.missing(existing)
            outcome = self._outcome(missing, before, entry)
            await session.apply(outcome.statements[len(before) :])
            if missing or outcome.document_changed:
                await session.write_ledger(place.schema, self._entry())
        return outcome

    async def _read(self, session: Session) -> tuple[set[ObjectKey], LedgerEntry | None]:
        """Return what exists and the ledger's row. Raises OwnershipError where a schema is not ours."""
        place = self.instance.place
        existing = await session.objects(sorted({key.schema for key in self.wanted.keys}))
        filled = sorted({key.schema for key in existing if key.kind != "schema"})
        if not filled:
            return existing, None
        ledgers = {key.schema for key in existing if key.kind == "table" and key.name == LEDGER}
        entry = await session.ledger_entry(place.schema, PROVISIONED) if place.schema in ledgers else None
        if entry is None:
            where = self._where(filled[0])
            raise OwnershipError(f"{where} holds objects that were not made by DBGear", place=where)
        if (entry.tenant_id, entry.instance) != (self.instance.tenant_id, self.instance.name):
            where, owner = self._where(place.schema), f"{entry.tenant_id} ({entry.instance})"
            raise OwnershipError(f"{where} belongs to tenant {owner}", place=where, owner=owner)
        for schema in sorted(ledgers - {place.schema}):
            # The further schemas of a document have none: this one is the main schema of somebody.
            where = self._where(schema)
            raise OwnershipError(f"{where} belongs to another tenant", place=where)
        return existing, entry

    def _where(self, schema: str) -> str:
        place = self.instance.place
        return f"{place.database}.{schema} on target {place.target}"

    def _outcome(self, missing: list[PreparedObject], before: list[str], entry: LedgerEntry | None) -> Provisioned:
        return Provisioned(
            instance=self.instance.name,
            place=self.instance.place,
            checksum=self.digest,
            statements=before + [sql for item in missing for sql in item.statements],
            created=len(missing),
            document_changed=entry is not None and entry.checksum != self.digest,
        )

    def _entry(self) -> LedgerEntry:
        return LedgerEntry(
            version=PROVISIONED,
            tenant_id=self.instance.tenant_id,
            instance=self.instance.name,
            checksum=self.digest,
        )
