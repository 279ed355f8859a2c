"""Airflow connections to target servers."""

from __future__ import annotations

from dataclasses import dataclass

from airflow.sdk import BaseHook

from ..core.engines import MySQLServer, PostgresServer, Server, ServerAddress
from ..core.errors import SettingsError
from .connection import Extra, read_connection
from .tls import MysqlExtra, PostgresExtra, mysql_arguments


@dataclass(frozen=True, kw_only=True)
class _Engine:
    """Servers of a connection type. extra: what its extra may hold."""

    server: type[Server]
    port: int
    extra: type[Extra]

    @property
    def needed(self) -> tuple[str, ...]:
        """The connection's fields that must be given."""
        return ("host", "login") if self.server.schemas_are_databases else ("host", "login", "schema")


_ENGINES = {
    "postgres": _Engine(server=PostgresServer, port=5432, extra=PostgresExtra),
    "mysql": _Engine(server=MySQLServer, port=3306, extra=MysqlExtra),
}


class TenantTargetHook(BaseHook):
    """A server that holds tenants, by an ordinary `postgres` or `mysql` connection.

    The connection's schema is the shared database, in which tenants without a database of their own live; on MySQL,
    where it is the shared schema of isolation `table`, it may be empty. Of its extra, the driver's options are passed
    on; anything else is refused, so that no setting is ignored in silence.
    """

    conn_name_attr = "target_conn_id"
    default_conn_name = "dbgear_target_main"

    def __init__(self, target_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.target_conn_id = target_conn_id

    async def get_server(self, name: str, *, max_connections: int = 8, shared_schema: str | None = None) -> Server:
        """Return the target called `name`. Nothing is connected yet. Raises SettingsError, UnsupportedError.

        shared_schema: of isolation `table`; None: the engine's usual one.
        """
        extras = {conn_type: engine.extra for conn_type, engine in _ENGINES.items()}
        connection = await read_connection(self.target_conn_id, extras, "a target server")
        engine, extra = _ENGINES[connection.conn_type], connection.extra
        missing = [field for field in engine.needed if not getattr(connection, field)]
        if missing:
            raise SettingsError(f"{', '.join(missing)} not given", where=connection.where)
        address = ServerAddress(
            host=str(connection.host),
            port=connection.port or engine.port,
            user=str(connection.login),
            password=connection.password,
            database=connection.schema or "",
            options=extra.options() if isinstance(extra, PostgresExtra) else {},
            tls=mysql_arguments(extra.tls(), connection.where).get("ssl") if isinstance(extra, MysqlExtra) else None,
        )
        return engine.server(name, address, max_connections=max_connections, shared_schema=shared_schema)
