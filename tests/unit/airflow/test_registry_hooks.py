"""What connections to registries must hold, what becomes of them with a project's section, and the Test button."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import socket
import sqlite3
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.settings import ApiRegistrySettings, RegistrySettings, load_project
from dbgear_airflow_provider.provider_info import get_provider_info

HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy\n"
ROW = "{0},顧客,{0},jp,basic,active,2026-01-01,2026-01-01,schema\n"
SECRET = "s3cret/of:the@registry"
TYPES = {kind["connection-type"]: kind for kind in get_provider_info()["connection-types"]}


@pytest.fixture
def hooks():
    from dbgear_airflow_provider.hooks import registry

    return registry


@pytest.fixture
def hook(hooks, connection):
    """Return the hook of a connection: hook("csv", "dbgear_csv", path=...)."""

    def define(kind: str, conn_type: str, conn_id: str = "registry", fields: Any = None, **extra: Any) -> Any:
        connection(conn_id, conn_type=conn_type, **({"extra": extra} if extra else {}), **(fields or {}))
        return hooks.HOOKS[kind](conn_id)

    return define


@pytest.fixture
def tenants(tmp_path) -> Path:
    path = tmp_path / "tenants.csv"
    path.write_text(HEADER + ROW.format("T1") + ROW.format("T2"))
    return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write the project file: project(tenant_registry={...}, sources={...})."""
    path = tmp_path / "project.yaml"
    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(path))

    def write(**sections: Any) -> Any:
        tree = {"tenant_registry": {"connection_id": "none"}, "targets": {"main": {"connection_id": "t"}}, **sections}
        path.write_text(json.dumps({"multi_tenant": tree}))
        return load_project(path).multi_tenant

    return write


# The forms


def test_a_hook_takes_what_its_form_asks_for(hooks):
    for hook in hooks.HOOKS.values():
        assert set(TYPES[hook.conn_type]["conn-fields"]) == set(hook.extras()[hook.conn_type].model_fields)


def test_every_field_of_a_form_is_explained():
    for kind in TYPES.values():
        for name, field in kind["conn-fields"].items():
            assert field["label"], name
            assert field["description"].endswith((".", "csv", "xlsx")), name


def test_airflow_has_the_forms():
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    forms = {form.connection_type: form for form in HookMetaService.hook_meta_data()}
    assert set(TYPES) <= set(forms)
    api = forms["dbgear_api"]
    assert api.hook_name == "DBGear tenant registry (API)"
    assert api.standard_fields.url_schema.hidden
    assert api.standard_fields.password.title.startswith("Password, token")
    assert api.extra_fields["auth"]["schema"]["enum"] == ["none", "basic", "bearer", "api_key", "oauth2"]
    assert api.extra_fields["headers"]["schema"]["format"] == "password"


# What a connection must hold


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("csv", "dbgear_csv"),
        ("excel", "dbgear_excel"),
        ("database", "dbgear_database, postgres, mysql, sqlite"),
        ("api", "dbgear_api, http, https"),
        ("dbgear", "dbgear_project"),
    ],
)
async def test_a_connection_of_another_type_is_told(hook, kind, allowed):
    with pytest.raises(SettingsError) as caught:
        await hook(kind, "mongo").get_provider()
    assert str(caught.value) == (
        f"connection registry: not a type of connection for a registry of provider {kind}; "
        f"received 'mongo'; allowed: {allowed}"
    )


