"""Plans: the exact statements that bring an instance back to its document, and carrying them out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ..engines import Server, Session
from ..errors import NotProvisionedError, PlanRefusedError
from ..isolation import Place
from ..schema import (
    PROVISIONED,
    Alteration,
    LedgerEntry,
    PlannedStatement,
    SchemaDocument,
    Snapshot,
    alterations,
    build_metadata,
    checksum,
    differences,
)
from .instance import Instance, entered, is_absent, timeouts
from .provision import read_owned
from .reference import References, Wanted
from .roles import RoleWork

# Tables have rows now: a statement may have to read or write all of them.
ALTER_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an instance needs to hold what its document says.

    differences: what is not as it should be, as text. statements: in order. unrepaired: what no statement changes, or
    after carrying it out what is left, each with the reason. recorded: whether the ledger has the document already.
    """

    place: Place
    checksum: str
    differences: Sequence[str]
    statements: Sequence[PlannedStatement]
    unrepaired: Sequence[str]
    recorded: bool
    warnings: Sequence[str]

    @property
    def hash(self) -> str:
        """sha256 of the statements, in hex: what somebody approves."""
        return hashlib.sha256("\0".join(item.sql for item in self.statements).encode()).hexdigest()

    @property
    def destructive(self) -> list[PlannedStatement]:
        """The statements that need leave."""
        return [item for item in self.statements if item.destructive]

    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            **self.place.details(),
            "checksum": self.checksum,
            "plan": self.hash,
            "differences": list(self.differences),
            "statements": [
                {"sql": item.sql, "destructive": item.destructive, "why": item.why} for item in self.statements
            ],
            "unrepaired": list(self.unrepaired),
            "warnings": list(self.warnings),
        }


async def plan_instance(instance: Instance, server: Server, references: References) -> Plan:
    """Return what an instance needs. Connects and reads only. Raises NotProvisionedError where nothing is there.

    The plan of one instance of a drift group is that of all: statements differ in names and the tenant's texts only.
    """
    wanted = await references.wanted(instance, server)
    await _refuse_absent(instance, server)
    waits = timeouts(statement_s=ALTER_S)
    async with (
        server.session(instance.place.database) as session,
        entered(session, instance.place, waits, dry_run=True),
    ):
        return await _plan(session, instance, server, wanted)


async def apply_plan(
    instance: Instance,
    server: Server,
    references: References,
    *,
    allow_destructive: bool = False,
    approved: str | None = None,
    attempt: int = 1,
) -> Plan:
    """Bring an instance to its document and return what was done.

    Planned again under the instance's lock: what is carried out is what is needed now. approved: the hash of the plan
    that somebody has seen; another one is refused. Raises PlanRefusedError before anything is changed, also for
    a destructive statement without leave: all of the plan waits then. Where DDL is transactional, all is done
    or nothing; elsewhere what was done stands, and the next plan goes on from there. Rows are kept.
    """
    wanted = await references.wanted(instance, server)
    await _refuse_absent(instance, server)
    place, waits = instance.place, timeouts(attempt, ALTER_S)
    async with server.session(place.database) as session, entered(session, place, waits, dry_run=False):
        plan = await _plan(session, instance, server, wanted)
        refuse_plan(plan, allow_destructive=allow_destructive, approved=approved)
        await session.apply([item.sql for item in plan.statements])
        if plan.statements:
            await session.apply(await _grants(session, instance, server, wanted))
        if not plan.statements and plan.recorded:
            return plan
        left = differences(wanted.told, await _live(session, instance))
        await session.apply(_ledger(instance, plan, server), last=True)
    told = [str(item) for item in left if not any(text.startswith(f"{item}: ") for text in plan.unrepaired)]
    return replace(plan, unrepaired=[*plan.unrepaired, *(f"{text}: is left" for text in told)])


async def _refuse_absent(instance: Instance, server: Server) -> None:
    if await is_absent(instance.place, server):
        raise _not_provisioned(instance.place)


def _not_provisioned(place: Place) -> NotProvisionedError:
    return NotProvisionedError(f"{place.told()} is not provisioned yet", place=place.told())


async def _plan(session: Session, instance: Instance, server: Server, wanted: Wanted) -> Plan:
    existing, entry = await read_owned(session, instance, server)
    if entry is None:
        raise _not_provisioned(instance.place)
    live = await _live(session, instance)
    found = differences(wanted.told, live)
    digest = checksum(instance.document)
    alteration, warnings = Alteration(statements=(), unrepaired=()), list[str]()
    if found:
        metadata = build_metadata(
            SchemaDocument.load(instance.document, where=instance.template),
            instance.places,
            server.dialect,
            on_unsupported=instance.on_unsupported,
        )
        warnings = metadata.warnings
        alteration = alterations(
            metadata,
            instance.namespaces,
            wanted.told,
            live,
            server.dialect,
            found=found,
            existing_schemas={key.schema for key in existing if key.kind == "schema"},
            folds_names=server.folds_names,
        )
    return Plan(
        place=instance.place,
        checksum=digest,
        differences=[str(item) for item in found],
        statements=alteration.statements,
        unrepaired=alteration.unrepaired,
        recorded=entry.checksum == digest,
        warnings=warnings,
    )


async def _grants(session: Session, instance: Instance, server: Server, wanted: Wanted) -> list[str]:
    """Return what gives the tenant's roles again what a plan has made anew."""
    if instance.roles is None:
        return []
    existing, entry = await read_owned(session, instance, server)
    work = RoleWork(
        instance=instance,
        roles=instance.roles,
        server=server,
        entry=entry,
        existing=existing,
        wanted=wanted.document.keys,
        missing=(),
    )
    return (await work.script(session, dry_run=False)).around([], [])


async def _live(session: Session, instance: Instance) -> Snapshot:
    (live,) = await session.describe([instance.namespaces])
    return live


def refuse_plan(plan: Plan, *, allow_destructive: bool, approved: str | None = None) -> None:
    """Raise PlanRefusedError for a plan that must not be carried out, see `apply_plan`."""
    where = plan.place.told()
    if approved is not None and approved != plan.hash:
        sql = [item.sql for item in plan.statements]
        raise PlanRefusedError(
            f"{where}: the plan is not the one that was approved, {approved}; it is {plan.hash} now",
            plan=plan.hash,
            statements=sql,
        )
    if plan.destructive and not allow_destructive:
        sql = [item.sql for item in plan.destructive]
        raise PlanRefusedError(
            f"{where}: {len(sql)} of {len(plan.statements)} statements may lose data, and nothing is done without "
            f"leave: {'; '.join(sql)}",
            plan=plan.hash,
            statements=sql,
        )


def _ledger(instance: Instance, plan: Plan, server: Server) -> list[str]:
    """Return what tells the ledger: the document that the instance now holds, and that a plan was carried out."""
    owner = {"tenant_id": instance.tenant_id, "instance": instance.name}
    rows = [(LedgerEntry(version=PROVISIONED, checksum=plan.checksum, **owner), True)]
    if plan.statements:
        version = f"alter {datetime.now(UTC).isoformat()}"
        rows.append((LedgerEntry(version=version, checksum=plan.hash, **owner), False))
    return [entry.statement(instance.place.namespace, server.dialect, replaces=replaces) for entry, replaces in rows]
