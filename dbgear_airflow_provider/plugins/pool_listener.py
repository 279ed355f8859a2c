"""Fails a run at its start when a pool that its tasks need is missing or too small.

Airflow itself only warns in the scheduler's log, and the tasks wait for ever. A task could not tell either: Airflow's
task API knows no pools. So this listens in the scheduler (see docs/adr/0002-missing-pools.md).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow.listeners import hookimpl

PREFIX = "dbgear_"

log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_running(dag_run: Any, msg: str) -> None:
    """Set a run that can never end to failed, with a note that says why. Called by the scheduler."""
    wanted: dict[str, int] = {}
    for task in dag_run.dag.tasks:
        if task.pool.startswith(PREFIX):
            wanted[task.pool] = max(task.pool_slots, wanted.get(task.pool, 0))
    if not wanted:
        return
    # Here, not above: only the scheduler, which has both loaded, comes this far.
    from airflow.models.pool import Pool  # noqa: PLC0415
    from airflow.utils.state import DagRunState  # noqa: PLC0415
    from sqlalchemy.orm import object_session  # noqa: PLC0415

    session = object_session(dag_run)
    assert session is not None  # noqa: S101  the scheduler has just read the run in it
    slots = {str(pool.pool): pool.slots for pool in Pool.get_pools(session=session)}
    if problems := [text for name, needed in sorted(wanted.items()) if (text := _problem(name, needed, slots))]:
        note = f"{'; '.join(problems)}. Pools are imported by: airflow pools import include/pools.json"
        log.error("%s, run %s: %s", dag_run.dag_id, dag_run.run_id, note)
        dag_run.set_state(DagRunState.FAILED)
        dag_run.note = note


def _problem(name: str, needed: int, slots: Mapping[str, int]) -> str | None:
    if name not in slots:
        return f"There is no pool {name}"
    if 0 <= slots[name] < needed:  # -1 is without limit
        return f"Pool {name} has {slots[name]} slots; one task takes {needed}"
    return None
