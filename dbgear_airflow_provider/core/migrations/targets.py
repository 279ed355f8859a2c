"""The names that a statement begins with: of what it creates, changes or drops, and of the tables it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .grammar import Source, Token

_KINDS = (
    "TABLE", "VIEW", "INDEX", "SEQUENCE", "TYPE", "DOMAIN", "FUNCTION", "PROCEDURE", "TRIGGER", "EVENT", "AGGREGATE",
)  # fmt: skip
_HEADS = ("CREATE", "ALTER", "DROP", "COMMENT")
_SKIPPED = ("IF", "NOT", "EXISTS", "ONLY", "CONCURRENTLY")
_BEFORE_TABLE = ("REFERENCES", "ON")
_NOT_BEHIND_ON = ("DELETE", "UPDATE", "CONFLICT", "DUPLICATE", "SCHEDULE", "COMPLETION")
_OF_CONSTRAINT = {
    "UNIQUE": "INDEX", "PRIMARY": "INDEX", "EXCLUDE": "INDEX", "FOREIGN": "CONSTRAINT", "CHECK": "CONSTRAINT",
}  # fmt: skip
_KIND_WITHIN = 8  # CREATE OR REPLACE DEFINER = a @ b TRIGGER


@dataclass(frozen=True, kw_only=True)
class Target:
    """A name. kind: of the object, such as TABLE. schema: that stands before it; None: none does."""

    kind: str
    schema: str | None
    name: str


def targets(source: Source, tokens: Sequence[Token]) -> Iterator[Target]:
    """Yield the names of what a statement creates, changes or drops; none for other statements."""
    words = [token.word for token in tokens]
    if words[0] not in _HEADS:
        return
    at = next((at for at, word in enumerate(words[: _KIND_WITHIN + 1]) if word in _KINDS), None)
    if at is None:
        return
    kind = words[at]
    found, behind = _name(source, tokens, at + 1, kind)
    yield from found
    while words[0] == "DROP" and behind < len(words) and words[behind] == ",":
        found, behind = _name(source, tokens, behind + 1, kind)
        yield from found
    yield from _constraints(source, tokens)
    for place in range(behind, len(words) - 1):
        if words[place] in _BEFORE_TABLE and words[place + 1] not in _NOT_BEHIND_ON and words[0] != "COMMENT":
            yield from _name(source, tokens, place + 1, "TABLE")[0]


def _constraints(source: Source, tokens: Sequence[Token]) -> Iterator[Target]:
    """Yield the constraints that are made with a name. One of a key is an index."""
    for at, token in enumerate(tokens[:-2]):
        behind = tokens[at + 2].word
        if token.word == "CONSTRAINT" and behind in _OF_CONSTRAINT:
            yield Target(kind=_OF_CONSTRAINT[behind], schema=None, name=_text(source, tokens[at + 1]))


def _name(source: Source, tokens: Sequence[Token], at: int, kind: str) -> tuple[list[Target], int]:
    while at < len(tokens) and tokens[at].word in _SKIPPED:
        at += 1
    if at >= len(tokens) or tokens[at].word in ("ON", "("):
        return [], at  # an index without a name
    parts = [_text(source, tokens[at])]
    while at + 2 < len(tokens) and tokens[at + 1].word == ".":
        at += 2
        parts.append(_text(source, tokens[at]))
    return [Target(kind=kind, schema=parts[-2] if len(parts) > 1 else None, name=parts[-1])], at + 1


def _text(source: Source, token: Token) -> str:
    text = source.text[token.start : token.end]
    return text[1:-1] if token.kind == "name" else text
