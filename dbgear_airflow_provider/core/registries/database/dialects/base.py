"""What engines of registries have to say: how they compare, and how they store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import sqlalchemy as sa

from ....tenants.predicates import Operator
from ..pushdown import Bounds, Column, JsonKind, Sql, compared

CONNECT_TIMEOUT_S = 15
STATEMENT_TIMEOUT_S = 60

Type = sa.types.TypeEngine[Any]


class Dialect:
    """Base of the engines, and SQL that they share.

    driver: the async driver. package_extra: the extra of this package that installs it; None: it is always there.
    url_words: {option as people write it in URLs: the driver's argument}.
    """

    driver: ClassVar[str]
    package_extra: ClassVar[str | None] = None
    url_words: ClassVar[dict[str, str]] = {}
    text_type: Type = sa.Text()
    id_type: Type = sa.String(255)
    time_type: Type = sa.DateTime()
    json_type: Type = sa.JSON(none_as_null=True)
    limits_text: ClassVar[bool] = True

    @classmethod
    def connect_args(cls) -> dict[str, Any]:
        """Return what the driver connects with unless it is told otherwise."""
        raise NotImplementedError

    @classmethod
    def connected(cls, connection: Any) -> None:
        """Set up a new connection of the driver."""

    def bound_text(self, text: Any) -> Sql:
        """Return a text that was read, to be compared with others."""
        return sa.literal(text, sa.Text())

    def text(self, column: Column) -> Sql:
        """Return a column as text to read."""
        plain = isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum)
        return sa.type_coerce(column.sql, sa.Text()) if plain else sa.cast(column.sql, sa.Text())

    def value(self, column: Column) -> Sql:
        """Return a column that holds no single text, to read: as text, or a list."""
        return sa.cast(column.sql, sa.Text())

    def lookup(self, column: Column) -> Sql | None:
        """Return the column as an index has it, where `key` is another expression."""
        raise NotImplementedError

    def key(self, column: Column) -> Sql:
        """Return the column as text that compares by code point."""
        raise NotImplementedError

    def is_ordered(self, column: Column) -> bool:
        """Tell whether an index on the column has the order of `key`."""
        raise NotImplementedError

    def among(self, text: Sql, values: list[str]) -> Bounds:
        """Return whether a text is one of the values, however many."""
        if len(values) == 1:
            return compared(text, "=", sa.literal(values[0], sa.Text()))
        return Bounds(text.in_(values), text.not_in(values))

    def like(self, text: Sql, pattern: str) -> Bounds:
        """Return whether a text matches; no character of the pattern escapes another."""
        bound = sa.literal(pattern.replace("/", "//"), sa.Text())
        return Bounds(text.like(bound, escape="/"), text.not_like(bound, escape="/"))

    def time(self, column: Column, operator: Operator, value: datetime) -> Bounds | None:
        """Compare a timestamp, which is UTC where the column knows no offsets."""
        raise NotImplementedError

    def contains(self, column: Column, item: str, default: bool) -> Bounds | None:
        """Compare the list in a text, comma-separated or JSON, roughly: it cannot have an item that is not in the text.

        JSON may write the item in other letters, but only with a backslash.
        """
        if not isinstance(column.type, sa.String | sa.JSON):
            return None
        text = self.key(column)
        has = [self._has(text, sa.literal(part, sa.Text())) for part in (item, "\\")]
        return Bounds(sa.or_(*has, constant(default) & text.is_(None)), sa.true(), exact=False)

    def _has(self, text: Sql, part: Sql) -> Sql:
        return sa.func.instr(text, part) > 0

    def json_is_null(self, column: Column, keys: tuple[str, ...]) -> Bounds | None:
        """Return None: JSON in a text may have a key twice, and engines do not agree which one counts."""
        return None

    def json_value(self, column: Column, keys: tuple[str, ...], kind: JsonKind) -> Sql | None:
        """Return None, as `json_is_null` does."""
        return None

    def bind_type(self, column_type: Type) -> Type:
        """Return the type by which values for a column of that type are bound."""
        return type(column_type)(none_as_null=True) if isinstance(column_type, sa.JSON) else column_type

    def bound_time(self, moment: datetime, column_type: Type) -> Any:
        """Return an aware datetime as a column of that type takes it."""
        return moment.astimezone(UTC).replace(tzinfo=None) if isinstance(column_type, sa.DateTime) else moment


def constant(value: bool) -> sa.ColumnElement[bool]:
    """Return TRUE or FALSE."""
    return sa.true() if value else sa.false()
