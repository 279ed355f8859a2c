"""Sections of the project file that are for some tenants only."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from ..errors import QueryError
from ..tenants import TenantInfo, TenantQuery
from .section import Section


@lru_cache(maxsize=256)
def parsed(query: str) -> TenantQuery:
    """Return a query that was checked; every tenant of the fleet is asked of every rule."""
    return TenantQuery.parse(query)


def _parses(value: str) -> str:
    try:
        parsed(value)
    except QueryError as error:
        # What was received stays out: the query may hold a value of the environment.
        told = {key: error.details[key] for key in ("where", "problem", "allowed")}
        raise PydanticCustomError("query", "{where}: {problem}", told) from None
    return value


Query = Annotated[str, AfterValidator(_parses)]


class Selection(Section):
    """A section for the tenants that match `query`; without one, for all."""

    query: Query | None = None

    def selects(self, tenant: TenantInfo) -> bool:
        """Tell whether the tenant matches; without a query every tenant does."""
        return self.query is None or parsed(self.query).matches(tenant)
