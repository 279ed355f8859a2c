"""Columns of a document as SQLAlchemy's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from ..errors import DocumentError
from ..tenants import naming
from .ddl import quoted
from .document import Column
from .expressions import DEFAULTS, SqlText, default_value, expression, moving, on_update, unstable
from .families import family_of
from .features import Features
from .objects import Namespace
from .problems import Problems
from .types import ALLOWED, Unheld, parse_type


@dataclass(frozen=True, kw_only=True)
class Target:
    """The engine that a document is compiled for, and what it cannot hold of it so far.

    prefix_bytes: {prefix: length} for prefixes that stand for others of that length.
    """

    dialect: Dialect
    features: Features
    problems: Problems
    prefix_bytes: Mapping[str, int] = field(default_factory=dict)

    def named(self, namespace: Namespace, name: str) -> str:
        """Return the name on the server of an object whose name is of the schema."""
        return naming.prefixed(namespace.prefix, name, prefix_bytes=self.prefix_bytes.get(namespace.prefix))

    def shorten(self, name: str) -> str:
        """Return the name on the server of what is named within its table."""
        return naming.shorten(name)

    def quoted(self, namespace: Namespace, name: str) -> str:
        """Return the whole name of an object, as the engine writes it."""
        return quoted(self.dialect, namespace.schema, self.named(namespace, name))

    def option(self, **options: object) -> dict[str, Any]:
        """Return SQLAlchemy's keyword arguments of this dialect."""
        return {f"{self.dialect.name}_{name}": value for name, value in options.items() if value is not None}


def families(columns: Sequence[Column], where: str, target: Target) -> dict[str, str | None]:
    """Return the columns with the families of their types on the engine."""
    types = [(column.column_name, _type(column, f"{where}.{column.column_name}")[0]) for column in columns]
    return {name: family_of(kind.dialect_impl(target.dialect)) for name, kind in types}


def bare_column(column: Column, where: str, target: Target) -> sa.Column[object] | None:
    """Return a column with its type alone, and whether it is of the key; None where the engine has no such type."""
    kind, _ = _type(column, f"{where}.{column.column_name}")
    if isinstance(kind.dialect_impl(target.dialect), Unheld):
        return None
    is_key = column.primary_key is not None
    return sa.Column(column.column_name, kind, primary_key=is_key, nullable=column.nullable is not False and not is_key)


def build_column(
    column: Column,
    where: str,
    kinds: Mapping[str, str | None],
    target: Target,
    *,
    leads: bool = False,
) -> sa.Column[object] | None:
    """Return a column; None where the engine has no type for it.

    kinds: all columns of the table, as `families` tells them. leads: whether it is the first column of the primary key.

    `info["on_update"]` is there where something else must set the column to the time of each change.
    """
    kind, auto_increment = _type(column, where)
    impl = kind.dialect_impl(target.dialect)
    if isinstance(impl, Unheld):
        target.problems.add(where, f"{target.features.title}: {impl.why}")
        return None
    text = column.column_type.column_type
    if auto_increment and not isinstance(kind, sa.Integer):
        raise DocumentError("no type to count up", where=where, received=text, allowed="an integer type")
    if column.expression is not None and (auto_increment or column.default_value is not None):
        problem = "a generated column has no default and counts nothing up"
        received = column.default_value or "autoIncrement"
        raise DocumentError(problem, where=where, received=received, allowed="expression alone")
    is_key = column.primary_key is not None
    if auto_increment and not leads and not target.features.counts_outside_key:
        target.problems.add(where, f"{target.features.title} counts up in the first column of the primary key alone")
        auto_increment = False
    if column.expression is not None:
        generates = condition(column.expression, kinds, where)
        stored = column.stored or not target.features.virtual_columns
        if found := _refused(generates, target, stored=stored):
            target.problems.add(where, f"{target.features.title} generates no column with {', '.join(found)}")
            return None
    # Where a column does not say whether it is nullable, it is. What is of the key or counts up never is.
    nullable = column.nullable is not False and not is_key and not auto_increment
    arguments: list[sa.schema.SchemaItem] = []
    if auto_increment:
        arguments.append(sa.Identity())
    if column.expression is not None:
        arguments.append(sa.Computed(generates, persisted=stored))
        if not nullable and not target.features.generated_not_null:
            target.problems.add(where, f"a generated column cannot be NOT NULL on {target.features.title}")
            nullable = True
    default, updates = on_update(column.default_value)
    of_column = updates and target.features.on_update
    if of_column and default is None:
        if not nullable:
            allowed = "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"
            raise DocumentError(
                "ON UPDATE without a default", where=where, received=column.default_value, allowed=allowed
            )
        default = "NULL"
    server_default = None
    if default is not None and not auto_increment:
        server_default = _sql(lambda text: default_value(text, kind, updates=of_column), default, where, DEFAULTS)
    return sa.Column(
        checked(column.column_name, where),
        kind,
        *arguments,
        nullable=nullable,
        autoincrement=auto_increment,
        server_default=server_default,
        comment=comment(column.display_name, column.column_name),
        info={"on_update": updates and not of_column, "moving": bool(column.expression and moving(generates))},
    )


def _refused(text: SqlText, target: Target, *, stored: bool) -> list[str]:
    if target.features.immutable:
        return unstable(text)
    return moving(text) if stored or not target.features.virtual_moments else []


def _type(column: Column, where: str) -> tuple[sa.types.TypeEngine[object], bool]:
    written = column.column_type
    items = tuple(item.value for item in written.items or ())
    try:
        kind, auto_increment = parse_type(written.column_type, items, column.charset, column.collation)
    except ValueError as error:
        raise DocumentError(str(error), where=where, received=written.column_type, allowed=ALLOWED) from None
    return kind, auto_increment or column.auto_increment


def condition(text: str, kinds: Mapping[str, str | None], where: str) -> SqlText:
    """Return an expression over columns of these names and families. Raises DocumentError."""
    allowed = f"one expression over the columns {', '.join(kinds)}"
    return _sql(lambda text: expression(text, kinds, kinds), text, where, allowed)


def _sql(parse: Callable[[str], SqlText], text: str, where: str, allowed: Sequence[str] | str) -> SqlText:
    try:
        return parse(text)
    except ValueError as error:
        raise DocumentError(str(error), where=where, received=text, allowed=allowed) from None


def checked(name: str, where: str) -> str:
    """Return a name. Raises DocumentError where no engine takes it."""
    if len(name.encode()) > naming.MAX_NAME_BYTES or "\0" in name or not name.strip():
        allowed = f"1 to {naming.MAX_NAME_BYTES} bytes of text"
        raise DocumentError("not a name", where=where, received=name, allowed=allowed)
    return name


def comment(display_name: str | None, name: str) -> str | None:
    """Return a display name that says more than the name; None otherwise."""
    return display_name if display_name and display_name != name else None


def existing(table: sa.Table, name: str, where: str) -> sa.Column[object] | None:
    """Return a table's column; None where it was left out. Raises DocumentError where the document has none."""
    if name in table.info["left_out"]:
        return None
    if name not in table.c:
        raise DocumentError("no such column", where=where, received=name, allowed=list(table.c.keys()))
    return table.c[name]
