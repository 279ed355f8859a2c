"""Isolation `table`: tenants in one schema, each with a prefix before every name."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation import OperationStatus
from dbgear_airflow_provider.core.automation.instance import Instance
from dbgear_airflow_provider.core.automation.provision import provision_instance
from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, Server
from dbgear_airflow_provider.core.errors import OwnershipError
from dbgear_airflow_provider.core.isolation import Place
from tests.integration.schema import nasty
from tests.servers.address import address_of

PREFIXES = ["Acme_jp_", "顧客_", "p" * 30 + "_"]
LONG = "l" * 60


def tree(*, routines: bool) -> dict[str, Any]:
    document = nasty.document()
    main = document["schemas"]["main"]
    main["tables"][LONG] = {
        "columns": [nasty.ID, nasty.column("user_id", "BIGINT UNSIGNED")],
        "indexes": [{"indexName": "i" * 60, "columns": ["user_id"]}],
        "relations": [nasty.relation("user", ("user_id", "id"))],
    }
    if routines:
        more = nasty.routines()
        main["views"] |= more["views"]
        main |= {kind: more[kind] for kind in ("triggers", "procedures")}
    return document


def instance(server: Server, prefix: str, document: dict[str, Any], schema: str, owner: str = "") -> Instance:
    database = schema if server.schemas_are_databases else server.address.database
    place = Place(
        target="t",
        isolation="table",
        database=database,
        schema=schema,
        prefix=prefix,
        schemas_are_databases=server.schemas_are_databases,
    )
    return Instance(
        tenant_id=owner or prefix,
        name="main",
        place=place,
        document=document,
        template="t.j2",
        on_unsupported="warn",
    )


@pytest.fixture
async def pg(postgres: Any, database: str) -> Any:
    address = address_of(postgres, database)
    server = PostgresServer("t", address)
    yield server, lambda sql: _rows(postgres, database, sql)
    await server.aclose()


def _rows(postgres: Any, database: str, sql: str) -> list[tuple[Any, ...]]:
    with postgres.connect(database) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def maria(mariadb: Any) -> Any:
    name = f"my{os.urandom(5).hex()}"
    address = address_of(mariadb, name)
    server = MySQLServer("t", address)
    yield server, lambda sql: list(mariadb.query(sql))
    await server.aclose()
    mariadb.drop_database(name)


@pytest.fixture(params=["postgresql", "mariadb"])
async def either(request: pytest.FixtureRequest, postgres: Any, database: str, mariadb: Any) -> Any:
    """A server and the name of a shared schema that is not there yet."""
    on = postgres if request.param == "postgresql" else mariadb
    address = address_of(on, database)
    server = (PostgresServer if on is postgres else MySQLServer)("t", address)
    yield server, f"all_{database}"
    await server.aclose()
    if on is mariadb:
        mariadb.query(f"DROP DATABASE IF EXISTS all_{database}")


async def provision(server: Server, each: Instance, *, dry_run: bool = False) -> Any:
    return await provision_instance(each, server, dry_run=dry_run)


async def test_on_postgresql_each_has_its_own_objects_in_one_schema(pg: Any) -> None:
    server, query = pg
    document = tree(routines=False)
    for prefix in PREFIXES:
        done = await provision(server, instance(server, prefix, document, "shared"))
        assert done.created > 0
    names = [
        name
        for (name,) in query(
            "SELECT relname FROM pg_class WHERE relnamespace = 'shared'::regnamespace AND relkind IN ('r', 'p', 'v')"
            " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'shared'::regnamespace"
        )
    ]
    assert all(any(name.startswith(prefix) for prefix in PREFIXES) for name in names)
    counts = [sum(name.startswith(prefix) for name in names) for prefix in PREFIXES]
    assert len(set(counts)) == 1
    assert {f"{prefix}dbgear_migrations" for prefix in PREFIXES} <= set(names)
    for prefix in PREFIXES:
        again = await provision(server, instance(server, prefix, document, "shared"))
        assert (again.created, again.statements) == (0, [])
    targets = query(
        "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'"
        " AND connamespace = 'shared'::regnamespace"
    )
    assert targets
    for source, to in targets:
        assert [p for p in PREFIXES if p in source] == [p for p in PREFIXES if p in to]


async def test_on_mariadb_triggers_and_routines_work_on_their_own_tables(maria: Any) -> None:
    server, query = maria
    shared, document = server.address.database, tree(routines=True)
    for prefix in PREFIXES:
        await provision(server, instance(server, prefix, document, shared))
    query(f"SET STATEMENT foreign_key_checks = 0 FOR CALL `{shared}`.`Acme_jp_add_user`('one', @id)")
    query(f"SET STATEMENT foreign_key_checks = 0 FOR CALL `{shared}`.`顧客_add_user`('two', @id)")
    query(f"SET STATEMENT foreign_key_checks = 0 FOR CALL `{shared}`.`顧客_add_user`('three', @id)")
    found = [
        [query(f"SELECT COUNT(*) FROM `{shared}`.`{prefix}{table}`")[0][0] for table in ("user", "audit_log", "names")]
        for prefix in PREFIXES
    ]
    assert [row[:2] for row in found] == [[1, 1], [2, 2], [0, 0]]
    assert query(f"SELECT name FROM `{shared}`.`Acme_jp_totals`") == []
    for prefix in PREFIXES:
        again = await provision(server, instance(server, prefix, document, shared))
        assert (again.created, again.statements) == (0, [])


async def test_eight_at_once_into_a_schema_that_is_missing(either: Any) -> None:
    server, shared = either
    document = {"schemas": {"main": {"tables": {"t": {"columns": [nasty.ID]}}}}}
    plan = await provision(server, instance(server, "a_", document, shared), dry_run=True)
    assert plan.statements[0].startswith("CREATE ")
    done = await asyncio.gather(*(provision(server, instance(server, f"t{n}_", document, shared)) for n in range(8)))
    assert [item.created for item in done] == [2] * 8


async def test_another_tenant_below_the_prefix_is_left_alone(either: Any) -> None:
    server, shared = either
    document = {"schemas": {"main": {"tables": {"t": {"columns": [nasty.ID]}}}}}
    await provision(server, instance(server, "ac_me_", document, shared))
    with pytest.raises(OwnershipError):
        await provision(server, instance(server, "ac_", document, shared))
    done = await provision(server, instance(server, "acXme_", document, shared))
    assert done.created == 2


async def test_a_fleet_of_all_strategies(fleet: Any) -> None:
    fleet.write([["A", "a", "table", "main,test"], ["B", "b", "schema", "main"], ["C", "A", "table", "main"]])
    async with fleet.engine("run") as engine:
        results = await engine.bulk_provision_tenants({}, dry_run=False)
    kinds = {item.tenant_id: (item.details or {}).get("error_kind") for item in results}
    assert kinds == {"A": "NameClashError", "B": None, "C": "NameClashError"}
    fleet.write([["A", "a", "table", "main,test"], ["B", "b", "schema", "main"]])
    async with fleet.engine("run2") as engine:
        results = await engine.bulk_provision_tenants({}, dry_run=False)
    assert [item.status for item in results] == [OperationStatus.SUCCESS] * 2
    details = results[0].details["instances"]["main"]
    assert (details["schema"], details["prefix"], details["isolation"]) == (fleet.shared, "a_jp_main_", "table")
    fleet.query(f"INSERT INTO {fleet.shared}.a_jp_main_customers DEFAULT VALUES")
    assert fleet.query(f"SELECT tenant_id FROM {fleet.shared}.a_jp_main_customers") == [("A",)]
    assert fleet.query(f"SELECT count(*) FROM {fleet.shared}.a_jp_test_customers") == [(0,)]
