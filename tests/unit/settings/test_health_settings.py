"""Limits of health, and what differs by tier."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.health import Facts, judge, status_of
from dbgear_airflow_provider.core.settings import HealthSettings, Thresholds, check_section
from dbgear_airflow_provider.core.settings.health import Threshold


def settings(**section: Any) -> HealthSettings:
    return check_section(HealthSettings, section, "health")


def test_a_tier_has_what_differs_and_the_rest_of_all() -> None:
    found = settings(
        thresholds={"latency_s": {"warning": 2}, "size_mb": {"critical": 10}},
        by_tier={"premium": {"latency_s": {"critical": 0.5}}},
    )
    basic, premium = found.thresholds_of("basic"), found.thresholds_of("premium")
    assert (basic.latency_s.warning, basic.latency_s.critical) == (2, None)
    assert (premium.latency_s.warning, premium.latency_s.critical) == (None, 0.5)
    assert basic.size_mb == premium.size_mb
    facts = Facts(latency_s=1, size_bytes=11_000_000)
    assert [problem.kind for problem in judge(facts, basic)] == ["size"]
    assert [problem.kind for problem in judge(facts, premium)] == ["latency", "size"]


def test_a_figure_at_its_limit_is_no_problem_and_the_worse_limit_tells() -> None:
    limits = settings().thresholds_of("basic")
    assert judge(Facts(connections_percent=80), limits) == []
    (problem,) = judge(Facts(connections_percent=80.5), limits)
    assert (problem.severity, problem.value, problem.limit) == ("warning", 80.5, 80)
    (problem,) = judge(Facts(connections_percent=99), limits)
    assert (problem.severity, problem.limit) == ("critical", 95)
    assert problem.text == "99 % of the server's connections are in use, 95 % are allowed"
    assert status_of([problem]) == "critical"
    assert status_of([]) == "ok"


def test_tiers_may_differ_in_all() -> None:
    assert set(get_args(Threshold)) == set(Thresholds.model_fields)


def test_what_nobody_knows_is_no_problem() -> None:
    assert judge(Facts(), settings().thresholds_of("basic")) == []


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"thresholds": {"latency": {"warning": 1}}}, r"health\.thresholds\.latency"),
        (
            {"thresholds": {"size_mb": {"warning": 5, "critical": 4}}},
            r"size_mb\.critical.*below the limit of a warning",
        ),
        ({"by_tier": {"gold": {}}}, r"by_tier\.gold"),
        ({"by_tier": {"basic": {"latency": {"warning": 1}}}}, r"by_tier\.basic\.latency.*latency_s"),
        ({"by_tier": {"basic": {"latency_s": {"alarm": 1}}}}, r"by_tier\.basic\.latency_s\.alarm"),
        ({"checks": [{"name": "Bad Name", "sql": "SELECT 1"}]}, r"checks\.0\.name"),
        (
            {"checks": [{"name": "a", "sql": "SELECT 1"}, {"name": "a", "sql": "SELECT 1"}]},
            r"checks\.1\.name.*a name of its own",
        ),
    ],
)
def test_wrong_settings_are_told_where_they_stand(section: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        settings(**section)
