"""SQL that drops objects, and sets options of tables, from names that are in quotes already."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy.engine import Dialect

from ..tenants.naming import SHORTEST_LIMIT
from .ddl import quoted
from .features import features
from .types import charset_of

_ROW_FORMAT = re.compile(r"row_format=(\w+)", re.IGNORECASE)


def view(name: str, live: Mapping[str, str]) -> str:
    """Return what drops a view."""
    return f"DROP {'MATERIALIZED ' if 'materialized' in live else ''}VIEW {name}"


def table(name: str, live: Mapping[str, str]) -> str:
    """Return what drops a table."""
    return f"DROP {'FOREIGN ' if live.get('kind') == 'foreign' else ''}TABLE {name}"


def constraint(of_table: str, name: str) -> str:
    """Return what drops a check or a unique constraint."""
    return f"ALTER TABLE {of_table} DROP CONSTRAINT {name}"


def foreign_key(of_table: str, name: str, dialect: Dialect) -> str:
    """Return what drops a foreign key."""
    kind = "FOREIGN KEY" if features(dialect).key_clauses else "CONSTRAINT"
    return f"ALTER TABLE {of_table} DROP {kind} {name}"


def primary_key(table_name: str, dialect: Dialect) -> str:
    """Return the clause of ALTER TABLE that drops its primary key, which has the name that the server gave it."""
    if features(dialect).key_clauses:
        return "DROP PRIMARY KEY"
    end = "_pkey"
    head = table_name if SHORTEST_LIMIT.holds(table_name + end) else SHORTEST_LIMIT.head(table_name, len(end))
    return f"DROP CONSTRAINT {quoted(dialect, head + end)}"


def options(wanted: Mapping[str, str], live: Mapping[str, str]) -> tuple[list[str], set[str]]:
    """Return the clauses of ALTER TABLE that set a table's options, and the fields of its definition that they set."""
    clauses, known = [], set()
    if wanted.get("engine") != live.get("engine") and "engine" in wanted:
        clauses.append(f"ENGINE = {wanted['engine']}")
        known.add("engine")
    if wanted.get("collation") != live.get("collation") and "collation" in wanted:
        charset = charset_of(wanted["collation"])
        clauses.append(f"DEFAULT CHARACTER SET {charset} COLLATE {wanted['collation']}")
        known.add("collation")
    formats = [match[1] if (match := _ROW_FORMAT.search(of.get("options", ""))) else "DEFAULT" for of in (wanted, live)]
    if formats[0] != formats[1] and "engine" in wanted:
        clauses.append(f"ROW_FORMAT = {formats[0].upper()}")
    if _without_format(wanted) == _without_format(live):
        known.add("options")
    if "unlogged" in live and "unlogged" not in wanted:
        clauses.append("SET LOGGED")
        known.add("unlogged")
    return clauses, known


def _without_format(definition: Mapping[str, str]) -> str:
    return _ROW_FORMAT.sub("", definition.get("options", "")).strip()
