"""An instance's live objects beside its document's: which is which, and what each is called in SQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from ..tenants import naming
from . import drops
from .ddl import quoted
from .features import Features, features
from .metadata import DocumentMetaData
from .objects import Namespace, ObjectKey, SchemaObject, schema_objects
from .snapshot import Difference, Snapshot, SnapshotKey


@dataclass(kw_only=True, eq=False)
class Compared:
    """An instance as it should be and as it is, with the document at its place.

    metadata: without the ledger. namespaces: in the order of the document. found: what is not as it should be.
    folds_names: whether the snapshots have names in lower case that the document has not.
    """

    metadata: DocumentMetaData
    namespaces: Sequence[Namespace]
    wanted: Snapshot
    live: Snapshot
    found: Sequence[Difference]
    dialect: Dialect
    folds_names: bool

    @cached_property
    def features(self) -> Features:
        """What the engine can hold."""
        return features(self.dialect)

    @cached_property
    def by_key(self) -> dict[SnapshotKey, Difference]:
        """What is not as it should be, by its key."""
        return {item.key: item for item in self.found}

    @cached_property
    def folded(self) -> Callable[[str], str]:
        """What makes of a name of the document the one of the snapshots."""
        return str.lower if self.folds_names else str

    @cached_property
    def tables(self) -> dict[tuple[str, str], sa.Table]:
        """The document's tables, by schema and name as `folded` has them."""
        tables = self.metadata.tables.values()
        return {(self.folded(str(table.schema)), self.folded(table.name)): table for table in tables}

    @cached_property
    def objects(self) -> dict[ObjectKey, SchemaObject]:
        """The document's objects, by `key_of`."""
        return {self.key_of(item.key): item for item in schema_objects(self.metadata)}

    def of(self, *kinds: str, changes: Iterable[str] = ("missing", "changed", "extra")) -> list[Difference]:
        """Return the differences of these kinds."""
        return [item for item in self.found if item.kind in kinds and item.change in changes]

    def place(self, key: SnapshotKey) -> str:
        """Return the schema on the server in which a key's object is."""
        return self.namespaces[key.namespace].schema

    def name(self, key: SnapshotKey, name: str | None = None) -> str:
        """Return the name on the server of the key's object, or of another one beside it."""
        prefix = self.namespaces[key.namespace].prefix
        if name is None:
            there = self.live if key in self.live.objects else self.wanted
            if key in there.bare:
                return key.name
            name = key.name
        return naming.prefixed(prefix, name) if prefix else name

    def on(self, key: SnapshotKey) -> str:
        """Return the table of a key, as SQL has it."""
        return quoted(self.dialect, self.place(key), self.name(key, key.table or key.name))

    def table(self, namespace: int, name: str) -> sa.Table | None:
        """Return the document's table of that name."""
        key = SnapshotKey("table", namespace, name)
        return self.tables.get((self.folded(self.place(key)), self.folded(self.name(key))))

    def key_of(self, key: ObjectKey) -> ObjectKey:
        """Return a key by which `objects` has the document's."""
        return replace(key, schema=self.folded(key.schema), name=self.folded(key.name))

    def creates(self, key: SnapshotKey) -> SchemaObject | None:
        """Return the document's object of a key."""
        kind: Any = "table" if key.kind == "partition" else "index" if key.kind == "unique" else key.kind
        name = self.name(key)
        of_table = kind == "foreign key" or (kind == "index" and self.features.index_names == "of the table")
        if of_table:
            name = f"{self.name(key, key.table)}.{name}"
        name = name.partition("(")[0] if kind in {"function", "procedure"} else name
        return self.objects.get(self.key_of(ObjectKey(kind=kind, schema=self.place(key), name=name)))

    def _table_of(self, item: Difference) -> sa.Table | None:
        return self.table(item.key.namespace, item.key.table)

    def _column_of(self, check: SnapshotKey) -> SnapshotKey | None:
        """Return the live column that a check is part of, as that of a type is: the two have one name then."""
        key = SnapshotKey("column", check.namespace, check.name, check.table)
        return key if self.features.whole_columns and key in self.live.objects else None

    def _short(self, namespace: int, name: str) -> str:
        return name.removeprefix(self.namespaces[namespace].prefix)

    def _position(self, table: sa.Table) -> tuple[int, str]:
        number = self.namespaces.index(table.info["namespace"])
        return number, self.folded(self._short(number, table.name))

    def _q(self, key: SnapshotKey) -> str:
        # Names of columns never have the prefix.
        return quoted(self.dialect, key.name if key.kind == "column" else self.name(key))

    def _live(self, key: SnapshotKey) -> Mapping[str, str]:
        found: dict[str, str] = json.loads(self.live.objects.get(key, "{}"))
        return found

    def _odd_view(self, key: SnapshotKey) -> bool:
        return "materialized" in self._live(key)

    def _drop_index(self, key: SnapshotKey) -> str:
        if key.kind == "unique" and self.features.unique_constraints:
            return drops.constraint(self.on(key), self._q(key))
        if self.features.index_names == "of the table":
            return f"DROP INDEX {self._q(key)} ON {self.on(key)}"
        return f"DROP INDEX {quoted(self.dialect, self.place(key), self.name(key))}"

    def _drop_trigger(self, key: SnapshotKey) -> str:
        if self.features.trigger_of_table:
            return f"DROP TRIGGER {self._q(key)} ON {self.on(key)}"
        return f"DROP TRIGGER {quoted(self.dialect, self.place(key), self.name(key))}"

    def _drop_routine(self, key: SnapshotKey) -> str:
        name, bracket, arguments = key.name.partition("(")
        return (
            f"DROP {key.kind.upper()} {quoted(self.dialect, self.place(key), self.name(key, name))}{bracket}{arguments}"
        )
