"""Registries in databases, by a connection of our own type or an ordinary one of Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import override

from ..core.errors import SettingsError, SourceUnavailableError
from ..core.settings import DatabaseRegistrySettings
from ..core.settings.section import NonEmpty
from .connection import CheckedConnection, Extra, FormExtra
from .registry_hook import RegistryHook, filled
from .tls import MysqlExtra, PostgresExtra, TlsExtra, mysql_arguments, postgres_arguments

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ..core.registries import RegistryCache, TenantRegistryProvider

Engine = Literal["postgresql", "mysql", "sqlite"]

_ENGINES: Mapping[str, Engine] = {"postgres": "postgresql", "mysql": "mysql", "sqlite": "sqlite"}
_SERVERS: Mapping[str, tuple[str, int]] = {
    "postgresql": ("postgresql+asyncpg", 5432),
    "mysql": ("mysql+asyncmy", 3306),
}


class DatabaseExtra(FormExtra, TlsExtra):
    """engine: the kind of database. tenant_table, config_table: where the project's section names none."""

    engine: Engine = "postgresql"
    tenant_table: NonEmpty | None = None
    config_table: NonEmpty | None = None


class DatabaseRegistryHook(RegistryHook[Extra]):
    """A table of tenants, by a connection of type `dbgear_database`, `postgres`, `mysql` or `sqlite`.

    `dbgear_database` says its `engine`, may name the tables, and has a Test button that reads them. For SQLite the
    host is the path of the file.
    """

    conn_type = "dbgear_database"
    hook_name = "DBGear tenant registry (database)"
    provider = "database"

    @override
    @classmethod
    def extras(cls) -> dict[str, type[Extra]]:
        return {cls.conn_type: DatabaseExtra, "postgres": PostgresExtra, "mysql": MysqlExtra, "sqlite": Extra}

    @override
    async def _open(
        self,
        connection: CheckedConnection[Extra],
        section: DatabaseRegistrySettings | None,
        cache: RegistryCache | None,
    ) -> TenantRegistryProvider:
        from ..core.registries.database import DatabaseTenantProvider  # noqa: PLC0415 - imports SQLAlchemy's engines

        section, extra = section or DatabaseRegistrySettings(), connection.extra
        engine = _ENGINES.get(connection.conn_type, "postgresql")
        if isinstance(extra, DatabaseExtra):
            engine = extra.engine
            section = filled(section, tenant_table=extra.tenant_table, config_table=extra.config_table)
        url, arguments = _server(connection, engine) if engine in _SERVERS else (_sqlite(connection, section), {})
        return DatabaseTenantProvider(
            url,
            section.tenant_table,
            section.config_table,
            section.cache_ttl,
            mapping=section.mapping,
            create_tables=section.create_tables,
            cache=cache,
            connect_args=arguments,
        )

    @override
    @classmethod
    def _tested(cls, section: DatabaseRegistrySettings | None) -> DatabaseRegistrySettings:
        # A table that is not there would be one to create, and so would the table of a misspelt name.
        return (section or DatabaseRegistrySettings()).model_copy(update={"create_tables": False})


def _server(connection: CheckedConnection[Extra], engine: str) -> tuple[sa.URL, dict[str, Any]]:
    import sqlalchemy as sa  # noqa: PLC0415 - DAG files need not wait for it

    extra, tls = connection.extra, TlsExtra()
    if isinstance(extra, TlsExtra):
        tls = extra
    elif isinstance(extra, MysqlExtra):
        tls = extra.tls()
    driver, port = _SERVERS[engine]
    url = sa.URL.create(
        driver,
        username=connection.required("login", "the user"),
        password=connection.password,
        host=connection.required("host", "the server's name"),
        port=connection.port or port,
        database=connection.required("schema", "the database's name"),
    )
    if engine == "postgresql":
        return url, postgres_arguments(tls, getattr(extra, "application_name", None))
    return url, mysql_arguments(tls, connection.where)


def _sqlite(connection: CheckedConnection[Extra], section: DatabaseRegistrySettings) -> sa.URL:
    import sqlalchemy as sa  # noqa: PLC0415 - DAG files need not wait for it

    path = connection.host or connection.required("schema", "the file's absolute path, in host")
    if not Path(path).is_absolute():
        raise SettingsError("no absolute path", where=f"{connection.where}, host", received=path)
    if isinstance(connection.extra, TlsExtra) and (unused := connection.extra.libpq()):
        raise SettingsError("SQLite has no TLS", where=f"{connection.where}, extra", received=", ".join(unused))
    if not section.create_tables and not Path(path).exists():
        # SQLite makes a file that is not there, and even reading it would.
        raise SourceUnavailableError(f"{connection.where}: {path}: no such file")
    return sa.URL.create("sqlite+aiosqlite", database=path)
