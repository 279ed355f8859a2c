"""The environment variables that make any `airflow` command part of the sandbox."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import keys, ports
from .postgres import PostgresServer

REPOSITORY = Path(__file__).resolve().parents[2]
INCLUDE = REPOSITORY / "include"
REGISTRY_CSV = INCLUDE / "registry" / "tenants.csv"
CONFIG_DIR = INCLUDE / "registry" / "configs"
PROJECT_FILE = INCLUDE / "project.yaml"

METADATA_DATABASE = "airflow"
FLEET_DATABASE = "fleet"
REGISTRY_DATABASE = "registry"
TENANTS_DATABASE = "tenants"


def pools() -> dict[str, dict[str, Any]]:
    """Return the pools of include/pools.json, in the form of `airflow pools import`."""
    found: dict[str, dict[str, Any]] = json.loads((INCLUDE / "pools.json").read_text())
    return found


def airflow_settings(
    directory: Path, server: PostgresServer, *, port: int, dags: Path, project: Path = PROJECT_FILE
) -> dict[str, str]:
    """Return the AIRFLOW_* variables of the sandbox in `directory`. They hold passwords and keys.

    port: of the UI and the API, on 127.0.0.1.
    dags: folder of the DAG files. project: the project file.
    """
    url = f"http://{ports.HOST}:{port}"
    secrets = directory / "keys"
    secrets.mkdir(parents=True, exist_ok=True)
    return {
        "AIRFLOW_HOME": str(directory / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "16",
        "AIRFLOW__CORE__FERNET_KEY": keys.kept(secrets / "fernet", keys.fernet_key),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": server.dsn(METADATA_DATABASE).replace("://", "+psycopg2://"),
        "AIRFLOW__API__HOST": ports.HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": keys.kept(secrets / "api"),
        "AIRFLOW__API_AUTH__JWT_SECRET": keys.kept(secrets / "jwt"),
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        # A killed worker is noticed, and its tasks tried again, after a minute rather than five.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(directory / "logs"),
        # Two Airflows on one machine would want the same ports for their logs.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports.any_free()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports.any_free()),
        "AIRFLOW__DBGEAR__PROJECT_FILE": str(project),
        "AIRFLOW__DBGEAR__METRICS_TOKEN": keys.kept(secrets / "metrics"),
        "AIRFLOW__DBGEAR__REPORT_DIR": (directory / "reports").as_uri(),
        "DBGEAR_CREDENTIALS_DIR": str(directory / "credentials"),
        "AIRFLOW_CONN_DBGEAR_REGISTRY": _connection(server, REGISTRY_DATABASE),
        "AIRFLOW_CONN_DBGEAR_SOURCE_CRM": json.dumps(
            {
                "conn_type": "dbgear_csv",
                "extra": {"path": str(REGISTRY_CSV), "config_dir": str(CONFIG_DIR)},
            }
        ),
        "AIRFLOW_CONN_DBGEAR_TARGET_MAIN": _connection(server, TENANTS_DATABASE),
        "AIRFLOW_CONN_DBGEAR_FLEET": _connection(server, FLEET_DATABASE),
    }


def process_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of an `airflow` process: ours, without any other Airflow's variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PG"))}
    return {
        **inherited,
        **settings,
        # Airflow starts its components as `airflow ...`: they shall be those of this virtual environment.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        # The API of our own machine is not to be asked through a proxy.
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), ports.HOST])),
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _connection(server: PostgresServer, database: str) -> str:
    return json.dumps(
        {
            "conn_type": "postgres",
            "host": server.host,
            "port": server.port,
            "login": server.user,
            "password": server.password,
            "schema": database,
        }
    )
