"""SQLite as a registry: a column may hold anything, whatever its type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from typing_extensions import override

from ....tenants.predicates import Operator
from ..pushdown import Bounds, Column, Sql
from .base import CONNECT_TIMEOUT_S, Dialect, Type


class SQLite(Dialect):
    """SQLite by aiosqlite."""

    driver = "sqlite+aiosqlite"
    id_type = sa.Text()
    limits_text = False

    @override
    @classmethod
    def connect_args(cls) -> dict[str, Any]:
        return {"timeout": CONNECT_TIMEOUT_S}

    @override
    @classmethod
    def connected(cls, connection: Any) -> None:
        # A text may hold any bytes: as half characters they are the error of one row instead of all.
        connection.text_factory = _decoded

    @override
    def bound_text(self, text: Any) -> Sql:
        if isinstance(text, str) and not text.isascii():
            return sa.cast(sa.literal(text.encode(errors="surrogateescape"), sa.LargeBinary()), sa.Text())
        return super().bound_text(text)

    @override
    def value(self, column: Column) -> Sql:
        return sa.type_coerce(column.sql, sa.types.NullType())

    @override
    def key(self, column: Column) -> Sql:
        return sa.collate(self.text(column), "BINARY")

    @override
    def lookup(self, column: Column) -> Sql | None:
        return self.text(column) if isinstance(column.type, sa.String) else None

    @override
    def is_ordered(self, column: Column) -> bool:
        return isinstance(column.type, sa.String)  # unless it was declared NOCASE, which nothing tells

    @override
    def among(self, text: Sql, values: list[str]) -> Bounds:
        if len(values) == 1:
            return super().among(text, values)
        one = sa.func.json_each(sa.literal(values, sa.JSON())).table_valued("value", joins_implicitly=True)
        listed = sa.select(one.c.value).correlate(None)
        return Bounds(text.in_(listed), text.not_in(listed))

    @override
    def like(self, text: Sql, pattern: str) -> Bounds:
        # LIKE is blind to case here, GLOB is not. Both end at a NUL, which a text may hold.
        glob = sa.literal(pattern.translate(_TO_GLOB), sa.Text())
        odd = sa.func.instr(text, sa.func.char(0)) > 0
        match, other = (text.op(operator, is_comparison=True)(glob) for operator in ("GLOB", "NOT GLOB"))
        return Bounds(sa.or_(match, odd), sa.or_(other, odd))

    @override
    def time(self, column: Column, operator: Operator, value: datetime) -> Bounds | None:
        """Compare to the second, where SQLite understands what a text says, and where it says what Python reads."""
        text = sa.cast(column.sql, sa.Text())
        plain = text.op("GLOB", is_comparison=True)("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*")
        seconds = sa.case((plain, sa.cast(sa.func.strftime("%s", text), sa.BigInteger())))
        now = sa.literal(int(value.timestamp() // 1), sa.BigInteger())
        unsure = seconds.is_(None)
        later, earlier = sa.or_(unsure, seconds >= now - 1), sa.or_(unsure, seconds <= now + 1)
        both, either = sa.and_(later, earlier), sa.true()
        true, false = {
            "=": (both, either),
            "!=": (either, both),
            "<": (earlier, later),
            "<=": (earlier, later),
            ">": (later, earlier),
            ">=": (later, earlier),
        }[operator]
        return Bounds(true, false, exact=False)

    @override
    def bind_type(self, column_type: Type) -> Type:
        # SQLAlchemy would store a moment without its offset.
        return sa.Text() if isinstance(column_type, sa.DateTime | sa.Date) else super().bind_type(column_type)

    @override
    def bound_time(self, moment: datetime, column_type: Type) -> Any:
        return moment.astimezone(UTC).isoformat(" ", "microseconds")


def _decoded(text: bytes) -> str:
    return text.decode(errors="surrogateescape")


_TO_GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})
