"""What changes a live column into that of its document: clauses of one ALTER TABLE, and what comes behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import SetColumnComment

from .ddl import literal, quoted
from .expressions import SqlText, columns_of
from .features import features
from .types import charset_of
from .widening import family, keeps_values

# Of a generated column all other fields can be changed as it is.
_REBUILDS = {"type", "expression", "generated", "extra"}
_DEFAULT = {"default", "default_text"}


@dataclass(frozen=True, kw_only=True)
class ColumnChange:
    """How a column is changed.

    drops, clauses: of the table's ALTER TABLE, in this order. after: statements that follow it. destructive: values may
    be lost, or the server may refuse those that are there. retyped: what refers to the column must let go of it in the
    meantime. rebuilt: it is dropped and added, and with it go its indexes.
    """

    clauses: tuple[str, ...]
    drops: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    destructive: bool = False
    retyped: bool = False
    rebuilt: bool = False


def added(column: sa.Column[Any], dialect: Dialect) -> ColumnChange:
    """Return what adds a column."""
    return ColumnChange(clauses=(f"ADD COLUMN {_specification(column, dialect)}",), after=_comments(column, dialect))


def rebuilt(column: sa.Column[Any], dialect: Dialect, *, destructive: bool = False) -> ColumnChange:
    """Return what drops a column and adds it anew: no engine changes how a column is generated in all cases."""
    drop = f"DROP COLUMN {quoted(dialect, column.name)}"
    return replace(added(column, dialect), drops=(drop,), destructive=destructive, retyped=True, rebuilt=True)


def changed(
    column: sa.Column[Any], wanted: Mapping[str, str], live: Mapping[str, str], dialect: Dialect
) -> ColumnChange:
    """Return what changes a live column. wanted, live: definitions as in a snapshot."""
    differing = {name for name in wanted.keys() | live.keys() if wanted.get(name) != live.get(name)}
    generated = "expression" in wanted, "expression" in live
    if any(generated) and differing & _REBUILDS:
        return rebuilt(column, dialect, destructive=not generated[1])
    stricter = "nullable" in live and "nullable" not in wanted
    narrower = not keeps_values(live["type"], wanted["type"])
    recoded = _charset(live) != _charset(wanted) and _charset(wanted) not in {None, "utf8mb4"}
    if features(dialect).whole_columns:
        return ColumnChange(
            clauses=(f"MODIFY COLUMN {_specification(column, dialect)}",),
            destructive=stricter or narrower or recoded,
            retyped=bool(differing & {"type", "collation"}),
        )
    return ColumnChange(
        clauses=tuple(_aspects(column, wanted, live, differing, dialect)),
        after=(*_counted(column, wanted, differing, dialect), *_comments(column, dialect, differing)),
        destructive=stricter or narrower,
        retyped=bool(differing & {"type", "collation"}),
    )


def readers(table: sa.Table, names: Iterable[str]) -> set[str]:
    """Return the generated columns of a table that are made of these."""
    read = set(names)
    return {
        column.name
        for column in table.c
        if column.computed is not None
        and isinstance(column.computed.sqltext, SqlText)
        and read & set(columns_of(column.computed.sqltext))
    }


def _aspects(
    column: sa.Column[Any], wanted: Mapping[str, str], live: Mapping[str, str], differing: set[str], dialect: Dialect
) -> Iterable[str]:
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
    alter = f"ALTER COLUMN {quoted(dialect, column.name)}"
    retyped = bool(differing & {"type", "collation"})
    default = compiler.get_column_default_string(column)
    identity = "identity" in wanted.get("generated", ""), "identity" in live.get("generated", "")
    if identity == (False, True):
        yield f"{alter} DROP IDENTITY"
    # The server would have to convert the default as well, and does so with few types.
    if "default" in live and (retyped or (differing & _DEFAULT and default is None)):
        yield f"{alter} DROP DEFAULT"
    if retyped:
        kind = dialect.type_compiler_instance.process(column.type)
        families = family(live["type"]), family(wanted["type"])
        # Documents' collations are another engine's: a column has what its type has.
        collation = ' COLLATE "default"' if "collation" in differing and families[1] == "text" else ""
        # Without USING, for a cast that is asked for cuts what is too long.
        using = f" USING {quoted(dialect, column.name)}::{kind}" if families[0] != families[1] else ""
        yield f"{alter} TYPE {kind}{collation}{using}"
    if "nullable" in differing:
        yield f"{alter} {'DROP' if 'nullable' in wanted else 'SET'} NOT NULL"
    if default is not None and (retyped or differing & _DEFAULT):
        yield f"{alter} SET DEFAULT {default}"
    if identity == (True, False):
        yield f"{alter} ADD GENERATED BY DEFAULT AS IDENTITY"
    elif all(identity) and "generated" in differing:
        yield f"{alter} SET GENERATED BY DEFAULT"


def _counted(column: sa.Column[Any], wanted: Mapping[str, str], differing: set[str], dialect: Dialect) -> list[str]:
    """Return what lets a new counter begin behind the numbers that are there."""
    if "generated" not in differing or "identity" not in wanted.get("generated", ""):
        return []
    table, name = quoted(dialect, column.table.schema, column.table.name), quoted(dialect, column.name)
    sequence = f"pg_catalog.pg_get_serial_sequence({literal(table, dialect)}, {literal(column.name, dialect)})"
    return [f"SELECT pg_catalog.setval({sequence}, (SELECT COALESCE(MAX({name}), 0) + 1 FROM {table}), false)"]  # noqa: S608


def _comments(column: sa.Column[Any], dialect: Dialect, differing: set[str] | None = None) -> tuple[str, ...]:
    if dialect.inline_comments or (differing is None and not column.comment):
        return ()
    if differing is not None and "comment" not in differing:
        return ()
    return (str(SetColumnComment(column).compile(dialect=dialect)),)


def _specification(column: sa.Column[Any], dialect: Dialect) -> str:
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
    return str(compiler.get_column_specification(column))


def _charset(definition: Mapping[str, str]) -> str | None:
    return charset_of(definition["collation"]) if "collation" in definition else None
