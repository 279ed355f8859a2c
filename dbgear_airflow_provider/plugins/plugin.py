"""The provider's Airflow plugin. Loaded by every Airflow process: it imports nothing heavy."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from . import pool_listener, preload


class DbgearPlugin(AirflowPlugin):
    """Registers what the provider listens to."""

    name = "dbgear"
    listeners = [pool_listener, preload]  # read by Airflow, in this form
