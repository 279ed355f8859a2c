"""The tables of the fleet store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware datetime, kept as UTC: SQLite and MySQL keep no zone."""

    # MySQL's DATETIME has whole seconds unless told otherwise.
    impl = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
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


# A column that comes later is added to tables that are there: it needs a server_default, or to be nullable.
metadata = sa.MetaData()


def _exact(length: int) -> Any:
    """Return the type of a text that is equal to no other one: MySQL's own default knows no case."""
    return sa.String(length).with_variant(mysql.VARCHAR(length, collation="utf8mb4_bin"), "mysql", "mariadb")


_BIGINT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite counts up INTEGER keys only

# Every result of every operation, only ever added to. duration_s: seconds, retries within the task included.
operations = sa.Table(
    "dbgear_operations",
    metadata,
    sa.Column("id", _BIGINT, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(255), nullable=False),
    sa.Column("tenant_id", _exact(255), nullable=False),
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
    sa.Index("dbgear_operations_started", "started_at"),
)

# Where each instance is and in which state, as the last operation left it: an index of what the servers hold.
# fingerprint: of what it held at checked_at, the last look at it; None where nothing was there. version: the newest
# migration, ledger: sha256 of all that the ledger says of them; None where nobody has looked since it changed.
tenant_instances = sa.Table(
    "dbgear_tenant_instances",
    metadata,
    sa.Column("tenant_id", _exact(255), primary_key=True),
    sa.Column("instance", _exact(64), primary_key=True),
    sa.Column("target", sa.String(64), nullable=False),
    sa.Column("isolation", sa.String(16), nullable=False),
    sa.Column("database_name", sa.String(64), nullable=False),
    sa.Column("schema_name", sa.String(64), nullable=False),
    sa.Column("prefix", sa.String(64), nullable=False, server_default=""),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("checksum", sa.String(64), nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("fingerprint", sa.String(64)),
    sa.Column("checked_at", UtcDateTime),
    sa.Column("version", sa.String(255)),
    sa.Column("ledger", sa.String(64)),
    sa.Index("dbgear_tenant_instances_target", "target", "database_name", "schema_name"),
)

# The text of every migration that was ever run, for the difference of one that was edited afterwards.
migration_scripts = sa.Table(
    "dbgear_migration_scripts",
    metadata,
    sa.Column("checksum", sa.String(64), primary_key=True),
    sa.Column("version", sa.String(255), nullable=False),
    sa.Column("file", sa.String(1024), nullable=False),
    sa.Column("text", sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb"), nullable=False),
    sa.Column("first_seen", UtcDateTime, nullable=False),
)

# A rollout: one change on its way through the fleet. id: the key of its run. stages: as `Stage.details()`, a list.
# counts: members by status, at the last change of status. approvals: {stage, by, at}, a list. options: what else it was
# begun with; NULL: nothing.
rollouts = sa.Table(
    "dbgear_rollouts",
    metadata,
    sa.Column("id", _exact(255), primary_key=True),
    sa.Column("version", sa.String(255)),
    sa.Column("query", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("stages", sa.JSON, nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("approvals", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
    sa.Column("options", sa.JSON),
    sa.Index("dbgear_rollouts_created", "created_at"),
)

# The instances that a rollout is about. stage: index in the rollout's stages; NULL: it is left out.
# error_kind, error: of the last failure, or why it is left out. from_version: before the rollout; "" where there was
# none, NULL where nobody looked. to_version: what it had afterwards. duration_s: seconds, retries included.
rollout_members = sa.Table(
    "dbgear_rollout_members",
    metadata,
    sa.Column("rollout_id", _exact(255), primary_key=True),
    sa.Column("tenant_id", _exact(255), primary_key=True),
    sa.Column("instance", _exact(64), primary_key=True),
    sa.Column("stage", sa.Integer),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("error_kind", sa.String(64)),
    sa.Column("error", sa.Text),
    sa.Column("from_version", sa.String(255)),
    sa.Column("to_version", sa.String(255)),
    sa.Column("started_at", UtcDateTime),
    sa.Column("duration_s", sa.Float),
)

# The tenants as the registry had them when it was last read: what is shown of a fleet, and searched in. info: the
# whole of `TenantInfo`, as JSON. target: NULL where no rule places the tenant. removed_at: when a reading of the whole
# registry did not have it any more.
tenants = sa.Table(
    "dbgear_tenants",
    metadata,
    sa.Column("tenant_id", _exact(255), primary_key=True),
    sa.Column("status", _exact(16), nullable=False),
    sa.Column("tier", _exact(16), nullable=False),
    sa.Column("region", _exact(255), nullable=False),
    sa.Column("target", sa.String(64)),
    sa.Column("info", sa.JSON, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.Column("removed_at", UtcDateTime),
)

# The last look at the health of each instance. status: `ok`, `warning`, `critical`, or `unreachable`. latency_s: of the
# server's answer; size_bytes: what it holds; NULL: not known. problems: a list of {kind, severity, text, value, limit}.
health = sa.Table(
    "dbgear_health",
    metadata,
    sa.Column("tenant_id", _exact(255), primary_key=True),
    sa.Column("instance", _exact(64), primary_key=True),
    sa.Column("target", sa.String(64), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("checked_at", UtcDateTime, nullable=False),
    sa.Column("latency_s", sa.Float),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("connections", sa.Integer),
    sa.Column("problems", sa.JSON, nullable=False),
    sa.Index("dbgear_health_status", "status", "target"),
)

# Earlier looks, for growth and charts: one row for each look, the oldest are thrown away.
health_history = sa.Table(
    "dbgear_health_history",
    metadata,
    sa.Column("tenant_id", _exact(255), primary_key=True),
    sa.Column("instance", _exact(64), primary_key=True),
    sa.Column("checked_at", UtcDateTime, primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("latency_s", sa.Float),
    sa.Column("size_bytes", sa.BigInteger),
    sa.Column("connections", sa.Integer),
    sa.Index("dbgear_health_history_checked", "checked_at"),
)

# The rules of alerts that are broken, and those of which somebody still has to hear that they are kept again. since:
# when it began. value: of its measure when it was last looked at. told: names of the notifiers that know it as broken.
alerts = sa.Table(
    "dbgear_alerts",
    metadata,
    sa.Column("rule", _exact(64), primary_key=True),
    sa.Column("severity", sa.String(16), nullable=False),
    sa.Column("since", UtcDateTime, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("told", sa.JSON, nullable=False),
)

# Changes of the slots of targets' pools. reason: in words. load: as it was measured, JSON.
scalings = sa.Table(
    "dbgear_scalings",
    metadata,
    sa.Column("id", _BIGINT, primary_key=True, autoincrement=True),
    sa.Column("target", sa.String(64), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("slots_before", sa.Integer, nullable=False),
    sa.Column("slots_after", sa.Integer, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("load", sa.JSON, nullable=False),
    sa.Index("dbgear_scalings_target", "target", "id"),
)
