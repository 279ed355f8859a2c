"""What holds on to what is changed: it has to let go of it, and comes again afterwards."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

import sqlalchemy as sa

from . import alter_columns
from .alter_columns import ColumnChange
from .alter_names import Compared
from .snapshot import Difference, SnapshotKey

_Columns = dict[tuple[int, str], dict[str, ColumnChange]]


@dataclass(kw_only=True, eq=False)
class Held(Compared):
    """What of an instance depends on what is changed. views: the live ones that are dropped, each with the reason."""

    views: dict[SnapshotKey, Difference | str] = field(default_factory=dict)

    @cached_property
    def columns(self) -> _Columns:
        """How columns are changed, {(place of the schema, table): {column: its change}}."""
        columns: _Columns = defaultdict(dict)
        for item in self.of("column", changes=("missing", "changed")):
            table = self.table(item.key.namespace, item.key.table)
            if table is None or item.key.name not in table.c:
                continue
            column = table.c[item.key.name]
            if item.wanted is not None and item.live is not None:
                wanted, live = json.loads(item.wanted), json.loads(item.live)
                change = alter_columns.changed(column, wanted, live, self.dialect)
            else:
                change = alter_columns.added(column, self.dialect)
            columns[item.key.namespace, item.key.table][item.key.name] = change
        # What an extra column is made of may be changed: it goes first.
        for item in self.of("column", changes=("extra",)):
            if '"expression"' in (item.live or ""):
                drop = ColumnChange(
                    clauses=(), drops=(f"DROP COLUMN {self._q(item.key)}",), destructive=True, rebuilt=True
                )
                columns[item.key.namespace, item.key.table][item.key.name] = drop
        self._study_checks(columns)
        if self.features.readers_hold:
            self._study_readers(columns)
        return columns

    def _study_checks(self, columns: _Columns) -> None:
        for item in self.of("check"):
            table, key = self._table_of(item), self._column_of(item.key)
            changes = columns[item.key.namespace, item.key.table]
            if key is not None and table is not None and key.name in table.c and key.name not in changes:
                definition = json.loads(self.live.objects[key])
                changes[key.name] = alter_columns.changed(table.c[key.name], definition, definition, self.dialect)

    def _study_readers(self, columns: _Columns) -> None:
        for (namespace, name), changes in columns.items():
            table = self.table(namespace, name)
            retyped = {column for column, change in changes.items() if change.retyped}
            for reader in alter_columns.readers(table, retyped) if table is not None else ():
                if SnapshotKey("column", namespace, reader, name) in self.live.objects:
                    changes[reader] = alter_columns.rebuilt(table.c[reader], self.dialect)  # type: ignore[union-attr]

    def _add_readers(self) -> None:
        """Add the views that read what is changed, and those that read these."""
        touched = {
            name for (_, name), changes in self.columns.items() if any(change.retyped for change in changes.values())
        }
        touched |= {item.key.table for item in self.of("column", changes=("extra",))}
        touched |= {item.key.name for item in self.of("table", changes=("extra",))}
        touched |= {key.name for key in self.views}
        views = [key for key in self.live.objects if key.kind == "view" and key not in self.views]
        while found := [key for key in views if key not in self.views and self._reads(key, touched)]:
            touched |= {key.name for key in found}
            self.views.update({key: f"view {key.told}: reads what is changed" for key in found})

    def _reads(self, key: SnapshotKey, names: Iterable[str]) -> bool:
        # Rather one too many: a view that is dropped comes again.
        return any(name in self.live.objects[key] for name in names)

    def _readers_first(self, views: Iterable[SnapshotKey]) -> list[SnapshotKey]:
        keys = list(views)
        graph: dict[SnapshotKey, set[SnapshotKey]] = {key: set() for key in keys}
        for key in keys:
            for other in keys:
                if other != key and f"<{other.namespace}>.{other.name}" in self.live.objects[key]:
                    graph[other].add(key)
        try:
            return list(TopologicalSorter(graph).static_order())
        except CycleError:
            return keys

    @cached_property
    def indexes(self) -> dict[SnapshotKey, Difference | str]:
        """The document's live indexes that are dropped and created again."""
        found: dict[SnapshotKey, Difference | str] = {}
        for item in self.of("index", "unique", changes=("changed",)):
            found[item.key] = item
        names = {item.key.name for item in self.of("index", "unique", changes=("missing",))}
        for item in self.of("index", "unique", changes=("extra",)):
            changes = self.columns[item.key.namespace, item.key.table]
            # It has a name that is needed, or would go with its column.
            if item.key.name in names or any(
                change.rebuilt and column in (item.live or "") for column, change in changes.items()
            ):
                found[item.key] = item
        for (namespace, name), changes in self.columns.items():
            table = self.table(namespace, name)
            rebuilt = {column for column, change in changes.items() if change.rebuilt}
            for index in table.indexes if table is not None and rebuilt else ():
                if rebuilt & _columns_of(index):
                    for kind in ("index", "unique"):
                        key = SnapshotKey(kind, namespace, self._short(namespace, str(index.name)), name)
                        if key in self.live.objects:
                            found.setdefault(key, f"index {key.told}: is on a column that is made anew")
        return found

    @cached_property
    def foreign_keys(self) -> dict[SnapshotKey, Difference | str]:
        """The live foreign keys that are dropped: extra and changed ones, and what hangs on what is changed."""
        found: dict[SnapshotKey, Difference | str] = {
            item.key: item for item in self.of("foreign key", changes=("extra", "changed"))
        }
        loose = self._loosened()
        for table in self.metadata.tables.values():
            for constraint in table.foreign_key_constraints:
                ends = [
                    (self._position(table), {element.parent.name for element in constraint.elements}),
                    (
                        self._position(constraint.referred_table),
                        {element.column.name for element in constraint.elements},
                    ),
                ]
                if any(loose.get(position, set()) & names for position, names in ends):
                    namespace, name = ends[0][0]
                    short = self._short(namespace, str(constraint.name))
                    key = SnapshotKey("foreign key", namespace, short, name)
                    if key in self.live.objects:
                        found.setdefault(key, f"foreign key {key.told}: hangs on what is changed")
        for key in self.live.objects:
            table_key = SnapshotKey("table", key.namespace, key.table)
            if key.kind == "foreign key" and table_key not in self.wanted.objects:
                found.setdefault(key, f"table {key.table}: extra")
        return found

    def _loosened(self) -> dict[tuple[int, str], set[str]]:
        """Return {table: columns} whose type or index is changed."""
        found: dict[tuple[int, str], set[str]] = defaultdict(set)
        for position, changes in self.columns.items():
            found[position] |= {column for column, change in changes.items() if change.retyped}
        for key in self.indexes:
            table = self.table(key.namespace, key.table)
            for index in table.indexes if table is not None else ():
                if self._short(key.namespace, str(index.name)) == key.name:
                    found[key.namespace, key.table] |= _columns_of(index)
        for item in self.of("primary key", changes=("changed", "extra")):
            table = self._table_of(item)
            found[item.key.namespace, item.key.table] |= (
                set(table.primary_key.columns.keys()) if table is not None else set()
            )
        return found


def _columns_of(index: sa.Index) -> set[str]:
    names: set[str] = set()
    for part in index.expressions:
        if isinstance(part, str):
            continue
        names |= {item.name for item in sa.sql.visitors.iterate(part) if isinstance(item, sa.Column)}
    return names
