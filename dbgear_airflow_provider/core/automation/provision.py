"""Provisioning: an instance's database or schema, and the objects of its document that are not there yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy.schema import CreateSchema

from ..data import RenderedData
from ..engines import RoleScript, Server, Session
from ..errors import OwnershipError, RowsChangedError, StatementError, UnsupportedError
from ..isolation import Place
from ..schema import (
    BASELINE,
    LEDGER,
    NO_CHECKSUM,
    PROVISIONED,
    LedgerEntry,
    Namespace,
    ObjectKey,
    PreparedDocument,
    PreparedObject,
    checksum,
    insert_statement,
    ledger_name,
)
from .instance import Instance, entered, is_absent, timeouts
from .loading import NOTHING, Load, plan_load, rendered_data
from .roles import RoleWork

# What the ledger's row has before the document's checksum, as much of which as fits, while objects are being created
# one by one.
BEGUN = "begun:"
_CHECKSUM_CHARS = 64
ROWS = ("inserted", "updated", "deleted", "beside")  # what results tell of initial data


@dataclass(frozen=True, kw_only=True)
class Provisioned:
    """What provisioning an instance did, or in a dry run would do.

    statements: the exact SQL. created: how many objects. document_changed: the document is another one than at
    the last provisioning; its new objects were created, its changes to old ones were not. warnings: what the engine
    cannot hold of the document and was left out. load: what was done to the rows of the initial data.
    """

    instance: str
    place: Place
    checksum: str
    statements: list[str]
    created: int
    document_changed: bool
    warnings: Sequence[str]
    load: Load = NOTHING

    def details(self, *, dry_run: bool) -> dict[str, Any]:
        """Return it as JSON; in a dry run with the statements."""
        details: dict[str, Any] = {
            **self.place.details(),
            "checksum": self.checksum,
            "created": self.created,
            "document_changed": self.document_changed,
            "warnings": list(self.warnings),
            "rows": {name: getattr(self.load, name) for name in ROWS},
        }
        if dry_run:
            details["statements"] = [*self.statements, *self.load.shown()]
        return details


async def provision_instance(instance: Instance, server: Server, *, dry_run: bool, attempt: int = 1) -> Provisioned:
    """Bring an instance to where every object of its document exists. Nothing is altered or dropped.

    Safe to repeat: what exists is left alone. All objects and the ledger's row are committed at once, so that
    an attempt that fails or is killed leaves nothing but, at the worst, an empty database, which the next one
    takes over. Where DDL is not transactional, the ledger comes first and says that the work has begun: what an attempt
    leaves is the instance's own, and the next one creates the rest. A dry run connects and reads only. attempt: each
    one waits longer for locks than the last.
    """
    await server.ready()
    wanted = instance.prepared(server)
    data = await rendered_data(instance.data, wanted, list(instance.places), server)
    work = _Work(instance, server, wanted, checksum(instance.document), data, attempt)
    return await (work.plan() if dry_run else work.carry_out())


async def read_owned(session: Session, instance: Instance, server: Server) -> tuple[set[ObjectKey], LedgerEntry | None]:
    """Return what exists in an instance's namespaces, and the ledger's row; None where they hold nothing.

    Where DDL is not transactional, a ledger without that row, and nothing beside it, counts as nothing: an attempt was
    killed between the statement that makes the ledger and the one that fills it.
    Raises OwnershipError where one of them is not this instance's.
    """
    place = instance.place
    existing = await session.objects(sorted(instance.namespaces))
    filled = sorted({key.schema for key in existing if key.kind != "schema"})
    if not filled:
        return existing, None
    ledgers = {found for key in existing if (found := _ledger_of(key, place)) is not None}
    entry = await session.ledger_entry(place.namespace, PROVISIONED) if place.namespace in ledgers else None
    alone = [key for key in existing if key.kind != "schema"] == [_ledger_key(place)]
    if entry is None and alone and not server.transactional_ddl:
        return existing, None
    if entry is None:
        where = place.told(Namespace(filled[0], place.prefix))
        raise OwnershipError(f"{where} holds objects that were not made by DBGear", place=where)
    if (entry.tenant_id, entry.instance) != (instance.tenant_id, instance.name):
        where, owner = place.told(place.namespace), f"{entry.tenant_id} ({entry.instance})"
        raise OwnershipError(f"{where} belongs to tenant {owner}", place=where, owner=owner)
    for other in sorted(ledgers - {place.namespace}):
        # The further schemas of a document have none: this one is the main schema of somebody.
        where = place.told(other)
        raise OwnershipError(f"{where} belongs to another tenant", place=where)
    return existing, entry


@dataclass(frozen=True)
class _Found:
    """What there is of an instance. entry: the ledger's row. missing: what of the document is to be created."""

    existing: set[ObjectKey]
    entry: LedgerEntry | None
    missing: Sequence[PreparedObject]


