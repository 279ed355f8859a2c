"""Access: what roles other than its owner may do with an instance, taken away and given back.

On PostgreSQL that is with isolation `schema` USAGE and CREATE on the instance's schemas, with isolation `database`
CONNECT on its database, with isolation `table` what is granted on its objects; on MySQL what is granted on its
databases and what is in them, or with isolation `table` on its objects. What was taken away is recorded in the
instance's own schema, in the same transaction where there is one, else before (see `withheld`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..engines import Grant, Scope, Server, Session
from ..errors import InvalidInputError, LockTimeoutError, OwnershipError
from ..isolation import Place
from ..schema import LedgerEntry, ObjectKey
from ..tenants import TenantInfo
from ..tenants.fields import closed_set
from .ending import end_sessions
from .instance import Instance, entered, is_absent, timeouts
from .provision import read_owned
from .withheld import ACCESS, Record

REVOKE, RESTORE = "revoke_access", "restore_access"  # the operations' names


class ChangeAccess(Protocol):
    """`revoke_access` or `restore_access`."""

    async def __call__(self, instance: Instance, server: Server, *, dry_run: bool, attempt: int) -> AccessChange:
        """Change the access to an instance."""


@dataclass(frozen=True, kw_only=True)
class AccessChange:
    """What revoking or restoring did to an instance, or in a dry run would do.

    found: whether the instance is there at all. databases: those that are its own, to which sessions may be open.
    statements: the exact SQL. grants: those taken away, or given back,
    now. withheld: all that are recorded afterwards. gone: recorded grants that cannot be given back, because the
    role or the schema exists no more. record_lost: an earlier record was gone or had been changed, so that what it
    held cannot be given back. sessions: the role of each session of others on the instance's own database that was
    ended. still_inside: roles that may log in and need no grant to enter.
    """

    place: Place
    found: bool = True
    databases: Sequence[str] = ()
    statements: Sequence[str] = ()
    grants: Sequence[Grant] = ()
    withheld: Sequence[Grant] = ()
    gone: Sequence[Grant] = ()
    record_lost: bool = False
    sessions: Sequence[str] = ()
    still_inside: Sequence[str] = ()


async def revoke_access(instance: Instance, server: Server, *, dry_run: bool, attempt: int = 1) -> AccessChange:
    """Take access to an instance away from all roles but its owner and superusers, PUBLIC included.

    Sessions of such roles on the instance's own database are ended, after the commit: a repetition ends what an
    attempt that was killed in between has left. Safe to repeat: it finds nothing. An instance that is not
    provisioned is found = False. attempt: each one waits longer for locks than the last.

    Raises OwnershipError where the instance's place belongs to somebody else or we may not revoke there. Raises
    StatementError where we may not end a session, OperationTimeoutError where one does not end: the access is
    revoked then.
    """
    place = instance.place
    change = await _change(instance, server, _revoke, _all_revoked, dry_run=dry_run, attempt=attempt)
    if not change.databases:
        return change
    async with server.session(place.database) as session:
        if dry_run:
            sessions = [other.role for other in await session.other_sessions(change.databases)]
        else:
            sessions = await end_sessions(session, change.databases, place.told(), server)
    return replace(change, sessions=sessions)


async def restore_access(instance: Instance, server: Server, *, dry_run: bool, attempt: int = 1) -> AccessChange:
    """Give back exactly what `revoke_access` has taken; what was granted since stays.

    Safe to repeat: where nothing is withheld, nothing is done. Raises OwnershipError where the record of it is gone
    or was changed, or where we may not grant.
    """
    return await _change(instance, server, _restore, _all_restored, dry_run=dry_run, attempt=attempt)


def refuse_wrong_status(tenant: TenantInfo, operation: str) -> None:
    """Raise InvalidInputError for an active tenant whose access would be revoked, or another one's restored."""
    allowed = ["active"] if operation == RESTORE else [status for status in closed_set("status") if status != "active"]
    if tenant.status not in allowed:
        raise InvalidInputError(
            f"tenant {tenant.tenant_id} is {tenant.status}", where=operation, received=tenant.status, allowed=allowed
        )


