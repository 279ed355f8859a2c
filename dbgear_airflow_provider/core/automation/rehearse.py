"""Rehearsing on one instance: its clone is made, migrated as the instance would be, and dropped."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from ..engines import CloneSource, Server
from ..errors import TerminalError, UnsupportedError
from ..isolation import Place
from ..migrations import MigrationSet, Names
from ..schema import OWN_TABLES, Difference, Namespace, Snapshot, differences
from ..tenants import naming
from .drift import describe
from .instance import Instance, timeouts
from .migrate import STATEMENT_S, migrate_instance
from .rehearsal_report import Rehearsal, RehearsalGroup, changes
from .roles import TenantRoles

# What the server reads, it writes in another way: `x = ANY ('{a}'::text[])`. What is in them the clone got from it.
_WRITTEN = {"definition", "default", "expression"}
_SHOWN = 3  # differences between an instance and its clone


@dataclass(frozen=True, kw_only=True)
class InstanceRehearsal:
    """What is rehearsed on the clone of an instance, which stands for its group.

    names_of: what macros stand for in a place. rows: copied of each table.
    """

    group: RehearsalGroup
    instance: Instance
    server: Server
    migrations: MigrationSet
    names_of: Callable[[Place], Names]
    to: str | None
    out_of_order: bool
    rows: int

    async def run(self, attempt: int) -> Rehearsal:
        """Rehearse. attempt: each one waits longer for locks than the last. Raises TransientError."""
        async with AsyncExitStack() as stack:
            try:
                await self._refuse_missing_roles()
                copies = await stack.enter_async_context(self.server.clone(self._source(attempt)))
                clone = self._on(copies[0])
                names = self.names_of(clone.place)
                self._refuse_originals(names)
                before = await self._faithful(copies)
            except TerminalError as error:
                return Rehearsal.of_error(self.group, "not rehearsed", error)
            started = time.monotonic()
            try:
                await migrate_instance(
                    clone,
                    self.server,
                    self.migrations,
                    names,
                    to=self.to,
                    dry_run=False,
                    attempt=attempt,
                    out_of_order=self.out_of_order,
                )
            except TerminalError as error:
                known = {part for key in before.objects for part in (key.table, key.name)} | {clone.place.schema}
                spent = time.monotonic() - started
                return Rehearsal.of_error(self.group, "failed", error, names=known, duration_s=spent)
            spent = time.monotonic() - started
            (after,) = await self._described([copies])
            return Rehearsal(group=self.group, outcome="passed", duration_s=spent, changes=changes(before, after))

    def _source(self, attempt: int) -> CloneSource:
        instance, roles = self.instance, self.instance.roles
        spaces = instance.namespaces
        return CloneSource(
            database=instance.place.database,
            namespaces=spaces,
            kept={naming.prefixed(space.prefix, name) for space in spaces for name in OWN_TABLES},
            rows=self.rows,
            # In a shared schema the objects are ours.
            role=None if roles is None or instance.place.prefix else roles.owner,
            timeouts=timeouts(attempt, STATEMENT_S),
        )

    def _on(self, space: Namespace) -> Instance:
        """Return the instance as it would be in a clone, with a document of its main schema alone."""
        place, schema = self.instance.place, space.schema
        where = replace(place, schema=schema, database=schema if place.schemas_are_databases else place.database)
        return replace(self.instance, place=where, document={"schemas": {schema: {}}}, roles=self._roles())

    def _roles(self) -> TenantRoles | None:
        """Return the roles for which scripts are run: none are made, and nothing is granted that would stay."""
        roles = self.instance.roles
        return None if roles is None or self.server.keeps_grants else replace(roles, sink=None)

    async def _refuse_missing_roles(self) -> None:
        roles = self._roles()
        if roles is None:
            return
        async with self.server.session(self.server.address.database) as session:
            missing = {roles.owner, roles.login} - await session.existing_roles([roles.owner, roles.login])
        if missing:
            raise UnsupportedError(f"role {', '.join(sorted(missing))} is not there yet: provision the tenant")

    def _refuse_originals(self, names: Names) -> None:
        """Raise UnsupportedError for a statement that names the instance's own schema: it would be changed for good."""
        schemas = "|".join(re.escape(space.schema) for space in self.instance.namespaces)
        named = re.compile(rf"(?<![\w$])({schemas})[\"`]?\s*\.", re.IGNORECASE)
        for migration in self.migrations.migrations:
            for statement in migration.up.statements if migration.version in self.group.versions else ():
                if found := named.search(statement.sql(names)):
                    where = f"{migration.file}, line {statement.line}"
                    raise UnsupportedError(f"{where}: names the schema {found[1]} itself, not by ${{SCHEMA}}")

    async def _faithful(self, copies: Sequence[Namespace]) -> Snapshot:
        """Return what the clone holds. Raises UnsupportedError where that is not what the instance holds."""
        original, copy = await self._described([self.instance.namespaces, copies])
        if found := [item for item in differences(original, copy) if not _is_rewritten(item)]:
            told = "; ".join(map(str, found[:_SHOWN]))
            raise UnsupportedError(f"the clone is not like the instance, in {len(found)} objects: {told}")
        return copy

    async def _described(self, groups: Sequence[Sequence[Namespace]]) -> list[Snapshot]:
        async with self.server.session(self.instance.place.database) as session:
            return await describe(session, groups)


def _is_rewritten(difference: Difference) -> bool:
    if difference.wanted is None or difference.live is None:
        return False
    wanted, live = json.loads(difference.wanted), json.loads(difference.live)
    return all(wanted.get(name) == live.get(name) for name in (wanted.keys() | live.keys()) - _WRITTEN)
