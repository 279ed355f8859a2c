"""`airflow connections test`, and the same Test button through the hooks, on real servers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import openpyxl
import pytest

from dbgear_airflow_provider.sandbox import ports
from dbgear_airflow_provider.sandbox.postgres import PostgresServer
from tests.servers.http import Api, Reply, Request, certificate, serving, tls_api
from tests.servers.mariadb import MySQLServer

# Read when Airflow is first imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

__all__ = ["certificate", "tls_api"]
HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy"
COLUMNS = HEADER.split(",")
DAY = "2026-01-01"
ROWS = [
    ["T1", "星野", "hoshino", "jp", "basic", "active", DAY, DAY, "schema"],
    ["T2", "Acme", "acme", "us", "premium", "active", DAY, DAY, "database"],
    ["T3", "Odd", "odd", "us", "gold", "active", DAY, DAY, "schema"],
]
GOOD = "2 tenants, 1 rejected "
TOKEN = "t0ken-of-the-crm"
SECRET = "s3cret/of:the@client"
WRONG = "wr0ng-password"


def table_sql(name: str) -> list[str]:
    values = ", ".join("(" + ", ".join(f"'{value}'" for value in row) + ")" for row in ROWS)
    columns = ", ".join(f"{column} VARCHAR(100)" for column in COLUMNS)
    return [f"CREATE TABLE {name} ({columns})", f"INSERT INTO {name} VALUES {values}"]


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[bool, str]]:
    """Test a connection as the button does: tested("csv", conn_type=..., ...)."""
    from dbgear_airflow_provider.hooks.registry import HOOKS

    def test(kind: Any, **fields: Any) -> tuple[bool, str]:
        monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps(fields))
        answer: tuple[bool, str] = HOOKS[kind]("tested").test_connection()
        return answer

    return test


# An API


def crm(request: Request) -> Reply:
    """Answer as a registry that wants to know who asks."""
    headers = request.headers
    if request.method == "POST":
        pair = base64.b64encode(b"client:s3cret%2Fof%3Athe%40client").decode()
        if headers.get("authorization") != f"Basic {pair}":
            return Reply({"error": "invalid_client"}, 401)
        return Reply({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 60})
    basic = base64.b64encode(f"user:{SECRET}".encode()).decode()
    known = {
        "/open/tenants": True,
        "/bearer/tenants": headers.get("authorization") == f"Bearer {TOKEN}",
        "/basic/tenants": headers.get("authorization") == f"Basic {basic}",
        "/header/tenants": headers.get("x-api-key") == SECRET,
        "/named/tenants": headers.get("api-token") == SECRET,
        "/param/tenants": request.params.get("key") == SECRET,
    }
    if not known[request.path]:
        return Reply({"error": f"not you: {headers.get('authorization')}"}, 401)
    offset, limit = int(request.params.get("offset", 0)), int(request.params.get("limit", 100))
    items = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    return Reply({"items": items[offset : offset + limit], "total": len(items)})


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as server:
        server.answer = crm
        yield server


@pytest.mark.parametrize(
    ("path", "fields", "extra"),
    [
        ("open", {}, {}),
        ("open", {}, {"auth": "none"}),
        ("bearer", {"password": TOKEN}, {}),
        ("basic", {"login": "user", "password": SECRET}, {}),
        ("basic", {"login": "user", "password": SECRET}, {"auth": "basic"}),
        ("header", {"password": SECRET}, {"auth": "api_key"}),
        ("named", {"password": SECRET}, {"auth": "api_key", "api_key_header": "Api-Token"}),
        ("named", {}, {"headers": {"Api-Token": SECRET}}),
        ("param", {"password": SECRET}, {"auth": "api_key", "api_key_param": "key"}),
        ("bearer", {"login": "client", "password": SECRET}, {"auth": "oauth2", "scope": "read", "audience": "crm"}),
    ],
)
def test_an_api(api, tested, path, fields, extra):
    if extra.get("auth") == "oauth2":
        extra = {**extra, "token_url": f"{api.url}/token"}
    for conn_type in ("dbgear_api", "http"):
        ok, message = tested("api", conn_type=conn_type, host=f"{api.url}/{path}", extra=extra, **fields)
        assert ok, message
        assert message.startswith(GOOD + "items; ")
        assert "no such tier; received 'gold'" in message


def test_an_ordinary_http_connection_has_the_url_in_parts(api, tested):
    parts = urlsplit(api.url)
    ok, message = tested("api", conn_type="http", host=f"{parts.hostname}/open", schema="http", port=parts.port)
    assert ok, message


def test_what_oauth2_asks_for(api, tested):
    extra = {"auth": "oauth2", "token_url": f"{api.url}/token", "scope": "read write", "audience": "crm"}
    tested("api", conn_type="dbgear_api", host=f"{api.url}/bearer", login="client", password=SECRET, extra=extra)
    (form,) = [request.form for request in api.requests if request.path == "/token"]
    assert (form["grant_type"], form["scope"], form["audience"]) == ("client_credentials", "read write", "crm")


@pytest.mark.parametrize("extra", [{}, {"auth": "api_key"}, {"auth": "api_key", "api_key_param": "key"}])
def test_an_api_that_refuses_the_credentials(api, tested, caplog, extra):
    path = "param" if "api_key_param" in extra else "header"
    ok, message = tested("api", conn_type="dbgear_api", host=f"{api.url}/{path}", password=WRONG, extra=extra)
    assert not ok
    assert "401" in message
    assert f"{api.url}/{path}/tenants" in message
    assert WRONG not in message + caplog.text


def test_an_api_that_refuses_the_client(api, tested, caplog):
    extra = {"auth": "oauth2", "token_url": f"{api.url}/token"}
    ok, message = tested(
        "api", conn_type="dbgear_api", host=f"{api.url}/bearer", login="client", password=WRONG, extra=extra
    )
    assert not ok
    assert f"{api.url}/token" in message
    assert WRONG not in message + caplog.text


def test_a_certificate_of_our_own(tls_api, certificate, tested):
    tls_api.answer = crm
    fields = {"conn_type": "dbgear_api", "host": f"{tls_api.url}/open"}
    ok, message = tested("api", **fields)
    assert not ok
    assert "certificate" in message
    ok, message = tested("api", **fields, extra={"ca_file": str(certificate)})
    assert ok, message


# Databases


@pytest.fixture(scope="module")
def tables(postgres: PostgresServer, mariadb: MySQLServer) -> Iterator[dict[str, dict[str, Any]]]:
    """Return the connection's fields for a table `customers` of each engine."""
    name = f"test_{os.urandom(6).hex()}"
    postgres.create_database(name)
    mariadb.create_database(name)
    with postgres.connect(name) as connection:
        for statement in table_sql("customers"):
            connection.execute(statement)  # type: ignore[call-overload]
    for statement in table_sql("customers"):
        mariadb.query(statement, name)
    servers: dict[str, Any] = {"postgresql": postgres, "mysql": mariadb}
    yield {
        engine: {"host": at.host, "port": at.port, "login": at.user, "password": at.password, "schema": name}
        for engine, at in servers.items()
    }
    postgres.drop_database(name)
    mariadb.drop_database(name)


