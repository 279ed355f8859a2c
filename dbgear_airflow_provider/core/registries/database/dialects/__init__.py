"""The engines of registries: how each compares, so that it agrees with `core.tenants.predicates`, and stores.

Text compares by code point, with case and with trailing spaces, whatever the table's collation is. Where an engine
has no such collation for its index, `lookup` gives it a condition that the index can answer.
"""

from __future__ import annotations

import sqlalchemy as sa

from .base import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S, Dialect
from .mysql import MySQL
from .postgresql import PostgreSQL
from .sqlite import SQLite

__all__ = ["CONNECT_TIMEOUT_S", "DIALECTS", "STATEMENT_TIMEOUT_S", "Dialect", "dialect_of"]

DIALECTS: dict[str, type[Dialect]] = {"postgresql": PostgreSQL, "mysql": MySQL, "mariadb": MySQL, "sqlite": SQLite}


def dialect_of(dialect: sa.Dialect) -> Dialect:
    """Return ours of SQLAlchemy's, which has been connected."""
    if dialect.name in ("mysql", "mariadb"):
        return MySQL(is_mariadb=bool(getattr(dialect, "is_mariadb", False)))
    return DIALECTS[dialect.name]()
