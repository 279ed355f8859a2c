"""What a connection of Airflow becomes, and what is said of a wrong one."""

from __future__ import annotations

import ssl

import pytest

from dbgear_airflow_provider.core.errors import SettingsError

HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy\n"
GOOD = "T1,顧客,one,jp,basic,active,2026-01-01,2026-01-01,schema\n"
BAD = "T2,顧客,two,jp,gold,active,2026-01-01,2026-01-01,schema\n"


@pytest.fixture
def registry_hook():
    from dbgear_airflow_provider.hooks.registry import CSVRegistryHook

    return CSVRegistryHook


@pytest.fixture
def target_hook():
    from dbgear_airflow_provider.hooks.target import TenantTargetHook

    return TenantTargetHook("target")


@pytest.fixture
def fleet_hook():
    from dbgear_airflow_provider.hooks.fleet import FleetStoreHook

    return FleetStoreHook("fleet")


def test_the_test_button_counts_tenants_and_names_bad_rows(registry_hook, connection, tmp_path):
    (tmp_path / "tenants.csv").write_text(HEADER + GOOD + BAD)
    connection("registry", conn_type="dbgear_csv", extra={"path": str(tmp_path / "tenants.csv")})
    ok, message = registry_hook("registry").test_connection()
    assert ok
    assert "1 tenants, 1 rejected rows" in message
    assert "row 3, column tier" in message


@pytest.mark.parametrize(
    ("extra", "message"),
    [({"path": "/no/such/file.csv"}, "/no/such/file.csv"), ({}, "the extra has no path"), ({"path": ""}, "no path")],
)
def test_the_test_button_tells_what_is_wrong(registry_hook, connection, extra, message):
    connection("registry", conn_type="dbgear_csv", extra=extra)
    ok, said = registry_hook("registry").test_connection()
    assert not ok
    assert message in said


async def test_a_target_is_a_postgres_connection(target_hook, connection):
    connection(
        "target",
        conn_type="postgres",
        host="db.example",
        login="dbgear",
        password="geheim",
        schema="tenants",
        extra={"sslmode": "require"},
    )
    server = await target_hook.get_server("main", max_connections=3)
    assert server.address.host == "db.example"
    assert server.address.port == 5432
    assert server.address.database == "tenants"
    assert server.address.options == {"sslmode": "require"}
    assert server.max_connections == 3
    assert "geheim" not in repr(server.address)


async def test_a_target_of_another_type_is_told(target_hook, connection):
    connection("target", conn_type="http", host="x")
    with pytest.raises(SettingsError, match="connection target: .*'http'; allowed: postgres, mysql"):
        await target_hook.get_server("main")


async def test_a_target_with_gaps_is_told(target_hook, connection):
    connection("target", conn_type="postgres", host="db.example")
    with pytest.raises(SettingsError, match="login, schema not given"):
        await target_hook.get_server("main")


async def test_an_unknown_option_of_a_target_is_refused_not_ignored(target_hook, connection):
    connection("target", conn_type="postgres", host="h", login="u", schema="s", extra={"sslmoed": "require"})
    with pytest.raises(SettingsError, match="no such key; received .sslmoed.; allowed: sslmode"):
        await target_hook.get_server("main")


async def test_a_target_may_be_a_mysql_connection_without_a_schema(target_hook, connection):
    connection("target", conn_type="mysql", host="db.example", login="dbgear", password="geheim")
    server = await target_hook.get_server("main", max_connections=3)
    assert (server.address.host, server.address.port, server.address.database) == ("db.example", 3306, "")
    assert server.address.tls is None
    assert server.schemas_are_databases
    assert "geheim" not in repr(server.address)


@pytest.mark.parametrize(
    ("mode", "verify", "hostname"),
    [("REQUIRED", ssl.CERT_NONE, False), ("VERIFY_CA", ssl.CERT_REQUIRED, False), ("VERIFY_IDENTITY", 2, True)],
)
async def test_a_mysql_target_by_tls(target_hook, connection, mode, verify, hostname):
    connection("target", conn_type="mysql", host="h", login="u", extra={"ssl_mode": mode})
    tls = (await target_hook.get_server("main")).address.tls
    assert (tls.verify_mode, tls.check_hostname) == (verify, hostname)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"ssl_moed": "REQUIRED"}, "'ssl_moed'; allowed: charset, ssl, ssl_mode"),
        ({"ssl_mode": "PREFERRED"}, "ssl_mode: no such value"),
        ({"ssl_mode": "VERIFY_CA", "ssl": {"ca": "/no/such/file.pem"}}, "/no/such/file.pem"),
        ({"ssl_mode": "DISABLED", "ssl": {"ca": "/etc/ca.pem"}}, "of no use with this sslmode"),
    ],
)
async def test_a_wrong_extra_of_a_mysql_target_is_told(target_hook, connection, extra, message):
    connection("target", conn_type="mysql", host="h", login="u", extra=extra)
    with pytest.raises(SettingsError, match="connection target") as told:
        await target_hook.get_server("main")
    assert message in str(told.value)


async def test_a_mysql_target_with_gaps_is_told(target_hook, connection):
    connection("target", conn_type="mysql", login="u")
    with pytest.raises(SettingsError, match="connection target: host not given"):
        await target_hook.get_server("main")


async def test_without_a_connection_the_fleet_store_is_a_file_in_airflow_home(fleet_hook, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONFIG", str(tmp_path / "airflow.cfg"))
    store = await fleet_hook.get_store()
    await store.aclose()
    assert (tmp_path / "dbgear_fleet.db").exists()


async def test_a_fleet_store_of_another_type_is_told(fleet_hook, connection):
    connection("fleet", conn_type="mongo", host="x")
    with pytest.raises(SettingsError, match="'mongo'; allowed: postgres, mysql, sqlite"):
        await fleet_hook.get_store()
