from __future__ import annotations

import subprocess

import httpx
import pytest

from dbgear_airflow_provider.sandbox.environment import process_environment
from dbgear_airflow_provider.sandbox.stack import Stack


def test_pools_are_imported_and_overwritten(airflow_sandbox: Stack) -> None:
    client = airflow_sandbox.airflow.client
    pool = {"slots": 3, "description": "of a test", "include_deferred": False}
    client.import_pools({"a_test": pool})
    client.import_pools({"a_test": {**pool, "slots": 4}})
    assert client.request("GET", "/pools/a_test")["slots"] == 4


def test_what_is_not_there_is_told(airflow_sandbox: Stack) -> None:
    client = airflow_sandbox.airflow.client
    assert client.dag("no_such_dag") is None
    with pytest.raises(httpx.HTTPStatusError, match=r"404 .*no_such_dag"):
        client.unpause("no_such_dag")


def test_a_shell_with_the_settings_speaks_to_this_airflow(airflow_sandbox: Stack) -> None:
    result = subprocess.run(
        ["/bin/sh", "-c", f". {airflow_sandbox.shell_settings} && airflow pools get dbgear_main -o json"],
        check=False,
        env=process_environment({}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert '"slots": "8"' in result.stdout
