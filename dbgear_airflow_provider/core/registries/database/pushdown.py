"""Tenant queries as SQL: a condition that every tenant which matches fulfils, and few others.

SQL's NOT is never used. A predicate has two conditions instead: `true` holds of every tenant of which the predicate
may be true, `false` of every tenant of which it may be false. NOT swaps them, so a term that an engine can only
compare roughly stays on the safe side below any number of NOTs. Unknown fulfils neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext
from typing import Any, Literal, Protocol

import sqlalchemy as sa

from ...tenants import TenantInfo
from ...tenants.fields import Field, Scalar
from ...tenants.predicates import (
    OPERATORS,
    And,
    Comparison,
    Constant,
    Contains,
    In,
    IsNull,
    Like,
    Not,
    Operator,
    Or,
    Predicate,
)

MAX_TERMS = 500  # SQLite's trees are at most 1,000 deep, PostgreSQL's statements have at most 32,767 parameters
MAX_PATTERN_BYTES = 10_000  # SQLite refuses patterns of more than 50,000 bytes, and wildcards are escaped with three

Sql = sa.ColumnElement[Any]
JsonKind = Literal["string", "number", "boolean"]

OPPOSITES: dict[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a predicate may be true and where it may be false; exact: where it is, and nowhere else."""

    true: Sql
    false: Sql
    exact: bool = True

    def opposite(self) -> Bounds:
        """Return the bounds of the negation."""
        return Bounds(self.false, self.true, self.exact)


ANYTHING = Bounds(sa.true(), sa.true(), exact=False)
UNKNOWN = Bounds(sa.false(), sa.false())


@dataclass(frozen=True, slots=True)
class Narrowed:
    """condition: bound SQL, true of every tenant that matches; exact: and of no other."""

    condition: sa.ColumnElement[bool]
    exact: bool


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: sql is it without a type, type what the database says it is."""

    sql: Sql
    type: sa.types.TypeEngine[Any]


class Comparisons(Protocol):
    """What an engine can compare. None: not in a way that agrees with `core.tenants.predicates`."""

    def key(self, column: Column) -> Sql:
        """Return the column as text that compares by code point."""

    def lookup(self, column: Column) -> Sql | None:
        """Return the column as an index has it: equal where `key` is equal, and perhaps elsewhere."""

    def among(self, text: Sql, values: list[str]) -> Bounds:
        """Return whether a text is one of the values, however many."""

    def like(self, text: Sql, pattern: str) -> Bounds:
        """Return whether a text matches; `%` and `_` are the wildcards."""

    def time(self, column: Column, operator: Operator, value: datetime) -> Bounds | None:
        """Compare a timestamp."""

    def contains(self, column: Column, item: str, default: bool) -> Bounds | None:
        """Return whether the column's list has the item; default: whether it does where the column is empty."""

    def json_is_null(self, column: Column, keys: tuple[str, ...]) -> Bounds | None:
        """Return whether a JSON object has nothing under the keys, or JSON's null."""

    def json_value(self, column: Column, keys: tuple[str, ...], kind: JsonKind) -> Sql | None:
        """Return what is under the keys: as `key` does, as an exact number, or as 'true' and 'false'; else NULL."""


def narrow(predicate: Predicate, columns: Mapping[str, Column | None], comparisons: Comparisons) -> Narrowed:
    """Return the condition that a predicate puts on the rows of a table.

    columns: {field: its column}; None: the field has none and is always empty. A field that is not in it cannot be
    compared by the database, because a mapping changes its values.
    """
    bounds = _Narrowing(columns, comparisons).bounds(predicate)
    return Narrowed(bounds.true, bounds.exact)


