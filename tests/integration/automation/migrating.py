"""What tests of migrations share: a fleet on either engine, its scripts, and what tenants have afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dbgear_airflow_provider.core.automation import OperationStatus
from dbgear_airflow_provider.core.tenants import naming

# One table: what else there is, scripts have made.
TEMPLATE = """
schemas:
  main:
    tables:
      customers:
        displayName: 顧客
        columns:
          - {columnName: id, displayName: ID, columnType: INT, nullable: false, primaryKey: 1}
"""
ISOLATIONS = ("schema", "database", "table")
PLAN = "ALTER TABLE ${PREFIX}customers ADD COLUMN plan VARCHAR(20);"
INDEX = "CREATE INDEX ${PREFIX}idx_plan ON ${PREFIX}customers (plan);"
NOTES = "CREATE TABLE ${PREFIX}notes (id INT PRIMARY KEY);"


class Scripts:
    """A fleet, its folder of scripts, and an engine."""

    def __init__(self, fleet: Any) -> None:
        self.fleet = fleet
        self.folder: Path = fleet.folder / "migrations"
        self.folder.mkdir()
        fleet.template.write_text(TEMPLATE)
        self.is_mysql = type(fleet).__name__ == "MySQLFleet"
        self.isolation = "schema"

    def write(self, name: str, *statements: str, down: str = "", alone: bool = False) -> Path:
        """Write a script; alone: not in a transaction."""
        up = f"-- migrate:up{' transaction:false' if alone else ''}\n" + "\n".join(statements)
        path = self.folder / name
        path.write_text(
            up + (f"\n-- migrate:down{' transaction:false' if alone else ''}\n{down}" if down else "") + "\n"
        )
        return path

    async def provisioned(self, count: int, isolation: str = "schema", instances: str = "main") -> list[str]:
        """Make that many tenants."""
        self.isolation = isolation
        ids = self.fleet.tenants(count, isolation=isolation, instances=instances)
        async with self.fleet.engine() as engine:
            assert failures(await engine.bulk_provision_tenants({}, dry_run=False)) == {}
        return list(ids)

    async def migrate(self, run_id: str | None = None, *, filters: Any = None, **options: Any) -> list[Any]:
        """Migrate all tenants; settings of the engine are among the options."""
        settings = {key: options.pop(key) for key in ("retry_attempts", "operation_timeout") if key in options}
        migrations = options.pop("migrations", self.folder)
        async with self.fleet.engine(run_id, **settings) as engine:
            return list(await engine.bulk_migrate_tenants(filters or {}, migrations, **{"dry_run": False, **options}))

    async def undo(self, to: str, run_id: str | None = None, **options: Any) -> list[Any]:
        """Undo what is newer than a version."""
        async with self.fleet.engine(run_id) as engine:
            return list(await engine.bulk_undo_migrations({}, self.folder, to, **{"dry_run": False, **options}))

    async def baseline(self, version: str, run_id: str | None = None, **options: Any) -> list[Any]:
        """Give all tenants a baseline."""
        async with self.fleet.engine(run_id) as engine:
            return list(await engine.bulk_baseline_tenants({}, version, **{"dry_run": False, **options}))

    def place(self, tenant_id: str, instance: str = "main") -> tuple[str | None, str, str]:
        """Return (database, schema, prefix) of an instance; the database is None where it is the fleet's."""
        code = f"{tenant_id.lower()}_{self.fleet.database}_jp_{instance}"
        if self.isolation == "table":
            limit = naming.NameLimit(naming.MAX_PREFIX_BYTES - 1, in_bytes=True)
            return None, self.fleet.shared, f"{naming.safe_identifier(code, limit)}_"
        if self.isolation == "database" and not self.is_mysql:
            return code, instance, ""
        return None, code, ""

    def query(self, tenant_id: str, sql: str, instance: str = "main") -> list[tuple[Any, ...]]:
        """Execute SQL whose tables are written {name}."""
        database, schema, prefix = self.place(tenant_id, instance)
        mark = "`" if self.is_mysql else '"'

        class Tables(dict[str, str]):
            def __missing__(self, name: str) -> str:
                return f"{mark}{schema}{mark}.{mark}{naming.prefixed(prefix, name)}{mark}"

        return list(self.fleet.query(sql.format_map(Tables()), database))

    def ledger(self, tenant_id: str, instance: str = "main") -> list[str]:
        """Return the versions of the rows, those of provisioning left out."""
        rows = self.query(tenant_id, "SELECT version FROM {dbgear_migrations}", instance)
        return sorted(version for (version,) in rows if version not in {"provision", "roles"})

    def columns(self, tenant_id: str, table: str = "customers", instance: str = "main") -> list[str]:
        """Return the columns of a table, in order."""
        database, schema, prefix = self.place(tenant_id, instance)
        sql = (
            f"SELECT column_name FROM information_schema.columns WHERE table_schema = '{schema}' "
            f"AND table_name = '{naming.prefixed(prefix, table)}' ORDER BY ordinal_position"
        )
        return [name for (name,) in self.fleet.query(sql, database)]

    def indexes(self, tenant_id: str) -> set[str]:
        """Return the indexes of the table of customers, without the primary key's."""
        database, schema, prefix = self.place(tenant_id)
        catalog = (
            f"SELECT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = '{schema}' AND TABLE_NAME = "
            if self.is_mysql
            else f"SELECT indexname FROM pg_indexes WHERE schemaname = '{schema}' AND tablename = "
        )
        names = [name for (name,) in self.fleet.query(f"{catalog} '{naming.prefixed(prefix, 'customers')}'", database)]
        return {name.removeprefix(prefix) for name in names if name != "PRIMARY" and not name.endswith("pkey")}


def failures(results: Sequence[Any]) -> dict[str, str]:
    return {item.tenant_id: item.details["error_kind"] for item in results if item.status is OperationStatus.ERROR}


def changed(results: Sequence[Any]) -> list[int]:
    return [item.details["changed"] for item in results]
