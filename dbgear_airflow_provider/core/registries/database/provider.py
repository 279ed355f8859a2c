"""`DatabaseTenantProvider`: tenants from a table of PostgreSQL, MySQL, MariaDB or SQLite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from typing_extensions import override

from ...errors import RegistryRecordError, SettingsError, UnsupportedError
from ...settings.mapping import FieldMapping
from ...tenants import TenantInfo, TenantQuery
from ...tenants.fields import REQUIRED_FIELDS, excerpt
from ...tenants.predicates import And, Constant
from ..base import TenantRegistryWriter
from ..cache import RegistryCache
from ..records import Record
from ..streamed import Found, StreamedTenantProvider
from .configs import ConfigTable
from .dialects import CONNECT_TIMEOUT_S, DIALECTS, STATEMENT_TIMEOUT_S, dialect_of
from .errors import translated
from .pages import Row, rows_with_ids, rows_without_ids, with_siblings
from .pushdown import narrow
from .tables import Layout, TableName, TenantColumns, own_tables, row_of
from .writing import Writing

DEFAULT_CONFIG_TABLE = "tenant_configs"
_PREPARE_ATTEMPTS = 3
_WRITE_ATTEMPTS = 2
_PLACES = ("host", "port", "unix_socket")  # options of a URL that tell which server is meant
_OWN_NAMES = FieldMapping()

T = TypeVar("T")
_EVERYTHING = (And(()), Constant(True))


class DatabaseTenantProvider(StreamedTenantProvider, TenantRegistryWriter):
    """Tenants from a table, one a row, and their settings from another.

    db_url: of SQLAlchemy: postgresql://, mysql://, mariadb:// or sqlite:///; the async driver is found, or named.
    tenant_table, config_table: may name a schema, "crm.customers". config_table has the columns tenant_id and config,
    a JSON object; None: tenants have no settings of their own. A config_table that was not named may be missing.
    cache_ttl: seconds that answers are kept, where no cache is given; 0 keeps none.
    mapping: which columns hold the fields, for tables that were not made for us.
    create_tables: make missing tables when writing; until then, a missing table holds no tenants.
    connect_args: for the driver's connect(), beside the URL.

    Queries become bound SQL as far as the engine compares as we do, and are decided here on the rows that it returns.
    A row that is no tenant is left out and told by `rejected_records`. Where rows share a tenant_id, the first good
    one stands. Methods raise SourceUnavailableError when the database does not answer, and SettingsError when it is
    there but not as it was described: no such database, table or column, or a wrong password.

    Holds connections, of one event loop: close it by `aclose`.
    """

    def __init__(
        self,
        db_url: str | sa.URL,
        tenant_table: str = "tenants",
        config_table: str | None = DEFAULT_CONFIG_TABLE,
        cache_ttl: float = 300,
        *,
        mapping: FieldMapping = _OWN_NAMES,
        create_tables: bool = True,
        cache: RegistryCache | None = None,
        connect_args: Mapping[str, Any] | None = None,
    ) -> None:
        url = _async_url(db_url)
        if not mapping.is_plain("tenant_id"):
            raise SettingsError("tenant_id is mapped", where="mapping", allowed="a column for it, in mapping.fields")
        place = sa.URL.create(
            url.get_backend_name(),
            url.username,
            host=url.host,
            port=url.port,
            database=url.database,
            query={name: value for name, value in url.query.items() if name in _PLACES},
        ).render_as_string()
        source = f"{place}, table {tenant_table}"
        # A cache may be shared with a provider that reads the same table in another way.
        settings = f"{mapping.model_dump_json()} {config_table}"
        self._owns_cache = cache is None and cache_ttl > 0
        super().__init__(source, RegistryCache(cache_ttl) if self._owns_cache else cache, settings=settings)
        self.mapping = mapping
        self.create_tables = create_tables
        self._table = TableName.parse(tenant_table)
        self._configs = None if config_table is None else TableName.parse(config_table)
        given = _limits(url) | dict(connect_args or {})
        self._engine = _engine(url, given, source)
        self._connect_timeout_s = float(given.get("connect_timeout", given.get("timeout", CONNECT_TIMEOUT_S)))
        self._layouts: dict[TableName, Layout] = {}

    async def prepare(self) -> None:
        """Create the tables that are missing. Safe to repeat, and in several processes at once."""
        for left in range(_PREPARE_ATTEMPTS, -1, -1):
            try:
                async with self._connection(self._engine.begin()) as connection:
                    ours = own_tables(self._table, self._configs, self.mapping, dialect_of(connection.dialect))
                    await connection.run_sync(ours.create_all)
            except (RegistryRecordError, SettingsError) as error:
                # Another process creates the same table right now.
                if not left or not isinstance(error.__cause__, DBAPIError):
                    raise
            else:
                return

    @override
    async def write_tenants(self, tenants: Sequence[TenantInfo]) -> None:
        """Add or replace tenants by their tenant_id, all or none of them. Deletes nothing. Safe to repeat.

        Raises RegistryRecordError where the table has no place for something that a tenant has.
        """
        if not tenants:
            return
        columns = await self._columns(REQUIRED_FIELDS)
        if columns is None:
            await self.prepare()
            columns = await self._columns(REQUIRED_FIELDS)
        assert columns is not None  # noqa: S101 - it was just made
        latest = {tenant.tenant_id: tenant for tenant in tenants}
        # In one order everywhere, so that two writers cannot deadlock.
        rows = {tenant_id: row_of(latest[tenant_id], columns) for tenant_id in sorted(latest)}
        await Writing(columns, lambda: self._connection(self._engine.begin()), self.source).write(rows)
        await self.forget()

    @override
    async def write_configs(self, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Add or replace the settings of tenants, {tenant_id: settings}, all or none of them. Safe to repeat.

        Raises UnsupportedError where the registry has no table of settings.
        """
        if not configs:
            return
        if self._configs is None:
            raise UnsupportedError(f"{self.source}: it has no config_table, in which tenants' settings could be kept")
        layout = await self._layout(self._configs)
        if layout is None and self.create_tables:
            await self.prepare()
            layout = await self._layout(self._configs)
        if layout is None:
            raise SettingsError("no such table", where=self.source, received=str(self._configs))
        table = self._known(ConfigTable.of, layout)
        rows = table.rows(configs)
        for left in range(_WRITE_ATTEMPTS - 1, -1, -1):
            try:
                async with self._connection(self._engine.begin()) as connection:
                    await table.write(connection, rows)
            except RegistryRecordError:
                # Another process may have added the same settings meanwhile: now they exist.
                if not left:
                    raise
            else:
                break
        await self.forget()

    @override
    async def records(self, fields: Collection[str] | None = None) -> AsyncIterator[Record | RegistryRecordError]:
        columns = await self._columns([field for field in REQUIRED_FIELDS if field in (fields or ())] + ["tenant_id"])
        if columns is None:
            return
        for rows in (
            rows_with_ids(columns, self._fetch, sa.true(), fields),
            rows_without_ids(columns, self._fetch, fields),
        ):
            async with aclosing(rows):
                async for row in rows:
                    yield columns.record(row, fields)

    @override
    async def aclose(self) -> None:
        await self._engine.dispose()
        if self._owns_cache and self.cache is not None:
            await self.cache.aclose()

    @override
    async def _stream(self, query: TenantQuery) -> AsyncGenerator[Found]:
        columns = await self._columns(REQUIRED_FIELDS)
        if columns is None:
            return
        narrowed = narrow(query.predicate, columns.comparable(), columns.layout.dialect)
        condition = with_siblings(columns, narrowed.condition)
        taken: str | None = None
        async with aclosing(rows_with_ids(columns, self._fetch, condition)) as rows:
            async for row in rows:
                found = _tenant(columns, row)
                if isinstance(found, RegistryRecordError):
                    yield found
                elif found.tenant_id == taken:
                    where = f"{columns.where}, tenant_id {found.tenant_id!r}"
                    yield RegistryRecordError("another row has this tenant_id already", where=where)
                else:
                    taken = found.tenant_id
                    if query.matches(found):
                        yield found
        if query.predicate in _EVERYTHING:
            async with aclosing(rows_without_ids(columns, self._fetch)) as rows:
                async for row in rows:
                    found = _tenant(columns, row)
                    if isinstance(found, RegistryRecordError):
                        yield found

    @override
    async def _config(self, tenant_id: str) -> dict[str, Any]:
        if self._configs is None:
            return {}
        layout = await self._layout(self._configs)
        if layout is None:
            if str(self._configs) == DEFAULT_CONFIG_TABLE:
                return {}
            raise SettingsError("no such table", where=self.source, received=str(self._configs))
        values = [row["config"] for row in await self._fetch(self._known(ConfigTable.of, layout).read([tenant_id]))]
        where = f"table {self._configs}, tenant_id {tenant_id!r}, column config"
        if len(values) > 1:
            raise RegistryRecordError(f"{len(values)} rows", where=where, allowed="one row a tenant")
        return _config_of(values[0], where) if values else {}

    async def _columns(self, required: Collection[str]) -> TenantColumns | None:
        """Return the columns of the tenants; None where the table is still to be made."""
        layout = await self._layout(self._table)
        if layout is not None:
            return self._known(TenantColumns.of, layout, self.mapping, required)
        if self.create_tables:
            return None
        raise SettingsError("no such table", where=self.source, received=str(self._table))

    async def _layout(self, table: TableName) -> Layout | None:
        if table not in self._layouts:
            async with self._connection(self._engine.connect()) as connection:
                layout = await Layout.read(connection, table)
            if layout is None:
                return None
            self._layouts[table] = layout
        return self._layouts[table]

    def _known(self, find: Callable[..., T], *args: Any) -> T:
        """Return the columns that `find` finds, or forget the tables, so that one that is added is seen."""
        try:
            return find(*args)
        except SettingsError:
            self._layouts.clear()
            raise

    async def _fetch(self, statement: sa.Select[Any]) -> Sequence[Row]:
        async with self._connection(self._engine.connect()) as connection:
            rows: Sequence[Row] = (await connection.execute(statement)).mappings().all()
            return rows

    @asynccontextmanager
    async def _connection(self, opened: Any) -> AsyncIterator[AsyncConnection]:
        """Enter a connection of the engine, with errors as ours."""
        is_open = False
        try:
            with translated(self.source):
                # Drivers limit some of the steps of connecting, a step at a time: a hanging server has many.
                async with asyncio.timeout(self._connect_timeout_s) as limit, opened as connection:
                    limit.reschedule(None)
                    is_open = True
                    yield connection
        except SettingsError:
            self._layouts.clear()  # the table may have been changed since
            raise
        except (TypeError, ValueError) as error:
            if is_open:
                raise
            # The options of a URL are arguments of the driver, which tells of those that it does not know.
            raise SettingsError(f"cannot be connected to: {excerpt(str(error))}", where=self.source) from None


