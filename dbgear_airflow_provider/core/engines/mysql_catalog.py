"""What databases of MySQL and MariaDB hold, in one query."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..schema import Namespace, ObjectKey, ledger_name, outermost

# One branch for each database, by equality: MariaDB then opens the files of that one alone, and of all otherwise.
# https://mariadb.com/kb/en/optimizations-for-information_schema-queries/
_SCHEMA = "SELECT 'schema', SCHEMA_NAME, SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s"
# Each with the column by which a prefix is looked for: the name of a table or a routine, which is known before a table
# is opened.
_BRANCHES = (
    (
        "SELECT IF(TABLE_TYPE LIKE '%%VIEW', 'view', 'table'), TABLE_SCHEMA, TABLE_NAME "
        "FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s",
        "TABLE_NAME",
    ),
    (
        "SELECT DISTINCT 'index', TABLE_SCHEMA, CONCAT(TABLE_NAME, '.', INDEX_NAME) "
        "FROM information_schema.STATISTICS WHERE INDEX_NAME <> 'PRIMARY' AND TABLE_SCHEMA = %s",
        "TABLE_NAME",
    ),
    (
        "SELECT 'foreign key', CONSTRAINT_SCHEMA, CONCAT(TABLE_NAME, '.', CONSTRAINT_NAME) "
        "FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = %s",
        "TABLE_NAME",
    ),
    (
        "SELECT LOWER(ROUTINE_TYPE), ROUTINE_SCHEMA, ROUTINE_NAME FROM information_schema.ROUTINES "
        "WHERE ROUTINE_TYPE IN ('FUNCTION', 'PROCEDURE') AND ROUTINE_SCHEMA = %s",
        "ROUTINE_NAME",
    ),
    # A trigger is in the database of its table, and it is by the table that MariaDB finds it.
    (
        "SELECT 'trigger', TRIGGER_SCHEMA, TRIGGER_NAME FROM information_schema.TRIGGERS "
        "WHERE EVENT_OBJECT_SCHEMA = %s",
        "EVENT_OBJECT_TABLE",
    ),
)
BEGINS = " AND {} LIKE %s ESCAPE '|'"
_CHARSET = (
    "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA "
    "WHERE SCHEMA_NAME = %s AND DEFAULT_CHARACTER_SET_NAME <> 'utf8mb4'"
)
# By equality, as above; a view of that name is not read.
_LEDGER = (
    "SELECT {} FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND TABLE_TYPE = 'BASE TABLE'"
)
LEDGERS_AT_ONCE = 100


def ledgers_query(namespaces: Sequence[Namespace]) -> tuple[str, list[str]]:
    """Return the query for the numbers of those namespaces that have a ledger, and its values."""
    sql = " UNION ALL ".join(_LEDGER.format(number) for number in range(len(namespaces)))
    return sql, [value for space in namespaces for value in (space.schema, ledger_name(space))]


def objects_query(namespaces: Sequence[Namespace]) -> tuple[str, list[str]]:
    """Return the query for kind, schema and name of what the namespaces hold, and its values."""
    branches, values = [], []
    for schema in dict.fromkeys(namespace.schema for namespace in namespaces):
        branches.append(_SCHEMA)
        values.append(schema)
    for namespace in outermost(namespaces):
        for branch, column in _BRANCHES:
            branches.append(branch + (BEGINS.format(column) if namespace.prefix else ""))
            values += [namespace.schema, *([pattern(namespace.prefix)] if namespace.prefix else [])]
    return " UNION ALL ".join(branches), values


def charsets_query(schemas: Sequence[str]) -> tuple[str, list[str]]:
    """Return the query for name and character set of databases of another than ours, and its values."""
    return " UNION ALL ".join([_CHARSET] * len(schemas)), list(schemas)


def pattern(prefix: str) -> str:
    """Return what BEGINS compares with."""
    return re.sub(r"([|%_])", r"|\1", prefix) + "%"


def in_list(values: Sequence[object]) -> str:
    """Return as many of the driver's parameters."""
    return ", ".join(["%s"] * len(values)) or "NULL"


def grant_pattern(schema: str) -> str:
    r"""Return a database's name as a grant on a whole database takes it: `_` and `%` are wildcards there."""
    return schema.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")


def objects(rows: Sequence[tuple[str, str, str]], namespaces: Sequence[Namespace], *, folded: bool) -> set[ObjectKey]:
    """Return what the rows tell of. folded: whether the server has names in lower case.

    An index goes by `table.index`, for its name is unique within its table only. The catalog's collations know neither
    case nor accents, so other databases and other prefixes may be among the rows.
    """

    def fold(name: str) -> str:
        return name.lower() if folded else name

    asked: dict[str, str] = {}
    prefixes: dict[str, dict[str, str]] = {}
    for namespace in outermost(namespaces):
        asked[fold(namespace.schema)] = namespace.schema
        prefixes.setdefault(fold(namespace.schema), {})[fold(namespace.prefix)] = namespace.prefix
    found = set()
    for kind, schema, name in rows:
        if schema not in asked:
            continue
        if kind == "schema":
            found.add(ObjectKey(kind="schema", schema=asked[schema], name=asked[schema]))
            continue
        for begin, prefix in prefixes[schema].items():
            if fold(name).startswith(begin):
                # The prefix as it was asked for, whatever the server made of it.
                whole = prefix + name[len(begin) :]
                found.add(ObjectKey(kind=kind, schema=asked[schema], name=whole))  # type: ignore[arg-type]
    return found
