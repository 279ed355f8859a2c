"""Where a statement ends whose body has semicolons of its own: BEGIN ... END, and what else ends with END.

https://dev.mysql.com/doc/refman/8.4/en/sql-compound-statements.html,
https://mariadb.com/kb/en/using-compound-statements-outside-of-stored-programs/,
https://www.postgresql.org/docs/current/sql-createfunction.html (BEGIN ATOMIC)
"""

from __future__ import annotations

from collections.abc import Sequence

from .grammar import Source, Token

SEMICOLONS = (";", ":;")

_ROUTINES = ("PROCEDURE", "FUNCTION", "TRIGGER", "EVENT")
_BEFORE_ROUTINE = ("OR", "REPLACE", "DEFINER", "=", "@", "AGGREGATE", "(", ")")
_BLOCKS = ("BEGIN", "IF", "CASE", "LOOP", "REPEAT", "WHILE", "FOR")
# What a body of one plain statement begins with: an IF behind it is a function.
_PLAIN = (
    "RETURN", "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "CALL", "SIGNAL", "RESIGNAL", "DO", "WITH", "SET",
)  # fmt: skip
_VALUE = "a value"  # a CASE that is no statement


def end_of_statement(tokens: Sequence[Token], begin: int, source: Source) -> int:
    """Return the index of the semicolon that ends the statement which begins at an index, or the number of tokens.

    Raises MigrationError where the text ends within a body.
    """
    body = body_of_statement(tokens, begin, source)
    if body is not None:
        return _end_of_body(tokens, body, source)
    parens = 0
    for at in range(begin, len(tokens)):
        word = tokens[at].word
        # psql keeps statements in parentheses together (CREATE RULE), mysql does not.
        if word in SEMICOLONS and (parens <= 0 or source.grammar.compounds):
            return at
        parens += (word == "(") - (word == ")")
    return len(tokens)


def body_of_statement(tokens: Sequence[Token], begin: int, source: Source) -> int | None:
    """Return the index at which the body of a statement begins that may have semicolons in it, else None."""
    compounds = source.grammar.compounds
    first, second = (tokens[at].word if at < len(tokens) else "" for at in (begin, begin + 1))
    if compounds and first in _BLOCKS:
        return begin if first != "BEGIN" or second == "NOT" else None
    at = _routine(tokens, begin) if first in ("CREATE", "ALTER") else None
    if at is None:
        return None
    if not compounds:
        return _index(tokens, at, "ATOMIC", behind=-1)
    if tokens[at].word == "EVENT":
        return _index(tokens, at, "DO", behind=1)
    if tokens[at].word == "TRIGGER":
        row = _index(tokens, at, "ROW", behind=1)
        ordered = row is not None and row < len(tokens) and tokens[row].word in ("FOLLOWS", "PRECEDES")
        return row + 2 if row is not None and ordered else row
    return _body_of_routine(tokens, at)


def _routine(tokens: Sequence[Token], begin: int) -> int | None:
    """Return the index of what is created, where that has a body."""
    for at in range(begin + 1, len(tokens)):
        if tokens[at].word in _ROUTINES:
            return at
        known = tokens[at].word in _BEFORE_ROUTINE or tokens[at].kind in ("name", "string")
        if not known and tokens[at - 1].word not in ("=", "@"):
            return None
    return None


def _index(tokens: Sequence[Token], begin: int, word: str, *, behind: int) -> int | None:
    for at in range(begin, len(tokens)):
        if tokens[at].word in SEMICOLONS:
            break
        if tokens[at].word == word:
            return at + behind
    return None


def _body_of_routine(tokens: Sequence[Token], begin: int) -> int | None:
    """Return where the body of a procedure or function begins: behind its parameters, type and traits."""
    parens, behind = 0, False
    for at in range(begin, len(tokens)):
        word = tokens[at].word
        parens += (word == "(") - (word == ")")
        if parens:
            continue
        if word in SEMICOLONS:
            break
        # `CHARACTER SET utf8` and `RETURNS SET('a')` are types.
        is_type = word == "SET" and tokens[at - 1].word in ("CHARACTER", "RETURNS")
        if behind and not is_type and (word in _BLOCKS or word in _PLAIN):
            return at
        behind = behind or word == ")"
    return None


def _end_of_body(tokens: Sequence[Token], begin: int, source: Source) -> int:
    stack: list[tuple[str, Token]] = []
    starts, handler = True, False  # a statement of the body begins here; the next word may begin a handler's
    at = begin
    while at < len(tokens):
        word, after = tokens[at].word, tokens[at + 1].word if at + 1 < len(tokens) else ""
        block = stack[-1][0] if stack else ""
        if word in SEMICOLONS:
            if not stack:
                return at
            starts, handler = True, False
        elif word == "END" and _closes(block, starts, after):
            stack.pop()
            starts = False
            at += block != _VALUE and after in _BLOCKS  # END IF
        elif word in _BLOCKS and (starts or handler):
            stack.append((word, tokens[at]))
            starts, handler = word in ("BEGIN", "LOOP", "REPEAT"), False
        elif word == "CASE" and stack:
            stack.append((_VALUE, tokens[at]))
            starts = False
        else:
            handler = handler or (word == "FOR" and tokens[at - 1].word == "HANDLER")
            starts = (
                (word in ("THEN", "ELSE") and block in ("IF", "CASE"))
                or (word == "DO" and block in ("WHILE", "FOR"))
                or (word in (":", "ATOMIC") and block != _VALUE)
            )
        at += 1
    if stack:
        kind, opened = stack[-1]
        name = "CASE" if kind == _VALUE else kind
        raise source.error(
            opened.start, f"this {name} has no END", "END, or DELIMITER lines around the statement", name
        )
    return len(tokens)


def _closes(block: str, starts: bool, after: str) -> bool:
    # A column may be called `end`, but not where a statement begins.
    return bool(block) and (starts or block == _VALUE or after == block == "REPEAT")
