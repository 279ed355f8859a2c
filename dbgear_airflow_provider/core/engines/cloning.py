"""Clones: copies of what an instance holds, beside it on the same server, for a script to be tried on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

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

    schemas: {schema: that of its copy}. names: (schema, name) of what is copied: in others a schema's name may be that
    of a column. Names within strings are renamed as well, for a text may be executed.
    """

    def __init__(
        self,
        grammar: Grammar,
        schemas: Mapping[str, str],
        names: Collection[tuple[str, str]],
        quote: Callable[[str], str],
    ) -> None:
        self._grammar = grammar
        self._schemas = {grammar.folded(schema): quote(copy) for schema, copy in schemas.items()}
        self._names = {(grammar.folded(schema), grammar.folded(name)) for schema, name in names}

    def text(self, sql: str) -> str:
        """Return a definition renamed."""
        grammar = self._grammar
        parts, at = [], 0
        for match in grammar.tokens.finditer(sql):
            parts.append(sql[at : match.start()])
            at = match.end()
            first, second = match["first"], match["second"]
            if match["string"] is not None or match["cast"] is not None:
                begin = match[0].index(match[0][-1]) + 1 if match["cast"] is None else 1
                parts.append(match[0][:begin] + self.text(match[0][begin:-1]) + match[0][-1])
            elif second is not None and self._is_copied(first, second):
                parts.append(f"{self._schemas[grammar.folded(grammar.name(first))]}.{second}")
            else:
                parts.append(match[0])
        return "".join([*parts, sql[at:]])

    def _is_copied(self, first: str, second: str) -> bool:
        grammar = self._grammar
        return (grammar.folded(grammar.name(first)), grammar.folded(grammar.name(second))) in self._names
