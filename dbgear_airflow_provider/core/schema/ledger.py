"""The ledger, `dbgear_migrations`: the table in each tenant's own schema that says whose it is and what was done."""

from __future__ import annotations

import sqlalchemy as sa

LEDGER = "dbgear_migrations"
# The row that provisioning writes; migrations have versions of their own.
PROVISIONED = "provision"


def ledger_table(metadata: sa.MetaData, schema: str | None) -> sa.Table:
    """Add the ledger to `metadata`.

    checksum: of what was applied, sha256 in hex. applied_at: of the server's clock, with time zone.
    """
    return sa.Table(
        LEDGER,
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
