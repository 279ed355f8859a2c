"""Macros in scripts: `${NAME}` within names, strings and bodies. A value never leaves the place that it stands in."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from sqlalchemy.engine import Dialect

from ..errors import MigrationError
from ..isolation import Place
from ..schema.ddl import quoted
from ..templating.macros import FIELDS, MACRO, MacroProcessor
from ..tenants import TenantInfo, naming
from .grammar import Source, Token, scan

PREFIX = "PREFIX"
# Those of the instance itself, which nothing replaces.
INSTANCE_MACROS = (PREFIX, "SCHEMA", "DATABASE", "INSTANCE", "TENANT_ID")
_FUNCTIONS = MacroProcessor({}).macro_functions
KNOWN_MACROS = sorted({*INSTANCE_MACROS, *(name.upper() for name in (*FIELDS, *_FUNCTIONS))})


class Names:
    """What the macros stand for in one instance.

    name_macros: those that the tenant's environment document adds; asked for once, when a script uses one of them.
    """

    def __init__(
        self,
        place: Place,
        tenant: TenantInfo,
        instance: str,
        *,
        name_macros: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.prefix = place.prefix
        self.limit = place.name_limit
        self._tenant = tenant
        self._instance = instance
        self._name_macros = name_macros
        self._processor: MacroProcessor | None = None
        self._own = dict(
            zip(INSTANCE_MACROS, (place.prefix, place.schema, place.database, instance, tenant.tenant_id), strict=True)
        )

    def value(self, match: re.Match[str]) -> str:
        """Return the text of a macro, a match of MACRO. Raises TemplateError."""
        own = self._own.get(match["name"])
        if own is not None:
            return own
        if self._processor is None:
            extra = self._name_macros()
            self._processor = MacroProcessor.for_tenant(self._tenant, self._instance, extra, where="name_macros")
        return self._processor.expand(match)

    def prefixed(self, name: str) -> str:
        """Return the name on the server of an object with the instance's prefix."""
        return naming.prefixed(self.prefix, name) if self.prefix else name


class Part(Protocol):
    """A part of a statement that is another one in each instance."""

    def sql(self, names: Names) -> str:
        """Return its SQL in one instance."""


Parts = Sequence[str | Part]


