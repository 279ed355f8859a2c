"""The sandbox of `make run`: a PostgreSQL server and an Airflow of our own that provision the sample fleet.

It needs the `dev` extra. Nothing else in the package imports it.
"""
