from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.settings import MultiTenantSettings, ProjectSettings, load_project
from dbgear_airflow_provider.core.tenants import TenantInfo

PROJECT = Path(__file__).parents[3] / "include" / "project.yaml"

LEAST = """\
multi_tenant:
  tenant_registry:
    connection_id: registry
  targets:
    main:
      connection_id: main_server
"""
SECRET = "s3cret: \"x'\n# no comment"

Load = Callable[..., ProjectSettings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str, **environ: str) -> ProjectSettings:
        path = tmp_path / "project.yaml"
        path.write_text(text, encoding="utf-8")
        return load_project(path, environ)

    return load


@pytest.fixture
def refused(load: Load) -> Callable[..., SettingsError]:
    def refused(text: str, **environ: str) -> SettingsError:
        with pytest.raises(SettingsError) as caught:
            load(text, **environ)
        return caught.value

    return refused


def tenant(**changes: Any) -> TenantInfo:
    fields: dict[str, Any] = {
        "tenant_id": "T0001",
        "customer_name": "Acme",
        "customer_code": "acme",
        "region": "asia",
        "tier": "premium",
        "status": "active",
        "created_at": datetime(2024, 1, 1, tzinfo=UTC),
        "updated_at": datetime(2024, 1, 1, tzinfo=UTC),
        "isolation_strategy": "schema",
    }
    return TenantInfo(**fields | changes)


def test_the_sample_project_loads() -> None:
    settings = load_project(PROJECT, {}).multi_tenant
    assert settings.tenant_registry.provider == "database"
    csv = settings.sources["crm"].config.csv
    assert csv is not None
    assert isinstance(csv.path, Path)
    assert csv.path.is_file()
    assert csv.config_dir is not None
    assert csv.config_dir.is_dir()
    assert settings.templates.base_dir is not None
    for template in settings.templates.schema_templates:
        assert (settings.templates.base_dir / template.file).is_file()


def test_the_least_project_has_defaults(load: Load) -> None:
    settings = load(LEAST).multi_tenant
    assert settings.targets["main"].max_connections == 8
    assert settings.target_of(tenant()) == "main"
    assert settings.schema_template_of(tenant()).file == "schema.j2"


def test_paths_are_relative_to_the_file(load: Load, tmp_path: Path) -> None:
    text = LEAST.replace("connection_id: registry", "config: {csv: {path: fleet/tenants.csv, config_dir: /etc/fleet}}")
    settings = load(text + "  templates: {base_dir: ../templates}\n").multi_tenant
    csv = settings.tenant_registry.config.csv
    assert csv is not None
    assert csv.path == tmp_path / "fleet/tenants.csv"
    assert csv.config_dir == Path("/etc/fleet")
    assert settings.templates.base_dir == tmp_path / "../templates"


@pytest.mark.parametrize(
    ("written", "environ", "read"),
    [
        ("${NAME}", {"NAME": SECRET}, SECRET),
        ("'${NAME}'", {"NAME": SECRET}, SECRET),
        ("a-${NAME}-b-${NAME}", {"NAME": "x"}, "a-x-b-x"),
        ("${NAME:-default}", {}, "default"),
        ("${NAME:-default}", {"NAME": "set"}, "set"),
        ("'${NAME:-a: b}'", {}, "a: b"),
        ("$${NAME}", {"NAME": "x"}, "${NAME}"),
        ("$NAME $ $$", {"NAME": "x"}, "$NAME $ $$"),
        ("${NAME}", {"NAME": "${OTHER}"}, "${OTHER}"),
    ],
)
def test_variables(load: Load, written: str, environ: dict[str, str], read: str) -> None:
    text = LEAST.replace("main_server", written)
    assert load(text, **environ).multi_tenant.targets["main"].connection_id == read


def test_numbers_and_flags_come_from_variables(load: Load) -> None:
    text = (
        LEAST + "      max_connections: ${MAX}\n  automation: {operation_timeout: '${LIMIT:-1.5}'}\n  enabled: ${ON}\n"
    )
    settings = load(text, MAX="12", ON="false").multi_tenant
    assert settings.targets["main"].max_connections == 12
    assert settings.automation.operation_timeout == 1.5
    assert settings.enabled is False


def test_variables_of_keys_that_are_not_ours_stay(load: Load) -> None:
    assert load("options: {macro: '${MACRO_NAME}', odd: '${'}\n" + LEAST).project_name == "dbgear"


