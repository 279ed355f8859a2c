"""From rows of a catalog to snapshots: whose an object is, and its definition without the tenant's own names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ..schema import OWN_TABLES, Namespace, Snapshot, SnapshotKey
from ..schema.snapshot import SnapshotKind, canonical

# These texts are the tenant's and no SQL.
_NO_SQL = {"comment", "default_text"}
# In these the server has no names of its own making: a body may name what does not exist.
_BODIES = {"function", "procedure", "trigger"}
_CALLED = {"table", "view", "sequence", "function", "procedure", "type", "partition"}


class Found(NamedTuple):
    """One row of a catalog. table: what it belongs to, or empty. fields: of the definition, None where absent."""

    kind: SnapshotKind
    schema: str
    table: str
    name: str
    fields: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """How an engine writes SQL.

    tokens: has the groups `string` (with `cast` where names are in it), `comment`, `first` and `second`, two names
    joined by a dot. mark: around a name that needs it. folds: whether the server has names of schemas and tables in
    lower case, whatever it was told.
    """

    tokens: re.Pattern[str]
    mark: str
    folds: bool = False

    def folded(self, text: str) -> str:
        """Return a text as names in it are compared."""
        return text.lower() if self.folds else text

    def short(self, name: str, prefix: str) -> str:
        """Return a name without a prefix that it begins with."""
        return name[len(prefix) :] if self.folded(name).startswith(self.folded(prefix)) else name

    def name(self, token: str) -> str:
        """Return a name without its quotes."""
        if token[0] != self.mark:
            return token
        return token[1:-1].replace(self.mark * 2, self.mark)

    def plain(self, name: str, token: str) -> str:
        """Return a name as it stands in definitions: in quotes only where no engine could do without."""
        return name if _SIMPLE.fullmatch(name) else token


_SIMPLE = re.compile(r"[a-z_][a-z0-9_$]*")


class _Owners:
    """Whose the names in a schema are: the longest prefix decides."""

    def __init__(self, grammar: Grammar) -> None:
        self._folded = grammar.folded
        self._by_prefix: dict[str, tuple[str, int, int]] = {}
        self._lengths: list[int] = []

    def add(self, prefix: str, group: int, index: int) -> None:
        self._by_prefix[self._folded(prefix)] = (prefix, group, index)
        self._lengths = sorted({*self._lengths, len(prefix)}, reverse=True)

    def of(self, name: str) -> tuple[str, int, int] | None:
        for length in self._lengths:
            if (found := self._by_prefix.get(self._folded(name[:length]))) is not None:
                return found
        return None


def snapshots(groups: Sequence[Sequence[Namespace]], rows: Iterable[Found], grammar: Grammar) -> list[Snapshot]:
    """Return a snapshot for each group of namespaces, an instance's, from the rows of all of them."""
    owners: dict[str, _Owners] = defaultdict(lambda: _Owners(grammar))
    for group, namespaces in enumerate(groups):
        for index, namespace in enumerate(namespaces):
            owners[namespace.schema].add(namespace.prefix, group, index)
    found: list[list[tuple[int, str, Found]]] = [[] for _ in groups]
    for row in rows:
        owner = owners[row.schema].of(row.table or row.name)
        if owner is not None:
            prefix, group, index = owner
            found[group].append((index, prefix, row))
    return [_Instance(namespaces, rows_, grammar).snapshot() for namespaces, rows_ in zip(groups, found, strict=True)]


class _Instance:
    """The rows of one instance, and what its names are in definitions."""

    def __init__(
        self, namespaces: Sequence[Namespace], rows: Sequence[tuple[int, str, Found]], grammar: Grammar
    ) -> None:
        self._rows = rows
        self._grammar = grammar
        folded = grammar.folded
        self._schemas = {folded(item.schema): index for index, item in enumerate(namespaces) if not item.prefix}
        own = (folded(part) for item in namespaces for part in (item.schema, item.prefix) if part)
        self._own = tuple(dict.fromkeys(own))
        self._names: dict[tuple[str, str], str] = {}
        self._bare: dict[str, str] = {}
        for index, prefix, row in rows:
            if row.kind in _CALLED:
                called = row.name.partition("(")[0]
                self._names[folded(row.schema), folded(called)] = f"<{index}>.{grammar.short(called, prefix)}"
            if prefix and row.kind != "column" and folded(row.name).startswith(folded(prefix)):
                called = row.name.partition("(")[0]
                self._bare[folded(called)] = grammar.short(called, prefix)

    def snapshot(self) -> Snapshot:
        objects, bare = {}, set()
        for index, prefix, row in self._rows:
            # Names of columns never have the prefix, whatever they begin with.
            table = self._grammar.short(row.table, prefix)
            name = row.name if row.kind == "column" else self._grammar.short(row.name, prefix)
            if row.kind in _BODIES and "." in name:
                name = self._text(name, loose=False)
            if (table or (name if row.kind == "table" else "")) in OWN_TABLES:
                continue
            key = SnapshotKey(row.kind, index, name, table)
            objects[key] = self._definition(row)
            if prefix and self._grammar.short(row.name, prefix) == row.name:
                bare.add(key)
        return Snapshot(objects, frozenset(bare))

    def _definition(self, row: Found) -> str:
        if self._is_plain(row.fields):
            return _canonical(row.fields)
        loose = row.kind in _BODIES
        return canonical(
            {key: text if text is None or key in _NO_SQL else self._text(text, loose=loose) for key, text in row.fields}
        )

    def _is_plain(self, fields: tuple[tuple[str, str | None], ...]) -> bool:
        # Most are: columns without a word of SQL. Tenants share their definitions.
        texts = self._grammar.folded("\0".join([text for _, text in fields if text]))
        if self._grammar.mark in texts:
            return False
        return all(own not in texts for own in self._own)

    def _text(self, text: str, *, loose: bool) -> str:
        grammar = self._grammar

        def replaced(match: re.Match[str]) -> str:
            if (inner := match["cast"]) is not None:
                return f"'{self._text(inner, loose=loose)}'"
            first, second = match["first"], match["second"]
            if first is None:
                return match[0]
            name = grammar.name(first)
            called = grammar.folded(name)
            if second is None:
                return self._bare.get(called) or grammar.plain(name, first)
            other = grammar.name(second)
            if known := self._names.get((called, grammar.folded(other))):
                return known
            if loose and called in self._schemas:
                return f"<{self._schemas[called]}>.{grammar.plain(other, second)}"
            return f"{self._bare.get(called) or grammar.plain(name, first)}.{grammar.plain(other, second)}"

        return grammar.tokens.sub(replaced, text)


@lru_cache(maxsize=4096)
def _canonical(fields: tuple[tuple[str, str | None], ...]) -> str:
    return canonical(dict(fields))