def access_details(done: Mapping[str, AccessChange], *, target: str, dry_run: bool) -> dict[str, Any]:
    """Return the details of a tenant's result, from what was done to its instances. Grants are texts there."""
    return {
        "dry_run": dry_run,
        "target": target,
        "changed": sum(len(change.grants) for change in done.values()),
        "sessions": sum(len(change.sessions) for change in done.values()),
        "instances": {name: _details(change) for name, change in done.items()},
    }


def _details(change: AccessChange) -> dict[str, Any]:
    return {
        **change.place.details(),
        "found": change.found,
        "statements": list(change.statements),
        **{name: [str(grant) for grant in getattr(change, name)] for name in ("grants", "withheld", "gone")},
        "record_lost": change.record_lost,
        "sessions": list(change.sessions),
        "still_inside": list(change.still_inside),
    }


@dataclass(frozen=True, kw_only=True)
class _Found:
    """An instance that is there.

    existing: what it has. scope: where others may have rights. entry: the ledger's row of the record.
    """

    place: Place
    server: Server
    owner: LedgerEntry
    existing: Collection[ObjectKey]
    scope: Scope
    entry: LedgerEntry | None
    withheld: Sequence[Grant] | None  # None: there should be a record, and it is lost

    @property
    def record(self) -> Record:
        return Record(self.place.namespace, self.server.dialect)

    @property
    def databases(self) -> Sequence[str]:
        """The databases that are the instance's own."""
        return self.scope.names if self.scope.kind == "database" else ()

    def has(self, grant: Grant) -> bool:
        """Tell whether a grant is on something of the instance's."""
        if grant.kind in {"schema", "database"}:
            return grant.kind == self.scope.kind and grant.name in self.scope.names
        inside = self.scope.kind == "table" or self.server.schemas_are_databases
        return inside and (grant.name, grant.part) in {(key.schema, key.name) for key in self.existing}


_Plan = Callable[[Session, _Found], Awaitable[AccessChange]]
_Check = Callable[[Place, AccessChange, Collection[Grant]], None]


async def _change(
    instance: Instance, server: Server, plan: _Plan, check: _Check, *, dry_run: bool, attempt: int
) -> AccessChange:
    place = instance.place
    if await is_absent(place, server):
        return AccessChange(place=place, found=False)
    async with (
        server.session(place.database) as session,
        entered(session, place, timeouts(attempt), dry_run=dry_run),
    ):
        found = await _read(session, instance, server)
        if found is None:
            return AccessChange(place=place, found=False)
        change = await plan(session, found)
        if not dry_run and change.statements:
            await session.apply(change.statements)
            # Without the right to do it, the server warns and goes on.
            check(place, change, await session.grants(found.scope))
    return change


async def _read(session: Session, instance: Instance, server: Server) -> _Found | None:
    place = instance.place
    existing, owner = await read_owned(session, instance, server)
    if owner is None:
        return None
    entry = await session.ledger_entry(place.namespace, ACCESS)
    record = Record(place.namespace, server.dialect)
    return _Found(
        place=place,
        server=server,
        owner=owner,
        existing=existing,
        scope=_scope(place, existing),
        entry=entry,
        withheld=[] if entry is None else await record.read(session, entry),
    )


def _scope(place: Place, existing: Collection[ObjectKey]) -> Scope:
    schemas = sorted(key.name for key in existing if key.kind == "schema")
    if place.prefix:
        kinds = {"table", "view", "function", "procedure"}
        parts = [key for key in existing if key.kind in kinds and key.name.startswith(place.prefix)]
        return Scope(kind="table", names=schemas, parts=parts)
    if place.schemas_are_databases:
        return Scope(kind="database", names=schemas)
    return Scope(kind="database", names=[place.database]) if place.own_database else Scope(kind="schema", names=schemas)


