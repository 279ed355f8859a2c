"""Apache Airflow provider that runs a fleet of tenant databases from one tenant list."""

__version__ = "0.1.0"
