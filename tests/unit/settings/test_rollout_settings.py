"""The section `rollout` of the project file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.settings import RolloutSettings, check_section, load_project

PROJECT = """\
multi_tenant:
  tenant_registry: {connection_id: registry}
  targets: {main: {connection_id: main}}
  rollout:
"""


def load(folder: Path, text: str) -> RolloutSettings:
    path = folder / "project.yaml"
    path.write_text(PROJECT + f"    {text}\n")
    return load_project(path).multi_tenant.rollout


def test_a_project_without_the_section_has_canaries(tmp_path: Path) -> None:
    rollout = load(tmp_path, "{}")
    assert [stage.name for stage in rollout.stages] == ["canary", "ten percent", "rest"]
    assert (rollout.stages[0].count, rollout.stages[0].per, rollout.stages[1].percent) == (1, "tier", 10)
    assert rollout.stages[2].takes_all


def test_the_folder_of_scripts_is_below_the_project(tmp_path: Path) -> None:
    assert load(tmp_path, "migrations: db/migrations").migrations == tmp_path / "db" / "migrations"


@pytest.mark.parametrize(
    "case",
    [
        ("stages: []", "stages", "at least 1 item", None, None),
        ("stages: [{count: 1}]", "stages.0.name", "Field required", None, None),
        ("stages: [{name: a, cuont: 1}]", "stages.0.cuont", "no such key", "1", ["query", "name", "count"]),
        ("stages: [{name: a, count: 0}]", "stages.0.count", "greater than or equal to 1", "0", None),
        ("stages: [{name: a, count: 1, percent: 1}]", "stages.0.percent", "one measure", "1", "count or percent"),
        ("stages: [{name: a, per: tier}]", "stages.0.per", "without a count", "tier", "count"),
        ("stages: [{name: a, count: 1, per: size}]", "stages.0.per", "no such value", "size", "'tier', 'region'"),
        ("stages: [{name: a, percent: 0}]", "stages.0.percent", "greater than 0", "0", None),
        ("stages: [{name: a, query: \"teir = 'x'\"}]", "stages.0.query", "no such field", "teir = 'x'", ["tenant_id"]),
        ("stages: [{name: a, count: 1}, {name: a}]", "stages.1.name", "there twice", "a", "a name of its own"),
        ("stages: [{name: a}, {name: b}]", "stages.1", "takes all that are left", None, "query, count"),
        (
            "stages: [{name: a, percent: 10}, {name: b, percent: 50}, {name: c, percent: 100}]",
            "stages.2.percent",
            "add up to more than 100",
            "100",
            "up to 40",
        ),
        ("stages: [{name: a, budget: {}}]", "stages.0.budget", "one of the two", None, ["count", "percent"]),
        ("stages: [{name: a, budget: {percent: 101}}]", "stages.0.budget.percent", "less than or equal", "101", None),
        ("stages: [{name: a, soak: -1}]", "stages.0.soak", "greater than or equal to 0", "-1", None),
        ("promotion: [test, test]", "promotion", "named once", None, None),
        ("exclude: 'tier ='", "exclude", "", "tier =", None),
        ("windows: [{from: 22:00, to: '05:00'}]", "windows.0.from", "no time of day", "1320", "HH:MM in quotes"),
        ("windows: [{from: '24:00', to: '05:00'}]", "windows.0.from", "match pattern", "24:00", None),
        ("windows: [{from: '01:00'}]", "windows.0.to", "Field required", None, None),
        ("windows: [{from: '1:00', to: '05:00'}]", "windows.0.from", "match pattern", "1:00", None),
        (
            "windows: [{from: '01:00', to: '05:00', timezone: Asia/Tokio}]",
            "windows.0.timezone",
            "no such time zone",
            "Asia/Tokio",
            "a name of the IANA",
        ),
        (
            "windows: [{from: '01:00', to: '05:00', days: [sat, son]}]",
            "windows.0.days.1",
            "no such value",
            "son",
            "'mon'",
        ),
        ("windows: [{from: '01:00', to: '05:00', days: [sat, sat]}]", "windows.0.days", "named once", None, None),
        ("windows: [{from: '01:00', to: '05:00', days: []}]", "windows.0.days", "at least 1 item", None, None),
    ],
    ids=lambda case: case[0],
)
def test_what_is_wrong_is_told_with_its_field(
    tmp_path: Path, case: tuple[str, str, str, str | None, str | list[str] | None]
) -> None:
    text, field, problem, received, allowed = case
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    details = caught.value.details
    assert details["where"].endswith(f"multi_tenant.rollout.{field}")
    assert problem in details["problem"]
    assert details["received"] == received
    if isinstance(allowed, str):
        assert details["allowed"].startswith(allowed)
    elif allowed is not None:
        assert details["allowed"][: len(allowed)] == allowed


@pytest.mark.parametrize("zone", ["../../etc/passwd", "/etc/passwd", "Asia", ""])
def test_no_file_is_a_time_zone(tmp_path: Path, zone: str) -> None:
    with pytest.raises(SettingsError, match="no such time zone"):
        load(tmp_path, f"windows: [{{from: '01:00', to: '05:00', timezone: '{zone}'}}]")


def test_stages_of_a_parameter_are_checked_alike() -> None:
    stages = check_section(RolloutSettings, {"stages": [{"name": "all", "budget": {"count": 3}}]}, "params").stages
    assert stages[0].budget is not None
    assert stages[0].budget.count == 3
    with pytest.raises(SettingsError) as caught:
        check_section(RolloutSettings, {"stages": [{"name": "all", "percant": 3}]}, "params")
    assert caught.value.details["where"] == "params.stages.0.percant"
    assert caught.value.details["received"] == "3"
    assert "percent" in caught.value.details["allowed"]
