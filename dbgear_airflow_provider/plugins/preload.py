"""Imports the operators before Airflow's scheduler and DAG processor fork.

LocalExecutor forks a process for each task, and the DAG processor one for each DAG file. What their parent has imported
they have; without it, each would take more than a second to import what DAGs of the provider need.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from airflow.listeners import hookimpl

from .. import operators

# The scheduler's, DAG processor's and triggerer's. A task that starts, of any DAG, is told too, as another class.
_JOBS = "airflow.jobs.job"


@hookimpl
def on_starting(component: Any) -> None:
    """Import all operators. Called in each of Airflow's processes, before it works."""
    if type(component).__module__ == _JOBS:
        for module in pkgutil.iter_modules(operators.__path__, f"{operators.__name__}."):
            import_module(module.name)
