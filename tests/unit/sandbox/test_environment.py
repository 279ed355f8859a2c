from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from dbgear_airflow_provider.sandbox import environment, keys
from dbgear_airflow_provider.sandbox.postgres import PostgresServer
from dbgear_airflow_provider.sandbox.stack import Stack

SERVER = PostgresServer(host="127.0.0.1", port=5433, user="me", password="p@ss/w:rd'\"")


def settings(directory: Path) -> dict[str, str]:
    return environment.airflow_settings(directory, SERVER, port=8081, dags=Path("/dags"))


def test_keys_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    first = keys.kept(tmp_path / "key")
    assert keys.kept(tmp_path / "key") == first
    assert keys.kept(tmp_path / "other") != first
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".new"] == []


def test_the_fernet_key_is_one() -> None:
    Fernet(keys.fernet_key())


def test_a_second_start_has_the_same_keys(tmp_path: Path) -> None:
    first, second = settings(tmp_path), settings(tmp_path)
    for name in ("CORE__FERNET_KEY", "API__SECRET_KEY", "API_AUTH__JWT_SECRET"):
        assert first[f"AIRFLOW__{name}"] == second[f"AIRFLOW__{name}"]


def test_everything_listens_on_this_machine_only(tmp_path: Path) -> None:
    found = settings(tmp_path)
    assert found["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert found["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:8081"
    assert found["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8081/execution/"


def test_connections_carry_any_password(tmp_path: Path) -> None:
    target = json.loads(settings(tmp_path)["AIRFLOW_CONN_DBGEAR_TARGET_MAIN"])
    assert target["password"] == SERVER.password
    assert target["schema"] == "tenants"
    assert PostgresServer.from_url(SERVER.dsn("x")).password == SERVER.password


def test_paths_are_absolute_and_there(tmp_path: Path) -> None:
    source = json.loads(settings(tmp_path)["AIRFLOW_CONN_DBGEAR_SOURCE_CRM"])
    assert source["conn_type"] == "dbgear_csv"
    assert Path(source["extra"]["path"]).is_absolute()
    assert Path(source["extra"]["path"]).is_file()
    assert Path(source["extra"]["config_dir"]).is_dir()
    assert Path(settings(tmp_path)["AIRFLOW__DBGEAR__PROJECT_FILE"]).is_file()


def test_another_airflows_variables_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=x")
    monkeypatch.setenv("NO_PROXY", "example.com")
    found = environment.process_environment({"AIRFLOW_HOME": "/x"})
    assert found["AIRFLOW_HOME"] == "/x"
    assert "AIRFLOW__CORE__EXECUTOR" not in found
    assert "PGOPTIONS" not in found
    assert found["NO_PROXY"] == "example.com,127.0.0.1"


def test_the_shell_settings_survive_the_shell(tmp_path: Path) -> None:
    stack = Stack(tmp_path, port=8080)
    wanted = settings(tmp_path)
    stack.write_shell_settings(wanted)
    assert stat.S_IMODE(stack.shell_settings.stat().st_mode) == 0o600
    output = subprocess.run(
        ["/bin/sh", "-c", f'. {stack.shell_settings} && printf %s "$AIRFLOW_CONN_DBGEAR_FLEET"'],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert output == wanted["AIRFLOW_CONN_DBGEAR_FLEET"]
