"""SQL of a document as tokens: its comments are found, names of schemas and reserved words changed where they stand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from sqlglot import Token, TokenType
from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import SqlglotError


class _Dialect(MySQL):
    class Tokenizer(MySQL.Tokenizer):
        # What stands behind these is SQL as well (`CALL main.log(1)`), not one text.
        COMMANDS: ClassVar = set()


_DIALECT = _Dialect()


def tokens(text: str) -> list[Token]:
    """Return the tokens of a text in MySQL's dialect. Raises ValueError where it has none, or hides some."""
    try:
        found = _DIALECT.tokenize(text)
    except SqlglotError:
        raise ValueError("no SQL") from None
    for token in found:
        # MySQL executes what stands in such comments, which no other parser reads.
        if any(comment.startswith(("!", "M!")) for comment in token.comments):
            raise ValueError("/*! comments are not allowed in it")
    return found


def replace(text: str, edits: Mapping[tuple[int, int], str]) -> str:
    """Return a text with other text at places, {(first, last character): text}."""
    for (start, end), new in sorted(edits.items(), reverse=True):
        text = f"{text[:start]}{new}{text[end + 1 :]}"
    return text


def comments(text: str) -> list[tuple[int, int]]:
    """Return the places of a text's comments, (first, last character).

    What one parser takes for a comment another may read (`1--1`), so a text that was checked goes without them.
    """
    found = tokens(text)
    ends = [-1, *(token.end for token in found)]
    starts = [*(token.start for token in found), len(text)]
    gaps = [(end + 1, start - 1) for end, start in zip(ends, starts, strict=True)]
    return [(first, last) for first, last in gaps if text[first : last + 1].strip(" \t\r\n;")]


# Reserved words that stand alone between commas all the same.
_VALUES = {
    "current_date", "current_time", "current_timestamp", "current_user", "default", "false", "localtime",
    "localtimestamp", "null", "true", "utc_date", "utc_time", "utc_timestamp", "maxvalue", "binary", "char", "signed",
    "unsigned", "decimal", "double", "float", "int", "integer", "bigint", "smallint", "tinyint", "mediumint", "varchar",
    "real", "numeric", "dec", "blob", "longblob", "longtext", "mediumblob", "mediumtext", "tinyblob", "tinytext",
}  # fmt: skip


def with_quotes(text: str, words: Collection[str]) -> str:
    """Return a text with those of the words in backticks that stand in a list of names, `(key, value)`.

    words: reserved words, in lower case, that are columns. Anywhere else they may be what they are reserved for.
    """
    words = {word for word in words if word not in _VALUES}
    if not any(word in text.lower() for word in words):
        return text
    try:
        found = tokens(text)
    except ValueError:  # told when it is compiled
        return text
    edits = {
        (token.start, token.end): f"`{token.text}`"
        for before, token, after in zip(found, found[1:], found[2:], strict=False)
        if text[token.start : token.end + 1].lower() in words
        and before.token_type in {TokenType.L_PAREN, TokenType.COMMA}
        and after.token_type in {TokenType.R_PAREN, TokenType.COMMA}
    }
    return replace(text, edits)


def with_schemas(text: str, names: Mapping[str, str]) -> str:
    """Return a text with other names for schemas, wherever `<schema>.` stands. A text that is no SQL stays as it is."""
    if not any(name in text for name in names):
        return text
    try:
        found = tokens(text)
    except ValueError:  # told when it is compiled
        return text
    edits = {}
    for before, token, after in zip([None, *found], found, found[1:], strict=False):
        is_name = token.token_type != TokenType.STRING and token.text in names
        if is_name and after.token_type == TokenType.DOT and (before is None or before.token_type != TokenType.DOT):
            edits[token.start, token.end] = names[token.text]
    return replace(text, edits)
