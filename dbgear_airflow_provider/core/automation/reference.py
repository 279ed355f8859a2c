"""What an instance should hold: its document, created for real where nobody sees it, and described.

Only the server knows how it writes what it was given. So a document is created once on each server; tenants whose
documents differ but in the names of schemas and in texts share it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..engines import Server
from ..schema import Namespace, PreparedDocument, Snapshot, SnapshotKey
from ..schema.snapshot import TEXT
from .instance import Instance, timeouts
from .provision import creation, schema_statement

# Documents, of which a fleet has a few; tenants with a document of their own come and go.
_KEPT = 256
_Texts = Mapping[SnapshotKey, str]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an instance should hold.

    document: as it is compiled for it. snapshot: with `TEXT` for the tenant's own texts, which are {column: text}.
    """

    document: PreparedDocument
    snapshot: Snapshot
    texts: Mapping[SnapshotKey, str]

    def neutral(self, live: Snapshot) -> Snapshot:
        """Return what the instance holds with `TEXT` where it has its own texts: equal for equal tenants."""
        return live.without_texts(self.texts)

    @cached_property
    def told(self) -> Snapshot:
        """What it should hold, with the tenant's own texts."""
        return self.snapshot.with_texts(self.texts)


class References:
    """Wanted snapshots, kept for the life of the object: of an engine, for which servers do not change version."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[Any, ...], Snapshot] = OrderedDict()
        # Texts of which the server makes something else, as it does of JSON: they stay part of the document.
        self._stuck: dict[tuple[Any, ...], frozenset[SnapshotKey]] = {}
        self._lock = asyncio.Lock()

    async def wanted(self, instance: Instance, server: Server) -> Wanted:
        """Return what an instance should hold. Raises as `prepare` and as sessions do."""
        await server.ready()
        document = instance.prepared(server)
        shape = (server.name, document.shape, instance.template, instance.on_unsupported)
        folded = str.lower if server.folds_names else str
        texts = {key._replace(table=folded(key.table)): text for key, text in document.texts.items()}
        if (snapshot := self._known(shape, texts)) is None:
            async with self._lock:
                if (snapshot := self._known(shape, texts)) is None:
                    snapshot = await self._make(shape, texts, instance, server)
        stuck = self._stuck[shape]
        texts = {key: text for key, text in texts.items() if key not in stuck}
        return Wanted(document=document, snapshot=snapshot, texts=texts)

    def _known(self, shape: tuple[Any, ...], texts: _Texts) -> Snapshot | None:
        if shape not in self._stuck:
            return None
        key = (shape, self._own(shape, texts))
        if key in self._made:
            self._made.move_to_end(key)
        return self._made.get(key)

    def _own(self, shape: tuple[Any, ...], texts: _Texts) -> frozenset[tuple[SnapshotKey, str]]:
        return frozenset((key, texts[key]) for key in self._stuck[shape])

    async def _make(self, shape: tuple[Any, ...], texts: _Texts, instance: Instance, server: Server) -> Snapshot:
        raw = await create_reference(instance, server)
        snapshot = raw.without_texts(texts)
        stuck = {key for key in texts if f'"default_text":"{_ESCAPED}"' not in snapshot.objects.get(key, "")}
        self._stuck[shape] = self._stuck.get(shape, frozenset()) | stuck
        # One that stays as it is for one tenant stays so for all.
        free = {key: text for key, text in texts.items() if key not in self._stuck[shape]}
        snapshot = raw.without_texts(free)
        self._made[shape, self._own(shape, texts)] = snapshot
        while len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return snapshot


_ESCAPED = TEXT.replace("\0", "\\u0000")


async def create_reference(instance: Instance, server: Server) -> Snapshot:
    """Create an instance's document in a scratch place and return what is there then."""
    prefixes = [namespace.prefix for namespace in instance.namespaces]
    shared = bool(instance.place.prefix)
    async with (
        server.session(server.address.database) as session,
        session.scratch(1 if shared else len(prefixes), timeouts()) as scratch,
    ):
        # With prefixes they share one schema, as they do in their place: their names are cut alike.
        namespaces = [Namespace(scratch[0].schema, prefix) for prefix in prefixes] if shared else scratch
        document = instance.prepared(server, dict(zip(instance.places, namespaces, strict=True)))
        if shared:
            await session.apply([schema_statement(scratch[0].schema, server)])
        await session.apply(creation(document.missing(set()), server))
        (snapshot,) = await session.describe([namespaces])
    return snapshot
