from __future__ import annotations

from collections.abc import Iterator

import pytest

from dbgear_airflow_provider.sandbox import environment, verify
from dbgear_airflow_provider.sandbox.postgres import PostgresServer
from dbgear_airflow_provider.sandbox.progress import RunProgress

LEDGER = "CREATE TABLE {}.dbgear_migrations (version text, tenant_id text, instance text)"
ENTRY = "INSERT INTO {}.dbgear_migrations VALUES ('provision', '{}', 'main')"


@pytest.fixture
def fleet(database: str) -> verify.ExpectedFleet:
    places = [
        verify.Place(
            tenant_id=tenant_id,
            instance="main",
            database=database,
            schema=f"s_{tenant_id}".lower(),
            tables=frozenset({"users", "orders"}),
            has_ledger=True,
        )
        for tenant_id in ("T1", "T2", "T3", "T4", "T5")
    ]
    gone = verify.Place(
        tenant_id="T6",
        instance="main",
        database=f"{database}_gone",
        schema="main",
        tables=frozenset({"users"}),
        has_ledger=True,
    )
    return verify.ExpectedFleet(tenants=[], places=[*places, gone], rejected=[], unplaceable={"T7": "no template"})


@pytest.fixture
def provisioned(postgres: PostgresServer, database: str) -> Iterator[None]:
    with postgres.connect(database) as connection:
        for tenant_id in ("T1", "T2", "T3", "T5"):
            schema = f"s_{tenant_id}".lower()
            for statement in (
                f"CREATE SCHEMA {schema}",
                f"CREATE TABLE {schema}.users (id int)",
                f"CREATE TABLE {schema}.orders (id int)",
                LEDGER.format(schema),
                ENTRY.format(schema, tenant_id),
            ):
                connection.execute(statement.encode())
        connection.execute(b"DROP TABLE s_t2.orders")
        connection.execute(b"UPDATE s_t3.dbgear_migrations SET tenant_id = 'T1'")
        connection.execute(b"INSERT INTO s_t5.users VALUES (1), (1)")
        with pytest.raises(Exception, match="could not create unique index"):
            connection.execute(b"CREATE UNIQUE INDEX CONCURRENTLY broken ON s_t5.users (id)")
        yield


@pytest.mark.usefixtures("provisioned")
def test_what_is_not_as_it_must_be_is_told(
    postgres: PostgresServer, database: str, fleet: verify.ExpectedFleet
) -> None:
    assert verify.missing(postgres, fleet) == {
        "T2": [f"{database}.s_t2: no table orders"],
        "T3": [f"{database}.s_t3: the ledger names ('T1', 'main')"],
        "T4": [f"{database}.s_t4: no tables"],
        "T5": [f"{database}.s_t5: invalid index broken"],
        "T6": [f"no database {database}_gone"],
        "T7": ["no template"],
    }


def test_tenants_of_one_schema_are_told_apart_by_their_prefixes(postgres: PostgresServer, database: str) -> None:
    places = [
        verify.Place(
            tenant_id=tenant_id,
            instance="main",
            database=database,
            schema="shared",
            prefix=f"{tenant_id.lower()}_",
            tables=frozenset({f"{tenant_id.lower()}_users"}),
            rows={f"{tenant_id.lower()}_users": 2},
            has_ledger=True,
        )
        for tenant_id in ("T1", "T2", "T3")
    ]
    fleet = verify.ExpectedFleet(tenants=[], places=places, rejected=[], unplaceable={})
    with postgres.connect(database) as connection:
        connection.execute(b"CREATE SCHEMA shared")
        for tenant_id, rows in (("T1", 3), ("T2", 1)):
            prefix = f"shared.{tenant_id.lower()}_"
            for statement in (
                f"CREATE TABLE {prefix}users AS SELECT 1 AS id FROM generate_series(1, {rows})",
                f"CREATE TABLE {prefix}dbgear_migrations (version text, tenant_id text, instance text)",
                f"INSERT INTO {prefix}dbgear_migrations VALUES ('provision', '{tenant_id}', 'main')",
            ):
                connection.execute(statement.encode())
    assert verify.missing(postgres, fleet) == {
        "T2": [f"{database}.shared: t2_users has 1 of 2 rows"],
        "T3": [f"{database}.shared: no tables"],
    }


async def test_the_sample_fleet_is_expected_where_the_naming_rules_say() -> None:
    fleet = await verify.expected_fleet(shared_database=environment.TENANTS_DATABASE)
    assert len(fleet.tenants) >= 35
    assert len(fleet.rejected) == 2
    assert fleet.unplaceable == {}
    instances = {(tenant.tenant_id, name) for tenant in fleet.tenants for name in tenant.instances}
    assert {(place.tenant_id, place.instance) for place in fleet.places if place.has_ledger} == instances
    shared = {place.schema for place in fleet.places if place.database == environment.TENANTS_DATABASE}
    assert "hoshino_japan_main" in shared
    own = {(place.database, place.schema) for place in fleet.places} - {("tenants", name) for name in shared}
    assert ("acme_us_test", "test") in own
    assert all(place.tables for place in fleet.places)
    assert {place.prefix for place in fleet.places if place.schema == "shared"} == {
        *("himalaya_asia_main_", "kiwi_main_", "vltava_europe_main_", "vltava_europe_test_")
    }
    assert all(sorted(place.rows.values()) == [2, 3, 3] for place in fleet.places)


def test_progress_tells_each_outcome_once_and_keeps_the_last(postgres: PostgresServer, database: str) -> None:
    with postgres.connect(database) as connection:
        progress = RunProgress(connection, "d/r")
        assert progress.news() == []
        connection.execute(
            "CREATE TABLE dbgear_operations (id int, run_id text, tenant_id text, operation text, status text,"
            " duration_s float, error text, details json)"
        )
        insert = b"INSERT INTO dbgear_operations VALUES (%s, %s, 'T1', 'provision', %s, 1, %s, '{}')"
        connection.execute(insert, [2, "d/r", "error", "no room"])
        connection.execute(insert, [3, "d/other", "success", None])
        assert [outcome.text for outcome in progress.news()] == ["no room"]
        # A lower id may be committed later.
        connection.execute(insert, [1, "d/r", "error", "a lock"])
        connection.execute(insert, [4, "d/r", "success", None])
        assert [outcome.text for outcome in progress.news()] == ["a lock", "provisioned"]
        assert progress.news() == []
        assert progress.outcomes["T1"].ok
