"""Notifications: what Airflow calls when a task has failed or a run is late."""