async def _revoke(session: Session, found: _Found) -> AccessChange:
    grants = _to_revoke(await session.grants(found.scope))
    withheld = _merged(found.withheld or (), grants)
    statements: list[str] = []
    if grants:
        atomic = found.server.transactional_ddl
        record = found.record.write_statements(
            withheld, found.owner, replaces=found.entry is not None, transactional_ddl=atomic
        )
        revokes = found.server.revoke_statements(grants)
        statements = revokes + record if atomic else record + revokes
    return AccessChange(
        place=found.place,
        databases=found.databases,
        statements=statements,
        grants=grants,
        withheld=withheld,
        record_lost=found.withheld is None,
        still_inside=await session.roles_with_access(found.scope),
    )


def _to_revoke(grants: Sequence[Grant]) -> list[Grant]:
    """Return the grants to take away: those of roles that need them, and what these have granted to others.

    PostgreSQL takes the second kind away with the first, so it has to be recorded.
    """
    needed = [grant for grant in grants if not grant.keeps]
    makers = {(*grant.what, grant.grantee) for grant in needed if grant.grantee is not None}
    return [grant for grant in grants if not grant.keeps or (*grant.what, grant.grantor) in makers]


def _merged(withheld: Sequence[Grant], grants: Sequence[Grant]) -> list[Grant]:
    """Return all grants to record, a grant with grant option instead of the same one without."""
    merged: dict[tuple[object, ...], Grant] = {}
    for grant in (*withheld, *grants):
        key = (*grant.what, grant.grantee, grant.grantor)
        if key not in merged or grant.grantable:
            merged[key] = grant
    return list(merged.values())


def _all_revoked(place: Place, change: AccessChange, now: Collection[Grant]) -> None:
    if left := [grant for grant in change.grants if grant in now]:
        raise _not_ours(
            place,
            "these grants are not ours to revoke (the owner is another role, or they were made by one that is a "
            "superuser or the owner's member now)",
            left,
        )
    if new := [grant for grant in now if not grant.keeps]:
        where = place.told()
        raise LockTimeoutError(f"{where}: somebody grants at the same time: {_told(new)}", place=where)


async def _restore(session: Session, found: _Found) -> AccessChange:
    if found.withheld is None:
        where = found.place.told()
        raise OwnershipError(
            f"{where}: the record of what was revoked is gone or was changed; grant anew by hand, "
            f"then delete the row '{ACCESS}' of the ledger",
            place=where,
        )
    roles = {role for grant in found.withheld for role in (grant.grantee, grant.grantor) if role is not None}
    there = await session.existing_roles(sorted(roles))
    # Only the instance's own: the record is not trusted to name what belongs to another tenant.
    grants = [
        grant for grant in found.withheld if found.has(grant) and {grant.grantee, grant.grantor} - {None} <= there
    ]
    return AccessChange(
        place=found.place,
        statements=[*found.server.grant_statements(grants), *(found.record.drop_statements() if found.entry else ())],
        grants=grants,
        gone=[grant for grant in found.withheld if grant not in grants],
    )


def _all_restored(place: Place, change: AccessChange, now: Collection[Grant]) -> None:
    given = {(*grant.what, grant.grantee) for grant in now}
    if missing := [grant for grant in change.grants if (*grant.what, grant.grantee) not in given]:
        raise _not_ours(place, "these grants are not ours to make (the owner is another role)", missing)


def _not_ours(place: Place, problem: str, grants: Sequence[Grant]) -> OwnershipError:
    where = place.told()
    return OwnershipError(f"{where}: {problem}: {_told(grants)}", place=where)


def _told(grants: Sequence[Grant]) -> str:
    return "; ".join(str(grant) for grant in grants)
