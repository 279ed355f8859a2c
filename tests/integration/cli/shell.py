"""`airflow dbgear` as a user has it, in this process: a project, a server, Airflow's parser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dbgear_airflow_provider.core.fleet import FleetStore
from dbgear_airflow_provider.sandbox.postgres import PostgresServer

Answer = TypeVar("Answer")
TEMPLATE = """
schemas:
  {{ tenant | schema_name(instance) }}:
    tables:
      users:
        columns: [{columnName: id, columnType: INT, nullable: false, primaryKey: 1}]
"""
PROJECT = """
multi_tenant:
  tenant_registry: {config: {csv: {path: tenants.csv}}}
  targets: {main: {connection_id: main}, other: {connection_id: other}}
  placement: [{query: "customer_code != 'nowhere'", target: main}]
  templates: {base_dir: templates}
  rollout:
    migrations: migrations
    stages: [{name: canary, query: "tenant_id = 'T1'"}, {name: rest, budget: {count: 0}}]
  automation: {max_parallel_operations: 4, retry_attempts: 1, operation_timeout: 20}
"""
HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy\n"


@dataclass
class Done:
    """What a command has printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return what stdout holds."""
        return json.loads(self.out)


class Shell:
    """A project in a folder. Its targets are one server; database: the shared one of `main`."""

    def __init__(self, folder: Path, postgres: PostgresServer, database: str, capsys: Any) -> None:
        self.folder, self.postgres, self.database, self._capsys = folder, postgres, database, capsys

    def __call__(self, *words: str) -> Done:
        """Run `airflow dbgear` with these words."""
        from airflow.cli import cli_parser

        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            args = cli_parser.get_parser().parse_args(["dbgear", *words])
            args.func(args)
        out, err = self._capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    def tenants(self, *tenant_ids: str, **status: str) -> None:
        """Write the tenant list. status: of those that are not active."""
        rows = [
            f"{id_},[客] {id_},{self.code(id_)},jp,basic,{status.get(id_, 'active')},2026-01-01,2026-01-01,schema\n"
            for id_ in tenant_ids
        ]
        (self.folder / "tenants.csv").write_text(HEADER + "".join(rows))

    def code(self, tenant_id: str) -> str:
        """Return the customer code of a tenant: of this test alone, on a server that many share."""
        return f"{self.database}{tenant_id.lower()}"

    def schema(self, tenant_id: str) -> str:
        """Return the schema of a tenant."""
        return f"{self.code(tenant_id)}_jp_main"

    def script(self, name: str, sql: str) -> Path:
        """Write a migration script; return its path."""
        path = self.folder / "migrations" / name
        path.write_text(f"-- migrate:up\n{sql}\n")
        return path

    def sql(self, text: str, database: str | None = None) -> list[Any]:
        """Execute SQL on the server."""
        with self.postgres.connect(database or self.database) as connection:
            cursor = connection.execute(text)
            return list(cursor.fetchall()) if cursor.description else []

    def schemas(self) -> list[str]:
        """Return the schemas of tenants that are there."""
        rows = self.sql(f"SELECT nspname FROM pg_namespace WHERE nspname LIKE '{self.database}%' ORDER BY 1")
        return [name for (name,) in rows]

    def ask(self, question: Callable[[FleetStore], Awaitable[Answer]]) -> Answer:
        """Return the answer of the fleet store."""

        async def answer() -> Answer:
            store = FleetStore(f"sqlite+aiosqlite:///{self.folder / 'fleet.db'}")
            try:
                return await question(store)
            finally:
                await store.aclose()

        return asyncio.run(answer())
