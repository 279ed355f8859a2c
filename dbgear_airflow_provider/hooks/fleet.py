"""The Airflow connection to the fleet store."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from airflow.sdk import BaseHook
from airflow.sdk.configuration import get_airflow_config
from airflow.sdk.exceptions import AirflowNotFoundException

from ..core.errors import SettingsError
from ..core.fleet import FleetStore

_DRIVERS = {"postgres": "postgresql+asyncpg", "mysql": "mysql+asyncmy", "sqlite": "sqlite+aiosqlite"}


class FleetStoreHook(BaseHook):
    """The fleet store, by a `postgres`, `mysql` or `sqlite` connection.

    Without such a connection it is the SQLite file dbgear_fleet.db in AIRFLOW_HOME, which does for one machine.
    """

    conn_name_attr = "fleet_conn_id"
    default_conn_name = "dbgear_fleet"

    def __init__(self, fleet_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.fleet_conn_id = fleet_conn_id

    async def get_store(self) -> FleetStore:
        """Return the store, its tables created. Raises SettingsError, SourceUnavailableError."""
        store = FleetStore(await self._url())
        await store.prepare()
        return store

    async def _url(self) -> sa.URL:
        try:
            connection = await self.aget_connection(self.fleet_conn_id)
        except AirflowNotFoundException:
            path = Path(get_airflow_config()).parent / "dbgear_fleet.db"
            return sa.URL.create(_DRIVERS["sqlite"], database=str(path))
        if connection.conn_type not in _DRIVERS:
            raise SettingsError(
                "not a type of database for the fleet store",
                where=f"connection {self.fleet_conn_id}",
                received=connection.conn_type,
                allowed=list(_DRIVERS),
            )
        driver = _DRIVERS[connection.conn_type]
        if connection.conn_type == "sqlite":
            return sa.URL.create(driver, database=connection.host)
        return sa.URL.create(
            driver,
            username=connection.login,
            password=connection.password,
            host=connection.host,
            port=connection.port,
            database=connection.schema,
        )
