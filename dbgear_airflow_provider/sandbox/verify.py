"""What must be on the tenants' server after provisioning, and whether it is: asked of the server, not of Airflow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from ..core.errors import DbgearError, RegistryRecordError
from ..core.registries.csv import CSVTenantProvider
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

    has_ledger: whether it is the instance's first schema, which holds the ledger.
    """

    tenant_id: str
    instance: str
    database: str
    schema: str
    tables: frozenset[str]
    has_ledger: bool


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
    registry = CSVTenantProvider(REGISTRY_CSV, CONFIG_DIR)
    try:
        tenants = await registry.list_tenants({"status": status}, limit=None)
        engine = TenantTemplateEngine(settings.templates.base_dir, registry)
        places: list[Place] = []
        unplaceable: dict[str, str] = {}
        for tenant in tenants:
            try:
                config = await registry.get_tenant_config(tenant.tenant_id)
                template = settings.schema_template_of(tenant).file
                for instance in tenant.instances:
                    document = engine.render_schema(tenant, config, instance, template)
                    places += _places(tenant, instance, document, shared_database)
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


def _places(tenant: TenantInfo, instance: str, document: Mapping[str, Any], shared_database: str) -> Iterable[Place]:
    own_database = tenant.isolation_strategy == "database"
    database = naming.database_name(tenant, instance) if own_database else shared_database
    main = naming.safe_identifier(instance) if own_database else naming.schema_name(tenant, instance)
    for index, (name, schema) in enumerate(document["schemas"].items()):
        yield Place(
            tenant_id=tenant.tenant_id,
            instance=instance,
            database=database,
            schema=naming.safe_identifier(f"{main}_{name}") if index else main,
            tables=frozenset(schema["tables"]),
            has_ledger=index == 0,
        )


def _missing(connection: psycopg.Connection[tuple[Any, ...]], places: Sequence[Place]) -> Iterable[tuple[Place, str]]:
    schemas = [place.schema for place in places]
    tables = _by_schema(connection, _TABLES, schemas)
    invalid = _by_schema(connection, _INVALID_INDEXES, schemas)
    for place in places:
        there = tables[place.schema]
        if not there:
            yield place, "no tables"
            continue
        if absent := sorted(place.tables - there):
            yield place, f"no table {', '.join(absent)}"
        if broken := sorted(invalid[place.schema]):
            yield place, f"invalid index {', '.join(broken)}"
        if place.has_ledger and (owner := _owner(connection, place.schema, there)) != (
            place.tenant_id,
            place.instance,
        ):
            yield place, f"the ledger names {owner}" if owner else "no ledger"


def _by_schema(
    connection: psycopg.Connection[tuple[Any, ...]], query: str, schemas: Sequence[str]
) -> defaultdict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for schema, name in connection.execute(query.encode(), [list(schemas)]):
        found[schema].add(name)
    return found


def _owner(connection: psycopg.Connection[tuple[Any, ...]], schema: str, tables: set[str]) -> tuple[Any, ...] | None:
    if LEDGER not in tables:
        return None
    query = sql.SQL("SELECT tenant_id, instance FROM {} WHERE version = %s")
    return connection.execute(query.format(sql.Identifier(schema, LEDGER)), [PROVISIONED]).fetchone()
