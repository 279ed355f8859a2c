"""The exact statements that bring a live instance to its document, from the differences of two snapshots.

What differs is known by the snapshots, and what it should be by the document's MetaData: no statement is derived from
a guess about what the server may have meant. A table is never dropped and created again to change it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import AddConstraint, DropTableComment, SetTableComment

from . import drops
from .alter_held import Held
from .ddl import quoted
from .metadata import DocumentMetaData
from .objects import Namespace, ObjectKey, SchemaObject
from .snapshot import Difference, Snapshot, SnapshotKey


@dataclass(frozen=True, kw_only=True)
class PlannedStatement:
    """One statement of a plan.

    destructive: it may lose rows or values, drops what no document can bring back, or is stricter with a column's
    values. Any other, as one that adds a key, may still be refused for the rows that are there. why: the differences
    that it is for, as text.
    """

    sql: str
    destructive: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """What is to be done, in order. unrepaired: what differs and no statement changes, each with the reason."""

    statements: Sequence[PlannedStatement]
    unrepaired: Sequence[str]


def alterations(
    metadata: DocumentMetaData,
    namespaces: Sequence[Namespace],
    wanted: Snapshot,
    live: Snapshot,
    dialect: Dialect,
    *,
    found: Sequence[Difference],
    existing_schemas: Iterable[str],
    folds_names: bool = False,
) -> Alteration:
    """Return what makes `live` equal to `wanted`. found: their differences.

    metadata: of the document at its place, without the ledger. namespaces: in the order of the document. folds_names:
    whether the snapshots have names in lower case that the document has not.
    """
    work = _Work(
        metadata=metadata,
        namespaces=namespaces,
        wanted=wanted,
        live=live,
        found=found,
        dialect=dialect,
        folds_names=folds_names,
    )
    work.plan(set(existing_schemas))
    return Alteration(statements=work.statements, unrepaired=work.unrepaired)


_OWN_TYPE = re.compile(r"<\d+>\.")  # as a snapshot has it among a routine's arguments


@dataclass(kw_only=True, eq=False)
class _Work(Held):
    statements: list[PlannedStatement] = field(default_factory=list)
    unrepaired: list[str] = field(default_factory=list)

    # Statements

    def add(self, sql: str, of: Sequence[Difference | str], *, destructive: bool = False) -> None:
        why = "; ".join(map(str, of))
        self.statements.append(PlannedStatement(sql=sql, destructive=destructive, why=why))

    def create(self, item: SchemaObject, of: Sequence[Difference | str], *, replaces: bool = False) -> None:
        for number, sql in enumerate(item.statements(self.dialect)):
            text = sql.replace("CREATE ", "CREATE OR REPLACE ", 1) if replaces and not number else sql
            self.add(text, of)

    def leave(self, difference: Difference, why: str) -> None:
        self.unrepaired.append(f"{difference}: {why}")

    # The plan

    def plan(self, existing_schemas: set[str]) -> None:
        if not self.found:
            return
        for schema in dict.fromkeys(namespace.schema for namespace in self.namespaces):
            item = self.objects.get(self.key_of(ObjectKey(kind="schema", schema=schema, name=schema)))
            if schema not in existing_schemas and item is not None:
                self.create(item, [f"schema {schema}: missing"])
        self._let_go()
        self._change_tables()
        self._add_indexes()
        self._drop_extras()
        self._add_keys_and_others()
        self._drop_loose_extras()

    def _let_go(self) -> None:
        for difference in self.of("view", changes=("extra", "changed")):
            if difference.change == "extra" or "view" not in self.features.replaced or self._odd_view(difference.key):
                self.views[difference.key] = difference
        if self.features.readers_hold:
            self._add_readers()
        for key in self._readers_first(self.views):
            why = self.views[key]
            extra = isinstance(why, Difference) and why.change == "extra"
            self.add(drops.view(self.on(key), self._live(key)), [why], destructive=extra)
        for item in self.of("trigger", changes=("extra", "changed")):
            if item.change == "extra" or "trigger" not in self.features.replaced:
                self.add(self._drop_trigger(item.key), [item], destructive=item.change == "extra")
        for key, foreign in self.foreign_keys.items():
            self.add(drops.foreign_key(self.on(key), self._q(key), self.dialect), [foreign])
        for item in self.of("check", "exclusion", changes=("extra", "changed")):
            if self._column_of(item.key) is None:
                self.add(drops.constraint(self.on(item.key), self._q(item.key)), [item])
        for key, index in self.indexes.items():
            self.add(self._drop_index(key), [index])

    # Tables

    def _change_tables(self) -> None:
        for item in self.of("table", changes=("missing",)):
            self._create(item)
        for item in self.of("partition"):
            if item.change == "missing" and self.creates(item.key) is not None:
                self._create(item)
            elif item.change != "extra" or not self.features.readers_hold:
                self.leave(item, "partitions are not changed here")
        for item in self.of("table", changes=("changed",)):
            self._change_options(item)
        positions = {(item.key.namespace, item.key.table): None for item in self.found if item.kind == "primary key"}
        for namespace, name in {**positions, **{position: None for position, some in self.columns.items() if some}}:
            self._alter(namespace, name)
        for item in self.of("check", changes=("missing", "changed")):
            self._add_check(item)

    def _create(self, item: Difference) -> None:
        made = self.creates(item.key)
        if made is None:
            self.leave(item, "the document does not tell how it is made")
        else:
            self.create(made, [item])
            table = self.table(item.key.namespace, item.key.name)
            for child, sql in table.info.get("children", ()) if item.kind == "table" and table is not None else ():
                self.add(sql, [f"partition {child}: missing"])

    def _change_options(self, item: Difference) -> None:
        wanted, live = json.loads(item.wanted or "{}"), json.loads(item.live or "{}")
        differing = {name for name in wanted.keys() | live.keys() if wanted.get(name) != live.get(name)}
        table = self.table(item.key.namespace, item.key.name)
        if "comment" in differing and table is not None:
            element = SetTableComment(table) if table.comment else DropTableComment(table)
            self.add(str(element.compile(dialect=self.dialect)), [item])
        clauses, known = drops.options(wanted, live)
        if clauses:
            self.add(f"ALTER TABLE {self.on(item.key)} {', '.join(clauses)}", [item])
        if left := differing - known - {"comment"}:
            self.leave(item, f"{', '.join(sorted(left))} of a table with rows is for a person to change")

    def _alter(self, namespace: int, name: str) -> None:
        changes, key = self.columns[namespace, name], SnapshotKey("table", namespace, name)
        table = self.table(namespace, name)
        if table is None or key not in self.live.objects:
            return
        why: list[Difference | str] = [
            item
            for item in self.found
            if (item.key.namespace, item.key.table) == (namespace, name)
            and (item.kind == "primary key" or item.key.name in changes)
            and item.kind in {"primary key", "column", "check"}
        ]
        clauses: list[str] = []
        keys = [item for item in why if isinstance(item, Difference) and item.kind == "primary key"]
        if any(item.change != "missing" for item in keys):
            clauses.append(drops.primary_key(self.name(key), self.dialect))
        told = {item.key.name for item in why if isinstance(item, Difference)}
        why += [f"column {name}.{column}: reads what is changed" for column in changes if column not in told]
        # What is generated goes before what it is made of is changed, and comes after.
        clauses += [clause for change in changes.values() for clause in change.drops]
        for column in sorted(changes, key=lambda column: column in table.c and table.c[column].computed is not None):
            clauses += changes[column].clauses
        if any(item.change != "extra" for item in keys):
            clauses.append(
                f"ADD PRIMARY KEY ({', '.join(quoted(self.dialect, part.name) for part in table.primary_key)})"
            )
        destructive = any(change.destructive for change in changes.values())
        if clauses:
            self.add(f"ALTER TABLE {self.on(key)} {', '.join(clauses)}", why, destructive=destructive)
        for change in changes.values():
            for sql in change.after:
                self.add(sql, why)

    def _add_check(self, item: Difference) -> None:
        table = self._table_of(item)
        checks = (
            [part for part in table.constraints if isinstance(part, sa.CheckConstraint)] if table is not None else []
        )
        for check in checks:
            # The server makes the name of the check of a type from table and column.
            made = {f"{self.name(item.key, item.key.table)}_{column.name}_check" for column in check.columns}
            if self.name(item.key) in made and not self.features.whole_columns:
                sql = str(AddConstraint(check).compile(dialect=self.dialect))
                self.add(sql.replace(" ADD ", f" ADD CONSTRAINT {self._q(item.key)} ", 1), [item])
                return
        if not (self.features.whole_columns and table is not None and item.key.name in table.c):
            self.leave(item, "the document does not tell how it is made")

    # Indexes, and what should not be there

    def _add_indexes(self) -> None:
        for item in self.of("index", "unique", changes=("missing",)):
            self._create(item)
        for key, why in self.indexes.items():
            made = self.creates(key) if key in self.wanted.objects else None
            if made is not None:
                self.create(made, [why])
        for item in self.of("table", changes=("missing",)):
            table = item.key.namespace, item.key.name
            for key in self.wanted.objects:
                if key.kind in {"index", "unique"} and (key.namespace, key.table) == table:
                    made = self.creates(key)
                    if made is not None:
                        self.create(made, [item])

    def _drop_extras(self) -> None:
        for item in self.of("index", "unique", changes=("extra",)):
            if item.key not in self.indexes:
                self.add(self._drop_index(item.key), [item])
        columns: dict[tuple[int, str], list[Difference]] = defaultdict(list)
        for item in self.of("column", changes=("extra",)):
            if item.key.name not in self.columns[item.key.namespace, item.key.table]:
                columns[item.key.namespace, item.key.table].append(item)
        for items in columns.values():
            clauses = ", ".join(f"DROP COLUMN {self._q(item.key)}" for item in items)
            self.add(f"ALTER TABLE {self.on(items[0].key)} {clauses}", items, destructive=True)
        for item in self.of("table", "partition", changes=("extra",)):
            if item.kind == "table" or self.features.readers_hold:
                own = quoted(self.dialect, self.place(item.key), self.name(item.key))
                self.add(drops.table(own, self._live(item.key)), [item], destructive=True)

    # What comes behind the tables

    def _add_keys_and_others(self) -> None:
        reasons: dict[ObjectKey, Difference | str] = {}
        for key in self.wanted.objects:
            if key.kind not in {"foreign key", "function", "procedure", "view", "trigger"}:
                continue
            why, made = self._why(key), self.creates(key)
            if why is None or made is None:
                continue
            if key.kind == "foreign key":
                self.create(made, [why])
            else:
                reasons[made.key] = why
        for made in self.metadata.others:
            if (why := reasons.get(made.key)) is not None:
                self._create_other(made, why)

    def _why(self, key: SnapshotKey) -> Difference | str | None:
        """Return why an object that comes behind the tables is created; None where it is not."""
        if why := self.foreign_keys.get(key) or self.views.get(key) or self.by_key.get(key):
            return why
        table = self.by_key.get(SnapshotKey("table", key.namespace, key.table))
        return f"table {key.table}: missing" if key.table and table is not None and table.change == "missing" else None

    def _create_other(self, made: SchemaObject, why: Difference | str) -> None:
        changed = isinstance(why, Difference) and why.change == "changed"
        replaces = (
            changed
            and made.key.kind in self.features.replaced
            and (made.key.kind != "view" or (isinstance(why, Difference) and why.key not in self.views))
        )
        if changed and not replaces and made.key.kind in {"function", "procedure"} and isinstance(why, Difference):
            self.add(self._drop_routine(why.key), [why])
        self.create(made, [why], replaces=replaces)

    def _drop_loose_extras(self) -> None:
        # A type of the instance's own has no name in the key that SQL would take.
        routines = self.of("function", "procedure", changes=("extra",))
        kept = [item for item in routines if _OWN_TYPE.search(item.key.name)]
        for item in routines:
            if item in kept:
                self.leave(item, "it takes a type of the schema's own, drop it by hand")
            else:
                self.add(self._drop_routine(item.key), [item], destructive=True)
        for item in self.of("sequence", "type", changes=("extra",)):
            if item.kind == "type" and any(f"<{item.key.namespace}>.{item.key.name}" in own.key.name for own in kept):
                self.leave(item, "a function takes it")
                continue
            name = quoted(self.dialect, self.place(item.key), self.name(item.key))
            self.add(f"DROP {item.kind.upper()} {name}", [item], destructive=True)
        for item in self.of("sequence", "type", "exclusion", changes=("missing", "changed")):
            self.leave(item, "the document does not tell how it is made")
