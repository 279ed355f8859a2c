"""Fails a run at its start when a pool that its tasks need is missing.

Airflow itself only warns in the scheduler's log, and the tasks wait for ever. A task could not tell either: Airflow's
task API knows no pools. So this listens in the scheduler (see docs/adr/0002-missing-pools.md).
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.listeners import hookimpl

PREFIX = "dbgear_"

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_running(dag_run: Any, msg: str) -> None:
    """Set a run that can never end to failed, with a note that says why. Called by the scheduler."""
    wanted = {task.pool for task in dag_run.dag.tasks if task.pool.startswith(PREFIX)}
    if not wanted:
        return
    # Here, not above: only the scheduler, which has both loaded, comes this far.
    from airflow.models.pool import Pool  # noqa: PLC0415
    from airflow.utils.state import DagRunState  # noqa: PLC0415
    from sqlalchemy.orm import object_session  # noqa: PLC0415

    session = object_session(dag_run)
    assert session is not None  # noqa: S101  the scheduler has just read the run in it
    if missing := sorted(wanted - {pool.pool for pool in Pool.get_pools(session=session)}):
        note = f"There is no pool {', '.join(missing)}. Import include/pools.json: airflow pools import pools.json"
        log.error("%s, run %s: %s", dag_run.dag_id, dag_run.run_id, note)
        dag_run.set_state(DagRunState.FAILED)
        dag_run.note = note