def _tenant(columns: TenantColumns, row: Row) -> Found:
    record = columns.record(row)
    if isinstance(record, RegistryRecordError):
        return record
    try:
        return record.tenant()
    except RegistryRecordError as error:
        return error


def _config_of(value: Any, where: str) -> dict[str, Any]:
    try:
        config = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise RegistryRecordError("no JSON", where=where, allowed="a JSON object") from None
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise RegistryRecordError("no JSON object", where=where, allowed="a JSON object")
    return config


def _async_url(db_url: str | sa.URL) -> sa.URL:
    """Return the URL with an async driver. Raises SettingsError, which never shows the URL: it may hold a password."""
    try:
        url = sa.make_url(db_url)
    except (ArgumentError, ValueError):
        raise SettingsError(
            "no URL of a database", where="db_url", allowed="postgresql://user:password@host:5432/database"
        ) from None
    backend, _, driver = url.drivername.partition("+")
    backend = "postgresql" if backend == "postgres" else backend
    dialect = DIALECTS.get(backend)
    if dialect is None:
        raise SettingsError("no such engine", where="db_url", received=backend, allowed=list(DIALECTS))
    ours = dialect.driver.partition("+")[2]
    if driver not in ("", ours):
        raise SettingsError("no such driver", where="db_url", received=url.drivername, allowed=f"{backend}+{ours}")
    url = url.set(drivername=f"{backend}+{ours}")
    for word, argument in dialect.url_words.items():
        if word in url.query:
            url = url.difference_update_query([word]).update_query_dict({argument: url.query[word]})
    return url


