"""What Airflow's processes import before they work."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from airflow.listeners.listener import get_listener_manager
{component}
get_listener_manager().hook.on_starting(component=component)
print(sorted(name for name in sys.modules if name.startswith("dbgear_airflow_provider.operators.")))
"""
JOB = "from airflow.jobs.job import Job; component = Job.__new__(Job)"
TASK = "component = object()"


@pytest.mark.parametrize(("component", "is_imported"), [(JOB, True), (TASK, False)])
def test_operators_are_there_before_airflow_forks_and_cost_no_task_of_others(component: str, is_imported: bool) -> None:
    script = SCRIPT.format(component=component)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ("dbgear_airflow_provider.operators.migrate" in done.stdout) is is_imported, done.stderr
    assert ("dbgear_airflow_provider.operators.rollout_gate" in done.stdout) is is_imported
