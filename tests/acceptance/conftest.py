"""Fixtures of the acceptance tests: a running Airflow."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbgear_airflow_provider.sandbox import ports
from dbgear_airflow_provider.sandbox.environment import pools
from dbgear_airflow_provider.sandbox.run import SYNC_CONF, SYNC_DAG_ID
from dbgear_airflow_provider.sandbox.stack import Stack


@pytest.fixture(scope="session")
def airflow_sandbox() -> Iterator[Stack]:
    """A healthy Airflow on the DAGs of the repository, with its pools and the tenants of the sample's source."""
    path = Path(tempfile.mkdtemp(prefix="dbgear-"))
    with Stack(path, port=ports.any_free()) as stack:
        stack.airflow.wait_healthy()
        client = stack.airflow.client
        client.import_pools(pools())
        stack.airflow.wait_until(lambda: client.dag(SYNC_DAG_ID), "reading the DAG", 120)
        client.unpause(SYNC_DAG_ID)
        run_id = client.trigger(SYNC_DAG_ID, SYNC_CONF)
        outcome = stack.airflow.wait_until(lambda: client.outcome(SYNC_DAG_ID, run_id), "the sync", 240)
        assert outcome == "success"
        yield stack
    shutil.rmtree(path)