@pytest.mark.parametrize("kind", ["csv", "excel", "database", "api", "dbgear"])
async def test_an_unknown_key_of_the_extra_is_refused_not_ignored(hooks, hook, kind):
    hook_class = hooks.HOOKS[kind]
    for conn_type, extra in hook_class.extras().items():
        with pytest.raises(SettingsError) as caught:
            await hook(kind, conn_type, sslmoed="require").get_provider()
        assert caught.value.details["received"] == "sslmoed"
        assert caught.value.details["allowed"] == list(extra.model_fields)


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ("{path: x", "connection registry: the extra is no JSON, .* at character 2"),
        ('["/x"]', "connection registry: the extra is no JSON object; allowed: source, path"),
        ('{"path": 7}', "connection registry, extra, path: Input should be a valid string; received 7"),
        ('{"path": "tenants.csv"}', "connection registry, path: no absolute path; received 'tenants.csv'"),
        ('{"path": "/x", "config_dir": "y"}', "connection registry, config_dir: no absolute path; received 'y'"),
        ('{"path": "gopher://h/x.csv"}', "connection registry, path: Airflow cannot read this storage.*'gopher://'"),
        ('{"path": "", "config_dir": null}', "connection registry: the extra has no path; allowed: "),
    ],
)
async def test_a_wrong_extra_is_told(hooks, monkeypatch, extra, problem):
    monkeypatch.setenv("AIRFLOW_CONN_REGISTRY", json.dumps({"conn_type": "dbgear_csv", "extra": extra}))
    with pytest.raises(SettingsError, match=problem):
        await hooks.CSVRegistryHook("registry").get_provider()


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        ({"engine": "oracle"}, "extra, engine: no such value; received 'oracle'; allowed: 'postgresql', 'mysql'"),
        ({"sslmode": "yes"}, "extra, sslmode: no such value; received 'yes'"),
        ({"engine": "mysql", "sslmode": "prefer"}, "sslmode: no such mode on MySQL; received 'prefer'"),
        ({"engine": "mysql", "sslrootcert": "/ca"}, "sslrootcert: of no use with this sslmode; received 'disable'"),
        (
            {"engine": "mysql", "sslmode": "require", "sslrootcert": "/ca"},
            "sslrootcert: of no use with this sslmode; received 'require'; allowed: verify-ca, verify-full",
        ),
        (
            {"engine": "mysql", "sslmode": "verify-ca", "sslrootcert": "/no/ca"},
            "the certificates cannot be read: No such file or directory; received '/no/ca'",
        ),
        ({"engine": "sqlite", "sslmode": "require"}, "extra: SQLite has no TLS; received 'sslmode'"),
    ],
)
async def test_a_wrong_extra_of_a_database_is_told(hook, extra, problem):
    fields = {"host": "/db", "login": "u", "password": SECRET, "schema": "s"}
    with pytest.raises(SettingsError, match=problem) as caught:
        await hook("database", "dbgear_database", fields=fields, **extra).get_provider()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("conn_type", "fields", "problem"),
    [
        ("postgres", {"login": "u", "schema": "s"}, "no host; allowed: the server's name"),
        ("mysql", {"host": "h", "schema": "s"}, "no login"),
        ("dbgear_database", {"host": "h", "login": "u"}, "no schema; allowed: the database's name"),
        ("sqlite", {}, "no schema; allowed: the file's absolute path, in host"),
        ("sqlite", {"host": "tenants.db"}, "host: no absolute path; received 'tenants.db'"),
    ],
)
async def test_a_database_with_gaps_is_told(hook, conn_type, fields, problem):
    with pytest.raises(SettingsError, match=problem):
        await hook("database", conn_type, fields=fields).get_provider()


@pytest.mark.parametrize(
    ("fields", "extra", "problem"),
    [
        ({}, {}, "no host; allowed: https://crm.example/api"),
        ({"host": "ftp://crm"}, {}, "no scheme of an API; received 'ftp'"),
        ({"host": f"https://user:{SECRET}@crm"}, {}, "host: "),
        ({"host": "https://u:geheim@crm"}, {}, "a user stands in the URL; allowed: the fields login and password"),
        ({"host": "https://crm/a?key=geheim"}, {}, "more than a place is in the URL; allowed: .* api_key_param"),
        ({"host": "https://crm:x/"}, {}, "host: no URL; allowed: https://crm.example/api"),
        ({"host": "https://u:geheim/x@crm"}, {}, "host: no URL; allowed"),
        ({"host": "https://crm:1", "port": 2}, {}, "two ports; received '1 in the host, 2 in its own field'"),
        ({"host": "https://crm", "schema": "http"}, {}, "two schemes"),
        ({"host": "h"}, {"auth": "digest"}, "auth: no such value; received 'digest'; allowed: 'none', 'basic'"),
        ({"host": "h"}, {"auth": "bearer"}, "no password; allowed: the token, for bearer"),
        ({"host": "h", "password": SECRET}, {"auth": "basic"}, "no login; allowed: the user, for basic"),
        ({"host": "h", "password": SECRET}, {"auth": "none"}, "auth: password given, which it does not use"),
        ({"host": "h", "password": SECRET}, {"scope": "read"}, "auth: scope given, .* received 'bearer'"),
        ({"host": "h", "login": "u", "password": SECRET}, {"auth": "oauth2"}, "extra: no token_url"),
        (
            {"host": "h", "password": SECRET},
            {"auth": "api_key", "api_key_header": "a", "api_key_param": "b"},
            "both api_key_header and api_key_param",
        ),
        ({"host": "h", "password": f"{SECRET}\n"}, {}, "connection registry, token: no value of a header"),
        ({"host": "h"}, {"headers": f'{{"X-Key": "{SECRET}"'}, "headers: .*no JSON object"),
        ({"host": "h"}, {"headers": {"X-Key": [SECRET]}}, "headers.X-Key: Input should be a valid string"),
        ({"host": "h"}, {"ca_file": "/no/ca.pem"}, "connection registry, verify: .* received '/no/ca.pem'"),
    ],
)
async def test_a_wrong_api_is_told_without_secrets(hook, fields, extra, problem):
    with pytest.raises(SettingsError, match=problem) as caught:
        await hook("api", "dbgear_api", fields=fields, **extra).get_provider()
    assert SECRET not in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "connection registry" in str(caught.value)


