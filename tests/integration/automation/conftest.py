"""A project over a real server, opened afresh as often as a test likes."""

from __future__ import annotations

import csv
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbgear_airflow_provider.core import CSVTenantProvider, FleetStore, TenantAutomationEngine, TenantTemplateEngine
from dbgear_airflow_provider.core.credentials import CredentialSink, FileSink
from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, Server
from dbgear_airflow_provider.core.fleet import Run
from dbgear_airflow_provider.core.settings import MultiTenantSettings
from dbgear_airflow_provider.sandbox.postgres import PostgresServer as RunningServer
from tests.servers.address import address_of
from tests.servers.mariadb import MySQLServer as RunningMySQL

# Two tables with a key between them, a default that is the tenant's own, and an index.
TEMPLATE = """
schemas:
  {{ tenant | schema_name(instance) }}:
    tables:
      customers:
        displayName: 顧客
        columns:
          - {columnName: id, displayName: ID, columnType: INT AUTO_INCREMENT, nullable: false, primaryKey: 1}
          - columnName: tenant_id
            displayName: tenant
            columnType: VARCHAR(50)
            nullable: false
            defaultValue: "{{ tenant.tenant_id | sql_literal }}"
      orders:
        displayName: 注文
        columns:
          - {columnName: id, displayName: ID, columnType: INT AUTO_INCREMENT, nullable: false, primaryKey: 1}
          - {columnName: customer_id, displayName: 顧客ID, columnType: INT, nullable: false}
          - {columnName: ordered_on, displayName: 日付, columnType: DATE, nullable: false,
             defaultValue: "{{ config.first_day | default("2026-01-01") | sql_literal }}"}
        indexes:
          - {indexName: idx_customer, columns: [customer_id, "ordered_on DESC"]}
        relations:
          - {target: {tableName: customers}, bindColumns: [{sourceColumn: customer_id, targetColumn: id}]}
"""


