"""The section `access` of the project file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.settings import AccessSettings, load_project

PROJECT = """\
multi_tenant:
  tenant_registry: {connection_id: registry}
  targets: {main: {connection_id: main}}
  access:
"""


def load(folder: Path, text: str) -> AccessSettings:
    path = folder / "project.yaml"
    path.write_text(PROJECT + text)
    return load_project(path).multi_tenant.access


def test_roles_are_off_until_somebody_says_otherwise(tmp_path: Path) -> None:
    assert load(tmp_path, "    {}\n") == AccessSettings(roles=False, sink=None)


def test_the_folder_of_files_is_below_the_project(tmp_path: Path) -> None:
    access = load(tmp_path, "    roles: true\n    sink: {type: file, path: state/credentials}\n")
    assert access.sink is not None
    assert access.sink.path == tmp_path / "state" / "credentials"


def test_a_class_has_options(tmp_path: Path) -> None:
    access = load(tmp_path, "    roles: true\n    sink: {type: python, class: 'my.sinks:Mine', options: {url: x}}\n")
    assert access.sink is not None
    assert (access.sink.class_, access.sink.options) == ("my.sinks:Mine", {"url": "x"})


@pytest.mark.parametrize(
    ("text", "field", "problem", "allowed"),
    [
        ("roles: true", "sink", "a password has to go somewhere", "{type: file, path: ...}, or another type"),
        ("sink: {path: x}", "sink.type", "Field required", None),
        ("sink: {type: mail}", "sink.type", "no such value", "'file', 'airflow', 'vault' or 'python'"),
        ("sink: {type: file}", "sink.path", "a sink of type file needs it", ["path"]),
        ("sink: {type: vault, path: x}", "sink.connection_id", "a sink of type vault needs it", ["connection_id"]),
        (
            "sink: {type: file, path: x, options: {a: 1}}",
            "sink.options",
            "of no use to a sink of type file",
            ["path"],
        ),
        ("sink: {type: python, class: no_class}", "sink.class", "String should match pattern", None),
        (
            "sink: {type: file, path: x, folder: y}",
            "sink.folder",
            "no such key",
            ["type", "path", "connection_id", "class", "options"],
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_field(
    tmp_path: Path, text: str, field: str, problem: str, allowed: object
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, f"    {text}\n")
    details = caught.value.details
    assert details["where"].endswith(f"multi_tenant.access.{field}")
    assert problem in details["problem"]
    if allowed is not None:
        assert details["allowed"] == allowed
