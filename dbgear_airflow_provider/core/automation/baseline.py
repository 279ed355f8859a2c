"""Baselines: an instance that DBGear did not make gets a ledger, which says up to where it is migrated already."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.schema import CreateTable

from ..engines import Server, Session, Timeouts
from ..errors import MigrationOrderError, NotProvisionedError
from ..migrations import LedgerState
from ..schema import (
    BASELINE,
    NO_CHECKSUM,
    PROVISIONED,
    LedgerEntry,
    insert_statement,
    ledger_name,
    ledger_table,
)
from .instance import LOCK_S, STATEMENT_S, Instance
from .migrate import Migrated, state_of


async def baseline_instance(
    instance: Instance, server: Server, version: str, *, dry_run: bool, attempt: int = 1
) -> Migrated:
    """Let all migrations up to a version count as applied, in an instance that has none yet.

    Makes the ledger where there is none: what is there belongs to the instance from then on. Safe to repeat.
    Raises NotProvisionedError where nothing is there, OwnershipError where it is another's, MigrationOrderError where
    the ledger has migrations or another baseline.
    """
    await server.ready()
    place = instance.place
    apart = place.own_database and not place.schemas_are_databases
    if apart and not await server.database_exists(place.database):
        raise NotProvisionedError(f"{place.told()} is not there", place=place.told())
    timeouts = Timeouts(lock_s=LOCK_S * attempt, statement_s=STATEMENT_S)
    async with server.session(place.database) as session:
        hold = session.read_only(timeouts) if dry_run else session.locked(place.lock, timeouts)
        async with hold:
            statements = await _statements(session, instance, server, version)
            if not dry_run:
                await session.apply(statements)
            entry = _entries(instance, version)[-1]
    state = LedgerState.of([entry])
    return Migrated(
        place=place,
        versions=[version] if statements else [],
        statements=statements,
        version=state.newest,
        ledger=state.digest,
    )


async def _statements(session: Session, instance: Instance, server: Server, version: str) -> list[str]:
    place = instance.place
    entries = await session.ledger(place.namespace)
    if not entries:  # an attempt may have been killed between the ledger and its rows
        there = await session.objects([place.namespace])
        if not any(key.kind == "table" for key in there):
            raise NotProvisionedError(f"{place.told()} is not there, or empty: provision it", place=place.told())
        table = ledger_table(sa.MetaData(), place.schema, ledger_name(place.namespace))
        make = [] if entries is not None else [str(CreateTable(table).compile(dialect=server.dialect)).strip()]
        return [*make, insert_statement(_entries(instance, version), place.namespace, server.dialect)]
    state = state_of(entries, instance)
    if state.is_empty:
        return [insert_statement(_entries(instance, version)[1:], place.namespace, server.dialect)]
    known = state.baseline.version.removeprefix(BASELINE) if state.baseline else None
    if state.applied or state.progress or known != version:
        told = f"{place.told()} is at version {state.newest} already, and gets no baseline {version}"
        raise MigrationOrderError(told, version=version)
    return []


def _entries(instance: Instance, version: str) -> list[LedgerEntry]:
    owner = {"tenant_id": instance.tenant_id, "instance": instance.name, "checksum": NO_CHECKSUM}
    return [LedgerEntry(version=PROVISIONED, **owner), LedgerEntry(version=f"{BASELINE}{version}", **owner)]