class _Narrowing:
    def __init__(self, columns: Mapping[str, Column | None], comparisons: Comparisons) -> None:
        self._columns = columns
        self._comparisons = comparisons
        self._terms = 0

    def bounds(self, predicate: Predicate) -> Bounds:
        match predicate:
            case Constant(value):
                return Bounds(sa.true(), sa.false()) if value else Bounds(sa.false(), sa.true())
            case Not(term):
                return self.bounds(term).opposite()
            case And(terms):
                return _all([self.bounds(term) for term in terms])
            case Or(terms):
                return _all([self.bounds(term).opposite() for term in terms]).opposite()
        self._terms += len(predicate.values) if isinstance(predicate, In) and predicate.field.kind != "text" else 1
        if self._terms > MAX_TERMS or predicate.field.path[0] not in self._columns:
            return ANYTHING
        column = self._columns[predicate.field.path[0]]
        found = self._of_no_column(predicate) if column is None else self._of_column(predicate, column)
        return found or ANYTHING

    def _of_no_column(self, predicate: Comparison | In | Like | IsNull | Contains) -> Bounds:
        match predicate:
            case IsNull(Field(kind="list")):
                return Bounds(sa.false(), sa.true())
            case IsNull():
                return Bounds(sa.true(), sa.false())
            case Contains(item=item):
                return self.bounds(Constant(item in TenantInfo.model_fields["instances"].default))
        return UNKNOWN

    def _of_column(self, predicate: Comparison | In | Like | IsNull | Contains, column: Column) -> Bounds | None:
        match predicate:
            case IsNull(field):
                return self._is_null(field, column)
            case Contains(item=item):
                default = item in TenantInfo.model_fields["instances"].default
                return self._comparisons.contains(column, item, default) if _storable(item) else None
        match predicate.field.kind:
            case "time":
                values = predicate.values if isinstance(predicate, In) else [predicate.value]  # type: ignore[union-attr]
                operator: Operator = predicate.operator if isinstance(predicate, Comparison) else "="
                return _any([self._comparisons.time(column, operator, value) for value in values])  # type: ignore[arg-type]
            case "json":
                return self._of_json(predicate, column)
        return self._text(predicate, self._comparisons.key(column), self._comparisons.lookup(column))

    def _is_null(self, field: Field, column: Column) -> Bounds | None:
        match field.kind:
            case "list":
                return Bounds(sa.false(), sa.true())
            case "object" | "json":
                return self._comparisons.json_is_null(column, field.path[1:]) if _storable(*field.path) else None
        return Bounds(column.sql.is_(None), column.sql.is_not(None))

    def _text(self, predicate: Comparison | In | Like, text: Sql, lookup: Sql | None = None) -> Bounds | None:
        match predicate:
            case Like(pattern=pattern):
                if not _storable(pattern) or len(pattern.encode()) > MAX_PATTERN_BYTES:
                    return None
                return self._comparisons.like(text, pattern)
            case Comparison(operator="=", value=value):
                return self._among(text, [value], lookup)
            case In(values=values):
                return self._among(text, sorted(values), lookup)
            case Comparison(operator=operator, value=value):
                return compared(text, operator, sa.literal(value, sa.Text())) if _storable(value) else None
        return None

    def _among(self, text: Sql, values: list[Any], lookup: Sql | None) -> Bounds | None:
        # What no database can hold is equal to nothing that it holds, but asking it would be an error.
        values = [value for value in values if _storable(value)]
        if not values:
            return Bounds(sa.false(), text.is_not(None))
        found = self._comparisons.among(text, values)
        if lookup is None:
            return found
        return Bounds(sa.and_(self._comparisons.among(lookup, values).true, found.true), found.false, found.exact)

    def _of_json(self, predicate: Comparison | In | Like, column: Column) -> Bounds | None:
        keys = predicate.field.path[1:]
        if not _storable(*keys):
            return None
        values: list[Any] = (
            [predicate.pattern]
            if isinstance(predicate, Like)
            else [predicate.value]
            if isinstance(predicate, Comparison)
            else list(predicate.values)
        )
        kind: JsonKind = (
            "string" if isinstance(values[0], str) else "boolean" if isinstance(values[0], bool) else "number"
        )
        found = self._comparisons.json_value(column, keys, kind)
        if found is None:
            return None
        if kind == "string":
            return self._text(predicate, found)
        operator: Operator = predicate.operator if isinstance(predicate, Comparison) else "="
        if kind == "boolean":  # 'false' comes before 'true', as FALSE does before TRUE
            words = [str(value).lower() for value in values]
            return _any([compared(found, operator, sa.literal(word, sa.Text())) for word in words])
        return _any([_number(found, operator, value) for value in values])


def compared(left: Sql, operator: Operator, right: Sql) -> Bounds:
    """Return the bounds of a comparison that the engine makes exactly as we do."""
    return Bounds(OPERATORS[operator](left, right), OPERATORS[OPPOSITES[operator]](left, right))


def _all(terms: list[Bounds]) -> Bounds:
    return Bounds(
        sa.and_(sa.true(), *(term.true for term in terms)),
        sa.or_(sa.false(), *(term.false for term in terms)),
        all(term.exact for term in terms),
    )


def _any(terms: list[Bounds | None]) -> Bounds | None:
    if any(term is None for term in terms):
        return None
    return _all([term.opposite() for term in terms if term is not None]).opposite()


def _storable(*texts: Scalar) -> bool:
    """Tell whether every engine can be asked for the texts: none has half a character, PostgreSQL no NUL."""
    for text in texts:
        try:
            if "\0" in str(text).encode().decode():
                return False
        except UnicodeEncodeError:
            return False
    return True


def _number(found: Sql, operator: Operator, value: float) -> Bounds | None:
    """Compare an exact number as Python does: a number with a fraction is rounded to the next float, before."""
    try:
        number = float(value)
    except OverflowError:
        return None
    if abs(number) >= 2**53:  # beyond, whole numbers are no floats any more
        return None
    with localcontext(prec=2000):
        low, high = (
            (Decimal(number) + Decimal(math.nextafter(number, toward))) / 2 for toward in (-math.inf, math.inf)
        )
    # All that rounds to the number lies between the two; they themselves round to even.
    above = found >= low if float(low) == number else found > low
    below = found <= high if float(high) == number else found < high
    under = found < low if float(low) == number else found <= low
    over = found > high if float(high) == number else found >= high
    equal, unequal = sa.and_(above, below), sa.or_(under, over)
    return {
        "=": Bounds(equal, unequal),
        "!=": Bounds(unequal, equal),
        "<": Bounds(under, above),
        "<=": Bounds(below, over),
        ">": Bounds(over, below),
        ">=": Bounds(above, under),
    }[operator]
