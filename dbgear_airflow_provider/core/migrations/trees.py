"""Lint rules that ask which tables a statement names: sqlglot parses it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

# What the server itself has, and may be read from anywhere.
_CATALOGS = {"pg_catalog", "information_schema", "performance_schema", "mysql", "sys"}
_DUAL = "dual"
# It logs what it takes over as a text; here that is told as a finding.
_LOGGER = logging.getLogger("sqlglot")
_QUIET = threading.Lock()


def parsed(sql: str, grammar: str) -> exp.Expr | None:
    """Return the tree of a statement, None where sqlglot does not understand it."""
    with _QUIET:
        before, _LOGGER.disabled = _LOGGER.disabled, True
        try:
            tree = sqlglot.parse_one(sql, read=grammar)
        except (SqlglotError, RecursionError):
            return None
        finally:
            _LOGGER.disabled = before
    # An expression alone is no statement.
    return None if isinstance(tree, exp.Command | exp.Alias | exp.Condition) else tree


def found_in_tree(tree: exp.Expr, own: set[str], prefix: str | None) -> Iterator[str]:
    """Yield the rules that a statement breaks. own: schemas that are the instance's. prefix: of names; None: any."""
    if not isinstance(tree, exp.Create):  # a body is not run
        for item in tree.find_all(exp.Delete, exp.Update):
            if item.args.get("where") is None:
                yield "no-where"
    local = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            continue  # a function that gives rows
        if table.db and table.db not in own and table.db.lower() not in _CATALOGS:
            yield "other-schema"
        if table.db.lower() in _CATALOGS or table.name.startswith("pg_") or table.name.lower() == _DUAL:
            continue
        if prefix is not None and not table.name.startswith(prefix) and (table.db or table.name not in local):
            yield "no-prefix"
