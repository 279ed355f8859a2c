"""The tokens of a script, as the engine's own lexer and its command-line client cut them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from sqlalchemy.engine import Dialect
from sqlglot import Token as RawToken
from sqlglot import TokenType
from sqlglot.dialects.dialect import Dialect as Grammars
from sqlglot.dialects.mysql import MySQL
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import SqlglotError

from ..errors import MigrationError
from ..schema.features import features

Kind = Literal["word", "string", "name", "body", "sign"]

# In a DELIMITER line, and no beginning of a string or a comment.
DELIMITER = re.compile(r"DELIMITER[ \t]+(?P<delimiter>[^\s'\"`\\#*-]+)[ \t]*(?=\n|\Z)", re.IGNORECASE)


class _Postgres(Postgres):
    class Tokenizer(Postgres.Tokenizer):
        COMMANDS: ClassVar = set()  # what stands behind these is SQL as well, not one text
        COMMENTS: ClassVar = ["--", ("/*", "*/")]  # no Jinja


class _MySQL(MySQL):
    class Tokenizer(MySQL.Tokenizer):
        COMMANDS: ClassVar = set()
        COMMENTS: ClassVar = ["--", "#", ("/*", "*/")]


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """How an engine's scripts are read.

    tokens: of sqlglot. line_comment: what begins one. nested: comments within comments. dollars: `$tag$` begins a
    string. folds: a bare name is in lower case. delimiters: the client knows DELIMITER. compounds: bodies have
    statements such as IF and LOOP. backslash: escapes in any string; otherwise in E'' alone.
    squawk: that linter reads it. transactions, client: first words of statements that a script may not have.
    """

    tokens: Grammars
    line_comment: re.Pattern[str]
    nested: bool
    dollars: bool
    folds: bool
    delimiters: bool
    compounds: bool
    backslash: bool
    squawk: bool
    transactions: frozenset[str]
    client: frozenset[str]


_TRANSACTIONS = {"BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE SAVEPOINT"}
_POSTGRES = Grammar(
    tokens=_Postgres(),
    line_comment=re.compile(r"--[^\n]*"),
    nested=True,
    dollars=True,
    folds=True,
    delimiters=False,
    compounds=False,
    backslash=False,
    squawk=True,
    transactions=frozenset({*_TRANSACTIONS, "ABORT", "END", "RELEASE", "PREPARE TRANSACTION"}),
    client=frozenset(),
)
_FOR_MYSQL = Grammar(
    tokens=_MySQL(),
    # https://dev.mysql.com/doc/refman/8.4/en/comments.html
    line_comment=re.compile(r"#[^\n]*|--(?=[\s\x00-\x1f]|\Z)[^\n]*"),
    nested=False,
    dollars=False,
    folds=False,
    delimiters=True,
    compounds=True,
    backslash=True,
    squawk=False,
    transactions=frozenset({*_TRANSACTIONS, "XA", "LOCK TABLE", "LOCK TABLES", "UNLOCK TABLES", "UNLOCK TABLE"}),
    # https://dev.mysql.com/doc/refman/8.4/en/mysql-commands.html
    client=frozenset(
        {"USE", "SOURCE", "SYSTEM", "TEE", "NOTEE", "PAGER", "NOPAGER", "CONNECT", "WARNINGS", "NOWARNING"}
    ),
)
_GRAMMARS = {"postgres": _POSTGRES, "mysql": _FOR_MYSQL}


def grammar(dialect: Dialect) -> Grammar:
    """Return how scripts for the engine of a dialect are read."""
    return _GRAMMARS[features(dialect).grammar]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a script from `start` to before `end`. word: a bare word in upper case, or a sign; else "".

    kind: `name` is one in quotes, `body` a string in dollars.
    """

    kind: Kind
    start: int
    end: int
    word: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The text of a script. file: as errors tell it. line: that the text begins at, in its file."""

    text: str
    file: str
    grammar: Grammar
    line: int = 1

    @cached_property
    def _ends(self) -> list[int]:
        return [match.start() for match in re.finditer("\n", self.text)]

    def line_of(self, offset: int) -> int:
        """Return the line in the file, counted from 1, of an offset in the text."""
        return self.line + bisect_right(self._ends, offset - 1)

    def error(
        self, offset: int, problem: str, allowed: str | Sequence[str], received: str | None = None
    ) -> MigrationError:
        """Return the error of what stands at an offset."""
        where = f"{self.file}, line {self.line_of(offset)}"
        return MigrationError(problem, where=where, received=received, allowed=allowed)


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a text is made of: tokens and, between them, comments (start, end)."""

    tokens: Sequence[Token]
    comments: Sequence[tuple[int, int]]


