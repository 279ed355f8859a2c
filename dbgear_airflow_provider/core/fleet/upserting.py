"""INSERT or UPDATE, each database's way."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite


def upsert(table: sa.Table, dialect: str, *, keeps: Collection[str] = ()) -> Any:
    """Return the statement that adds rows, and writes anew those that are there. keeps: columns it leaves alone."""
    keys = [column.name for column in table.primary_key]
    others = [column.name for column in table.c if column.name not in {*keys, *keeps}]
    if dialect in {"mysql", "mariadb"}:
        replace = mysql.insert(table)
        return replace.on_duplicate_key_update({name: replace.inserted[name] for name in others})
    insert: Any = (postgresql.insert if dialect == "postgresql" else sqlite.insert)(table)
    return insert.on_conflict_do_update(
        index_elements=keys, set_={name: getattr(insert.excluded, name) for name in others}
    )
