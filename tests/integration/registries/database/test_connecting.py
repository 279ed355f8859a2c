"""Databases that cannot be reached, or end it in the middle; no secret is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from dbgear_airflow_provider.core.errors import (
    SettingsError,
    SourceUnavailableError,
)
from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider
from dbgear_airflow_provider.core.settings.mapping import FieldMapping
from dbgear_airflow_provider.sandbox.postgres import PostgresServer

from ..conftest import Place, postgres_place
from .tenants import PASSWORD, assert_no_secret, tenant


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
async def test_wrong_password_and_database(engine: str, request: pytest.FixtureRequest) -> None:
    server: Any = request.getfixturevalue("postgres" if engine == "postgresql" else "mariadb")
    place = sa.URL.create(engine, server.user, PASSWORD, server.host, server.port, "nowhere")
    wrong = {"postgresql": "refuses the user or the password .28P01", "mysql": "refuses the user or the password .1045"}
    unknown = {"postgresql": "no such database .3D000", "mysql": "no such database .1049"}
    for url, told in ((place, wrong[engine]), (place.set(password=server.password), unknown[engine])):
        registry = DatabaseTenantProvider(url, cache_ttl=0)
        assert PASSWORD not in registry.source
        with pytest.raises(SettingsError, match=told) as caught:
            await registry.list_tenants()
        assert_no_secret(caught.value)
        await registry.aclose()


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
async def test_a_server_that_does_not_answer(engine: str) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    hanging = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with hanging:
        port = hanging.sockets[0].getsockname()[1]
        timeout = {"timeout": 0.2} if engine == "postgresql" else {"connect_timeout": 0.2}
        registry = DatabaseTenantProvider(
            f"{engine}://u:{PASSWORD.replace('/', '%2F').replace('@', '%40')}@127.0.0.1:{port}/x",
            cache_ttl=0,
            connect_args=timeout,
        )
        with pytest.raises(SourceUnavailableError) as caught:
            await registry.list_tenants()
        assert_no_secret(caught.value)
        await registry.aclose()
    refused = DatabaseTenantProvider(sa.URL.create(engine, "u", PASSWORD, "127.0.0.1", port, "x"), cache_ttl=0)
    with pytest.raises(SourceUnavailableError) as caught:
        await refused.get_tenant("T1")
    assert_no_secret(caught.value)
    await refused.aclose()


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
async def test_a_statement_that_takes_too_long(engine: str, places: dict[str, Place]) -> None:
    place = places[engine]
    place.execute(
        f"CREATE VIEW slow AS SELECT {'pg_sleep(2)::text' if engine == 'postgresql' else 'SLEEP(2)'} AS tenant_id"
    )
    patience = {"command_timeout" if engine == "postgresql" else "read_timeout": 0.3}
    registry = DatabaseTenantProvider(place.url, "slow", cache_ttl=0, connect_args=patience)
    with pytest.raises(SourceUnavailableError):
        [each async for each in registry.records(["tenant_id"])]
    await registry.aclose()


async def test_sessions_that_the_server_ends(postgres: PostgresServer, database: str) -> None:
    place = postgres_place(postgres, database)
    registry = DatabaseTenantProvider(place.url, cache_ttl=0)
    await registry.write_tenants([tenant("T1")])
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert place.execute(end)
    assert await registry.list_tenants() == [tenant("T1")]  # one that waited is made anew
    place.execute("CREATE VIEW slow AS SELECT pg_sleep(60)::text AS tenant_id")
    slow = DatabaseTenantProvider(place.url, "slow", cache_ttl=0)

    async def read() -> None:
        [each async for each in slow.records(["tenant_id"])]

    reading = asyncio.create_task(read())
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    while not reading.done() and not await asyncio.to_thread(place.execute, sleeping):
        pass
    await asyncio.to_thread(place.execute, end)
    with pytest.raises(SourceUnavailableError):
        await reading
    await registry.aclose()
    await slow.aclose()


@pytest.mark.parametrize(
    ("engine", "option", "told"),
    [
        ("postgresql", "application_name=x", "unexpected keyword argument 'application_name'"),
        ("postgresql", "sslmode=strict", "`sslmode` parameter must be one of"),
        ("mysql", "sslmode=require", "unexpected keyword argument 'sslmode'"),
        ("mysql", "ssl=require", "ssl argument must be"),
    ],
)
async def test_options_that_the_driver_does_not_know(engine: str, option: str, told: str) -> None:
    registry = DatabaseTenantProvider(f"{engine}://u:s3cret@127.0.0.1:1/x?{option}", cache_ttl=0)
    with pytest.raises(SettingsError, match=f"cannot be connected to: .*{told}") as caught:
        await registry.list_tenants()
    assert_no_secret(caught.value)
    await registry.aclose()


async def test_limits_of_the_url(places: dict[str, Place]) -> None:
    place = places["postgresql"]
    place.execute("CREATE OR REPLACE VIEW sleepy AS SELECT pg_sleep(20)::text AS tenant_id")
    registry = DatabaseTenantProvider(f"{place.url}?command_timeout=1&connect_timeout=9", "sleepy", cache_ttl=0)
    with pytest.raises(SourceUnavailableError):
        await asyncio.wait_for(anext(aiter(registry.records(["tenant_id"]))), 10)
    await registry.aclose()
    with pytest.raises(SettingsError, match="command_timeout is no number; received 'soon'"):
        DatabaseTenantProvider(f"{place.url}?command_timeout=soon")


def test_servers_have_sources_of_their_own() -> None:
    urls = [f"postgresql://u:s3cret@/x?host={host}" for host in ("/run/a", "/run/b")]
    sources = {DatabaseTenantProvider(f"{url}&password=s3cret").source for url in urls}
    assert len(sources) == 2
    assert "s3cret" not in repr(sources)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "postgresql+psycopg://u:s3cret@h/x",
            "no such driver; received 'postgresql.psycopg'; allowed: postgresql.asyncpg",
        ),
        ("mysql+aiomysql://u:s3cret@h/x", "no such driver; received 'mysql.aiomysql'; allowed: mysql.asyncmy"),
        ("sqlite://", "a database in memory; allowed: a file"),
        ("sqlite:///:memory:", "a database in memory; allowed: a file"),
    ],
)
def test_engines_that_we_do_not_use(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        DatabaseTenantProvider(url)
    assert_no_secret(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "oracle://u:s3cret@h/x", "postgresql+psycopg2://u:s3cret@h/x", "://"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        DatabaseTenantProvider(url)
    assert_no_secret(caught.value)


def test_tenant_id_is_not_mapped_by_values() -> None:
    with pytest.raises(SettingsError, match="tenant_id is mapped"):
        DatabaseTenantProvider("sqlite:///x.db", mapping=FieldMapping(values={"tenant_id": {"a": "b"}}))