async def test_secrets_are_masked_in_the_logs(hook):
    from airflow.sdk.log import redact

    header = "another-s3cret"
    await hook(
        "api", "dbgear_api", fields={"host": "crm", "password": SECRET}, headers={"X-Key": header}
    ).get_provider()
    assert redact(f"{SECRET} {header} s3cret%2Fof%3Athe%40registry") == "*** *** ***"


async def test_headers_are_masked_as_the_form_has_them(hook):
    from airflow.sdk.log import redact

    await hook("api", "dbgear_api", fields={"host": "crm"}, headers='{"X-Key": "of-the-form-s3cret"}').get_provider()
    assert redact("it is of-the-form-s3cret") == "it is ***"


def test_a_test_of_an_api_says_why_there_was_no_answer_in_time(hooks):
    section = hooks.APIRegistryHook._tested(ApiRegistrySettings(path="/customers"))
    assert (section.path, section.total_timeout, section.timeout) == ("/customers", 18, 18)
    quick = ApiRegistrySettings(total_timeout=5, timeout=2)
    assert hooks.APIRegistryHook._tested(quick) == quick


# With a project's section


async def test_the_connection_says_where_and_the_section_how(hook, tenants, project):
    settings = project(
        tenant_registry={
            "provider": "csv",
            "connection_id": "registry",
            "config": {"csv": {"path": "/of/the/core/alone.csv", "mapping": {"defaults": {"tier": "premium"}}}},
        }
    ).tenant_registry
    tenants.write_text(tenants.read_text().replace(",basic,", ",,"))
    provider = await hook("csv", "dbgear_csv", path=str(tenants)).get_provider(settings)
    assert {tenant.tier for tenant in await provider.list_tenants()} == {"premium"}


async def test_what_the_connection_leaves_open_is_the_sections(hook, tenants):
    settings = RegistrySettings.model_validate({"connection_id": "registry", "config": {"csv": {"path": str(tenants)}}})
    assert await (await hook("csv", "dbgear_csv").get_provider(settings)).get_tenant_count() == 2