def of_ours(engine: str, fields: dict[str, Any], **extra: Any) -> dict[str, Any]:
    extra = {"engine": engine, "tenant_table": "customers", **extra}
    return {"conn_type": "dbgear_database", "extra": extra, **fields}


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_a_database(tables, tested, engine):
    ok, message = tested("database", **of_ours(engine, tables[engine]))
    assert ok, message
    assert message.startswith(GOOD + "rows; ")
    assert "no such tier; received 'gold'" in message


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"password": WRONG}, "password"),
        ({"login": "nobody_there"}, "password"),
        ({"schema": "no_such_database"}, "no such database"),
        ({"tenant_table": "clients"}, "clients"),
    ],
)
def test_a_database_that_refuses(tables, tested, engine, wrong, told):
    fields = {**tables[engine], **{name: value for name, value in wrong.items() if name in tables[engine]}}
    extra = {name: value for name, value in wrong.items() if name not in tables[engine]}
    ok, message = tested("database", **of_ours(engine, fields, **extra))
    assert not ok
    assert told in message
    assert WRONG not in message
    assert tables[engine]["password"] not in message


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_a_database_that_is_not_there(tables, tested, engine):
    port = ports.any_free()
    ok, message = tested("database", **of_ours(engine, {**tables[engine], "port": port}))
    assert not ok
    assert str(port) in message
    assert "does not answer" in message


@pytest.mark.parametrize(
    ("engine", "conn_type", "extra"),
    [
        ("postgresql", "postgres", {"sslmode": "disable", "application_name": "crm reader"}),
        ("mysql", "mysql", {"charset": "utf8mb4"}),
    ],
)
async def test_an_ordinary_connection_with_the_projects_section(tables, monkeypatch, engine, conn_type, extra):
    from dbgear_airflow_provider.core.settings import RegistrySettings
    from dbgear_airflow_provider.hooks.registry import open_registry

    monkeypatch.setenv("AIRFLOW_CONN_CRM", json.dumps({"conn_type": conn_type, "extra": extra, **tables[engine]}))
    config = {"database": {"tenant_table": "customers", "mapping": {"values": {"tier": {"gold": "premium"}}}}}
    registry = await open_registry(
        RegistrySettings.model_validate({"provider": "database", "connection_id": "crm", "config": config})
    )
    try:
        assert [tenant.tenant_id for tenant in await registry.search_tenants("tier = 'premium'")] == ["T2", "T3"]
    finally:
        await registry.aclose()


