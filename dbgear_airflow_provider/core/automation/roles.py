"""A tenant's roles: made with its instances, and their credential handed over before they are.

One owner role and one login role for all instances of a tenant. The login's password is made here, when the server
does not know the login yet, and is in the sink before the server has it: an attempt that fails afterwards leaves a
credential that the next one replaces, and never a login whose password nobody knows.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..credentials import Credential, CredentialSink
from ..engines import RoleRequest, RoleScript, RoleState, Server, Session
from ..errors import OwnershipError, SettingsError
from ..isolation import Place
from ..schema import OWN_TABLES, LedgerEntry, ObjectKey, ledger_name
from ..tenants import TenantInfo, naming
from .withheld import ACCESS

if TYPE_CHECKING:
    from .instance import Instance

ROLES = "roles"  # the version of the ledger's row that says whose the roles are, where they cannot say it themselves
_GRANTED = {"table", "view", "function", "procedure"}
_PASSWORD_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class TenantRoles:
    """The roles of a tenant. places: of its instances, in their order. sink: None does where no login is made."""

    tenant_id: str
    owner: str
    login: str
    places: Mapping[str, Place]
    sink: CredentialSink | None

    @property
    def digest(self) -> str:
        """What the ledger's row has of their names."""
        return hashlib.sha256(f"{self.owner}\n{self.login}".encode()).hexdigest()

    async def hand_over(self, server: Server) -> str:
        """Make a password and put it into the sink; return it. Raises CredentialError, SinkUnavailableError."""
        if self.sink is None:
            raise SettingsError("no sink for passwords was opened", where="multi_tenant.access.sink")
        password = _password()
        address = server.address
        await self.sink.put(
            Credential(
                tenant_id=self.tenant_id,
                target=server.name,
                engine=server.dialect.name,
                host=address.host,
                port=address.port,
                user=self.login,
                password=password,
                instances={name: place.details() for name, place in self.places.items()},
            )
        )
        return password


def tenant_roles(
    tenant: TenantInfo, places: Mapping[str, Place], server: Server, sink: CredentialSink | None
) -> TenantRoles:
    """Return the roles of a tenant on its target. Raises ValueError where they can have no name."""
    return TenantRoles(
        tenant_id=tenant.tenant_id,
        owner=naming.owner_role(tenant, server.role_limit),
        login=naming.login_role(tenant, server.role_limit),
        places=places,
        sink=sink,
    )


@dataclass(frozen=True, kw_only=True)
class RoleWork:
    """What is to be done about the roles of one instance's tenant.

    entry: the ledger's row of the instance. existing: what is in its schemas. wanted: what its document holds;
    missing: what of that is to be created.
    """

    instance: Instance
    roles: TenantRoles
    server: Server
    entry: LedgerEntry | None
    existing: Collection[ObjectKey]
    wanted: Collection[ObjectKey]
    missing: Collection[ObjectKey]

    async def script(self, session: Session, *, dry_run: bool, new_database: bool = False) -> RoleScript:
        """Return the SQL that is missing; a new login's password is in the sink then, unless in a dry run.

        new_database: the instance's own is not there yet, and the session is on another one. Raises OwnershipError
        where a role of such a name is somebody else's.
        """
        request = self._request()
        state = await session.role_state(request)
        if new_database:
            state = state.in_new_database()
        script = self.server.role_script(request, state, None)
        if script.is_empty:
            return script
        row = None
        if not self.server.marks_roles and self.entry is not None:
            row = await _recorded(session, self.roles, self.instance.place)
        if row != self.roles.digest:
            await refuse_strangers(session, self.server, self.roles, state, but=self.instance.name)
        if self.entry is not None and await session.ledger_entry(self.instance.place.namespace, ACCESS) is not None:
            request = replace(request, suspended=True)
        is_new = self.roles.login not in state.existing
        password = await self.roles.hand_over(self.server) if is_new and not dry_run else None
        script = self.server.role_script(request, state, password)
        if self.server.marks_roles or row == self.roles.digest:
            return script
        # Before the roles: what an attempt leaves that is killed in between is the tenant's own then.
        return replace(script, owning=[self._row_statement(replaces=row is not None), *script.owning])

    def _row_statement(self, *, replaces: bool) -> str:
        entry = LedgerEntry(
            version=ROLES,
            tenant_id=self.roles.tenant_id,
            instance=self.instance.name,
            checksum=self.roles.digest,
        )
        return entry.statement(self.instance.place.namespace, self.server.dialect, replaces=replaces)

    def _request(self) -> RoleRequest:
        place = self.instance.place
        shared = bool(place.prefix)
        kept = {naming.prefixed(place.prefix, name) for name in OWN_TABLES}
        objects = {*self.wanted, *(() if shared else self.existing)}
        return RoleRequest(
            tenant_id=self.roles.tenant_id,
            owner=self.roles.owner,
            login=self.roles.login,
            database=place.database,
            own_database=place.own_database,
            shared=shared,
            namespaces=self.instance.namespaces,
            kept=kept,
            objects=[key for key in objects if key.kind in _GRANTED and key.name not in kept],
            created=[key for key in self.missing if key.kind in _GRANTED and key.name not in kept],
        )


def _password() -> str:
    """Return a password that servers take which want letters of both cases, digits and others."""
    while True:
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        if not password.isalnum() and re.search(r"[a-z]", password) and re.search(r"[A-Z].*\d|\d.*[A-Z]", password):
            return password


async def refuse_strangers(
    session: Session, server: Server, roles: TenantRoles, state: RoleState, *, but: str | None = None
) -> None:
    """Raise OwnershipError where a role of such a name is there and is not this tenant's.

    but: the instance whose ledger does not know them.
    """
    strangers = sorted(state.existing - state.marked)
    if not strangers:
        return
    known = False
    if not server.marks_roles:
        for name, place in roles.places.items():
            known = known or (name != but and await _is_recorded(session, roles, place))
    if not known:
        where = f"target {server.name}"
        told = f"{where} has a role {', '.join(strangers)} that was not made for tenant {roles.tenant_id}"
        raise OwnershipError(told, place=where)


async def _is_recorded(session: Session, roles: TenantRoles, place: Place) -> bool:
    ledger = ObjectKey(kind="table", schema=place.schema, name=ledger_name(place.namespace))
    is_there = ledger in await session.objects([place.namespace])
    return is_there and await _recorded(session, roles, place) == roles.digest


async def _recorded(session: Session, roles: TenantRoles, place: Place) -> str | None:
    """Return what a ledger, which must exist, says of the tenant's roles."""
    row = await session.ledger_entry(place.namespace, ROLES)
    return row.checksum if row is not None and row.tenant_id == roles.tenant_id else None