def workbook(path: Path, sheet: str, rows: list[list[Any]]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.create_sheet(sheet)
    for row in rows:
        book[sheet].append(row)
    book.save(path)


async def test_the_form_fills_what_the_section_leaves_at_its_default(hook, tmp_path):
    path = tmp_path / "tenants.xlsx"
    workbook(path, "顧客", [["exported today"], HEADER.strip().split(","), ROW.format("T1").strip().split(",")])
    excel = hook("excel", "dbgear_excel", path=str(path), sheet="顧客", header_row=2)
    assert await (await excel.get_provider()).get_tenant_count() == 1
    settings = RegistrySettings.model_validate(
        {"provider": "excel", "connection_id": "registry", "config": {"excel": {"path": "/x", "sheet": "other"}}}
    )
    provider: Any = await excel.get_provider(settings)
    assert (provider.sheet, provider.header_row) == ("other", 2)


async def test_a_file_by_its_url(hook, tenants):
    provider = await hook("csv", "dbgear_csv", path=tenants.as_uri()).get_provider()
    assert await provider.get_tenant_count() == 2


async def test_a_storage_of_an_unknown_connection_is_told(hook, monkeypatch):
    from airflow.sdk.io import fs

    def needs_connection(conn_id, options):
        from airflow.sdk import BaseHook

        BaseHook.get_connection(conn_id)

    monkeypatch.setattr(fs, "_register_filesystems", lambda: {"s3": needs_connection})
    with pytest.raises(SettingsError, match=r"connection registry, path: its connection: .*no_such"):
        await hook("csv", "dbgear_csv", path="s3://no_such@bucket/tenants.csv").get_provider()


async def test_open_registry_takes_the_connection_or_the_section(hooks, hook, tenants, project):
    hook("csv", "dbgear_csv", path=str(tenants))
    by_connection = await hooks.open_registry(RegistrySettings(connection_id="registry"))
    by_section = await hooks.open_registry(
        RegistrySettings.model_validate({"config": {"csv": {"path": tenants.as_uri()}}})
    )
    assert await by_connection.list_tenants() == await by_section.list_tenants()
    with pytest.raises(SettingsError, match=r"multi_tenant.tenant_registry.config.csv.path: Airflow cannot read"):
        await hooks.open_registry(RegistrySettings.model_validate({"config": {"csv": {"path": "gopher://h/x.csv"}}}))


async def test_open_source(hooks, tenants, project):
    settings = project(
        sources={
            "crm": {"config": {"csv": {"path": str(tenants)}}},
            "billing": {"provider": "database", "config": {"database": {}}},
        }
    )
    assert await (await hooks.open_source("crm", settings)).get_tenant_count() == 2
    with pytest.raises(SettingsError, match="sources: no such source; received 'crn'; allowed: crm, billing"):
        await hooks.open_source("crn", settings)
    with pytest.raises(SettingsError, match="multi_tenant.sources.billing.config.database: no key url"):
        await hooks.open_source("billing", settings)


@pytest.mark.parametrize(
    ("settings", "ttl_s"),
    [
        ({"connection_id": "c"}, 0),
        ({"connection_id": "c", "provider": "database"}, 300),
        ({"connection_id": "c", "provider": "api", "config": {"api": {"cache_ttl": 7}}}, 7),
        ({"connection_id": "c", "provider": "api", "config": {"database": {"cache_ttl": 7}}}, 300),
    ],
)
def test_how_long_answers_are_kept_is_of_the_section(hooks, settings, ttl_s):
    assert hooks.cache_ttl_s(RegistrySettings.model_validate(settings)) == ttl_s


# The Test button


@pytest.mark.parametrize("in_a_loop", [True, False])
def test_the_test_button_works_with_and_without_an_event_loop(hook, tenants, in_a_loop):
    tested = hook("csv", "dbgear_csv", path=str(tenants))

    async def in_loop():
        return tested.test_connection()

    answer = asyncio.run(in_loop()) if in_a_loop else tested.test_connection()
    assert answer == (True, "2 tenants, 0 rejected rows")


def test_the_test_button_names_a_few_bad_rows(hook, tenants):
    bad = "".join(ROW.format(f"B{number}").replace("basic", "gold") for number in range(5))
    tenants.write_text(HEADER + ROW.format("T1") + bad)
    ok, message = hook("csv", "dbgear_csv", path=str(tenants)).test_connection()
    assert ok
    assert message.startswith("1 tenants, 5 rejected rows; ")
    assert message.count("no such tier") == 3
    assert message.endswith("; and 2 more")


def test_a_registry_of_bad_rows_alone_fails(hook, tenants):
    tenants.write_text(HEADER + ROW.format("T1").replace("basic", "gold"))
    ok, message = hook("csv", "dbgear_csv", path=str(tenants)).test_connection()
    assert not ok
    assert message.startswith("0 tenants, 1 rejected rows; ")


def test_an_unknown_connection_is_told(hooks):
    ok, message = hooks.CSVRegistryHook("nowhere").test_connection()
    assert not ok
    assert "nowhere" in message


def test_the_test_button_reads_as_the_section_that_names_the_connection(hook, tmp_path, project):
    path = tmp_path / "crm.csv"
    path.write_text("id,name\n1,one\n2,two\n")
    defaults = {"region": "jp", "tier": "basic", "status": "active", "isolation_strategy": "schema"}
    dates = {"created_at": "2026-01-01", "updated_at": "2026-01-01"}
    fields = {"tenant_id": "id", "customer_name": "name", "customer_code": "name"}
    mapping = {"fields": fields, "defaults": {**defaults, **dates}}
    config = {"csv": {"path": "unused.csv", "mapping": mapping}}
    project(sources={"crm": {"connection_id": "registry", "config": config}})
    told = "2 tenants, 0 rejected rows, read as crm of project.yaml says"
    assert hook("csv", "dbgear_csv", path=str(path)).test_connection() == (True, told)
    # As the form tests it, under a name of its own.
    transient = hook("csv", "dbgear_csv", "x7f", path=str(path), source="crm")
    assert transient.test_connection() == (True, told)
    ok, message = hook("csv", "dbgear_csv", "x7f", path=str(path), source="crn").test_connection()
    assert not ok
    assert message == (
        "connection x7f, extra, source: project.yaml has no registry of provider csv by this name; "
        "received 'crn'; allowed: tenant_registry, crm"
    )


def test_a_broken_project_file_is_told_by_the_test_button(hook, tenants, tmp_path, project):
    project()
    (tmp_path / "project.yaml").write_text("multi_tenant: [")
    ok, message = hook("csv", "dbgear_csv", path=str(tenants)).test_connection()
    assert ok
    assert message.startswith("2 tenants, 0 rejected rows, read with defaults (")
    assert "project.yaml, line 1" in message
    ok, message = hook("csv", "dbgear_csv", path=str(tenants), source="crm").test_connection()
    assert not ok
    assert "project.yaml, line 1" in message


@pytest.mark.parametrize(
    ("kind", "conn_type", "extra"),
    [("database", "postgres", {"sslmode": "disable"}), ("api", "http", {})],
)
def test_a_server_that_hangs_ends_the_test_in_time(hook, monkeypatch, kind, conn_type, extra):
    from dbgear_airflow_provider.hooks import registry_hook

    monkeypatch.setattr(registry_hook, "TEST_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        fields = {"host": "127.0.0.1", "port": server.getsockname()[1], "login": "u", "password": SECRET}
        fields["schema"] = "http" if kind == "api" else "db"
        tested = hook(kind, conn_type, fields=fields, **extra)
        assert tested.test_connection() == (False, "connection registry: no answer within 0.2 s")


def test_what_cannot_even_be_cancelled_ends_the_test_in_time(hooks, hook, tenants, monkeypatch):
    from dbgear_airflow_provider.hooks import registry_hook

    end = Event()

    async def block(*_: Any) -> Any:
        end.wait()
        raise SettingsError("late", where="connection registry")

    monkeypatch.setattr(registry_hook, "_GIVE_UP_S", 0.2)
    monkeypatch.setattr(hooks.CSVRegistryHook, "_open", block)
    try:
        ok, message = hook("csv", "dbgear_csv", path=str(tenants)).test_connection()
    finally:
        end.set()
    assert (ok, message) == (False, "connection registry: no answer within 0.2 s")


def test_text_that_looks_like_markup_does_no_harm(hook, tmp_path):
    """`airflow connections test` prints with rich, which would fail on a closing tag."""
    ok, message = hook("csv", "dbgear_csv", path=f"{tmp_path}/[/bold].csv").test_connection()
    assert not ok
    assert "[ /bold].csv" in message


def test_an_unexpected_error_is_told_without_its_text(hooks, hook, tenants, monkeypatch):
    async def fail(*_: Any) -> Any:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(hooks.CSVRegistryHook, "_open", fail)
    ok, message = hook("csv", "dbgear_csv", path=str(tenants)).test_connection()
    assert (ok, message) == (False, "connection registry: RuntimeError; the log has more")


def test_a_sqlite_file(hook, tmp_path):
    path = tmp_path / "tenants.db"
    columns = HEADER.strip().split(",")
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE customers ({', '.join(f'{name} TEXT' for name in columns)})")
        database.executemany(
            f"INSERT INTO customers VALUES ({', '.join('?' * len(columns))})",
            [ROW.format(name).strip().split(",") for name in ("T1", "T2")],
        )
    database.close()
    fields = {"host": str(path)}
    good = hook("database", "dbgear_database", fields=fields, engine="sqlite", tenant_table="customers")
    assert good.test_connection() == (True, "2 tenants, 0 rejected rows")
    ok, message = hook("database", "dbgear_database", fields=fields, engine="sqlite").test_connection()
    assert not ok
    assert "tenants" in message


def test_a_sqlite_file_that_is_not_there_is_told_and_not_made(hook, tmp_path):
    path = tmp_path / "no.db"
    ok, message = hook("database", "sqlite", fields={"host": str(path)}).test_connection()
    assert not ok
    assert str(path) in message
    assert not path.exists()


def test_a_dbgear_project(hook, tmp_path):
    tenant = {"database": "acme", "region": "jp", "tier": "basic", "created_at": "2026-01-01"}
    (tmp_path / "tenant.yaml").write_text(json.dumps({"tenants": {"Acme": {"ref": "x", "databases": [tenant]}}}))
    tested = hook("dbgear", "dbgear_project", path=str(tmp_path / "tenant.yaml"))
    assert tested.test_connection() == (True, "1 tenants, 0 rejected entries")


def test_a_workbook_that_is_none_is_told(hook, tenants):
    ok, message = hook("excel", "dbgear_excel", path=str(tenants)).test_connection()
    assert not ok
    assert str(tenants) in message


def test_the_hooks_answer_the_signature_that_operators_use(hooks):
    for hook in hooks.HOOKS.values():
        assert list(inspect.signature(hook.get_provider).parameters) == ["self", "settings", "cache"]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("api", {"conn_type": "dbgear_api", "host": "https://crm.example:8443/Api/v2", "password": SECRET}),
        ("api", {"conn_type": "http", "host": "Crm.example/Api", "schema": "https", "port": 8443}),
        ("api", {"conn_type": "dbgear_api", "host": "https://h", "extra": {"headers": {"X-Key": "a&b"}}}),
        ("database", {"conn_type": "sqlite", "host": "/data/Tenants of 2026.db"}),
        (
            "database",
            {"conn_type": "dbgear_database", "host": "db", "login": "u@x", "password": SECRET, "schema": "顧客"},
        ),
        ("csv", {"conn_type": "dbgear_csv", "extra": {"path": "/data/テナント.csv"}}),
    ],
)
async def test_a_connection_is_the_same_as_a_uri(hooks, connection, monkeypatch, kind, fields):
    """Airflow's form tests a connection by way of its URI."""
    from airflow.models import Connection

    from dbgear_airflow_provider.hooks.connection import read_connection

    extra = json.dumps(fields["extra"]) if "extra" in fields else None
    connection("registry", **fields)
    monkeypatch.setenv("AIRFLOW_CONN_BY_URI", Connection(conn_id="x", **{**fields, "extra": extra}).get_uri())
    extras = hooks.HOOKS[kind].extras()
    one, other = [await read_connection(name, extras, "a test") for name in ("registry", "by_uri")]
    names = ("conn_type", "host", "port", "schema", "login", "password", "extra")
    assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]


