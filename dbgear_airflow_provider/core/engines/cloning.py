"""Clones: copies of what an instance holds, beside it on the same server, for a script to be tried on."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

from ..errors import UnsupportedError
from ..schema import Namespace
from .base import Timeouts
from .describing import Grammar

CLONE = "dbgear_rehearsal_"  # what the names of clones begin with


@dataclass(frozen=True, kw_only=True)
class CloneSource:
    """What is copied.

    database, namespaces: of the instance, in the order of its document. kept: tables of which all rows are copied; of
    the others the first `rows`. role: who owns the copies; None: we do. timeouts: of each statement.
    """

    database: str
    namespaces: Sequence[Namespace]
    kept: Collection[str]
    rows: int
    role: str | None
    timeouts: Timeouts

    def schemas(self, name: str) -> dict[str, str]:
        """Return {schema: that of its copy}. name: of the clone. Namespaces with a prefix keep it, in one schema."""
        sources = dict.fromkeys(namespace.schema for namespace in self.namespaces)
        return {schema: f"{name}_{number}" for number, schema in enumerate(sources)}

    def copies(self, name: str) -> list[Namespace]:
        """Return where the copies are, in the order of `namespaces`."""
        schemas = self.schemas(name)
        return [Namespace(schemas[namespace.schema], namespace.prefix) for namespace in self.namespaces]

    def limit(self, table: str) -> str:
        """Return what ends the query for the rows of a table that are copied."""
        return "" if table in self.kept else f" LIMIT {self.rows}"

    def copies_rows(self, table: str) -> bool:
        """Tell whether a table gets any rows."""
        return self.rows > 0 or table in self.kept


class Renaming:
    """Definitions as the server tells them, with the copies' schemas in place of the originals'.

    schemas: {schema: that of its copy}. names: (schema, name) of what is copied: before others a schema's name may be
    that of a table.
    """

    def __init__(
        self,
        grammar: Grammar,
        schemas: Mapping[str, str],
        names: Iterable[tuple[str, str]],
        quote: Callable[[str], str],
    ) -> None:
        self._grammar = grammar
        self._schemas = {grammar.folded(schema): quote(copy) for schema, copy in schemas.items()}
        self._names = {(grammar.folded(schema), grammar.folded(name)) for schema, name in names}

    def text(self, sql: str, *, executes_texts: bool) -> str:
        """Return a definition renamed. Raises UnsupportedError for a name in a text that may be executed."""

        def renamed(match: re.Match[str]) -> str:
            if (inner := match["cast"]) is not None:
                return f"'{self.text(inner, executes_texts=False)}'"
            if (string := match["string"]) is not None:
                if executes_texts and self.text(string[1:-1], executes_texts=False) != string[1:-1]:
                    raise UnsupportedError(f"cannot be cloned: {shorten(string, 80)} names what is the instance's own")
                return string
            first, second = match["first"], match["second"]
            if second is None:
                return match[0]
            folded, name = self._grammar.folded, self._grammar.name
            if (folded(name(first)), folded(name(second))) not in self._names:
                return match[0]
            return f"{self._schemas[folded(name(first))]}.{second}"

        return self._grammar.tokens.sub(renamed, sql)
