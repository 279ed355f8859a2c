"""Lint rules that a statement's words are enough for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .grammar import Source, Token, scan

# The beginnings of statements that are about the server, or leave the role that a script runs in.
_NOT_A_MIGRATION = (
    "GRANT", "REVOKE", "CREATE ROLE", "ALTER ROLE", "DROP ROLE", "CREATE USER", "ALTER USER", "DROP USER",
    "RENAME USER", "CREATE GROUP", "ALTER GROUP", "DROP GROUP", "REASSIGN OWNED", "DROP OWNED", "ALTER SYSTEM",
    "CREATE DATABASE", "ALTER DATABASE", "CREATE TABLESPACE", "ALTER TABLESPACE", "DROP TABLESPACE",
    "SET ROLE", "RESET ROLE", "SET LOCAL ROLE", "SET SESSION ROLE", "SET DEFAULT ROLE", "SET PASSWORD",
    "SET SESSION AUTHORIZATION", "RESET SESSION AUTHORIZATION", "SET LOCAL SESSION AUTHORIZATION", "RESET ALL",
    "DISCARD ALL", "SET GLOBAL", "SET PERSIST", "SET PERSIST_ONLY", "FLUSH", "KILL", "SHUTDOWN", "RESTART", "INSTALL",
    "UNINSTALL", "CHANGE MASTER", "CHANGE REPLICATION", "RESET MASTER", "PURGE", "CREATE SERVER",
    "CREATE SUBSCRIPTION", "CREATE PUBLICATION", "LOAD DATA LOCAL",
)  # fmt: skip
_INDEXES = ("CREATE INDEX", "CREATE UNIQUE INDEX", "DROP INDEX", "REINDEX")
_NO_COLUMN = ("INDEX", "KEY", "PRIMARY", "FOREIGN", "CONSTRAINT", "CHECK", "PARTITION", "SYSTEM", "PERIOD")
_REBUILT = ("CONVERT", "ENGINE", "ROW_FORMAT", "KEY_BLOCK_SIZE", "FORCE", "ORDER", "REORGANIZE", "COALESCE", "REMOVE")
_BLOCKS = ("BEGIN", "THEN", "ELSE", "LOOP", "DO", "ATOMIC")


def head_is(words: Sequence[str], heads: Sequence[str]) -> bool:
    """Tell whether a statement begins with one of some beginnings."""
    return any(list(words[: len(head)]) == head for head in map(str.split, heads))


def found_in(source: Source, tokens: Sequence[Token]) -> Iterator[str]:
    """Yield the rules that a statement breaks, on any engine."""
    words = [token.word for token in tokens]
    if head_is(words, _NOT_A_MIGRATION):
        yield "not-a-migration"
    if words[0] == "DO" or head_is(words, ["BEGIN NOT ATOMIC"]):
        for inner in _statements_within(source, tokens):
            yield from _destructive(inner)
    elif words[0] == "TRUNCATE":
        yield "truncate"


def found_on_postgres(words: Sequence[str], *, transaction: bool) -> Iterator[str]:
    """Yield the rules that a statement breaks and squawk does not know. transaction: whether it runs in one."""
    # squawk takes a script of one such statement for one without a transaction.
    if transaction and "CONCURRENTLY" in words and head_is(words, _INDEXES):
        yield "ban-concurrent-index-creation-in-transaction"
    if head_is(words, ["VACUUM FULL", "CLUSTER"]) or (words[:2] == ["VACUUM", "("] and "FULL" in words):
        yield "rewrites-table"
    if words[0] == "ALTER" and "SET" in words:
        set_what = {words[at + 1] for at, word in enumerate(words[:-1]) if word == "SET"}
        if set_what & {"LOGGED", "UNLOGGED", "TABLESPACE", "ACCESS"}:
            yield "rewrites-table"
    if words[0] == "LOCK":
        yield "blocks-writes"


def found_on_mysql(words: Sequence[str]) -> Iterator[str]:
    """Yield the rules that a statement breaks on MySQL and MariaDB."""
    if head_is(words, ["DROP TABLE", "DROP TEMPORARY TABLE"]):
        yield "ban-drop-table"
    elif head_is(words, ["DROP DATABASE", "DROP SCHEMA"]):
        yield "ban-drop-database"
    elif head_is(words, ["RENAME TABLE", "RENAME TABLES"]):
        yield "renaming-table"
    elif words[0] == "OPTIMIZE":
        yield "rewrites-table"
    elif head_is(words, ["CREATE FULLTEXT", "CREATE SPATIAL"]):
        yield "blocks-writes"
    elif words[0] == "ALTER" and "TABLE" in words[:4]:
        for action in _actions(words):
            yield from _of_action(action)
            if is_unnamed(action):
                yield "unnamed-object"


def is_unnamed(action: Sequence[str]) -> bool:
    """Tell whether an action of ALTER TABLE makes an index or a constraint without a name."""
    if action[:1] != ["ADD"]:
        return False
    kind, *rest = action[1:] or [""]
    if kind == "CONSTRAINT":
        return rest[:1] in (["UNIQUE"], ["FOREIGN"], ["CHECK"])
    if kind in ("FOREIGN", "CHECK"):
        return True  # the name behind FOREIGN KEY is the index's
    if kind in ("UNIQUE", "FULLTEXT", "SPATIAL", "INDEX", "KEY"):
        rest = rest[1:] if rest[:1] in (["INDEX"], ["KEY"]) else rest
        rest = rest[3:] if rest[:3] == ["IF", "NOT", "EXISTS"] else rest
        return rest[:1] in (["("], ["USING"])
    return False


def alter_actions(words: Sequence[str]) -> list[list[str]]:
    """Return the words of each action of an ALTER TABLE."""
    return list(_actions(words))


def _actions(words: Sequence[str]) -> Iterator[list[str]]:
    at = list(words).index("TABLE") + 1
    if list(words[at : at + 2]) == ["IF", "EXISTS"]:
        at += 2
    at += list(words[at : at + 1]) == ["ONLY"]
    at += 1
    while at + 1 < len(words) and words[at] == ".":
        at += 2
    parens, action = 0, list[str]()
    for word in words[at:]:
        parens += (word == "(") - (word == ")")
        if word == "," and not parens:
            yield action
            action = []
        else:
            action.append(word)
    yield action


def _of_action(action: Sequence[str]) -> Iterator[str]:
    first, second = [*action[:2], "", ""][:2]
    if first == "DROP":
        if second == "PRIMARY":
            yield "rewrites-table"
        elif second == "PARTITION":
            yield "truncate"
        elif second not in _NO_COLUMN:
            yield "ban-drop-column"
    elif first == "TRUNCATE":
        yield "truncate"
    elif first == "MODIFY":
        yield "changing-column-type"
    elif first == "CHANGE":
        yield from ("changing-column-type", "renaming-column")
    elif first == "RENAME":
        kinds = {"COLUMN": "renaming-column", "INDEX": "", "KEY": ""}
        if found := kinds.get(second, "renaming-table"):
            yield found
    elif first in _REBUILT or action[:2] == ["PARTITION", "BY"]:
        yield "rewrites-table"
    elif first == "ADD":
        yield from _of_add(action)


def _of_add(action: Sequence[str]) -> Iterator[str]:
    kinds = action[1:4]
    if "FOREIGN" in kinds:
        yield "adding-foreign-key-constraint"
    elif not {"FULLTEXT", "SPATIAL"}.isdisjoint(kinds[:1]):
        yield "blocks-writes"
    elif "PRIMARY" in action or "CHECK" in kinds or not {"STORED", "PERSISTENT", "AUTO_INCREMENT"}.isdisjoint(action):
        yield "rewrites-table"


def _statements_within(source: Source, tokens: Sequence[Token]) -> Iterator[list[str]]:
    """Yield the words of each statement of a block that is run at once."""
    bodies = [token for token in tokens if token.kind == "body"]
    for token in bodies:
        tag = source.text.index("$", token.start + 1) + 1 - token.start
        text = source.text[token.start + tag : token.end - tag]
        inner = Source(text=text, file=source.file, grammar=source.grammar, line=source.line_of(token.start))
        yield from _pieces(scan(inner).tokens)
    if not bodies:
        yield from _pieces(tokens)


def _pieces(tokens: Sequence[Token]) -> Iterator[list[str]]:
    words: list[str] = []
    for token in tokens:
        if token.word in (";", *_BLOCKS):
            if words:
                yield words
            words = []
        else:
            words.append(token.word)
    if words:
        yield words


def _destructive(words: Sequence[str]) -> Iterator[str]:
    if head_is(words, ["DROP TABLE"]):
        yield "ban-drop-table"
    elif words[0] == "TRUNCATE":
        yield "truncate"
    elif head_is(words, ["DELETE FROM", "UPDATE"]) and "WHERE" not in words:
        yield "no-where"
    elif head_is(words, ["ALTER TABLE"]):
        for action in _actions(words):
            if action[:1] == ["DROP"] and action[1:2] != [] and action[1] not in (*_NO_COLUMN, "DEFAULT"):
                yield "ban-drop-column"
