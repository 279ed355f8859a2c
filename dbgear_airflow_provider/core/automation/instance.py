"""An instance of a tenant, as all operations see it, and how they go to where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..engines import Server, Session, Timeouts
from ..isolation import Place
from ..schema import Namespace, OnUnsupported, PreparedDocument, prepare, schema_names
from .loading import InitialData
from .roles import TenantRoles

LOCK_S = 2.0
STATEMENT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One instance of a tenant: where it lives and the rendered document of what it holds.

    roles: those that own it and log in to it; None: there are none. version: up to which migration the document has all
    of them; None: none.
    """

    tenant_id: str
    name: str
    place: Place
    document: Mapping[str, Any]
    template: str
    on_unsupported: OnUnsupported = "error"
    data: InitialData | None = None
    roles: TenantRoles | None = None
    version: str | None = None

    @cached_property
    def places(self) -> Mapping[str, Namespace]:
        """{schema of the document: where it is on the server}, in the order of the document. Raises DocumentError."""
        return self.place.namespaces(schema_names(self.document, where=self.template))

    @property
    def namespaces(self) -> Sequence[Namespace]:
        """Where its schemas are, in the order of its document."""
        return list(self.places.values())

    def prepared(self, server: Server, places: Mapping[str, Namespace] | None = None) -> PreparedDocument:
        """Return its document compiled for its place, or for other places, {schema of the document: where}."""
        return prepare(
            self.document,
            self.places if places is None else places,
            server.dialect,
            where=self.template,
            on_unsupported=self.on_unsupported,
        )


def timeouts(attempt: int = 1, statement_s: float = STATEMENT_S) -> Timeouts:
    """Return how long a session waits. attempt: each one waits longer for locks than the last."""
    return Timeouts(lock_s=LOCK_S * attempt, statement_s=statement_s)


async def is_absent(place: Place, server: Server) -> bool:
    """Tell whether a database is missing without which no session can look into the place."""
    apart = place.own_database and not place.schemas_are_databases
    return apart and not await server.database_exists(place.database)


def entered(session: Session, place: Place, timeouts: Timeouts, *, dry_run: bool) -> AbstractAsyncContextManager[None]:
    """Hold the place's lock, under which it is changed by one at a time, or in a dry run read only."""
    return session.read_only(timeouts) if dry_run else session.locked(place.lock, timeouts)
