"""Access on MySQL and MariaDB: sessions that look at grants and end others, servers that change them.

It takes SELECT on the database `mysql`, CONNECTION ADMIN or SUPER to end sessions, and the right to grant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from typing_extensions import override

from ..errors import StatementError
from ..schema import Namespace
from . import mysql_grants
from .base import Grant, OtherSession, Scope, Server, Session
from .mysql_catalog import in_list
from .mysql_wire import Wire

_NO_SUCH_THREAD, _NOT_OURS_TO_END = 1094, 1095
_IS_THERE = (
    "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND TABLE_TYPE = 'BASE TABLE'"
)


class AccessSession(Session):
    """A session as it looks at grants."""

    _wire: Wire
    _quote: Callable[[str], str]

    @override
    async def grants(self, scope: Scope) -> list[Grant]:
        asked = self._as_kept(scope)
        sql, values = mysql_grants.grants_query(asked)
        rows = await self._wire.run(sql, *values, told="the grants")
        sql, values = mysql_grants.routines_query(asked)
        routines = await self._wire.run(sql, *values, told="the grants of routines")
        if not self._wire.variant.folds_names:
            return mysql_grants.grants(scope, rows, routines)
        own = scope.parts or await self.objects([Namespace(name) for name in scope.names])
        return mysql_grants.grants(scope, rows, routines, own)

    @override
    async def roles_with_access(self, scope: Scope) -> list[str]:
        sql, values = mysql_grants.access_query(self._as_kept(scope))
        return sorted(mysql_grants.account(name) for (name,) in await self._wire.run(sql, *values, told="the accounts"))

    def _as_kept(self, scope: Scope) -> Scope:
        """Return what is asked for with the names that the grant tables have."""
        return replace(scope, names=list(map(str.lower, scope.names))) if self._wire.variant.folds_names else scope

    @override
    async def existing_roles(self, names: Sequence[str]) -> set[str]:
        if not names:
            return set()
        sql = f"SELECT CONCAT(User, '@', Host) FROM mysql.user WHERE CONCAT(User, '@', Host) IN ({in_list(names)})"  # noqa: S608
        return {name for (name,) in await self._wire.run(sql, *names)}

    @override
    async def rows(self, schema: str, table: str) -> list[tuple[object, ...]] | None:
        if not await self._wire.run(_IS_THERE, schema, table):
            return None
        return await self._wire.run(f"SELECT * FROM {self._quote(schema)}.{self._quote(table)}")  # noqa: S608 - quoted

    @override
    async def other_sessions(self, databases: Sequence[str]) -> list[OtherSession]:
        may_end = await self._may_end()
        return [OtherSession(role=user, may_end=may_end) for _, user in await self._others(databases)]

    @override
    async def end_other_sessions(self, databases: Sequence[str]) -> None:
        for thread, _ in await self._others(databases):
            try:
                await self._wire.run(f"KILL {int(str(thread))}")
            except StatementError as error:
                # It has ended by itself, or is not ours to end: who asked looks again.
                if error.details["code"] not in {_NO_SUCH_THREAD, _NOT_OURS_TO_END}:
                    raise

    async def _others(self, databases: Sequence[str]) -> list[tuple[object, str]]:
        sql = mysql_grants.SESSIONS.format(names=in_list(databases))
        return [(thread, user) for thread, user in await self._wire.run(sql, *databases, told="the sessions")]

    async def _may_end(self) -> bool:
        return bool(await self._wire.run(mysql_grants.MAY_END))


class AccessServer(Server):
    """A server whose grants are changed."""

    ending_needs = "the privilege CONNECTION ADMIN, or SUPER"
    ending_refused = _NOT_OURS_TO_END

    @override
    def revoke_statements(self, grants: Sequence[Grant]) -> list[str]:
        return mysql_grants.revoke_statements(grants, self.quoted)

    @override
    def grant_statements(self, grants: Sequence[Grant]) -> list[str]:
        return mysql_grants.grant_statements(grants, self.quoted)

    def quoted(self, name: str) -> str:
        """Return a name in backticks."""
        return self.dialect.identifier_preparer.quote_identifier(name)