async def test_tasks_share_a_redis(tables, mariadb, redis_server, monkeypatch, tmp_path):
    """What one task has read, the next one knows, though the table is gone."""
    from dbgear_airflow_provider.hooks.project import open_fleet

    connections = {
        "crm": {"conn_type": "mysql", **tables["mysql"]},
        "cache": {"conn_type": "redis", "host": redis_server.host, "port": redis_server.port},
        "fleet": {"conn_type": "sqlite", "host": str(tmp_path / "fleet.db")},
    }
    connections["cache"]["password"] = redis_server.password
    for name, fields in connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))
    tree: dict[str, Any] = {
        "tenant_registry": {
            "provider": "database",
            "connection_id": "crm",
            "config": {"database": {"tenant_table": "leaving"}},
        },
        "cache": {"redis_connection_id": "cache"},
        "targets": {"main": {"connection_id": "t"}},
    }
    (tmp_path / "project.yaml").write_text(json.dumps({"multi_tenant": tree}))
    for statement in table_sql("leaving"):
        mariadb.query(statement, tables["mysql"]["schema"])
    seen = []
    for _ in range(2):
        async with open_fleet(str(tmp_path / "project.yaml"), fleet_conn_id="fleet") as fleet:
            seen.append([tenant.tenant_id for tenant in await fleet.registry.list_tenants()])
        mariadb.query("DROP TABLE IF EXISTS leaving", tables["mysql"]["schema"])
    assert seen == [["T1", "T2"], ["T1", "T2"]]


@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_a_postgresql_without_tls_is_refused_where_tls_is_asked_for(tables, certificate, tested, sslmode):
    extra = {"sslmode": sslmode, **({"sslrootcert": str(certificate)} if sslmode != "require" else {})}
    ok, message = tested("database", **of_ours("postgresql", tables["postgresql"], **extra))
    assert not ok
    assert tables["postgresql"]["password"] not in message


def test_tls_of_mysql_is_verified(tables, mariadb, certificate, tested):
    has_tls = mariadb.query("SELECT @@have_ssl")[0][0] == "YES"
    fields = tables["mysql"]
    ok, _ = tested("database", **of_ours("mysql", fields, sslmode="require"))
    assert ok == has_tls
    ok, message = tested("database", **of_ours("mysql", fields, sslmode="verify-ca", sslrootcert=str(certificate)))
    assert not ok
    assert fields["password"] not in message


# The command


# All in one process: Airflow takes its seconds to start.
RUN = """
import io, json, sys
from contextlib import redirect_stdout
from airflow.__main__ import main

answers = {}
for name in sys.argv[1:]:
    sys.argv = ["airflow", "connections", "test", name]
    with redirect_stdout(io.StringIO()) as said:
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code
    answers[name] = [code, said.getvalue()]
print(json.dumps(answers))
"""


def test_airflow_connections_test(tables, api, tmp_path):
    files = {"csv": tmp_path / "tenants.csv", "excel": tmp_path / "tenants.xlsx", "project": tmp_path / "tenant.yaml"}
    files["csv"].write_text("\n".join(",".join(row) for row in [COLUMNS, *ROWS]))
    book = openpyxl.Workbook()
    for row in [COLUMNS, *ROWS]:
        book.active.append(row)  # type: ignore[union-attr]
    book.save(files["excel"])
    entries = [{"database": row[2], **dict(zip(COLUMNS, row, strict=True))} for row in ROWS]
    files["project"].write_text(json.dumps({"tenants": {"all": {"ref": "x", "databases": entries}}}))
    good: dict[str, Any] = {
        **{name: {"conn_type": f"dbgear_{name}", "extra": {"path": str(path)}} for name, path in files.items()},
        "postgresql": of_ours("postgresql", tables["postgresql"]),
        "mysql": of_ours("mysql", tables["mysql"]),
        "api": {"conn_type": "dbgear_api", "host": f"{api.url}/bearer", "password": TOKEN},
    }
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "csv": ({"extra": {"path": "/no/such/file.csv"}}, "/no/such/file.csv"),
        "excel": ({"extra": {"path": str(files["excel"]), "sheet": "Customers"}}, "Customers"),
        "project": ({"extra": {"path": str(files["project"]), "sheet": "x"}}, "no such key; received 'sheet'"),
        "postgresql": ({"password": WRONG}, "password"),
        "mysql": ({"schema": "no_such_database"}, "no such database"),
        "api": ({"password": WRONG}, "401"),
    }
    connections = {
        **{f"good_{name}": fields for name, fields in good.items()},
        **{f"bad_{name}": {**good[name], **fields} for name, (fields, _) in wrong.items()},
    }
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "COLUMNS": "1000",  # else the text is wrapped
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(fields) for name, fields in connections.items()},
    }
    command = [sys.executable, "-c", RUN, *connections]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    answers = json.loads(run.stdout.splitlines()[-1])
    for name in good:
        code, said = answers[f"good_{name}"]
        assert code == 0, said
        assert "Connection success!" in said
    for name, (_, told) in wrong.items():
        code, said = answers[f"bad_{name}"]
        assert code == 1
        assert "Connection failed!" in said
        assert told in said
    for secret in (WRONG, TOKEN, tables["postgresql"]["password"], tables["mysql"]["password"]):
        assert secret not in run.stdout + run.stderr
