"""When an alert is told, and what it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dbgear_airflow_provider.core.alerts import Measured, failure_message, judge, message_of
from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.fleet import AlertRecord
from dbgear_airflow_provider.core.settings import AlertSettings, check_section

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
NOTIFIER = {"class": "a.b.Notifier"}


def settings(**rule: Any) -> AlertSettings:
    return check_section(
        AlertSettings,
        {
            "notifiers": {"ops": NOTIFIER, "boss": NOTIFIER},
            "rules": [{"name": "down", "measure": "tenants_unreachable", "above": 1, **rule}],
        },
        "alerts",
    )


def figure(value: float, *examples: str) -> dict[str, Measured | None]:
    return {"down": Measured(value=value, unit="tenants", of=40, examples=examples)}


class Watch:
    """The alerts of a project over time: each look is judged by what the last one has left in the store."""

    def __init__(self, alerts: AlertSettings) -> None:
        self.settings = alerts
        self.store: list[AlertRecord] = []

    def look(self, measured: dict[str, Measured | None], *broken: str, now: datetime = NOW) -> list[tuple[str, str]]:
        """Return (kind, notifier) of all that is told. broken: notifiers that take nothing."""
        told, kept = [], []
        for alert in judge(self.settings, measured, self.store, now):
            told += [(alert.kind, name) for name in alert.to]
            if (record := alert.settled([name for name in alert.to if name not in broken])) is not None:
                kept.append(record)
        self.store = kept
        return told


def test_a_state_is_told_once_when_it_begins_and_once_when_it_is_over() -> None:
    watch = Watch(settings())
    assert watch.look(figure(1)) == []  # the limit itself is no breach
    assert watch.look(figure(2)) == [("begins", "ops"), ("begins", "boss")]
    assert watch.look(figure(3)) == []
    assert watch.look(figure(30)) == []
    assert [record.value for record in watch.store] == [30]
    assert watch.look(figure(0)) == [("ends", "boss"), ("ends", "ops")]
    assert watch.look(figure(0)) == []
    assert watch.store == []
    assert watch.look(figure(2), now=LATER) == [("begins", "ops"), ("begins", "boss")]
    assert [record.since for record in watch.store] == [LATER]


def test_a_notifier_that_failed_is_told_again_and_the_others_are_not() -> None:
    watch = Watch(settings())
    assert watch.look(figure(2), "boss") == [("begins", "ops"), ("begins", "boss")]
    assert watch.look(figure(2), "boss") == [("begins", "boss")]
    # Who never heard of it need not hear that it is over.
    assert watch.look(figure(0), "ops") == [("ends", "ops")]
    assert watch.look(figure(0)) == [("ends", "ops")]
    assert watch.store == []


def test_what_comes_back_before_its_end_was_told_has_never_gone() -> None:
    watch = Watch(settings(notify=["ops"]))
    assert watch.look(figure(2)) == [("begins", "ops")]
    assert watch.look(figure(0), "ops") == [("ends", "ops")]
    assert watch.look(figure(2), now=LATER) == []
    assert watch.store[0].since == NOW


def test_a_figure_that_cannot_be_had_changes_nothing() -> None:
    watch = Watch(settings(notify=["ops"]))
    assert watch.look({"down": None}) == []
    watch.look(figure(2))
    assert watch.look({"down": None}) == []
    assert watch.look(figure(2)) == []
    assert watch.look(figure(0)) == [("ends", "ops")]


def test_the_end_is_told_only_where_it_is_wished() -> None:
    watch = Watch(settings(told_when_over=False))
    watch.look(figure(2))
    assert watch.look(figure(0)) == []
    assert watch.store == []


def test_rules_and_notifiers_that_are_gone_are_forgotten() -> None:
    watch = Watch(settings())
    watch.look(figure(2))
    watch.settings = check_section(
        AlertSettings,
        {"notifiers": {"new": NOTIFIER}, "rules": [{"name": "down", "measure": "tenants_unreachable"}]},
        "alerts",
    )
    assert watch.look(figure(2)) == [("begins", "new")]
    assert [record.told for record in watch.store] == [["new"]]
    watch.settings = AlertSettings()
    assert watch.look({}) == []
    assert watch.store == []


def test_a_message_has_the_figure_and_the_first_tenants() -> None:
    (alert,) = judge(settings(), figure(12, "T1/main: target main: no answer", "T2/main: x\n" + "y" * 400), [], NOW)
    message = message_of(alert, "shop", LATER, "https://airflow.example/x")
    assert message.subject == "[shop] CRITICAL: down"
    assert message.lines[:3] == [
        "tenants_unreachable: 12 of 40 tenants, the limit is 1",
        "since 2026-01-02 03:04 UTC",
        "T1/main: target main: no answer",
    ]
    assert message.lines[3].startswith("T2/main: x y")
    assert len(message.lines[3]) == 300
    assert message.lines[4] == "and 10 more"
    assert message.text.splitlines()[-1] == "https://airflow.example/x"


def test_the_end_says_how_long_it_lasted() -> None:
    known = [AlertRecord(rule="down", severity="critical", since=NOW, value=2, text="x", told=["ops"])]
    (alert,) = judge(settings(), figure(0), known, LATER)
    message = message_of(alert, "shop", LATER)
    assert message.subject == "[shop] OVER: down"
    assert "it lasted 2:00:00" in message.lines


def test_nothing_of_an_error_becomes_html() -> None:
    message = failure_message("shop", where="dag, task t", error="<script>1</script>\n\nT1: a & b", link='x"><b>')
    assert "<script>" not in message.html
    assert "<b>" not in message.html
    assert "T1: a &amp; b" in message.html


@pytest.mark.parametrize(
    ("alerts", "told"),
    [
        ({"rules": [{"name": "x", "measure": "happiness"}]}, r"rules\.0\.measure.*happiness.*tenants_unreachable"),
        ({"rules": [{"name": "x", "measure": "tenants_failed", "notify": ["nobody"]}]}, "notify.0.*nobody"),
        (
            {"rules": [{"name": "x", "measure": "tenants_failed"}, {"name": "x", "measure": "tenants_failed"}]},
            "rules.1.name.*each rule has a name of its own",
        ),
        ({"notifiers": {"ops": {"class": "no path"}}}, "notifiers.ops.class"),
        ({"late_after": {"tenant_sync": 0}}, "late_after.tenant_sync"),
    ],
)
def test_wrong_settings_are_told_where_they_stand(alerts: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        check_section(AlertSettings, alerts, "alerts")


def test_a_notifier_that_nobody_knows() -> None:
    with pytest.raises(SettingsError, match="no such notifier.*nobody.*ops"):
        settings().named(["nobody"])
