"""The provider's Airflow plugin. Loaded by every Airflow process: it imports nothing heavy."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from . import pool_listener, preload, web


class DbgearPlugin(AirflowPlugin):
    """Registers what the provider listens to, and what it serves."""

    name = "dbgear"
    listeners = [pool_listener, preload]  # read by Airflow, in this form
    fastapi_apps = [{"name": "DBGear", "app": web.app, "url_prefix": "/dbgear"}]
