"""Sinks of credentials: real files, and servers that answer as Vault and Airflow do."""

from __future__ import annotations

import json
import os
import stat
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.core.credentials import Credential, FileSink, VaultSink, make_sink
from dbgear_airflow_provider.core.errors import CredentialError, SettingsError, SinkUnavailableError
from dbgear_airflow_provider.core.settings import SinkSettings
from dbgear_airflow_provider.core.tls import ssl_context
from dbgear_airflow_provider.hooks.airflow_api import AirflowApi
from dbgear_airflow_provider.hooks.airflow_connections import AirflowConnectionSink, connection_id
from tests.leaks import TOKEN, error_of, nothing_leaks, secrets_in
from tests.servers.http import Api, Reply, Request, api, certificate, tls_api

__all__ = ["api", "certificate", "nothing_leaks", "tls_api"]
PASSWORD = "s3cr3t-äöü-\"'\\"
OURS = "s3cr3t-pw"  # of the Airflow user
CREDENTIAL = Credential(
    tenant_id="T0001",
    target="main",
    engine="postgresql",
    host="db.example",
    port=5432,
    user="acme_jp_login",
    password=PASSWORD,
    instances={"main": {"database": "tenants", "schema": "acme_jp_main", "isolation": "schema"}},
)


def test_a_credential_does_not_show_its_password() -> None:
    assert secrets_in(f"{CREDENTIAL!r} {CREDENTIAL}") == []


async def test_a_file_is_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        sink = FileSink(tmp_path / "state" / "credentials")
        await sink.put(CREDENTIAL)
        await sink.put(replace(CREDENTIAL, password="another"))
    finally:
        os.umask(before)
    file = sink.file("T0001")
    assert json.loads(file.read_text())["password"] == "another"
    assert json.loads(file.read_text())["instances"]["main"]["schema"] == "acme_jp_main"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["T0001.json"]


async def test_a_folder_that_others_may_read_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    await FileSink(folder).put(CREDENTIAL)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("odd", ["../../etc/passwd", "..", ".", "a/b", "顧客 1", "x" * 300, "a\x00b", "T%2F1"])
async def test_odd_tenant_ids_are_names_of_files_in_the_folder(tmp_path: Path, odd: str) -> None:
    sink = FileSink(tmp_path / "credentials")
    await sink.put(replace(CREDENTIAL, tenant_id=odd))
    await sink.put(CREDENTIAL)
    assert len(list(sink.folder.iterdir())) == 2
    assert json.loads(sink.file(odd).read_text())["tenant_id"] == odd


