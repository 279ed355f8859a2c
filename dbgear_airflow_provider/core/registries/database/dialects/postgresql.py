"""PostgreSQL as a registry: all that it compares, it compares as we do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from typing_extensions import override

from ....tenants.predicates import Operator
from ..pushdown import Bounds, Column, JsonKind, Sql, compared
from .base import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S, Dialect, Type, constant


class PostgreSQL(Dialect):
    """PostgreSQL by asyncpg."""

    driver = "postgresql+asyncpg"
    url_words: ClassVar[dict[str, str]] = {"sslmode": "ssl", "connect_timeout": "timeout"}  # as libpq has them
    text_type = sa.Text(collation="C")
    id_type = sa.Text(collation="C")
    time_type = sa.TIMESTAMP(timezone=True)
    json_type = postgresql.JSONB(none_as_null=True)

    @override
    @classmethod
    def connect_args(cls) -> dict[str, Any]:
        # Timestamps are read as text, in one form: dates that Python has not are then errors of single rows.
        settings = {"timezone": "UTC", "datestyle": "ISO"}
        return {"timeout": CONNECT_TIMEOUT_S, "command_timeout": STATEMENT_TIMEOUT_S, "server_settings": settings}

    @override
    def text(self, column: Column) -> Sql:
        # CHAR(n) is padded, citext and domains compare in their own ways: as text, none of them does.
        return sa.type_coerce(column.sql, sa.Text()) if _is_text(column) else sa.cast(column.sql, sa.Text())

    @override
    def value(self, column: Column) -> Sql:
        return column.sql if isinstance(column.type, sa.ARRAY) else super().value(column)

    @override
    def key(self, column: Column) -> Sql:
        return self.text(column) if self.is_ordered(column) else sa.collate(self.text(column), "C")

    @override
    def lookup(self, column: Column) -> Sql | None:
        return self.text(column) if _is_text(column) and not self.is_ordered(column) else None

    @override
    def is_ordered(self, column: Column) -> bool:
        return _is_text(column) and getattr(column.type, "collation", None) == "C"

    @override
    def among(self, text: Sql, values: list[str]) -> Bounds:
        if len(values) == 1:
            return super().among(text, values)
        array = sa.literal(values, postgresql.ARRAY(sa.Text()))  # one parameter, of 32,767 that there may be
        return Bounds(text == sa.any_(array), text != sa.all_(array))

    @override
    def time(self, column: Column, operator: Operator, value: datetime) -> Bounds | None:
        if not isinstance(column.type, sa.DateTime | sa.Date):
            return None
        naive = value.astimezone(UTC).replace(tzinfo=None)
        if naive in (datetime.min, datetime.max):  # sent as infinities, which are no moments to the server
            return None
        if getattr(column.type, "timezone", False):
            return compared(column.sql, operator, sa.literal(value, sa.TIMESTAMP(timezone=True)))
        bound = sa.literal(naive, sa.TIMESTAMP())
        return compared(sa.cast(column.sql, sa.TIMESTAMP()), operator, bound)

    @override
    def contains(self, column: Column, item: str, default: bool) -> Bounds | None:
        wanted = sa.literal(item, sa.Text())
        if isinstance(column.type, sa.ARRAY):
            texts: Type = postgresql.ARRAY(sa.Text())
            items, exactly = sa.cast(column.sql, texts), sa.collate(wanted, "C")
            has, lacks, empty = exactly == sa.any_(items), exactly != sa.all_(items), column.sql.is_(None)
            return Bounds(
                sa.or_(sa.and_(empty, constant(default)), has), sa.or_(sa.and_(empty, constant(not default)), lacks)
            )
        if isinstance(column.type, postgresql.JSONB):
            document = sa.type_coerce(column.sql, postgresql.JSONB())
            kind = sa.func.coalesce(sa.func.jsonb_typeof(document), "null")
            has = document.has_key(wanted)
            true, false = (
                sa.case((kind == "array", test), (kind == "null", constant(empty)), else_=sa.true())
                for test, empty in ((has, default), (~has, not default))
            )
            return Bounds(true, false)
        return super().contains(column, item, default)

    @override
    def _has(self, text: Sql, part: Sql) -> Sql:
        return sa.func.strpos(text, part) > 0

    @override
    def json_is_null(self, column: Column, keys: tuple[str, ...]) -> Bounds | None:
        found = _jsonb(column, keys)
        if found is None:
            return None
        return compared(sa.func.coalesce(sa.func.jsonb_typeof(found), "null"), "=", sa.literal("null", sa.Text()))

    @override
    def json_value(self, column: Column, keys: tuple[str, ...], kind: JsonKind) -> Sql | None:
        found = _jsonb(column, keys)
        if found is None:
            return None
        text = found.op("#>>", return_type=sa.Text())(sa.literal_column("CAST('{}' AS TEXT[])"))
        value = sa.cast(text, sa.Numeric()) if kind == "number" else text
        # CASE, because the parts of AND may be evaluated in any order, and a text is no number.
        typed = sa.case((sa.func.jsonb_typeof(found) == kind, value))
        return typed if kind == "number" else sa.collate(typed, "C")

    @override
    def bound_time(self, moment: datetime, column_type: Type) -> Any:
        return moment if getattr(column_type, "timezone", False) else super().bound_time(moment, column_type)


def _is_text(column: Column) -> bool:
    return type(column.type) in (sa.TEXT, sa.VARCHAR, sa.Text, sa.String)


def _jsonb(column: Column, keys: tuple[str, ...]) -> Any:
    """Return what is under the keys; None where the column is of another type, whose texts may be no JSON at all."""
    if not isinstance(column.type, postgresql.JSONB):
        return None
    found: Any = sa.type_coerce(column.sql, postgresql.JSONB())
    for key in keys:
        # By a text, never by a number: that would look into lists.
        found = found.op("->", return_type=postgresql.JSONB())(sa.literal(key, sa.Text()))
    return found