def rendered(parts: Parts, names: Names) -> str:
    """Return the SQL of parts in one instance."""
    return "".join(part if isinstance(part, str) else part.sql(names) for part in parts)


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text with macros in it. pieces: text, and matches of MACRO that are no escapes.

    A word that begins with the prefix is the name on the server, cut as that of an object in a document.
    """

    pieces: Sequence[str | re.Match[str]]

    @classmethod
    def of(cls, text: str, fold: Callable[[str], str] = str) -> Text:
        """Take a text apart. fold: for what is no macro."""
        pieces: list[str | re.Match[str]] = []
        at = 0
        for match in MACRO.finditer(text):
            pieces.append(fold(text[at : match.start()]))
            pieces.append(fold(match[0][1:]) if match["escape"] else match)
            at = match.end()
        return cls(pieces=[*(piece for piece in pieces if piece), *filter(None, [fold(text[at:])])])

    def value(self, names: Names, escaped: Callable[[str], str] = str) -> str:
        """Return the text in one instance. escaped: for what the macros stand for."""
        found: list[str] = []
        prefix = False
        for piece in self.pieces:
            if not isinstance(piece, str):
                prefix = piece["name"] == PREFIX
                found.append(escaped(names.value(piece)))
            elif prefix and (word := _WORD.match(piece)):
                found[-1] = escaped(names.prefixed(word[0]))
                found.append(piece[word.end() :])
            else:
                found.append(piece)
        return "".join(found)


@dataclass(frozen=True, kw_only=True)
class Name:
    """A name. always: whether it is in quotes whatever it is."""

    text: Text
    where: str
    dialect: Dialect
    always: bool

    def sql(self, names: Names) -> str:
        """Return it, in quotes where the engine needs them. Raises MigrationError where nothing is left of it."""
        first, *rest = self.text.pieces
        if not isinstance(first, str) and first["name"] == PREFIX:
            name = names.prefixed(Text(pieces=rest).value(names))
        else:
            name = self.text.value(names)
        name = naming.shorten(name, names.limit)
        if not name:
            raise MigrationError("a name of macros alone that are empty here", where=self.where, allowed="a name")
        # SQLAlchemy takes a line's end for no reason to quote.
        always = self.always or name.endswith("\n")
        return self.dialect.identifier_preparer.quote_identifier(name) if always else quoted(self.dialect, name)


@dataclass(frozen=True, kw_only=True)
class Literal:
    """A string in quotes, which are part of the text. escapes: {character: how it is written in it}."""

    text: Text
    escapes: Mapping[int, str]

    def sql(self, names: Names) -> str:
        """Return it with its quotes."""
        return self.text.value(names, lambda value: value.translate(self.escapes))


@dataclass(frozen=True, kw_only=True)
class Dollars:
    """A string in dollars: the body of a function, or a text."""

    tag: str
    parts: Parts

    def sql(self, names: Names) -> str:
        """Return it with its tag, or with another one where a value has that in it."""
        text, tag, number = rendered(self.parts, names), self.tag, 0
        while tag in f"{text}$":
            number += 1
            tag = f"$body{number}$"
        return f"{tag}{text}{tag}"


@dataclass(frozen=True, kw_only=True)
class _Plain:
    text: Text

    def sql(self, names: Names) -> str:
        return self.text.value(names)


_WORD = re.compile(r"\w+")
_LANGUAGES = ("SQL", "PLPGSQL", "")  # "": in quotes


class Macros:
    """Takes statements apart at their macros.

    names: of the macros that environment documents add, in any case.
    """

    def __init__(self, dialect: Dialect, names: Collection[str] = ()) -> None:
        self._dialect = dialect
        self._known = {*KNOWN_MACROS, *(name.upper() for name in names)}

    def parts(self, source: Source, tokens: Sequence[Token]) -> Parts:
        """Return the parts of a statement. Raises MigrationError for a macro that nobody knows."""
        language = _language(tokens) if _is_code(tokens) else None
        return self._parts(source, tokens, tokens[0].start, tokens[-1].end, language)

    def _parts(self, source: Source, tokens: Sequence[Token], start: int, end: int, language: str | None) -> Parts:
        text = source.text
        if "${" not in text[start:end]:
            return [text[start:end]]
        found: list[str | Part] = []
        for token in tokens:
            inner = text[token.start : token.end]
            if "${" not in inner and not (token.word == "{" and text[token.start - 1] == "$"):
                continue
            if token.kind != "body" or language is None:  # a body's own tokens are looked at in turn
                self._check(source, token)
            if MACRO.search(inner):
                found += [text[start : token.start], self._part(source, token, inner, language)]
                start = token.end
        return [*found, text[start:end]]

    def _check(self, source: Source, token: Token) -> None:
        if token.word == "{":
            line = source.text[token.start - 1 :].partition("\n")[0]
            raise source.error(token.start, "no macro", "${NAME}, in upper case", line)
        for match in MACRO.finditer(source.text, token.start, token.end):
            if match["escape"]:
                continue
            if match["name"] not in self._known:
                raise source.error(match.start(), "there is no such macro", sorted(self._known), match[0])
            if match["argument"] is not None and match["name"].lower() not in _FUNCTIONS:
                raise source.error(match.start(), "this macro takes no argument", f"${{{match['name']}}}", match[0])

    def _part(self, source: Source, token: Token, inner: str, language: str | None) -> Part:
        grammar = source.grammar
        if token.kind == "body":
            tag = inner[: inner.index("$", 1) + 1]
            return Dollars(tag=tag, parts=self._body(source, token, len(tag), language))
        if token.kind in ("string", "name") and source.text[: token.start].upper().endswith("U&"):
            raise self._no_place(source, token, "a name in U&")
        if token.kind == "string":
            at = min((at for at in (inner.find("'"), inner.find('"')) if at >= 0), default=-1)
            if at < 0:
                raise self._no_place(source, token, "a number")
            introducer, quote = inner[:at].upper(), inner[at]
            if introducer == "U&":
                raise self._no_place(source, token, "a string in U&")
            escapes = {ord(quote): quote * 2}
            if grammar.backslash or introducer == "E":
                escapes[ord("\\")] = "\\\\"
            return Literal(text=Text.of(inner), escapes=escapes)
        where = f"{source.file}, line {source.line_of(token.start)}"
        always = token.kind == "name"
        name = inner[1:-1].replace(inner[0] * 2, inner[0]) if always else inner
        fold = _folded if grammar.folds and not always else str
        return Name(text=Text.of(name, fold), where=where, dialect=self._dialect, always=always)

    def _body(self, source: Source, token: Token, tag: int, language: str | None) -> Parts:
        start, end = token.start + tag, token.end - tag
        text = source.text[start:end]
        if language is None:
            return [_Plain(text=Text.of(text))]
        if language not in _LANGUAGES:
            raise self._no_place(source, token, f"a body in {language}")
        inner = Source(text=text, file=source.file, grammar=source.grammar, line=source.line_of(start))
        return self._parts(inner, scan(inner).tokens, 0, len(text), language)

    def _no_place(self, source: Source, token: Token, place: str) -> MigrationError:
        return source.error(
            token.start, f"macros do not work in {place}", "plain quotes", source.text[token.start : token.end]
        )


def _folded(text: str) -> str:
    # PostgreSQL folds ASCII alone where the encoding is UTF8.
    return "".join(char.lower() if char.isascii() else char for char in text)


def _is_code(tokens: Sequence[Token]) -> bool:
    """Tell whether strings in dollars are bodies of code, and no texts."""
    words = {token.word for token in tokens}
    return tokens[0].word == "DO" or (tokens[0].word == "CREATE" and not words.isdisjoint(("FUNCTION", "PROCEDURE")))


def _language(tokens: Sequence[Token]) -> str:
    return next((b.word for a, b in pairwise(tokens) if a.word == "LANGUAGE"), "")
