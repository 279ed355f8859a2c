"""Airflow connections to target servers."""

from __future__ import annotations

from airflow.sdk import BaseHook

from ..core.engines import PostgresServer, Server, ServerAddress
from ..core.errors import SettingsError

_ENGINES: dict[str, tuple[type[Server], int]] = {"postgres": (PostgresServer, 5432)}


class TenantTargetHook(BaseHook):
    """A server that holds tenants, by an ordinary `postgres` connection.

    The connection's schema is the shared database, in which tenants with a schema of their own live. Of its extra,
    the driver's options are passed on; anything else is refused, so that no setting is ignored in silence.
    """

    conn_name_attr = "target_conn_id"
    default_conn_name = "dbgear_target_main"

    def __init__(self, target_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.target_conn_id = target_conn_id

    async def get_server(self, name: str, *, max_connections: int = 8) -> Server:
        """Return the target called `name`. Nothing is connected yet. Raises SettingsError, UnsupportedError."""
        connection = await self.aget_connection(self.target_conn_id)
        where = f"connection {self.target_conn_id}"
        if connection.conn_type not in _ENGINES:
            raise SettingsError(
                "not a type of target server", where=where, received=connection.conn_type, allowed=list(_ENGINES)
            )
        engine, default_port = _ENGINES[connection.conn_type]
        missing = [field for field in ("host", "login", "schema") if not getattr(connection, field)]
        if missing:
            raise SettingsError(f"{', '.join(missing)} not given", where=where)
        address = ServerAddress(
            host=str(connection.host),
            port=connection.port or default_port,
            user=str(connection.login),
            password=connection.password,
            database=str(connection.schema),
            options={key: str(value) for key, value in connection.extra_dejson.items()},
        )
        return engine(name, address, max_connections=max_connections)
