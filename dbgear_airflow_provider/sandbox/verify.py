"""What must be on the tenants' server after provisioning, and whether it is: asked of the server, not of Airflow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from ..core import isolation
from ..core.data import read_folder
from ..core.engines import PostgresServer as TargetServer
from ..core.engines import ServerAddress
from ..core.errors import DbgearError, RegistryRecordError
from ..core.registries.files import CSVTenantProvider
from ..core.schema.ledger import LEDGER, PROVISIONED
from ..core.settings import load_project
from ..core.templating import TenantTemplateEngine
from ..core.tenants import TenantInfo, naming
from .environment import CONFIG_DIR, PROJECT_FILE, REGISTRY_CSV
from .postgres import PostgresServer

_TABLES = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY(%s)
"""
_INVALID_INDEXES = """
    SELECT n.nspname, c.relname
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND n.nspname = ANY(%s)
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A schema of one tenant's instance, and the tables that its schema document puts there.

    prefix: what the names begin with in a schema that tenants share. tables: their names on the server. rows:
    {table: how many the initial data has}. has_ledger: whether it is the instance's first schema, which holds the
    ledger.
    """

    tenant_id: str
    instance: str
    database: str
    schema: str
    tables: frozenset[str]
    has_ledger: bool
    prefix: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ExpectedFleet:
    """The good tenants of the list, where each must be, and the rows of the list that are no tenants.

    unplaceable: {tenant_id: why nothing can be expected of it}.
    """

    tenants: Sequence[TenantInfo]
    places: Sequence[Place]
    rejected: Sequence[RegistryRecordError]
    unplaceable: Mapping[str, str]


async def expected_fleet(*, shared_database: str, status: str = "active") -> ExpectedFleet:
    """Return what the sample's tenant list, its templates and the naming rules say must be there.

    shared_database: where tenants with schema isolation live.
    """
    settings = load_project(PROJECT_FILE).multi_tenant
    address = ServerAddress(host="", port=0, user="", database=shared_database)  # nothing is connected
    servers = {
        name: TargetServer(name, address, shared_schema=target.shared_schema)
        for name, target in settings.targets.items()
    }
    registry = CSVTenantProvider(REGISTRY_CSV, CONFIG_DIR)
    try:
        tenants = await registry.list_tenants({"status": status}, limit=None)
        engine = TenantTemplateEngine(settings.templates.base_dir, registry)
        places: list[Place] = []
        unplaceable: dict[str, str] = {}
        for tenant in tenants:
            try:
                config = await registry.get_tenant_config(tenant.tenant_id)
                template = settings.schema_template_of(tenant)
                rows = {} if template.initial_data is None else _rows(template.initial_data)
                server = servers[settings.target_of(tenant)]
                for instance in tenant.instances:
                    schemas = engine.render_schema(tenant, config, instance, template.file)["schemas"]
                    home = isolation.place(tenant, instance, server)
                    places += _places(home, tenant.tenant_id, instance, schemas, rows)
            except (DbgearError, ValueError) as error:
                unplaceable[tenant.tenant_id] = str(error)
        rejected = await registry.rejected_records()
    finally:
        await registry.aclose()
    return ExpectedFleet(tenants=tenants, places=places, rejected=rejected, unplaceable=unplaceable)


def missing(server: PostgresServer, fleet: ExpectedFleet) -> dict[str, list[str]]:
    """Return {tenant_id: what is not as it must be}; a tenant that is wholly there is not in it."""
    problems: defaultdict[str, list[str]] = defaultdict(list)
    for tenant_id, reason in fleet.unplaceable.items():
        problems[tenant_id].append(reason)
    by_database: defaultdict[str, list[Place]] = defaultdict(list)
    for place in fleet.places:
        by_database[place.database].append(place)
    with server.connect() as connection:
        databases = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    for database, places in by_database.items():
        if database not in databases:
            for place in places:
                problems[place.tenant_id].append(f"no database {database}")
            continue
        with server.connect(database) as connection:
            for place, problem in _missing(connection, places):
                problems[place.tenant_id].append(f"{database}.{place.schema}: {problem}")
    return dict(problems)


def _rows(folder: Path) -> dict[str, int]:
    """Return {table: rows of a main schema's initial data}."""
    return {table.table: len(table.rows) for table in read_folder(folder).tables}


def _places(
    home: isolation.Place, tenant_id: str, instance: str, schemas: Mapping[str, Any], rows: Mapping[str, int]
) -> Iterable[Place]:
    """Yield the schemas of an instance. schemas: of its document; rows: {table: count} of the first one."""
    for name, namespace in home.namespaces(schemas).items():
        is_main = namespace == home.namespace
        yield Place(
            tenant_id=tenant_id,
            instance=instance,
            database=home.database,
            schema=namespace.schema,
            prefix=namespace.prefix,
            tables=frozenset(naming.prefixed(namespace.prefix, table) for table in schemas[name]["tables"]),
            rows={naming.prefixed(namespace.prefix, table): count for table, count in rows.items()} if is_main else {},
            has_ledger=is_main,
        )


def _missing(connection: psycopg.Connection[tuple[Any, ...]], places: Sequence[Place]) -> Iterable[tuple[Place, str]]:
    schemas = [place.schema for place in places]
    tables = _by_schema(connection, _TABLES, schemas)
    invalid = _by_schema(connection, _INVALID_INDEXES, schemas)
    for place in places:
        there = {name for name in tables[place.schema] if name.startswith(place.prefix)}
        if not there:
            yield place, "no tables"
            continue
        if absent := sorted(place.tables - there):
            yield place, f"no table {', '.join(absent)}"
        if broken := sorted(name for name in invalid[place.schema] if name.startswith(place.prefix)):
            yield place, f"invalid index {', '.join(broken)}"
        for table, wanted in place.rows.items():
            if table in there and (count := _count(connection, place.schema, table)) < wanted:
                yield place, f"{table} has {count} of {wanted} rows"
        if place.has_ledger and (owner := _owner(connection, place, there)) != (place.tenant_id, place.instance):
            yield place, f"the ledger names {owner}" if owner else "no ledger"


def _by_schema(
    connection: psycopg.Connection[tuple[Any, ...]], query: str, schemas: Sequence[str]
) -> defaultdict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for schema, name in connection.execute(query.encode(), [list(schemas)]):
        found[schema].add(name)
    return found


def _count(connection: psycopg.Connection[tuple[Any, ...]], schema: str, table: str) -> int:
    ((count,),) = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table)))
    return int(count)


def _owner(connection: psycopg.Connection[tuple[Any, ...]], place: Place, tables: set[str]) -> tuple[Any, ...] | None:
    ledger = naming.prefixed(place.prefix, LEDGER)
    if ledger not in tables:
        return None
    query = sql.SQL("SELECT tenant_id, instance FROM {} WHERE version = %s")
    return connection.execute(query.format(sql.Identifier(place.schema, ledger)), [PROVISIONED]).fetchone()
