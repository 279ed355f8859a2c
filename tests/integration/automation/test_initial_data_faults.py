"""Initial data on MariaDB when the connection or the worker dies: nothing is half loaded, nothing is there twice."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.automation.test_initial_data import TEMPLATE, loaded, plan, rows, shop, write
from tests.integration.automation.test_provision_mysql import REPOSITORY, executed, until

__all__ = ["shop"]
ROWS = 6_000
WORKER = """
import asyncio, json, sys
from datetime import UTC, datetime
from pathlib import Path
from dbgear_airflow_provider.core.automation.loading import InitialData
from dbgear_airflow_provider.core.automation.instance import Instance
from dbgear_airflow_provider.core.automation.provision import provision_instance
from dbgear_airflow_provider.core.engines import MySQLServer, ServerAddress
from dbgear_airflow_provider.core.isolation import Place
from dbgear_airflow_provider.core.tenants import TenantInfo

given = json.loads(sys.stdin.read())
now = datetime.now(UTC)
tenant = TenantInfo(tenant_id="T1", customer_name="a", customer_code="a", region="jp", tier="basic", status="active",
                    created_at=now, updated_at=now, isolation_strategy="table")
data = InitialData(folder=Path(given["data"]), delete_rows=False, tenant=tenant, config={}, instance="main",
                   name_macros=lambda *_: {})

async def main():
    server = MySQLServer("main", ServerAddress(**given["address"]))
    place = Place(target="main", database=given["name"], schema=given["name"], prefix=given["prefix"],
                  isolation="table" if given["prefix"] else "schema", schemas_are_databases=True)
    instance = Instance(tenant_id="T1", name="main", place=place, document=given["document"], template="t", data=data)
    done = await provision_instance(instance, server, dry_run=False)
    await server.aclose()
    print(json.dumps([done.created, done.load.inserted]), flush=True)

asyncio.run(main())
"""


async def worker(given: dict[str, Any]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    return process


@pytest.mark.parametrize("prefix", ["", "a_jp_main_"])
async def test_a_worker_that_is_killed_in_the_rows_leaves_none_of_them(
    mysql_fleet: Any, tmp_path: Path, prefix: str
) -> None:
    fleet, name, data = mysql_fleet, f"t1_{mysql_fleet.database}", tmp_path / "rows"
    data.mkdir()
    (data / "main@plans.yaml").write_text("syncMode: update_diff")
    rows = data / "main@plans.dat"
    rows.write_text(yaml.dump([plan("free")]))
    address = {key: getattr(fleet.server, key) for key in ("host", "port", "user", "password")} | {"database": ""}
    document = yaml.safe_load(TEMPLATE)
    given = {"name": name, "prefix": prefix, "data": str(data), "document": document, "address": address}
    output, _ = await (await worker(given)).communicate()
    assert json.loads(output)[1] == 1
    made = [plan(f"p{number}", price=number) for number in range(ROWS)]
    rows.write_text(yaml.dump([plan("free"), *made], Dumper=yaml.CSafeDumper))
    count = f"SELECT COUNT(*) FROM `{name}`.{prefix}plans WHERE code LIKE 'p%'"

    with fleet.server.connect() as holder, fleet.server.connect() as reader, reader.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")

        def uncommitted() -> int:
            cursor.execute(count)
            return int(cursor.fetchone()[0])

        # The last row is taken by an open transaction, so the worker cannot be done before it is killed.
        holder.begin()
        holder.cursor().execute(f"INSERT INTO `{name}`.{prefix}plans (code, 名前) VALUES ('p{ROWS - 1}', '無料')")
        process = await worker(given)
        await until(lambda: uncommitted() > 1)
        process.kill()
        await process.wait()
        holder.rollback()
        await until(lambda: uncommitted() == 0)
        assert fleet.query(count) == [(0,)]  # it was killed before its commit

    output, _ = await (await worker(given)).communicate()
    assert json.loads(output) == [0, ROWS]
    assert fleet.query(count) == [(ROWS,)]
    output, _ = await (await worker(given)).communicate()
    assert json.loads(output) == [0, 0]


@pytest.mark.parametrize("shop", ["mysql_fleet"], indirect=True)
@pytest.mark.parametrize("from_the_end", [1, 2, 3, 4])
async def test_wherever_the_connection_is_cut_in_the_rows_the_retry_loads_all(shop: Any, from_the_end: int) -> None:
    write(shop, "plans", [plan(), plan("pro")])
    write(shop, "notes", [{"text": "no key"}])
    with executed(shop) as seen:
        assert await loaded(shop) == (3, 0)
    shop.server.drop_database(f"t0001_{shop.database}_jp_main")
    with executed(shop, cut_before=len(seen) - from_the_end + 1):
        assert await loaded(shop) == (3, 0)
    assert rows(shop, "plans", "code") == [("free",), ("pro",)]
    assert rows(shop, "notes") == [("no key",)]
    assert await loaded(shop) == (0, 0)