def scan(source: Source, begin: int = 0, delimiter: str = ";", end: int | None = None) -> Scan:
    """Return the tokens and comments of a text from an offset on, to before another one.

    A macro is letters of the word, name or string that it stands in. A delimiter is the sign `;`; a semicolon that is
    not the delimiter is the sign `:;`. Raises MigrationError for a string or comment without an end.
    """
    masked = " " * begin + _MASKED.sub(lambda match: "a" * len(match[0]), source.text[begin:end])
    ends: set[int] | None = None
    if delimiter != ";":
        ends = {match.start() for match in re.finditer(re.escape(delimiter), masked)}
        masked = masked.replace(delimiter, ";".ljust(len(delimiter)))
    tokenizer = source.grammar.tokens.tokenizer()
    try:
        raw = tokenizer.tokenize(masked)
    except SqlglotError:
        at = begin
        for item in (*tokenizer.tokens, None):
            _, at = _comments(source, at, item.start if item else len(masked))
            at = item.end + 1 if item else at
        raise source.error(at, "no string, or one without an end", "quotes at its end", _shown(source, at)) from None
    tokens: list[Token] = []
    comments: list[tuple[int, int]] = []
    last = begin
    for item in raw:
        comments += _comments(source, last, item.start)[0]
        tokens += _tokens(item, masked, ends)
        last = item.end + 1
    comments += _comments(source, last, len(masked))[0]
    return Scan(tokens=tokens, comments=comments)


def _comments(source: Source, start: int, end: int) -> tuple[list[tuple[int, int]], int]:
    """Return the comments between two tokens, and where the first thing stands that is neither one nor space."""
    found, at, text = [], start, source.text
    while at < end:
        if text[at].isspace():
            at += 1
            continue
        if match := source.grammar.line_comment.match(text, at):
            stop = match.end()
        elif text.startswith("/*", at):
            stop = _comment_end(source, at)
        else:
            break
        found.append((at, stop))
        at = stop
    return found, at


def _comment_end(source: Source, start: int) -> int:
    depth = 0
    for match in _COMMENT_SIGN.finditer(source.text, start):
        if match[0] == "*/":
            depth -= 1
        elif source.grammar.nested or not depth:
            depth += 1
        if not depth:
            return match.end()
    raise source.error(start, "this comment has no end", "*/ at its end", _shown(source, start))


def _tokens(item: RawToken, masked: str, ends: set[int] | None) -> list[Token]:
    start, end = item.start, item.end + 1
    kind = _KINDS.get(item.token_type)
    if kind:
        return [Token(kind, start, end)]
    text = masked[start:end]
    if text == ";" and ends is not None and start not in ends:
        return [Token("sign", start, end, ":;")]
    if not _WORD.match(text):
        return [Token("sign", start, end, text)]
    # sqlglot takes some words together, such as GROUP BY.
    return [Token("word", start + m.start(), start + m.end(), m[0].upper()) for m in _NOT_SPACE.finditer(text)]


def _shown(source: Source, at: int) -> str:
    return source.text[at : at + _SHOWN_CHARS].split("\n")[0]


_SHOWN_CHARS = 40
_MASKED = re.compile(
    r"(?<!\$)\$\{[A-Z_][A-Z0-9_]*(?::[^{}]*)?\}"  # a macro; behind another `$` it is an escape, or in a body
    r"|(?<![\w$])\$\d+"  # a parameter; sqlglot takes $1+$2$ for the tag of a string
)
_COMMENT_SIGN = re.compile(r"/\*|\*/")
_WORD = re.compile(r"\w")
_NOT_SPACE = re.compile(r"\S+")
_KINDS: Mapping[TokenType, Kind] = {
    TokenType.IDENTIFIER: "name",
    TokenType.HEREDOC_STRING: "body",
    **dict.fromkeys(
        (
            TokenType.STRING, TokenType.NATIONAL_STRING, TokenType.BYTE_STRING, TokenType.UNICODE_STRING,
            TokenType.RAW_STRING, TokenType.BIT_STRING, TokenType.HEX_STRING,
        ),
        "string",
    ),
}  # fmt: skip