@dataclass(frozen=True)
class _Work:
    instance: Instance
    server: Server
    wanted: PreparedDocument
    digest: str
    data: RenderedData | None
    attempt: int

    async def plan(self) -> Provisioned:
        place = self.instance.place
        if await is_absent(place, self.server):
            create = self.server.create_database_statement(place.database)
            nothing = _Found(set(), None, self.wanted.missing(set()))
            outcome = self._outcome(nothing, [create], await self._roles_of_server(nothing))
            return await self._with_load(outcome, nothing, None)
        async with self.server.session(place.database) as session, self._entered(session, dry_run=True):
            found = await self._read(session)
            roles = await self._roles(session, found, dry_run=True)
            outcome = self._outcome(found, self._shared_schema(found.existing), roles)
            return await self._with_load(outcome, found, session)

    async def carry_out(self) -> Provisioned:
        place = self.instance.place
        before: list[str] = []
        if await is_absent(place, self.server) and await self.server.create_database(place.database):
            before = [self.server.create_database_statement(place.database)]
        # Should the rest fail, the empty database stays for the next attempt: dropping it here could hit what
        # another run has put into it in the meantime.
        async with self.server.session(place.database) as session:
            while True:
                async with self._entered(session, dry_run=False):
                    found = await self._read(session)
                    create = self._shared_schema(found.existing)
                    if not create:
                        roles = await self._roles(session, found, dry_run=False)
                        outcome = await self._with_load(self._outcome(found, before, roles), found, session)
                        await self._execute_all(session, outcome.statements[len(before) :], outcome.load.statements)
                        return outcome
                before += await self._create_shared(session, create)

    def _entered(self, session: Session, *, dry_run: bool) -> AbstractAsyncContextManager[None]:
        return entered(session, self.instance.place, timeouts(self.attempt), dry_run=dry_run)

    async def _execute_all(self, session: Session, objects: Sequence[str], rows: Sequence[str]) -> None:
        try:
            await self._execute(session, objects, rows)
        except StatementError as error:
            # Who uses the tables meanwhile takes none of our locks. That it happens once more is no chance.
            if rows and self.attempt == 1 and error.details["code"] == self.server.duplicate_key:
                raise RowsChangedError(error.message, **error.details) from error
            raise

    async def _execute(self, session: Session, objects: Sequence[str], rows: Sequence[str]) -> None:
        if self.server.transactional_ddl:
            return await session.apply([*objects, *rows], last=True)
        await session.apply(objects, last=not rows)
        if rows:
            async with session.atomic():
                await session.apply(rows)
        return None

    def _shared_schema(self, existing: set[ObjectKey]) -> list[str]:
        """Return the SQL that creates the schema in which the instance has but a prefix, where it is missing."""
        place = self.instance.place
        key = ObjectKey(kind="schema", schema=place.schema, name=place.schema)
        return [schema_statement(place.schema, self.server)] if place.prefix and key not in existing else []

    async def _create_shared(self, session: Session, statements: list[str]) -> list[str]:
        """Create it, unless another instance has just done so; return what was executed. It is never dropped."""
        place = self.instance.place
        async with session.locked(f"shared schema {place.database}.{place.schema}", timeouts(self.attempt)):
            if not self._shared_schema(await session.objects([place.namespace])):
                return []
            await session.apply(statements)
        return statements

    async def _with_load(self, outcome: Provisioned, found: _Found, session: Session | None) -> Provisioned:
        if self.data is None or self.instance.data is None:
            return outcome
        load = await plan_load(
            self.data,
            self.instance.data,
            self.instance,
            self.server,
            created={item.key for item in found.missing},
            session=session,
            is_known=found.entry is not None,
        )
        return replace(outcome, load=load)

    async def _read(self, session: Session) -> _Found:
        existing, entry = await read_owned(session, self.instance, self.server)
        if entry is None:
            there = {key.schema for key in existing if key.kind == "schema"}
            asked = there if self.server.schemas_are_databases else {space.schema for space in self.instance.namespaces}
            await self._refuse_charsets(session, asked)
        if self.server.folds_names:
            wanted = {_folded(key): key for key in self.wanted.keys}
            existing = {wanted.get(_folded(key), key) for key in existing}
        return _Found(existing, entry, self.wanted.missing(existing))

    async def _refuse_charsets(self, session: Session, schemas: Collection[str]) -> None:
        """Raise UnsupportedError where text of some languages would not be kept: such a database was made by others."""
        found = await session.other_charsets(sorted(schemas)) if schemas else {}
        for schema, charset in found.items():
            where = self.instance.place.told(Namespace(schema))
            text = f"{where} has the character set {charset}, which does not hold all text: make it Unicode, or drop it"
            raise UnsupportedError(text, place=where, charset=charset)

    async def _roles_of_server(self, nothing: _Found) -> RoleScript:
        """Return what there is to do about roles before the instance has a database."""
        if self.instance.roles is None:
            return RoleScript()
        # What roles the server has is known in every database.
        shared = self.server.address.database
        async with self.server.session(shared) as session, self._entered(session, dry_run=True):
            return await self._roles(session, nothing, dry_run=True, new_database=True)

    async def _roles(self, session: Session, found: _Found, *, dry_run: bool, new_database: bool = False) -> RoleScript:
        instance = self.instance
        if instance.roles is None:
            return RoleScript()
        work = RoleWork(
            instance=instance,
            roles=instance.roles,
            server=self.server,
            entry=found.entry,
            existing=found.existing,
            wanted=self.wanted.keys,
            missing=[item.key for item in found.missing],
        )
        return await work.script(session, dry_run=dry_run, new_database=new_database)

    def _outcome(self, found: _Found, before: list[str], roles: RoleScript) -> Provisioned:
        entry, missing = found.entry, found.missing
        recorded = None if entry is None else entry.checksum.removeprefix(BEGUN)
        changed = recorded is not None and not self.digest.startswith(recorded)
        complete = entry is not None and recorded == entry.checksum and not changed
        return Provisioned(
            instance=self.instance.name,
            place=self.instance.place,
            checksum=self.digest,
            statements=before + ([] if complete and not missing and roles.is_empty else self._script(found, roles)),
            created=len(missing),
            document_changed=changed,
            warnings=self.wanted.warnings,
        )

    def _script(self, found: _Found, roles: RoleScript) -> list[str]:
        """Return the statements that create objects, with those that write the ledger's row and make roles."""
        ledger, missing = _ledger_key(self.instance.place), found.missing
        frame = creation([item for item in missing if item.key.kind == "schema" or item.key == ledger], self.server)
        rest = creation([item for item in missing if item.key.kind != "schema" and item.key != ledger], self.server)
        if self.server.transactional_ddl:
            return [*roles.around(frame, rest), self._ledger_statement(self.digest, replaces=found.entry is not None)]
        if found.entry is None:
            begun = f"{BEGUN}{self.digest}"[:_CHECKSUM_CHARS]
            frame.append(self._ledger_statement(begun, replaces=False))
        return [*roles.around(frame, rest), self._ledger_statement(self.digest, replaces=True)]

    def _ledger_statement(self, recorded: str, *, replaces: bool) -> str:
        entry = LedgerEntry(
            version=PROVISIONED,
            tenant_id=self.instance.tenant_id,
            instance=self.instance.name,
            checksum=recorded,
        )
        namespace, version = self.instance.place.namespace, self.instance.version
        if replaces or version is None:
            return entry.statement(namespace, self.server.dialect, replaces=replaces)
        baseline = replace(entry, version=f"{BASELINE}{version.removeprefix('v')}", checksum=NO_CHECKSUM)
        return insert_statement([entry, baseline], namespace, self.server.dialect)


def creation(items: Sequence[PreparedObject], server: Server) -> list[str]:
    """Return the statements that create objects of a document."""
    statements: list[str] = []
    for item in items:
        of_schema = item.key.kind == "schema"
        statements += [schema_statement(item.key.name, server)] if of_schema else item.statements
    return statements


def schema_statement(name: str, server: Server) -> str:
    """Return the statement that creates a schema, which may be a database."""
    if server.schemas_are_databases:
        return server.create_database_statement(name)
    return str(CreateSchema(name).compile(dialect=server.dialect))


def _ledger_key(place: Place) -> ObjectKey:
    return ObjectKey(kind="table", schema=place.schema, name=ledger_name(place.namespace))


def _ledger_of(key: ObjectKey, place: Place) -> Namespace | None:
    """Return whose ledger it is: with a prefix also one that begins with it, for others' prefixes may do so."""
    if key.kind != "table" or not (key.name == LEDGER or (place.prefix and key.name.endswith(f"_{LEDGER}"))):
        return None
    return Namespace(key.schema, key.name.removesuffix(LEDGER))


def _folded(key: ObjectKey) -> tuple[str, str, str]:
    return key.kind, key.schema.lower(), key.name.lower()
