"""Airflow connections to objects of the core."""
