"""Airflow, for the example DAGs: a home of its own, no metadata database."""

from __future__ import annotations

import os
import tempfile

# Read when Airflow is first imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
