"""Snapshots: what an instance's namespaces really hold, written so that tenants of one document are equal.

Names of the instance's own schemas are replaced by the position of the schema in the document, `<0>`, and prefixes are
taken away. What may differ between equal tenants is left out: the order of columns, counters, statistics, owners,
grants and DBGear's own tables.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

SnapshotKind = Literal[
    "table",
    "column",
    "primary key",
    "index",
    "unique",
    "exclusion",
    "foreign key",
    "check",
    "partition",
    "view",
    "function",
    "procedure",
    "trigger",
    "sequence",
    "type",
]
Change = Literal["missing", "extra", "changed"]

# Stands for a text that each tenant has its own of, as the default of a column `tenant_id`.
TEXT = "\0text"


class SnapshotKey(NamedTuple):
    """What an object is called.

    namespace: position of its schema in the document. table: of a column, a constraint, an index, a trigger or a
    partition; otherwise empty. name: its own; of a primary key, which there is but one of, empty.
    """

    kind: SnapshotKind
    namespace: int
    name: str
    table: str = ""

    @property
    def told(self) -> str:
        """The name for people: `users`, `users.email`; with `<1>.` before it in a document's second schema."""
        space = f"<{self.namespace}>." if self.namespace else ""
        return space + ".".join(part for part in (self.table, self.name) if part)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One object that is not as it should be. wanted, live: definitions as in `Snapshot.objects`, None where absent."""

    key: SnapshotKey
    change: Change
    wanted: str | None
    live: str | None

    @property
    def kind(self) -> SnapshotKind:
        """The kind of the object."""
        return self.key.kind

    @property
    def name(self) -> str:
        """The name for people."""
        return self.key.told

    def __str__(self) -> str:
        if self.change != "changed":
            return f"{self.kind} {self.name}: {self.change}"
        wanted, live = json.loads(self.wanted or "{}"), json.loads(self.live or "{}")
        parts = [
            f"{name} {_told(live.get(name))}, should be {_told(wanted.get(name))}"
            for name in sorted(wanted.keys() | live.keys())
            if wanted.get(name) != live.get(name)
        ]
        return f"{self.kind} {self.name}: {'; '.join(parts)}"


@dataclass(frozen=True)
class Snapshot:
    """The objects of one instance: {key: definition}, a definition being canonical JSON of an object.

    The fields of a definition are the engine's: `{"type": "character varying(50)", "nullable": true}`; those that do
    not apply are left out. Empty where the instance does not exist. bare: those of an instance with a prefix whose
    names on the server do not begin with it, as those of an index where they are of the table; no part of a definition.
    """

    objects: Mapping[SnapshotKey, str] = field(default_factory=dict)
    bare: frozenset[SnapshotKey] = frozenset()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 in hex over all objects. The same in every process, whatever the order of creation."""
        lines = [
            "\0".join((key.kind, str(key.namespace), key.table, key.name, definition))
            for key, definition in self.objects.items()
        ]
        return hashlib.sha256("\0\0".join(sorted(lines)).encode("utf-8", "surrogatepass")).hexdigest()

    def without_texts(self, texts: Mapping[SnapshotKey, str]) -> Snapshot:
        """Return it with `TEXT` for those defaults of columns that are the tenant's own text. texts: {column: text}."""
        return self._with_defaults(texts, lambda text: text, lambda _: TEXT)

    def with_texts(self, texts: Mapping[SnapshotKey, str]) -> Snapshot:
        """Return it with a tenant's texts where `without_texts` has put `TEXT`."""
        return self._with_defaults(texts, lambda _: TEXT, lambda text: text)

    def _with_defaults(self, texts: Mapping[SnapshotKey, str], old: Any, new: Any) -> Snapshot:
        changed = {}
        for key, text in texts.items():
            definition = self.objects.get(key)
            if definition is None:
                continue
            fields = json.loads(definition)
            if fields.get("default_text") == old(text):
                changed[key] = canonical({**fields, "default_text": new(text)})
        return replace(self, objects={**self.objects, **changed}) if changed else self


def canonical(fields: Mapping[str, Any]) -> str:
    """Return a definition as it is kept: without what is None, keys in order."""
    present = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(present, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def differences(wanted: Snapshot, live: Snapshot) -> list[Difference]:
    """Return what is not as it should be, ordered by key.

    What belongs to a table that is missing, or that should not be there, is not told again.
    """
    return sorted(_differences(wanted, live), key=lambda item: item.key)


def _differences(wanted: Snapshot, live: Snapshot) -> Iterator[Difference]:
    for key in wanted.objects.keys() | live.objects.keys():
        should, is_ = wanted.objects.get(key), live.objects.get(key)
        if should == is_:
            continue
        change: Change = "extra" if should is None else "missing" if is_ is None else "changed"
        other = live if change == "missing" else wanted
        table = SnapshotKey("table", key.namespace, key.table)
        if key.table and change != "changed" and table not in other.objects:
            continue
        yield Difference(key=key, change=change, wanted=should, live=is_)


def _told(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