class Fleet:
    """A project on disk, and the servers that it is about."""

    def __init__(self, folder: Path, server: RunningServer, database: str) -> None:
        self.folder = folder
        self.server = server
        self.database = database
        self.shared = f"shared_{database}"  # the schema of tenants of isolation `table`
        self.template = folder / "schema.j2"
        self.template.write_text(TEMPLATE)
        (folder / "configs").mkdir()
        self.store_url = f"sqlite+aiosqlite:///{folder / 'fleet.db'}"
        self._owned: set[str] = set()
        self.sink: CredentialSink | None = None  # with one, tenants have roles
        self.sections: dict[str, Any] = {}  # of the project file, besides
        self.user: tuple[str, str] | None = None  # who we are on the server, with the password

    def with_roles(self) -> FileSink:
        """Let tenants have roles from now on."""
        self.sink = sink = FileSink(self.folder / "credentials")
        return sink

    def tenants(self, count: int, isolation: str = "schema", instances: str = "main") -> list[str]:
        """Write a registry of that many tenants; return their ids."""
        ids = [f"T{number:04}" for number in range(1, count + 1)]
        # The database's name makes the names of tenants' own databases unique on a shared server.
        self.write([[id_, f"{id_.lower()}_{self.database}", isolation, instances] for id_ in ids])
        return ids

    def write(self, rows: Sequence[Sequence[str]]) -> None:
        """Write a registry of (tenant_id, customer_code, isolation_strategy, instances)."""
        with (self.folder / "tenants.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                [
                    *("tenant_id", "customer_name", "customer_code", "region", "tier", "status"),
                    *("created_at", "updated_at", "isolation_strategy", "instances"),
                ]
            )
            for tenant_id, code, isolation, instances in rows:
                times = ["2026-01-01", "2026-01-01"]
                writer.writerow([tenant_id, "顧客", code, "jp", "basic", "active", *times, isolation, instances])
                if isolation == "database":
                    self._owned |= {f"{code}_jp_{instance}" for instance in instances.split(",")}

    def configure(self, tenant_id: str, config: dict[str, Any]) -> None:
        """Write a tenant's own settings."""
        (self.folder / "configs" / f"{tenant_id}.yaml").write_text(yaml.safe_dump(config))

    def target(self, **options: Any) -> Server:
        """Return the server as an operation sees it, unconnected."""
        others = {"user": self.user[0], "password": self.user[1]} if self.user else {}
        address = address_of(self.server, self.database, **others)
        return PostgresServer("main", address, shared_schema=self.shared, **options)

    @asynccontextmanager
    async def engine(self, run_id: str | None = None, **settings: Any) -> AsyncIterator[TenantAutomationEngine]:
        """Open the engine; run_id: keep results under it. settings: of `automation`, and on_unsupported."""
        registry = CSVTenantProvider(str(self.folder / "tenants.csv"), str(self.folder / "configs"))
        timeout = settings.pop("operation_timeout", 60)
        on_unsupported = settings.pop("on_unsupported", "error")
        project = MultiTenantSettings.model_validate(
            {
                "tenant_registry": {"config": {"csv": {"path": "tenants.csv"}}},
                "targets": {"main": {"connection_id": "main"}},
                "templates": {"on_unsupported": on_unsupported},
                "automation": settings,
                **self.sections,
                **({"access": {"roles": True, "sink": {"type": "file", "path": "-"}}} if self.sink else {}),
            }
        )
        server = self.target()
        store = FleetStore(self.store_url)
        await store.prepare()
        try:
            yield TenantAutomationEngine(
                registry,
                TenantTemplateEngine(str(self.folder), registry),
                operation_timeout=timeout,
                settings=project,
                servers={"main": server},
                run=None if run_id is None else Run(store=store, run_id=run_id),
                credentials=self.sink,
            )
        finally:
            await server.aclose()
            await store.aclose()

    def catalog(self, database: str | None = None) -> dict[str, list[str]]:
        """Return {schema: its tables, indexes and constraints, each with its definition and object id}."""
        with self.server.connect(database or self.database) as connection:
            rows = connection.execute(
                """
                SELECT n.nspname, 'schema ' || n.oid FROM pg_namespace n
                UNION ALL
                SELECT n.nspname, format('%s %s %s %s', c.relkind, c.relname, c.oid,
                       (SELECT string_agg(format('%s %s %s', a.attname, format_type(a.atttypid, a.atttypmod),
                                                 pg_get_expr(d.adbin, d.adrelid)), ',' ORDER BY a.attnum)
                          FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                         WHERE a.attrelid = c.oid AND a.attnum > 0))
                  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                UNION ALL
                SELECT n.nspname, format('%s %s', k.conname, pg_get_constraintdef(k.oid))
                  FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
                """
            ).fetchall()
        catalog: dict[str, list[str]] = {}
        for schema, text in rows:
            if not schema.startswith("pg_") and schema not in {"public", "information_schema"}:
                catalog.setdefault(schema, []).append(text)
        return {schema: sorted(texts) for schema, texts in sorted(catalog.items())}

    def query(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Execute a statement and return its rows."""
        with self.server.connect(database or self.database) as connection:
            cursor = connection.execute(sql)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def databases(self) -> set[str]:
        """Return the tenants' own databases that exist."""
        return {row[0] for row in self.query("SELECT datname FROM pg_database")} & self._owned

    def drop_databases(self) -> None:
        """Drop the tenants' own databases."""
        for name in self._owned:
            self.server.drop_database(name)


@pytest.fixture
def make_fleet(tmp_path: Path) -> Callable[[RunningServer, str], Fleet]:
    return lambda server, database: Fleet(tmp_path, server, database)


@pytest.fixture
def fleet(postgres: RunningServer, database: str, make_fleet: Callable[[RunningServer, str], Fleet]) -> Any:
    made = make_fleet(postgres, database)
    yield made
    made.drop_databases()


class MySQLFleet(Fleet):
    """The same over MySQL or MariaDB, where each instance has a database, whatever its isolation."""

    server: RunningMySQL  # type: ignore[assignment]

    def target(self, **options: Any) -> Server:
        server = self.server
        address = address_of(server)
        return MySQLServer("main", address, shared_schema=self.shared, **options)

    def query(self, sql: str, database: str | None = None) -> list[tuple[Any, ...]]:
        return list(self.server.query(sql, database))

    def databases(self) -> set[str]:
        """Return the databases of this fleet that exist: their names have the fleet's own in them."""
        return {name for (name,) in self.query("SHOW DATABASES") if self.database in name}

    def catalog(self, database: str | None = None) -> dict[str, list[str]]:
        """Return {database: the DDL of its tables as the server tells it, with when each was created}."""
        catalog = {}
        for name in sorted(self.databases() if database is None else {database}):
            quoted = name.replace("`", "``")
            tables = self.query(f"SHOW TABLES FROM `{quoted}`")
            texts = [self.query(f"SHOW CREATE TABLE `{quoted}`.`{table}`")[0][1] for (table,) in tables]
            times = self.query(
                "SELECT TABLE_NAME, CREATE_TIME FROM information_schema.TABLES WHERE TABLE_SCHEMA = "
                + "'"
                + name.replace("'", "''")
                + "'"
            )
            catalog[name] = sorted([*texts, *map(str, times)])
        return catalog

    def drop_databases(self) -> None:
        for name in self.databases():
            self.server.drop_database(name.replace("`", "``"))


@pytest.fixture
def make_mysql_fleet(tmp_path: Path) -> Callable[[RunningMySQL], MySQLFleet]:
    return lambda server: MySQLFleet(tmp_path, server, f"my{os.urandom(5).hex()}")  # type: ignore[arg-type]


@pytest.fixture
def mysql_fleet(mariadb: RunningMySQL, make_mysql_fleet: Callable[[RunningMySQL], MySQLFleet]) -> Any:
    made = make_mysql_fleet(mariadb)
    yield made
    made.drop_databases()
