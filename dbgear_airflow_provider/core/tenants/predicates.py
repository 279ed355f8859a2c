"""What a tenant query means: a tree of predicates over tenants, in SQL's three-valued logic.

The tree is data: frozen, comparable, picklable, its values of the type that their field compares with. All
predicates have `evaluate(tenant)`: True, False, or None for SQL's unknown.
"""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from ..errors import QueryError
from .fields import Field, Scalar, excerpt
from .info import TenantInfo

Operator = Literal["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Constant:
    """TRUE or FALSE."""

    value: bool

    def evaluate(self, _tenant: TenantInfo) -> bool | None:
        """Return the constant."""
        return self.value


@dataclass(frozen=True, slots=True)
class Comparison:
    """field operator value. Text compares by code point; with a value of another type it is unknown."""

    field: Field
    operator: Operator
    value: Scalar

    def evaluate(self, tenant: TenantInfo) -> bool | None:
        """Compare; unknown where the field is empty."""
        value = self.field.value_of(tenant)
        if _type(value) is not _type(self.value):
            return None
        result: bool = OPERATORS[self.operator](value, self.value)
        return result


@dataclass(frozen=True, slots=True)
class In:
    """field IN (values). There is at least one value, and all are of one type."""

    field: Field
    values: frozenset[Scalar]

    def evaluate(self, tenant: TenantInfo) -> bool | None:
        """Look the field's value up; unknown where the field is empty."""
        value = self.field.value_of(tenant)
        return value in self.values if _type(value) is _type(next(iter(self.values))) else None


@dataclass(frozen=True, slots=True)
class Like:
    """field LIKE pattern, with case; % is any text, _ any one character, and no character escapes them."""

    field: Field
    pattern: str

    def evaluate(self, tenant: TenantInfo) -> bool | None:
        """Match the whole of the field's value; unknown where the field is empty."""
        value = self.field.value_of(tenant)
        return bool(_like(self.pattern).match(value)) if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class IsNull:
    """field IS NULL: empty, or no such key in the JSON object, or JSON's null."""

    field: Field

    def evaluate(self, tenant: TenantInfo) -> bool | None:
        """Tell, and never unknown."""
        return self.field.value_of(tenant) is None


@dataclass(frozen=True, slots=True)
class Contains:
    """item IN field, for a field that is a list."""

    field: Field
    item: str

    def evaluate(self, tenant: TenantInfo) -> bool | None:
        """Look for the item."""
        return self.item in self.field.value_of(tenant)


@dataclass(frozen=True, slots=True)
class Not:
    """NOT term."""

    term: Predicate

    def evaluate(self, tenant: TenantInfo) -> bool | None:
        """Negate; unknown stays unknown."""
        result = self.term.evaluate(tenant)
        return None if result is None else not result


@dataclass(frozen=True, slots=True)
class And:
    """All terms; no terms are true."""

    terms: tuple[Predicate, ...]

    def evaluate(self, tenant: TenantInfo) -> bool | None:
        """Return False where a term is false, else unknown where one is unknown."""
        return _fold((term.evaluate(tenant) for term in self.terms), decisive=False)


@dataclass(frozen=True, slots=True)
class Or:
    """Any of the terms; no terms are false."""

    terms: tuple[Predicate, ...]

    def evaluate(self, tenant: TenantInfo) -> bool | None:
        """Return True where a term is true, else unknown where one is unknown."""
        return _fold((term.evaluate(tenant) for term in self.terms), decisive=True)


Predicate = Constant | Comparison | In | Like | IsNull | Contains | Not | And | Or


def equal_to_any(field: Field, values: Sequence[Any], *, where: str) -> In:
    """Return the predicate that the field equals one of the values, at least one. Raises QueryError."""
    literals = [field.equal_to(value, where=where) for value in values]
    if len({_type(literal) for literal in literals}) > 1:
        raise QueryError("values of several types", where=where, received=excerpt(values), allowed="values of one type")
    return In(field, frozenset(literals))


# They make SQL of SQLAlchemy's expressions as well.
OPERATORS: dict[Operator, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _type(value: Any) -> type:
    """Return the type by which a value compares: all numbers are one, and TRUE and FALSE are no numbers."""
    return float if type(value) is int else type(value)


def _fold(results: Iterable[bool | None], *, decisive: bool) -> bool | None:
    unknown = False
    for result in results:
        if result is decisive:
            return decisive
        unknown = unknown or result is None
    return None if unknown else not decisive


# fnmatch makes regular expressions that no hostile pattern can send backtracking for ages.
_TO_FNMATCH = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})


@lru_cache(maxsize=128)
def _like(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern.translate(_TO_FNMATCH)))
