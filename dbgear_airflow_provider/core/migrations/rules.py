"""The lint rules: what each is about, and how bad it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "allowed"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """severity: of its findings. text: what is found, for people. engines: on which it is looked for."""

    severity: Literal["error", "warning"]
    text: str
    engines: str = "all"


def _error(text: str, engines: str = "all") -> Rule:
    return Rule(severity="error", text=text, engines=engines)


def _warning(text: str, engines: str = "all") -> Rule:
    return Rule(severity="warning", text=text, engines=engines)


_POSTGRES, _MYSQL = "PostgreSQL", "MySQL, MariaDB"

# Those that squawk looks for on PostgreSQL have its names: https://squawkhq.com/docs/rules. Locks and copies on MySQL:
# https://dev.mysql.com/doc/refman/8.4/en/innodb-online-ddl-operations.html,
# on MariaDB: https://mariadb.com/kb/en/innodb-online-ddl-overview/
RULES: Mapping[str, Rule] = {
    "ban-drop-table": _error("a table is dropped with its rows"),
    "ban-drop-column": _error("a column is dropped with what it holds"),
    "ban-drop-database": _error("a database is dropped"),
    "ban-drop-schema": _error("a schema is dropped", _POSTGRES),
    "truncate": _error("a table or a partition is emptied"),
    "ban-truncate-cascade": _error("tables that refer to this one are emptied as well", _POSTGRES),
    "no-where": _error("DELETE or UPDATE of all rows"),
    "changing-column-type": _error("the table is rewritten, or copied, while nobody may write to it"),
    "rewrites-table": _error("the table is rewritten, or copied"),
    "blocks-writes": _error("nobody may write to the table meanwhile"),
    "adding-foreign-key-constraint": _error("the tables are read, or copied, while nobody may write to them"),
    "constraint-missing-not-valid": _error("the table is read while it is locked: NOT VALID, then VALIDATE", _POSTGRES),
    "disallowed-unique-constraint": _error("an index is built while the table is locked", _POSTGRES),
    "adding-field-with-default": _error("the table is rewritten for a default that changes", _POSTGRES),
    "adding-required-field": _error("fails where there are rows: NOT NULL without a default", _POSTGRES),
    "adding-not-nullable-field": _error("the table is read while nobody may read it", _POSTGRES),
    "adding-serial-primary-key-field": _error("the table is rewritten", _POSTGRES),
    "require-concurrent-index-creation": _error("nobody may write until the index is built: CONCURRENTLY", _POSTGRES),
    "require-concurrent-index-deletion": _error("nobody may read until the index is gone: CONCURRENTLY", _POSTGRES),
    "require-concurrent-reindex": _error("nobody may write until the index is built: CONCURRENTLY", _POSTGRES),
    "require-concurrent-partition-detach": _error("nobody may read until it is done: CONCURRENTLY", _POSTGRES),
    "ban-concurrent-index-creation-in-transaction": _error("CONCURRENTLY needs transaction:false", _POSTGRES),
    "ban-create-domain-with-constraint": _error("a domain's constraint cannot be NOT VALID", _POSTGRES),
    "ban-alter-domain-with-add-constraint": _error("all tables with the domain are read while locked", _POSTGRES),
    "identifier-too-long": _error("PostgreSQL cuts the name without an error", _POSTGRES),
    "renaming-table": _warning("programs that use the old name fail"),
    "renaming-column": _warning("programs that use the old name fail"),
    "unnamed-object": _error("without a name, a script that is gone on with could make it twice"),
    "ddl-after-dml": _warning("DDL commits: the rows before it stay when what follows fails", _MYSQL),
    "no-prefix": _error("a name without ${PREFIX}: with isolation `table` it is not the tenant's"),
    "other-schema": _error("a schema other than the instance's own: ${SCHEMA}"),
    "not-a-migration": _error("roles, rights and settings of a server are no tenant's"),
    "not-parsed": _warning("not understood here: the server decides, and not all rules were asked"),
    "unused-allow": _warning("nothing needs this dbgear:allow, or there is no such rule"),
}
