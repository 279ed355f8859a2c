"""`TenantQuery`: which tenants an operation is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from .fields import Field
from .info import TenantInfo
from .parser import parse_predicate
from .predicates import And, Contains, IsNull, Or, Predicate, equal_to_any


@dataclass(frozen=True, slots=True)
class TenantQuery:
    """A condition on tenants, written like the WHERE clause of an SQL statement.

    `region = 'asia' AND tier IN ('premium', 'enterprise') AND 'test' IN instances`

    - Fields are those of `TenantInfo`; `billing_info.plan` is a value inside a JSON object.
    - Operators: = != <> < <= > >= IN LIKE BETWEEN IS NULL, AND OR NOT, parentheses, TRUE, FALSE. LIKE's % is
      any text and _ any one character; no character escapes them.
    - A tier, status or isolation_strategy that does not exist is an error with = != IN, not a query for nothing.
    - Text is compared with case, by code point. A date-time is compared with an ISO 8601 text: without an
      offset it is UTC, and a date alone is midnight.
    - As in SQL, comparing with an empty field is unknown, so is its negation, and unknown does not match. In
      JSON objects a value of another type than the literal's (text, number, TRUE or FALSE) is unknown too.

    text: the query as it was written; of `from_filters`, the filters.
    predicate: what it means.
    """

    text: str
    predicate: Predicate

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a query. Raises QueryError, which tells the line and column."""
        return cls(text, parse_predicate(text))

    @classmethod
    def from_filters(cls, filters: Mapping[str, Any] | None) -> Self:
        """Return the query of equality filters, {field: value}; of none, the query that matches every tenant.

        The field equals the value, or one of the values where it is a list, tuple or set; None means that it
        is empty. A list field "equals" what it contains: {"instances": "test"}. Raises QueryError.
        """
        filters = filters or {}
        return cls(
            " AND ".join(f"{name} = {value!r}" for name, value in filters.items()),
            And(tuple(_filter(name, value) for name, value in filters.items())),
        )

    def matches(self, tenant: TenantInfo) -> bool:
        """Return whether the tenant is one of those asked for."""
        return self.predicate.evaluate(tenant) is True

    def __str__(self) -> str:
        return self.text


def _filter(name: str, value: Any) -> Predicate:
    where = f"filters, {name}"
    field = Field.find(name.split("."), where=where)
    values = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    present = [one for one in values if one is not None]
    terms: list[Predicate] = [IsNull(field)] if len(present) < len(values) else []
    if field.kind == "list":
        terms += [Contains(field, field.item(one, where=where)) for one in present]
    elif present:
        terms.append(equal_to_any(field, present, where=where))
    return Or(tuple(terms))
