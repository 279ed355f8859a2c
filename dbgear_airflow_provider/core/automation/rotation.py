"""Rotation: a tenant's login gets another password, which is in the sink before the server has it."""

from __future__ import annotations

from ..engines import RoleRequest, Server
from .instance import entered, timeouts
from .roles import TenantRoles, refuse_strangers

ROTATE = "rotate_credentials"  # the operation's name


async def rotate_credentials(roles: TenantRoles, server: Server, *, dry_run: bool, attempt: int = 1) -> bool:
    """Give a tenant's login another password; return whether the login is there at all. Sessions that are open go on.

    An attempt that fails after the sink has the new password leaves the old one on the server: repeat it, which makes
    another. Raises OwnershipError where the login is somebody else's, CredentialError, SinkUnavailableError.
    """
    await server.ready()
    place = next(iter(roles.places.values()))
    if place.own_database and not await server.database_exists(place.database):
        return False
    request = RoleRequest(
        tenant_id=roles.tenant_id,
        owner=roles.owner,
        login=roles.login,
        database=place.database,
        own_database=place.own_database,
        shared=True,
        namespaces=[place.namespace],
        kept=(),
        objects=(),
    )
    async with (
        server.session(place.database) as session,
        entered(session, place, timeouts(attempt), dry_run=dry_run),  # provisioning, which makes logins, has this lock
    ):
        state = await session.role_state(request)
        if roles.login not in state.existing:
            return False
        await refuse_strangers(session, server, roles, state)
        if not dry_run:
            password = await roles.hand_over(server)
            await session.apply([server.password_statement(roles.login, password)])
    return True