async def test_a_file_that_cannot_be_written_keeps_the_old_one_and_tells_no_password(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    await error_of(CredentialError, FileSink(tmp_path / "file" / "folder").put(CREDENTIAL))
    sink = FileSink(tmp_path / "credentials")
    sink.folder.mkdir()
    sink.file("T0001").mkdir()  # in the way
    await error_of(CredentialError, sink.put(CREDENTIAL))
    assert [path.name for path in sink.folder.iterdir()] == ["T0001.json"]


async def test_vault_gets_a_new_version(api: Api) -> None:
    api.replies({})
    sink = VaultSink(api.url, TOKEN, mount="kv", folder="db/tenants", namespace="team")
    await sink.put(replace(CREDENTIAL, tenant_id="a/b 1"))
    await sink.aclose()
    (request,) = api.requests
    assert (request.method, request.path) == ("POST", "/v1/kv/data/db/tenants/a%2Fb%201")
    assert request.headers["x-vault-token"] == TOKEN
    assert request.headers["x-vault-namespace"] == "team"
    assert request.json["data"]["password"] == PASSWORD


async def test_what_is_away_is_asked_again_and_then_given_up(api: Api) -> None:
    api.replies(*(Reply({}, status) for status in (503, 429, 500, 200)))
    sink = VaultSink(api.url, TOKEN, wait_s=0.001)
    await sink.put(CREDENTIAL)
    assert len(api.requests) == 4
    api.answer = lambda request: Reply(request.json, 503)
    await error_of(SinkUnavailableError, sink.put(CREDENTIAL))
    await sink.aclose()
    nobody = VaultSink("http://127.0.0.1:1", TOKEN, wait_s=0.001)
    await error_of(SinkUnavailableError, nobody.put(CREDENTIAL))
    await nobody.aclose()


@pytest.mark.parametrize("odd", ["\n", "\r\nX-Other: 1", "é", "\0", " "])
async def test_what_is_no_header_is_not_sent_and_not_shown(api: Api, odd: str) -> None:
    for given in ({"token": f"{TOKEN}{odd}"}, {"token": TOKEN, "namespace": f"s3cr3t{odd}"}):
        with pytest.raises(SettingsError) as caught:
            VaultSink(api.url, **given)
        told = "".join(traceback.format_exception(caught.value))
        assert secrets_in(f"{told} {caught.value!r} {caught.value.details}") == []
        assert caught.value.details["where"] == f"Vault, X-Vault-{'Token' if len(given) == 1 else 'Namespace'}"
    api.answer = lambda _: Reply({"access_token": f"{TOKEN}{odd}"})
    sink = AirflowConnectionSink(AirflowApi(api.url, "admin", OURS, wait_s=0.001))
    error = await error_of(SettingsError, sink.put(CREDENTIAL))
    await sink.aclose()
    assert error.details["where"] == "Airflow's API: POST /auth/token, access_token"
    assert [request.path for request in api.requests] == ["/auth/token"]


async def test_a_certificate_that_is_not_trusted_is_told_and_not_asked_again(tls_api: Api, certificate: Path) -> None:
    tls_api.replies({})
    sink = VaultSink(tls_api.url, TOKEN, wait_s=60)
    error = await error_of(SettingsError, sink.put(CREDENTIAL))
    await sink.aclose()
    assert error.message == (
        "Vault: the server's certificate is not trusted: self-signed certificate; "
        "allowed: ca_file: a file with the certificate of the authority that signed it"
    )
    assert tls_api.requests == []
    trusting = VaultSink(tls_api.url, TOKEN, verify=ssl_context(str(certificate)))
    await trusting.put(CREDENTIAL)
    await trusting.aclose()
    assert len(tls_api.requests) == 1


async def test_what_is_refused_is_not_asked_again_and_tells_no_secret(api: Api) -> None:
    api.answer = lambda request: Reply(request.json, 403)
    sink = VaultSink(api.url, TOKEN, wait_s=0.001)
    error = await error_of(CredentialError, sink.put(CREDENTIAL))
    await sink.aclose()
    assert "status 403" in error.message
    assert len(api.requests) == 1


class FakeAirflow:
    """Answers as Airflow does; tokens may expire."""

    def __init__(self) -> None:
        self.connections: dict[str, Any] = {}
        self.tokens = 0
        self.valid = ""

    def __call__(self, request: Request) -> Reply:
        if request.path == "/auth/token" and request.json == {"username": "admin", "password": OURS}:
            self.tokens += 1
            self.valid = f"{TOKEN}{self.tokens}"
            return Reply({"access_token": self.valid}, 201)
        if request.headers.get("authorization") != f"Bearer {self.valid}":
            return Reply({}, 401)
        name = request.json["connection_id"]
        is_new, is_post = name not in self.connections, request.method == "POST"
        if is_new != is_post:
            return Reply({}, 409 if is_post else 404)
        self.connections[name] = request.json
        return Reply({})


async def test_an_airflow_connection_is_made_and_then_changed(api: Api) -> None:
    airflow = api.answer = FakeAirflow()
    sink = AirflowConnectionSink(AirflowApi(api.url, "admin", OURS, wait_s=0.001))
    await sink.put(CREDENTIAL)
    made = airflow.connections["dbgear_tenant_T0001"]
    assert (made["conn_type"], made["login"], made["password"], made["schema"]) == (
        "postgres",
        "acme_jp_login",
        PASSWORD,
        "tenants",
    )
    airflow.valid = "expired"
    await sink.put(replace(CREDENTIAL, password="another"))
    await sink.aclose()
    assert airflow.connections["dbgear_tenant_T0001"]["password"] == "another"
    assert airflow.tokens == 2


async def test_a_connection_that_another_has_just_made_is_changed(api: Api) -> None:
    airflow = FakeAirflow()

    def answer(request: Request) -> Reply:
        if request.method == "POST" and request.path != "/auth/token":
            airflow.connections.setdefault(request.json["connection_id"], {})
        return airflow(request)

    api.answer = answer
    sink = AirflowConnectionSink(AirflowApi(api.url, "admin", OURS, wait_s=0.001))
    await sink.put(CREDENTIAL)
    await sink.aclose()
    assert airflow.connections["dbgear_tenant_T0001"]["password"] == PASSWORD


async def test_a_wrong_password_of_airflow_is_an_error_that_tells_none(api: Api) -> None:
    api.answer = FakeAirflow()
    sink = AirflowConnectionSink(AirflowApi(api.url, "admin", f"{OURS}?", wait_s=0.001))
    await error_of(CredentialError, sink.put(CREDENTIAL))
    await sink.aclose()


def test_ids_of_connections_are_valid_and_apart() -> None:
    odd = ["a/b", "a b", "a_b", "x" * 300, "x" * 301, "顧客"]
    ids = [connection_id(tenant_id) for tenant_id in odd]
    assert len(set(ids)) == len(odd)
    assert all(len(name) <= 200 and name.isascii() and "/" not in name and " " not in name for name in ids)


class Keeps:
    """A sink of somebody's own."""

    def __init__(self, *, kept: list[Any]) -> None:
        self.kept = kept

    async def put(self, credential: Credential) -> None:
        self.kept.append(credential)


async def test_a_class_of_ones_own_is_a_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, "my_sinks", SimpleNamespace(Keeps=Keeps, No=dict))  # type: ignore[arg-type]
    kept: list[Any] = []
    settings = {"type": "python", "class": "my_sinks:Keeps", "options": {"kept": kept}}
    made = make_sink(SinkSettings.model_validate(settings))
    await made.put(CREDENTIAL)
    assert made.kept == [CREDENTIAL]  # type: ignore[attr-defined]
    for change, field in (
        ({"class": "my_sinks:Nothing"}, "class"),
        ({"class": "no_such_module:X"}, "class"),
        ({"class": "my_sinks:No", "options": {}}, "class"),
        ({"options": {"wrong": 1}}, "options"),
    ):
        with pytest.raises(SettingsError) as caught:
            make_sink(SinkSettings.model_validate({**settings, **change}))
        assert caught.value.details["where"] == f"multi_tenant.access.sink.{field}"
