"""The ledger, `dbgear_migrations`: the table in each tenant's own schema that says whose it is and what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

from ..tenants import naming
from .ddl import literal, literals, quoted
from .objects import Namespace

LEDGER = "dbgear_migrations"
# What was withheld from a suspended tenant's roles (see `automation.withheld`).
WITHHELD = "dbgear_withheld"
# Our tables in each tenant's own schema, which no document has.
OWN_TABLES = (LEDGER, WITHHELD)
# The row that provisioning writes; migrations have versions of their own.
PROVISIONED = "provision"
# That of initial data.
DATA = "data"
# What the row begins with that says up to which version all migrations count as applied, and its checksum.
BASELINE = "baseline "
NO_CHECKSUM = "0" * 64


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A row of a tenant's ledger."""

    version: str
    tenant_id: str
    instance: str
    checksum: str

    def statement(self, namespace: Namespace, dialect: Dialect, *, replaces: bool) -> str:
        """Return the SQL that writes the row into a namespace's ledger, or replaces the one of this version.

        With its values as literals, so that it goes to the server in one script with the objects it tells of, and
        a dry run shows it.
        """
        if replaces:
            table = quoted(dialect, namespace.schema, ledger_name(namespace))
            version, checksum = literal(self.version, dialect), literal(self.checksum, dialect)
            change = f"checksum = {checksum}, applied_at = CURRENT_TIMESTAMP"
            return f"UPDATE {table} SET {change} WHERE version = {version}"  # noqa: S608 - quoted and literals above
        return insert_statement([self], namespace, dialect)


def insert_statement(entries: Sequence[LedgerEntry], namespace: Namespace, dialect: Dialect) -> str:
    """Return the SQL that writes rows into a namespace's ledger, all of them or none."""
    table = quoted(dialect, namespace.schema, ledger_name(namespace))
    write = literals(dialect)
    rows = [(entry.version, entry.tenant_id, entry.instance, entry.checksum) for entry in entries]
    values = ", ".join(f"({', '.join(map(write, row))})" for row in rows)
    return f"INSERT INTO {table} (version, tenant_id, instance, checksum) VALUES {values}"  # noqa: S608 - literals


def delete_statement(versions: Sequence[str], namespace: Namespace, dialect: Dialect) -> str:
    """Return the SQL that takes rows out of a namespace's ledger."""
    table = quoted(dialect, namespace.schema, ledger_name(namespace))
    listed = ", ".join(literal(version, dialect) for version in versions)
    return f"DELETE FROM {table} WHERE version IN ({listed})"  # noqa: S608 - literals


def ledger_name(namespace: Namespace) -> str:
    """Return the name of a namespace's ledger."""
    return naming.prefixed(namespace.prefix, LEDGER)


def ledger_table(metadata: sa.MetaData, schema: str | None, name: str = LEDGER) -> sa.Table:
    """Add the ledger to `metadata`, under its name on the server.

    checksum: of what was applied, sha256 in hex. applied_at: of the server's clock, with time zone.
    """
    return sa.Table(
        name,
        metadata,
        sa.Column("version", sa.String(255), primary_key=True),
        sa.Column("tenant_id", sa.String(255), nullable=False),
        sa.Column("instance", sa.String(255), nullable=False),
        sa.Column("checksum", sa.CHAR(64), nullable=False),
        sa.Column(
            "applied_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.func.current_timestamp(),
        ),
        schema=schema,
    )
