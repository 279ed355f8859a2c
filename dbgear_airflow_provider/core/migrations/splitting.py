"""A script's statements: where each begins and ends, and what may not be one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import MigrationError
from .bodies import SEMICOLONS, body_of_statement, end_of_statement
from .grammar import DELIMITER, Scan, Source, Token, scan

_LINE = re.compile(rf"^[ \t]*{DELIMITER.pattern}", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One statement: its tokens, without the semicolon at its end. after: where the next thing may begin."""

    tokens: Sequence[Token]
    after: int

    @property
    def start(self) -> int:
        """Where it begins."""
        return self.tokens[0].start

    @property
    def end(self) -> int:
        """Where it has ended."""
        return self.tokens[-1].end


def split(source: Source, scanned: Scan, begin: int, end: int) -> Iterator[Piece]:
    """Yield the statements between two places of a text. Raises MigrationError.

    Statements end as psql and mysql have it, and where a body (BEGIN ... END) is over; a line `DELIMITER //` changes
    what ends the ones behind it, on the engines whose client knows that.
    """
    tokens, delimiter = _between(scanned, begin, end), ";"
    at = 0
    while at < len(tokens):
        if tokens[at].word in SEMICOLONS:
            at += 1
            continue
        if tokens[at].word == "DELIMITER" and source.grammar.delimiters:
            delimiter, behind = _delimiter(source, tokens[at].start)
            tokens, at = _between(_scan_behind(source, behind, delimiter, end), behind, end), 0
            continue
        stop = end_of_statement(tokens, at, source) if delimiter == ";" else _next_delimiter(tokens, at, source)
        inner = list(tokens[at:stop])
        while inner[-1].word in SEMICOLONS:  # `END; //`
            del inner[-1]
        _check(source, inner)
        at = stop + 1
        yield Piece(tokens=inner, after=tokens[stop].end if stop < len(tokens) else inner[-1].end)


def _scan_behind(source: Source, begin: int, delimiter: str, end: int) -> Scan:
    """Return what stands behind a DELIMITER line, at least to the next one."""
    if following := _LINE.search(source.text, begin, end):
        try:
            return scan(source, begin, delimiter, following.end())
        except MigrationError:
            pass  # what looks like a line is in a string or a comment
    return scan(source, begin, delimiter)


def _between(scanned: Scan, begin: int, end: int) -> list[Token]:
    return [token for token in scanned.tokens if begin <= token.start < end]


def _delimiter(source: Source, start: int) -> tuple[str, int]:
    match = DELIMITER.match(source.text, start)
    if match is None or source.text[:start].rpartition("\n")[2].strip():
        line = source.text[start:].partition("\n")[0]
        allowed = "a line of its own: DELIMITER and signs such as // or $$"
        raise source.error(start, "no DELIMITER line", allowed, line)
    return match["delimiter"], match.end()


def _line_start(source: Source, token: Token) -> int:
    return source.text.rfind("\n", 0, token.start) + 1


def _next_delimiter(tokens: Sequence[Token], begin: int, source: Source) -> int:
    """Return the index of the next delimiter, or the number of tokens. A semicolon before it is part of a body."""
    inner = None
    for at in range(begin, len(tokens)):
        if tokens[at].word == ";":
            break
        if inner is None and tokens[at].word == ":;":
            inner = at
        elif inner is not None and tokens[at].word != ":;" and body_of_statement(tokens, begin, source) is None:
            problem = "several statements before the delimiter"
            raise source.error(tokens[at].start, problem, "one statement, or one with a body", tokens[at].word or None)
    else:
        return len(tokens)
    return at


def _check(source: Source, tokens: Sequence[Token]) -> None:
    grammar, first = source.grammar, tokens[0]
    words = [token.word for token in tokens]
    head = " ".join(words[:2])
    for at, token in enumerate(tokens):
        # MariaDB still has \N for NULL.
        if token.word == "\\" and (grammar.dollars or words[at + 1 : at + 2] != ["N"]):
            line = source.text[token.start :].partition("\n")[0]
            raise source.error(token.start, "a command of the client", "SQL that the server runs", line)
        if token.word == "DELIMITER" and grammar.delimiters and _LINE.match(source.text, _line_start(source, token)):
            problem = "the statement before this line has no end"
            raise source.error(token.start, problem, "the delimiter behind it", source.text[token.start : token.end])
    received = source.text[first.start : tokens[min(1, len(tokens) - 1)].end]
    if words[0] in grammar.client or (words[0] == "COPY" and words[-1] == "STDIN"):
        raise source.error(first.start, "this is a command of the client", "SQL that the server runs", received)
    compound = body_of_statement(tokens, 0, source) is not None
    if (words[0] in grammar.transactions or head in grammar.transactions) and not compound:
        problem = "transactions are begun and ended by the runner"
        allowed = "statements; `transaction:false` behind the marker of the section runs them without a transaction"
        raise source.error(first.start, problem, allowed, received)
