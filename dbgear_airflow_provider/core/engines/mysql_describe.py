"""What databases of MySQL and MariaDB hold, in one query for several of them, or for several prefixes.

https://dev.mysql.com/doc/refman/8.0/en/information-schema.html,
https://mariadb.com/kb/en/information-schema-tables/

Left out: definers, and the modes and charsets of the session in which a routine was made.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..schema import Namespace, outermost
from ..schema.snapshot import SnapshotKind
from .describing import Found, Grammar
from .mysql_catalog import BEGINS, pattern

# How many namespaces one query asks for: its text grows with each. Of a database with more prefixes all is read.
NAMESPACES = 25

_STRING = r"'(?:[^'\\]|''|\\.)*'|\"(?:[^\"\\]|\"\"|\\.)*\""
_NAME = r"`(?:[^`]|``)+`|[^\W\d][\w$]*"
GRAMMAR = Grammar(
    # `cast` matches nothing: no text of this engine has names in it that the server itself wrote.
    tokens=re.compile(
        rf"(?P<cast>(?!))|(?P<string>{_STRING})|(?P<comment>--\s[^\n]*|\#[^\n]*|/\*.*?\*/)"
        rf"|(?P<first>{_NAME})(?:\.(?P<second>{_NAME}))?",
        re.DOTALL,
    ),
    mark="`",
)

# One branch for each namespace and kind, by equality: MariaDB then opens the files of that database alone. Each with
# the column by which a prefix is looked for, as in `mysql_catalog`.
_BRANCHES = (
    (
        "SELECT 'table', TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_COLLATION, CREATE_OPTIONS, TABLE_COMMENT, "
        "NULL, NULL, NULL FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s",
        "TABLE_NAME",
    ),
    (
        "SELECT 'column', TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, "
        "COLLATION_NAME, COLUMN_COMMENT, GENERATION_EXPRESSION FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s",
        "TABLE_NAME",
    ),
    (
        "SELECT 'index', TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, {indexed}, SUB_PART, COLLATION, "
        "CONCAT(NON_UNIQUE, INDEX_TYPE), INDEX_COMMENT, {hidden} FROM information_schema.STATISTICS "
        "WHERE TABLE_SCHEMA = %s",
        "TABLE_NAME",
    ),
    (
        "SELECT 'rules', CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, UNIQUE_CONSTRAINT_SCHEMA, "
        "REFERENCED_TABLE_NAME, "
        "UPDATE_RULE, DELETE_RULE, NULL, NULL, NULL FROM information_schema.REFERENTIAL_CONSTRAINTS "
        "WHERE CONSTRAINT_SCHEMA = %s",
        "TABLE_NAME",
    ),
    (
        "SELECT 'pair', TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION, COLUMN_NAME, "
        "REFERENCED_COLUMN_NAME, "
        "NULL, NULL, NULL, NULL FROM information_schema.KEY_COLUMN_USAGE "
        "WHERE TABLE_SCHEMA = %s AND REFERENCED_TABLE_NAME IS NOT NULL",
        "TABLE_NAME",
    ),
    (
        "SELECT 'view', TABLE_SCHEMA, '', TABLE_NAME, VIEW_DEFINITION, CHECK_OPTION, SECURITY_TYPE, NULL, NULL, "
        "NULL, NULL "
        "FROM information_schema.VIEWS WHERE TABLE_SCHEMA = %s",
        "TABLE_NAME",
    ),
    (
        "SELECT LOWER(ROUTINE_TYPE), ROUTINE_SCHEMA, '', ROUTINE_NAME, ROUTINE_DEFINITION, DTD_IDENTIFIER, "
        "IS_DETERMINISTIC, SQL_DATA_ACCESS, SECURITY_TYPE, ROUTINE_COMMENT, NULL FROM information_schema.ROUTINES "
        "WHERE ROUTINE_SCHEMA = %s AND ROUTINE_TYPE IN ('FUNCTION', 'PROCEDURE')",
        "ROUTINE_NAME",
    ),
    (
        "SELECT 'parameter', SPECIFIC_SCHEMA, ROUTINE_TYPE, SPECIFIC_NAME, ORDINAL_POSITION, PARAMETER_MODE, "
        "PARAMETER_NAME, DTD_IDENTIFIER, NULL, NULL, NULL FROM information_schema.PARAMETERS "
        "WHERE SPECIFIC_SCHEMA = %s AND ORDINAL_POSITION > 0",
        "SPECIFIC_NAME",
    ),
    (
        "SELECT 'trigger', TRIGGER_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME, ACTION_TIMING, EVENT_MANIPULATION, "
        "ACTION_ORDER, ACTION_STATEMENT, NULL, NULL, NULL FROM information_schema.TRIGGERS WHERE "
        "EVENT_OBJECT_SCHEMA = %s",
        "EVENT_OBJECT_TABLE",
    ),
    (
        "SELECT 'partition', TABLE_SCHEMA, TABLE_NAME, CONCAT_WS('.', PARTITION_NAME, SUBPARTITION_NAME), "
        "PARTITION_METHOD, PARTITION_EXPRESSION, PARTITION_DESCRIPTION, SUBPARTITION_METHOD, SUBPARTITION_EXPRESSION, "
        "PARTITION_COMMENT, NULL FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = %s AND PARTITION_NAME "
        "IS NOT NULL",
        "TABLE_NAME",
    ),
    (
        "{checks}",
        "{table}",
    ),
)
# MySQL tells a constraint's table elsewhere, from 8.0.16 on:
# https://dev.mysql.com/doc/refman/8.0/en/information-schema-check-constraints-table.html
_CHECKS = {
    True: "SELECT 'check', CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, CHECK_CLAUSE, NULL, NULL, NULL, NULL, NULL, "
    "NULL FROM information_schema.CHECK_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = %s",
    False: "SELECT 'check', t.CONSTRAINT_SCHEMA, t.TABLE_NAME, t.CONSTRAINT_NAME, c.CHECK_CLAUSE, "
    "NULLIF(t.ENFORCED, 'YES'), NULL, NULL, NULL, NULL, NULL FROM information_schema.TABLE_CONSTRAINTS t "
    "JOIN information_schema.CHECK_CONSTRAINTS c ON c.CONSTRAINT_SCHEMA = t.CONSTRAINT_SCHEMA "
    "AND c.CONSTRAINT_NAME = t.CONSTRAINT_NAME WHERE t.CONSTRAINT_SCHEMA = %s AND t.CONSTRAINT_TYPE = 'CHECK'",
}
_TABLE_OF_CHECK = {True: "TABLE_NAME", False: "t.TABLE_NAME"}
_INDEXED = {True: "COLUMN_NAME", False: "COALESCE(COLUMN_NAME, CONCAT('(', EXPRESSION, ')'))"}
_HIDDEN = {True: "NULLIF(IGNORED, 'NO')", False: "IF(IS_VISIBLE = 'NO', 'YES', NULL)"}


def places(groups: Sequence[Sequence[Namespace]]) -> list[Namespace]:
    """Return what to ask for: databases, and prefixes in those of which but a few are wanted."""
    wanted = outermost({namespace for group in groups for namespace in group})
    many = {schema for schema, count in Counter(space.schema for space in wanted).items() if count > NAMESPACES}
    return sorted({Namespace(space.schema) if space.schema in many else space for space in wanted})


def query(namespaces: Sequence[Namespace], *, is_mariadb: bool) -> tuple[str, list[str]]:
    """Return the query for what the namespaces hold, and its values."""
    facts = {
        "indexed": _INDEXED[is_mariadb],
        "hidden": _HIDDEN[is_mariadb],
        "checks": _CHECKS[is_mariadb],
        "table": _TABLE_OF_CHECK[is_mariadb],
    }
    branches, values = [], []
    for namespace in namespaces:
        for branch, column in _BRANCHES:
            begins = BEGINS.format(column) if namespace.prefix else ""
            branches.append((branch + begins).format(**facts))
            values += [namespace.schema, *([pattern(namespace.prefix)] if namespace.prefix else [])]
    return " UNION ALL ".join(branches), values


def found(
    rows: Iterable[tuple[Any, ...]], schemas: Sequence[str], *, folded: bool, is_mariadb: bool
) -> Iterator[Found]:
    """Return what the rows of queries tell. folded: whether the server has names in lower case."""
    # The catalog's collations know neither case nor accents, so other databases may be among the rows.
    asked = {schema.lower() if folded else schema: schema for schema in schemas}
    by_kind: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    # By such a collation two prefixes may be one, and what is there is told twice.
    for kind, schema, *rest in dict.fromkeys(rows):
        if schema in asked:
            by_kind[_text(kind)].append((asked[schema], *map(_text, rest)))
    tables = {(schema, name) for schema, name, kind, *_ in by_kind["table"] if kind == "BASE TABLE"}
    partitioned = {(row[0], row[1]): row for row in by_kind["partition"]}
    for schema, name, kind, engine, collation, options, comment, *_ in by_kind["table"]:
        if kind == "SEQUENCE":
            yield _found("sequence", schema, "", name)
        elif (schema, name) in tables:
            by = partitioned.get((schema, name))
            yield _found(
                "table",
                schema,
                "",
                name,
                engine=engine,
                collation=collation,
                options=options,
                comment=comment,
                partitioned=" ".join(part for part in (by[3], by[4], by[6], by[7]) if part) if by else None,
            )
    for row in by_kind["column"]:
        if (row[0], row[1]) in tables:
            yield _column(row, is_mariadb)
    yield from _indexes(by_kind["index"])
    yield from _foreign_keys(by_kind["rules"], by_kind["pair"])
    for schema, table, name, clause, enforced, *_ in by_kind["check"]:
        yield _found("check", schema, table, name, definition=clause, enforced=enforced)
    for schema, _, name, definition, check, security, *_ in by_kind["view"]:
        yield _found("view", schema, "", name, definition=definition, check=check, security=security)
    yield from _routines(by_kind)
    for schema, table, name, timing, event, order, body, *_ in by_kind["trigger"]:
        yield _found("trigger", schema, table, name, when=f"{timing} {event}", order=order, definition=body)
    for schema, table, name, _, _, description, _, _, comment, *_ in by_kind["partition"]:
        yield _found("partition", schema, table, name, bound=description, comment=comment)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value if value is None or isinstance(value, str) else str(value)


def _found(kind: SnapshotKind, schema: str, table: str, name: str, **fields: str | None) -> Found:
    return Found(kind, schema, table, name, tuple((key, value or None) for key, value in fields.items()))


_ESCAPES = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "b": "\b"}
_DECODED = re.compile(r"''|\\(.)", re.DOTALL)


def _column(row: Sequence[Any], is_mariadb: bool) -> Found:
    schema, table, name, type_, nullable, default, extra, collation, comment, generated = row
    text = None
    if is_mariadb:
        # MariaDB shows a default as SQL, MySQL the text itself unless it says that it is an expression.
        if default is not None and len(default) > 1 and default[0] == default[-1] == "'":
            text = _DECODED.sub(lambda match: _ESCAPES.get(match[1], match[1]) if match[1] else "'", default[1:-1])
        default = None if default == "NULL" else default
    elif default is not None and "DEFAULT_GENERATED" not in extra:
        text = default
    return Found(
        "column",
        schema,
        table,
        name,
        (
            ("type", type_),
            ("nullable", "true" if nullable == "YES" else None),
            ("default", "text" if text is not None else default),
            ("default_text", text),
            ("extra", extra or None),
            ("collation", collation),
            ("comment", comment or None),
            ("expression", generated or None),
        ),
    )


def _indexes(rows: Iterable[Sequence[Any]]) -> Iterator[Found]:
    parts: dict[tuple[str, str, str], list[tuple[int, str]]] = defaultdict(list)
    facts = {}
    for schema, table, name, number, column, length, order, kind, comment, hidden in rows:
        text = f"{column}({length})" if length else column
        parts[schema, table, name].append((int(number), f"{text} DESC" if order == "D" else text))
        facts[schema, table, name] = kind, comment, hidden
    for (schema, table, name), columns in parts.items():
        kind, comment, hidden = facts[schema, table, name]
        is_key = name == "PRIMARY"
        what: SnapshotKind = "primary key" if is_key else "index" if kind[0] == "1" else "unique"
        listed = ", ".join(text for _, text in sorted(columns))
        yield _found(
            what,
            schema,
            table,
            "" if is_key else name,
            columns=listed,
            method=kind[1:],
            comment=comment,
            hidden=hidden,
        )


def _foreign_keys(rules: Iterable[Sequence[Any]], pairs: Iterable[Sequence[Any]]) -> Iterator[Found]:
    columns: dict[tuple[str, str, str], list[tuple[int, str, str]]] = defaultdict(list)
    for schema, table, name, number, source, target, *_ in pairs:
        columns[schema, table, name].append((int(number), source, target))
    for schema, table, name, other_schema, other, update, delete, *_ in rules:
        both = sorted(columns[schema, table, name])
        sources, targets = ", ".join(pair[1] for pair in both), ", ".join(pair[2] for pair in both)
        place = ".".join(f"`{part.replace('`', '``')}`" for part in (other_schema, other))
        yield _found(
            "foreign key",
            schema,
            table,
            name,
            columns=sources,
            references=place,
            referenced=targets,
            on_update=update,
            on_delete=delete,
        )


def _routines(by_kind: dict[str, list[tuple[Any, ...]]]) -> Iterator[Found]:
    parameters: dict[tuple[str, str, str], list[tuple[int, str]]] = defaultdict(list)
    for schema, kind, name, number, mode, parameter, type_, *_ in by_kind["parameter"]:
        told = " ".join(part for part in (mode, parameter, type_) if part)
        parameters[kind.lower(), schema, name].append((int(number), told))
    kinds: tuple[SnapshotKind, ...] = ("function", "procedure")
    for kind in kinds:
        for schema, _, name, body, returns, deterministic, access, security, comment, *_ in by_kind[kind]:
            yield _found(
                kind,
                schema,
                "",
                name,
                parameters=", ".join(text for _, text in sorted(parameters[kind, schema, name])),
                returns=returns,
                definition=body,
                deterministic=deterministic,
                access=access,
                security=security,
                comment=comment,
            )