@pytest.mark.parametrize("written", ["${", "${NAME-x}", "${1X}", "${NAME:?x}"])
def test_what_looks_like_a_variable_and_is_none(refused: Callable[..., SettingsError], written: str) -> None:
    error = refused(LEAST.replace("main_server", f"'{written}'"), NAME="x")
    assert error.details["received"] == written
    assert "${NAME:-default}" in error.details["allowed"]
    assert "line 6, multi_tenant.targets.main.connection_id" in error.message


def test_a_variable_that_is_not_set(refused: Callable[..., SettingsError]) -> None:
    error = refused(LEAST.replace("main_server", "${SERVER}"))
    assert "project.yaml, line 6, multi_tenant.targets.main.connection_id" in error.details["where"]
    assert "SERVER is not set" in error.message
    assert error.details["allowed"] == "${SERVER:-default}"


def wrong(change: tuple[str, str] | str) -> str:
    return LEAST + change if isinstance(change, str) else LEAST.replace(*change)


@pytest.mark.parametrize(
    ("change", "place", "received", "allowed"),
    [
        ("  enable: true\n", "7, multi_tenant.enable", "True", "tenant_registry"),
        ("      max_connection: 5\n", "7, multi_tenant.targets.main.max_connection", "5", "max_connections"),
        ("      max_connections: 0\n", "7, multi_tenant.targets.main.max_connections", "0", None),
        ("      max_connections: many\n", "7, multi_tenant.targets.main.max_connections", "many", None),
        ("  automation:\n    operation_timeout: 0\n", "8, multi_tenant.automation.operation_timeout", "0", None),
        ("  automation:\n    timeout: 5\n", "8, multi_tenant.automation.timeout", "5", "operation_timeout"),
        ("  monitoring:\n    log_level: LOUD\n", "8, multi_tenant.monitoring.log_level", "LOUD", "WARNING"),
        ("  placement:\n  - target: other\n", "8, multi_tenant.placement.0.target", "other", "main"),
        ("  placement:\n  - target: main\n  - target: x\n", "9, multi_tenant.placement.1.target", "x", "main"),
        ("  placement:\n  - {target: main, querry: x}\n", "8, multi_tenant.placement.0.querry", "x", "query"),
        (
            "  placement:\n  - target: main\n    query: tire = 'x'\n",
            "9, multi_tenant.placement.0.query",
            "tire = 'x'",
            "tier",
        ),
        ("  templates:\n    schema_templates: []\n", "8, multi_tenant.templates.schema_templates", None, None),
        (
            ("    connection_id: registry", "    provider: oracle"),
            "3, multi_tenant.tenant_registry.provider",
            "oracle",
            "csv",
        ),
        (("    connection_id: registry", "    provider: csv"), "2, multi_tenant.tenant_registry", None, None),
        (("    main:", "    Main-1:"), "5, multi_tenant.targets.Main-1", "Main-1", None),
        (("connection_id: main_server", "connection_id: ''"), "6, multi_tenant.targets.main.connection_id", "", None),
        (("      connection_id: main_server", "      {}"), "5, multi_tenant.targets.main.connection_id", None, None),
        (("connection_id: main_server", "connection_id: 5"), "6, multi_tenant.targets.main.connection_id", "5", None),
    ],
)
def test_a_wrong_field(
    refused: Callable[..., SettingsError],
    change: tuple[str, str] | str,
    place: str,
    received: str | None,
    allowed: str | None,
) -> None:
    error = refused(wrong(change))
    assert error.details["where"].endswith(f"project.yaml, line {place}")
    assert error.details["received"] == received
    if allowed is not None:
        assert allowed in error.details["allowed"]


def test_all_problems_are_told_at_once(refused: Callable[..., SettingsError]) -> None:
    error = refused(LEAST + "      max_connections: 0\n  scal: big\n")
    assert "line 7, multi_tenant.targets.main.max_connections" in error.message
    assert "line 8, multi_tenant.scal" in error.message


