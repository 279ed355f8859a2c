"""Names of a document's objects within bodies in MySQL's language, as they are on the server.

No parser reads all of such a body, so its tokens are read: a name is changed where it stands for a table, view or
routine, and nowhere else. Names that a statement gives itself (aliases, WITH) are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import Token, TokenType

from .columns import Target
from .ddl import quoted
from .document import SchemaDocument
from .objects import Namespace
from .references import replace, tokens, with_schemas

# Words between INSERT, REPLACE, UPDATE or DELETE and what they are about.
_MODIFIERS = {"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE"}
# Words that are behind a list of tables.
_ENDS = {
    "WHERE", "SET", "GROUP", "ORDER", "HAVING", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "INTO", "WINDOW", "FOR",
    "LOCK", "VALUES", "VALUE", "SELECT", "RETURNING", "THEN", "DO", "LOOP", "END", "BEGIN", "ELSE", "OFFSET", "FETCH",
    "DUPLICATE",
}  # fmt: skip
# Words behind a table that are no alias of it.
_NO_ALIAS = _ENDS | {
    "ON", "USING", "JOIN", "INNER", "LEFT", "RIGHT", "CROSS", "NATURAL", "OUTER", "STRAIGHT_JOIN", "USE", "FORCE",
    "IGNORE", "PARTITION", "TABLESAMPLE", "FROM", "ADD", "DROP", "LIKE", "ENGINE", "MODIFY", "CHANGE", "RENAME",
}  # fmt: skip
_ROWS = {"NEW", "OLD"}
_TABLES_BEHIND = {"JOIN", "STRAIGHT_JOIN", "REFERENCES"}
_TABLE_WORDS = {"TABLE", "TABLES", "VIEW", "TRUNCATE"}


@dataclass(frozen=True)
class ServerNames:
    """The names on the server of what a document holds."""

    document: SchemaDocument
    places: Mapping[str, Namespace]
    target: Target

    def renamed(self, text: str, schema: str) -> str:
        """Return a body of that schema with the names of the server. Raises ValueError where it is no SQL."""
        if not any(place.prefix for place in self.places.values()):
            schemas = {name: quoted(self.target.dialect, place.schema) for name, place in self.places.items()}
            return with_schemas(text, {name: place for name, place in schemas.items() if place})
        edits: dict[tuple[int, int], str] = {}
        for statement in _statements(tokens(text)):
            edits |= _Reader(self, schema, text, statement).edits()
        return replace(text, edits)

    def server_name(self, kind: str, schema: str, name: str) -> str | None:
        """Return the quoted name on the server; None where the schema has no such object. kind: as `_Reader` tells."""
        of = self.document.schemas.get(schema)
        if of is None:
            return None
        routines = [known for known, item in of.procedures.items() if bool(item.return_type) == (kind == "function")]
        known = {"table": [*of.tables, *of.views], "trigger": list(of.triggers)}.get(kind, routines)
        # As it is written first: on some servers names of tables differ by case.
        alike = [name] if name in known else [item for item in known if item.lower() == name.lower()]
        return quoted(self.target.dialect, self.target.named(self.places[schema], alike[0])) if alike else None


def _statements(found: Sequence[Token]) -> Iterator[list[Token]]:
    statement: list[Token] = []
    for token in found:
        if token.token_type == TokenType.SEMICOLON:
            yield statement
            statement = []
        else:
            statement.append(token)
    yield statement


@dataclass
class _Frame:
    """What is known of one level of brackets. tables: a table may stand next; listing: a comma is followed by one."""

    tables: bool = False
    listing: bool = False
    queries: bool = False
    deleting: bool = False  # what stands between DELETE and FROM may be aliases
    nested: bool = False  # a list of tables goes on behind the bracket


@dataclass
class _Reader:
    """Reads one statement."""

    names: ServerNames
    schema: str
    text: str
    tokens: Sequence[Token]
    found: dict[int, str] = field(default_factory=dict)  # {index of a name: "table", or "either" that or an alias}
    aliases: set[str] = field(default_factory=set)
    queries: set[str] = field(default_factory=set)  # what the statement names in WITH

    def edits(self) -> dict[tuple[int, int], str]:
        """Return {(first, last character): text} for the names to change."""
        self._find_tables()
        edits: dict[tuple[int, int], str] = {}
        for at, token in enumerate(self.tokens):
            if not self._is_name(at) or self._word(at - 1) == ".":
                continue
            if self._word(at + 1) == "." and self._is_name(at + 2) and token.text in self.names.places:
                edits |= self._qualified(at)
            elif kind := self._kind(at):
                new = self.names.server_name(kind, self.schema, token.text)
                if new is not None and not (kind == "table" and self._is_own(at)):
                    edits[token.start, token.end] = new
        return edits

    def _qualified(self, at: int) -> dict[tuple[int, int], str]:
        """Return the edits of `<schema>.<name>`."""
        schema, name = self.tokens[at], self.tokens[at + 2]
        place = quoted(self.names.target.dialect, self.names.places[schema.text].schema)
        edits = {(schema.start, schema.end): place} if place else {}
        new = self.names.server_name(self._kind(at, name=at + 2) or "table", schema.text, name.text)
        if new is not None:
            edits[name.start, name.end] = new
        return edits

    def _kind(self, at: int, name: int | None = None) -> str | None:
        """Return what a name stands for: table, function, procedure or trigger; None for anything else."""
        name = at if name is None else name
        before = self._word(at - 1)
        if before == "CALL":
            return "procedure"
        if before in {"PROCEDURE", "FUNCTION", "TRIGGER"} and self._word(0) in {"CREATE", "DROP", "SHOW", "ALTER"}:
            return before.lower()
        if at in self.found:
            return "table"
        if self._word(name + 1) == "(":
            return "function"
        if self._word(name + 1) == "." and self._word(at) not in _ROWS:
            return "table"
        return None

    def _is_own(self, at: int) -> bool:
        """Tell whether it is a name that the statement itself gives; behind FROM and its like no alias stands."""
        name = self.tokens[at].text.lower()
        return name in self.queries or (name in self.aliases and self.found.get(at) != "table")

    def _is_name(self, at: int) -> bool:
        if not 0 <= at < len(self.tokens):
            return False
        token = self.tokens[at]
        source = self.text[token.start : token.end + 1]
        if token.token_type == TokenType.IDENTIFIER:
            return source.startswith("`")
        plain = source == token.text and (source[:1].isalpha() or source[:1] in {"_", "$"} or source[:1] > "\x7f")
        return plain and self._word(at - 1) not in {"@", ":"}

    def _word(self, at: int) -> str:
        """Return a token in upper case; a name in backticks, a string and what is not there are no words."""
        if not 0 <= at < len(self.tokens):
            return ""
        token = self.tokens[at]
        if token.token_type == TokenType.IDENTIFIER or self.text[token.start : token.start + 1] in {"'", '"'}:
            return ""
        return token.text.upper()

    def _find_tables(self) -> None:
        frames = [_Frame()]
        at = 0
        while at < len(self.tokens):
            frame, word, before = frames[-1], self._word(at), self._word(at - 1)
            if word == "(":
                frames.append(_Frame(tables=frame.tables, listing=frame.tables, nested=frame.tables))
                frame.tables = False
            elif word == ")" and len(frames) > 1:
                if frames.pop().nested:
                    at = self._past_alias(at)
            elif frame.tables and word not in {"IF", "NOT", "EXISTS", "LATERAL", "ONLY"} | _MODIFIERS:
                frame.tables = False
                if word not in {"SELECT", "WITH", "VALUES", "FROM", "TABLE", "INTO"} and self._is_name(at):
                    at = self._table(at, frame)
                    continue
                self._look(frame, at, word, before)
            else:
                self._look(frame, at, word, before)
            at += 1

    def _look(self, frame: _Frame, at: int, word: str, before: str) -> None:
        """Note what a word says of those behind it."""
        if word in _TABLES_BEHIND or (word in _TABLE_WORDS and self._word(at + 1) != "("):
            frame.tables = True
            frame.listing = frame.listing or word in _TABLE_WORDS
        elif word == "," and frame.listing:
            frame.tables = True
        elif word in {"SELECT", "FROM", "USING", "OF"}:
            self._look_at_query(frame, at, word, before)
        elif word in {"DELETE", "INSERT", "REPLACE", "INTO", "UPDATE"}:
            self._look_at_change(frame, at, word, before)
        elif word in {"ON", "LIKE"}:
            # CREATE INDEX ... ON, CREATE TABLE ... LIKE
            words = {"CREATE", "INDEX" if word == "ON" else "TABLE"}
            frame.tables = not frame.queries and words <= {self._word(n) for n in range(at)}
        elif word in {"WITH", "RECURSIVE"} and self._is_name(at + 1) and self._word(at + 1) != "RECURSIVE":
            self.queries.add(self.tokens[at + 1].text.lower())
        elif word == "AS" and self._word(at + 1) == "(":
            self._named_query(at - 1)
        elif word in _ENDS:
            frame.listing = False

    def _look_at_query(self, frame: _Frame, at: int, word: str, before: str) -> None:
        if word == "SELECT":
            frame.queries, frame.listing = True, False
        elif word == "FROM":
            # Not that of TRIM or EXTRACT.
            frame.tables, frame.listing, frame.deleting = frame.queries, frame.queries, False
        elif word == "USING":
            frame.tables = self._word(at + 1) != "("
            frame.listing = frame.listing or frame.tables
        elif before in {"UPDATE", "SHARE"} or (before == "TYPE" and self._word(at - 2) == "ROW"):
            frame.tables = frame.listing = True

    def _look_at_change(self, frame: _Frame, at: int, word: str, before: str) -> None:
        if word == "DELETE":
            frame.queries = frame.tables = frame.listing = frame.deleting = True
        elif word == "INTO":
            # SELECT ... INTO and FETCH ... INTO have variables behind it.
            frame.tables, frame.listing = self._inserts(at - 1), False
        elif word == "UPDATE":
            frame.tables = frame.listing = before not in {"KEY", "FOR", "ON"} and self._word(at + 1) != "("
        elif self._word(at + 1) not in {"(", ","}:
            frame.tables, frame.listing = True, False

    def _inserts(self, at: int) -> bool:
        while self._word(at) in _MODIFIERS:
            at -= 1
        return self._word(at) in {"INSERT", "REPLACE"}

    def _named_query(self, at: int) -> None:
        """Take a name of WITH from before its AS, and before its columns."""
        if self._word(at) == ")":
            while at > 0 and self._word(at) != "(":
                at -= 1
            at -= 1
        if self._is_name(at):
            self.queries.add(self.tokens[at].text.lower())

    def _table(self, at: int, frame: _Frame) -> int:
        """Note a table and its alias; return the index behind them."""
        self.found[at] = "either" if frame.deleting else "table"
        while self._word(at + 1) == "." and at + 2 < len(self.tokens):
            at += 2
        return self._past_alias(at) + 1

    def _past_alias(self, at: int) -> int:
        """Note an alias behind a table; return the index of its last word, or of the table's."""
        named = at + 1 if self._word(at + 1) == "AS" else at
        plain = named > at or self._word(named + 1) not in _NO_ALIAS
        if plain and self._is_name(named + 1) and self._word(named + 2) != "(":
            self.aliases.add(self.tokens[named + 1].text.lower())
            return named + 1
        return at