def _limits(url: sa.URL) -> dict[str, Any]:
    """Return the limits that a URL sets instead of ours, such as "?command_timeout=300". Raises SettingsError."""
    limits: dict[str, Any] = {}
    for name, ours in DIALECTS[url.get_backend_name()].connect_args().items():
        text = url.query.get(name)
        if text is None or not isinstance(ours, int):
            continue
        try:
            limits[name] = type(ours)(str(text))
        except ValueError:
            raise SettingsError(f"{name} is no number", where="db_url", received=excerpt(text)) from None
    return limits


def _engine(url: sa.URL, connect_args: Mapping[str, Any], source: str) -> AsyncEngine:
    dialect = DIALECTS[url.get_backend_name()]
    arguments = dialect.connect_args() | dict(connect_args)
    if "server_settings" in arguments:
        arguments["server_settings"] = arguments["server_settings"] | dialect.connect_args()["server_settings"]
    try:
        engine = create_async_engine(
            url,
            connect_args=arguments,
            pool_pre_ping=True,
            pool_timeout=CONNECT_TIMEOUT_S + STATEMENT_TIMEOUT_S,
            hide_parameters=True,
            json_serializer=partial(json.dumps, ensure_ascii=False, allow_nan=False),
        )
    except ModuleNotFoundError as error:
        extra = f", or `pip install airflow-provider-dbgear[{dialect.package_extra}]`" if dialect.package_extra else ""
        raise UnsupportedError(
            f"{source}: the driver {error.name} is not installed; use {dialect.driver}{extra}"
        ) from None
    except TypeError:  # of its pool
        raise SettingsError("a database in memory", where=source, allowed="a file, sqlite:///path") from None
    except (ArgumentError, NoSuchModuleError, sa.exc.InvalidRequestError):
        raise SettingsError("no async driver", where=source, received=url.drivername, allowed=dialect.driver) from None

    def connected(adapted: Any, _: Any) -> None:
        dialect.connected(adapted.driver_connection)

    sa.event.listen(engine.sync_engine, "connect", connected)
    return engine
