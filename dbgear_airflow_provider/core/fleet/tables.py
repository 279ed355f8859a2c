"""The tables of the fleet store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware datetime, kept as UTC: SQLite and MySQL keep no zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Store UTC; without a zone where the database has none. Raises ValueError for a naive datetime."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a datetime without a time zone: {value}")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Return UTC, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = sa.MetaData()

_BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up INTEGER keys only

# Every result of every operation, only ever added to. duration_s: seconds, retries within the task included.
operations = sa.Table(
    "dbgear_operations",
    metadata,
    sa.Column("id", _BIGINT, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(255), nullable=False),
    sa.Column("tenant_id", sa.String(255), nullable=False),
    sa.Column("operation", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("dry_run", sa.Boolean, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("started_at", UtcDateTime, nullable=False),
    sa.Column("duration_s", sa.Float, nullable=False),
    sa.Column("error_kind", sa.String(64)),
    sa.Column("error", sa.Text),
    sa.Column("details", sa.JSON),
    sa.Index("dbgear_operations_run", "run_id", "operation", "tenant_id"),
    sa.Index("dbgear_operations_tenant", "tenant_id", "id"),
)

# Where each instance is and in which state, as the last operation left it: an index of what the servers hold.
tenant_instances = sa.Table(
    "dbgear_tenant_instances",
    metadata,
    sa.Column("tenant_id", sa.String(255), primary_key=True),
    sa.Column("instance", sa.String(64), primary_key=True),
    sa.Column("target", sa.String(64), nullable=False),
    sa.Column("isolation", sa.String(16), nullable=False),
    sa.Column("database_name", sa.String(64), nullable=False),
    sa.Column("schema_name", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Index("dbgear_tenant_instances_target", "target", "database_name", "schema_name"),
)
