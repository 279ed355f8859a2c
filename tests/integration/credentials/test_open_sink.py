"""Sinks at the end of Airflow connections, opened as the project file names them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.core.credentials import Credential, FileSink
from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.settings import AccessSettings
from tests.leaks import SECRET, TOKEN, error_of, nothing_leaks
from tests.servers.http import Api, Reply, api, certificate, tls_api

# Read when Airflow is first imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

__all__ = ["api", "certificate", "nothing_leaks", "tls_api"]
CREDENTIAL = Credential(
    tenant_id="T0001",
    target="main",
    engine="mysql",
    host="db.example",
    port=3306,
    user="acme_jp_login",
    password=SECRET,
    instances={"main": {"database": "acme_jp_main", "schema": "acme_jp_main", "isolation": "schema"}},
)


def access(kind: str, **sink: Any) -> AccessSettings:
    return AccessSettings.model_validate({"roles": True, "sink": {"type": kind, **sink}})


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define the connection `sink`, of type http."""

    def define(**fields: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_SINK", json.dumps({"conn_type": "http", **fields}))

    return define


async def put(settings: AccessSettings) -> None:
    from dbgear_airflow_provider.hooks.credentials import open_sink

    async with open_sink(settings) as sink:
        assert sink is not None
        await sink.put(CREDENTIAL)


async def test_without_roles_there_is_no_sink() -> None:
    from dbgear_airflow_provider.hooks.credentials import open_sink

    for settings in (AccessSettings(), access("vault", connection_id="not_there").model_copy(update={"roles": False})):
        async with open_sink(settings) as sink:
            assert sink is None


async def test_a_folder_needs_no_connection(tmp_path: Path) -> None:
    await put(access("file", path=str(tmp_path / "credentials")))
    kept = json.loads(FileSink(tmp_path / "credentials").file("T0001").read_text())
    assert kept == CREDENTIAL.document()


@pytest.mark.parametrize(
    ("extra", "path"),
    [
        ({}, "/v1/secret/data/dbgear/T0001"),
        ({"mount": "kv", "folder": "db/tenants", "namespace": "team"}, "/v1/kv/data/db/tenants/T0001"),
    ],
)
async def test_a_vault(api: Api, connection: Callable[..., None], extra: dict[str, str], path: str) -> None:
    api.replies({})
    connection(host=api.url, password=TOKEN, extra=extra)
    await put(access("vault", connection_id="sink"))
    (request,) = api.requests
    assert (request.method, request.path) == ("POST", path)
    assert request.headers["x-vault-token"] == TOKEN
    assert request.headers.get("x-vault-namespace") == extra.get("namespace")
    assert request.json == {"data": CREDENTIAL.document()}


async def test_an_airflow(api: Api, connection: Callable[..., None]) -> None:
    api.replies(Reply({"access_token": TOKEN}, 201), {})
    connection(host=api.url, login="admin", password=SECRET)
    await put(access("airflow", connection_id="sink"))
    asked, sent = api.requests
    assert asked.json == {"username": "admin", "password": SECRET}
    assert (sent.method, sent.path) == ("PATCH", "/api/v2/connections/dbgear_tenant_T0001")
    assert (sent.json["conn_type"], sent.json["schema"]) == ("mysql", "acme_jp_main")


async def test_a_certificate_of_an_authority_of_ones_own(
    tls_api: Api, connection: Callable[..., None], certificate: Path
) -> None:
    tls_api.replies({})
    connection(host=tls_api.url, password=TOKEN)
    error = await error_of(SettingsError, put(access("vault", connection_id="sink")))
    assert "allowed: ca_file: a file with the certificate" in error.message
    connection(host=tls_api.url, password=TOKEN, extra={"ca_file": str(certificate)})
    await put(access("vault", connection_id="sink"))
    assert len(tls_api.requests) == 1


@pytest.mark.parametrize(
    ("kind", "fields", "where", "problem"),
    [
        ("vault", {"conn_type": "mysql"}, "connection sink", "not a type of connection for a Vault"),
        ("vault", {}, "connection sink", "no password"),
        ("vault", {"password": f"{TOKEN}\n"}, "Vault, X-Vault-Token", "no value of a header"),
        ("vault", {"password": TOKEN, "extra": {"mount": 1}}, "connection sink, extra, mount", "valid string"),
        ("vault", {"password": TOKEN, "extra": {"token": SECRET}}, "connection sink, extra", "no such key"),
        ("airflow", {"password": SECRET}, "connection sink", "no login"),
        ("airflow", {"login": "a", "password": SECRET, "extra": {"mount": "x"}}, "connection sink, extra", "no such"),
        (
            "vault",
            {"password": TOKEN, "extra": {"ca_file": "/no/such.pem"}},
            "connection sink, extra, ca_file",
            "no certificates of authorities: No such file",
        ),
    ],
)
async def test_what_is_wrong_with_a_connection(
    connection: Callable[..., None], kind: str, fields: dict[str, Any], where: str, problem: str
) -> None:
    connection(host="https://sink.invalid", **fields)
    error = await error_of(SettingsError, put(access(kind, connection_id="sink")))
    assert error.details["where"] == where
    assert problem in error.details["problem"]
