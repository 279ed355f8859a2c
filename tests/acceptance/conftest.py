"""Fixtures of the acceptance tests: a running Airflow."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbgear_airflow_provider.sandbox import ports
from dbgear_airflow_provider.sandbox.environment import pools
from dbgear_airflow_provider.sandbox.stack import Stack


@pytest.fixture(scope="session")
def airflow_sandbox() -> Iterator[Stack]:
    """A healthy Airflow on the DAGs of the repository, with its pools, on databases of its own."""
    path = Path(tempfile.mkdtemp(prefix="dbgear-"))
    with Stack(path, port=ports.any_free()) as stack:
        stack.airflow.wait_healthy()
        stack.airflow.client.import_pools(pools())
        yield stack
    shutil.rmtree(path)
