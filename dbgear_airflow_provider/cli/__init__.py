"""The command `airflow dbgear`."""
