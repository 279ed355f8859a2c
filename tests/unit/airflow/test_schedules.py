"""When the nightly DAGs run, as Airflow's scheduler reckons."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("name", "hour"), [("tenant_sync", 2), ("tenant_drift_check", 3), ("tenant_healthcheck", 4)])
@pytest.mark.parametrize("since", [timedelta(minutes=1), timedelta(minutes=17), timedelta(hours=23)], ids=str)
def test_unpausing_one_runs_nothing_that_is_past(
    name: str, hour: int, since: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables import trigger
    from airflow.timetables.base import TimeRestriction

    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(REPOSITORY / "include" / "project.yaml"))
    last_night = datetime(2026, 1, 2, hour, tzinfo=UTC)
    monkeypatch.setattr(trigger, "utcnow", lambda: trigger.coerce_datetime(last_night + since))
    dag = runpy.run_path(str(REPOSITORY / "dags" / f"{name}.py"))["dag"]
    assert dag.start_date is None
    first = coerce_to_core_timetable(dag.schedule).next_dagrun_info(
        last_automated_data_interval=None,
        restriction=TimeRestriction(earliest=None, latest=None, catchup=dag.catchup),
    )
    assert first.run_after == last_night + timedelta(days=1)
