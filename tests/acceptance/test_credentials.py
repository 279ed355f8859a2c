"""Passwords of tenants' logins, from a run of the DAG and by Airflow's own API."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import psycopg

from dbgear_airflow_provider.core.credentials import Credential
from dbgear_airflow_provider.hooks.airflow_api import AirflowApi
from dbgear_airflow_provider.hooks.airflow_connections import AirflowConnectionSink
from dbgear_airflow_provider.sandbox.stack import Stack

DAG_ID = "tenant_provision"
TENANT = "T0003"


def test_a_provisioned_tenants_login_works(airflow_sandbox: Stack) -> None:
    airflow = airflow_sandbox.airflow
    airflow.wait_until(lambda: airflow.client.dag(DAG_ID), "reading the DAG", 120)
    airflow.client.unpause(DAG_ID)
    run_id = airflow.client.trigger(DAG_ID, {"query": f"tenant_id = '{TENANT}'", "dry_run": False})
    assert airflow.wait_until(lambda: airflow.client.outcome(DAG_ID, run_id), "the run", 300) == "success"
    file = airflow_sandbox.directory / "credentials" / f"{TENANT}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = json.loads(file.read_text())
    assert set(told["instances"]) == {"main", "test"}
    for place in told["instances"].values():
        with psycopg.connect(
            host=told["host"],
            port=told["port"],
            user=told["user"],
            password=told["password"],
            dbname=place["database"],
        ) as connection:
            own = "table_schema = %s AND starts_with(table_name, %s)"
            query = f"SELECT count(*) FROM information_schema.tables WHERE {own}"
            ((seen,),) = connection.execute(query, [place["schema"], place.get("prefix", "")])
            assert seen > 0
    logs = list((airflow_sandbox.directory / "logs").rglob("*.log"))
    assert logs
    assert not [log for log in logs if told["password"] in log.read_text(errors="replace")]


async def test_a_login_becomes_a_connection_of_the_running_airflow(airflow_sandbox: Stack) -> None:
    client = airflow_sandbox.airflow.client
    credential = Credential(
        tenant_id="Ä/1",
        target="main",
        engine="postgresql",
        host="db.example",
        port=5432,
        user="acme_login",
        password="geheim",
        instances={"main": {"database": "tenants", "schema": "acme", "isolation": "schema"}},
    )
    sink = AirflowConnectionSink(AirflowApi(client.url, "admin", client.password, trust_env=False))
    await sink.put(credential)
    await sink.put(replace(credential, user="another"))
    await sink.aclose()
    (made,) = [
        item
        for item in client.request("GET", "/connections?limit=100")["connections"]
        if item["connection_id"].startswith("dbgear_tenant_")
    ]
    assert (made["conn_type"], made["host"], made["login"], made["schema"]) == (
        "postgres",
        "db.example",
        "another",
        "tenants",
    )