# The documentation

DOCS = (Path(__file__).parents[3] / "docs" / "registries.md").read_text()


@pytest.mark.parametrize("conn_type", TYPES)
def test_the_keys_of_a_connection_are_told(conn_type):
    (section,) = re.findall(rf"^### {conn_type}$(.*?)(?=^#|^Ordinary|\Z)", DOCS, re.DOTALL | re.MULTILINE)
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(TYPES[conn_type]["conn-fields"])


def test_the_types_of_connections_are_told(hooks):
    told = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| \[", DOCS, re.MULTILINE))
    assert {kind: re.findall(r"\w+", types) for kind, types in told.items()} == {
        kind: list(hook.extras()) for kind, hook in hooks.HOOKS.items()
    }


@pytest.mark.parametrize("example", re.findall(r"^```json\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE))
async def test_the_connections_of_the_documentation_are_right(hooks, connection, example):
    fields = json.loads(example)
    connection("registry", **fields)
    (hook,) = [hook for hook in hooks.HOOKS.values() if hook.conn_type == fields["conn_type"]]
    await (await hook("registry").get_provider()).aclose()


def test_the_project_file_of_the_documentation_is_right(tmp_path):
    (block,) = re.findall(r"^```yaml\n(.*?)^```", DOCS, re.DOTALL | re.MULTILINE)
    (tmp_path / "project.yaml").write_text(block)
    settings = load_project(tmp_path / "project.yaml").multi_tenant
    assert (settings.tenant_registry.provider, settings.sources["crm"].provider) == ("database", "api")