@pytest.mark.parametrize(
    "change",
    [
        ("main_server", "main_server\n      max_connections: ${NAME}"),
        ("main_server", "main_server\n  placement: [{target: '${NAME}'}]"),
        ("main_server", "main_server\n  placement: [{target: main, query: '${NAME}'}]"),
        ("main_server", "main_server\n  placement: [{target: main, query: \"tier = '${NAME}'\"}]"),
        ("main_server", "main_server\n  monitoring: {log_level: '${NAME}', enabled: '${NAME}'}"),
        ("main_server", "main_server\n  targets2: '${NAME}'"),
        ("main_server", "main_server\n  automation: '${NAME}'"),
    ],
)
@pytest.mark.parametrize("secret", ["hunter2", SECRET])
def test_what_the_environment_holds_is_in_no_error(
    refused: Callable[..., SettingsError], change: tuple[str, str], secret: str
) -> None:
    error = refused(LEAST.replace(*change), NAME=secret)
    assert secret not in error.message
    assert secret not in repr(error.details)
    assert "${NAME}" in error.message or "automation" in error.message


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", "project.yaml", "not a mapping"),
        ("# nothing\n", "project.yaml", "not a mapping"),
        ("- a\n", "project.yaml", "not a mapping"),
        ("a: b: c\n", "project.yaml, line 1", "no valid YAML"),
        ("a: 1\nb: [1, 2\n", "project.yaml, line 3", "no valid YAML"),
        ("a: 1\n---\nb: 2\n", "project.yaml, line 2", "no valid YAML"),
        ("a: \0\n", "project.yaml", "no valid YAML"),
        ("a: !!python/object:os.system {}\n", "project.yaml, line 1", "no valid YAML"),
        ("? [a]\n: 1\n", "project.yaml, line 1", "no valid YAML"),
        ("multi_tenant: &a [*a]\n", "project.yaml", "holds itself"),
        ("project_name: x\n", "project.yaml, line 1, multi_tenant", "required"),
        ("[" * 1000 + "]" * 1000, "project.yaml", "nested"),
    ],
)
def test_no_project_file(refused: Callable[..., SettingsError], text: str, place: str, problem: str) -> None:
    error = refused(text)
    assert error.details["where"].endswith(place)
    assert problem in error.message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.yaml: cannot be read"):
        load_project(tmp_path / "gone.yaml")
    (tmp_path / "sjis.yaml").write_bytes("project_name: 日本".encode("cp932"))
    with pytest.raises(SettingsError, match=r"sjis\.yaml: cannot be read"):
        load_project(tmp_path / "sjis.yaml")


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        (LEAST + "    main:\n      connection_id: other\n", 7, "multi_tenant.targets.main"),
        (LEAST + "multi_tenant: {}\n", 7, "multi_tenant"),
        (LEAST + "  placement:\n  - {target: main, target: main}\n", 8, "multi_tenant.placement.0.target"),
        ("options: {a: 1, 'a': 2}\n" + LEAST, 1, "options.a"),
    ],
)
def test_a_key_that_is_there_twice(refused: Callable[..., SettingsError], text: str, line: int, field: str) -> None:
    error = refused(text)
    assert error.details["where"].endswith(f"line {line}, {field}")
    assert "twice" in error.message


def test_anchors_and_merge_keys(load: Load) -> None:
    text = (
        "common: &common {max_connections: 3, connection_id: x}\n"
        + LEAST
        + "    other:\n      <<: *common\n      connection_id: other_server\n    third: *common\n"
    )
    targets = load(text).multi_tenant.targets
    assert (targets["other"].max_connections, targets["other"].connection_id) == (3, "other_server")
    assert targets["third"].connection_id == "x"


def test_the_first_rule_that_matches_places_a_tenant(load: Load) -> None:
    text = LEAST + (
        "    asia: {connection_id: a}\n  placement:\n"
        "  - {target: asia, query: \"region = 'asia'\"}\n  - {target: main, query: \"tier = 'premium'\"}\n"
    )
    settings = load(text).multi_tenant
    assert settings.target_of(tenant()) == "asia"
    assert settings.target_of(tenant(region="europe")) == "main"
    with pytest.raises(SettingsError, match="no placement rule matches") as caught:
        settings.target_of(tenant(region="europe", tier="basic"))
    assert caught.value.details["received"] == "T0001"
    with pytest.raises(SettingsError) as caught:
        settings.target("europe")
    assert caught.value.details["allowed"] == ["main", "asia"]


def test_a_schema_template_for_each_tenant(load: Load) -> None:
    text = LEAST + (
        "  templates:\n    schema_templates:\n    - {name: big, file: big.j2, query: \"tier = 'enterprise'\"}\n"
    )
    settings = load(text).multi_tenant
    assert settings.schema_template_of(tenant(tier="enterprise")).name == "big"
    with pytest.raises(SettingsError, match="no schema template"):
        settings.schema_template_of(tenant())


def test_settings_made_in_python_are_checked_as_well() -> None:
    with pytest.raises(ValueError, match="no such target"):
        MultiTenantSettings.model_validate(
            {
                "tenant_registry": {"connection_id": "r"},
                "targets": {"main": {"connection_id": "m"}},
                "placement": [{"target": "x"}],
            }
        )
