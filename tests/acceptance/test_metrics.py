"""/dbgear/metrics of a running Airflow."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dbgear_airflow_provider.sandbox.stack import Stack


def ask(stack: Stack, token: str | None) -> str:
    request = urllib.request.Request(f"{stack.airflow.url}/dbgear/metrics")  # noqa: S310 - our own
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return str(answer.read().decode())


def test_prometheus_reads_the_metrics_of_a_running_airflow(airflow_sandbox: Stack) -> None:
    token = (airflow_sandbox.directory / "keys" / "metrics").read_text()
    families = {family.name for family in text_string_to_metric_families(ask(airflow_sandbox, token))}
    assert {"dbgear_instances", "dbgear_operations", "dbgear_health", "dbgear_rollouts"} <= families
    for wrong in (None, "wrong", airflow_sandbox.airflow.client.password):
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(airflow_sandbox, wrong)
        assert refused.value.code == 401
        refused.value.close()
