"""The migration of `migrate`, by the tools that people use for it: dbmate in a shell loop, and django-tenants."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres

PROCESSES = 4
COLUMN = "ALTER TABLE table_0 ADD COLUMN remark varchar(100)"
INDEX = "CREATE INDEX table_0_idx_remark ON table_0 (remark)"


def dbmate(postgres: EmbeddedPostgres, database: str, schemas: Sequence[str]) -> float:
    """Migrate the schemas by four dbmates at a time; return the seconds."""
    with tempfile.TemporaryDirectory(prefix="dbgear-bench-") as folder:
        script = f"-- migrate:up\n{COLUMN};\n{INDEX};\n-- migrate:down\n"
        (Path(folder) / "20260101000000_remark.sql").write_text(script)
        server = f"{postgres.user}@{postgres.host}:{postgres.port}"
        url = f"postgres://{server}/{database}?sslmode=disable&search_path={{}}"
        command = [Path(sys.executable).with_name("dbmate"), "--no-dump-schema", "-d", folder, "--url", url, "migrate"]
        begun = time.perf_counter()
        subprocess.run(
            ["xargs", "-P", str(PROCESSES), "-I{}", *map(str, command)],  # noqa: S607
            env={**os.environ, "PGPASSWORD": postgres.password},
            input="\n".join(schemas),
            text=True,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - begun


def django_tenants(postgres: EmbeddedPostgres, database: str, schemas: Sequence[str]) -> float:
    """Migrate the schemas by `migrate_schemas --executor=multiprocessing`, four processes; return the seconds."""
    _django(postgres, database, "migrate_schemas", "--shared", "--run-syncdb")
    with postgres.connect(database) as connection:
        connection.execute(
            "INSERT INTO customers_client (schema_name) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
            [list(schemas)],
        )
        for schema in schemas:
            connection.execute(
                f'CREATE TABLE "{schema}".django_migrations (id bigserial PRIMARY KEY, app varchar(255) NOT NULL, '
                "name varchar(255) NOT NULL, applied timestamptz NOT NULL DEFAULT now()); "
                f"INSERT INTO \"{schema}\".django_migrations (app, name) VALUES ('shop', '0001_initial')"
            )
    begun = time.perf_counter()
    _django(postgres, database, "migrate_schemas", "--tenant", "--executor=multiprocessing")
    return time.perf_counter() - begun


def _django(postgres: EmbeddedPostgres, database: str, *arguments: str) -> None:
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "benchmarks.django_fleet.settings",
        "PGDATABASE": database,
        "PGHOST": postgres.host,
        "PGPORT": str(postgres.port),
        "PGUSER": postgres.user,
        "PGPASSWORD": postgres.password,
    }
    command = [sys.executable, "-m", "django", *arguments]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
