"""The gate behind a stage, the time left, and the report."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgear_airflow_provider.core.errors import RolloutStoppedError
from dbgear_airflow_provider.core.fleet import RolloutMember, RolloutRecord
from dbgear_airflow_provider.core.rollout import (
    RolloutReport,
    Stage,
    Verdict,
    allowed_failures,
    build_report,
    check_gate,
    estimate,
    grouped,
    verdict,
)
from dbgear_airflow_provider.core.rollout.report import span_text
from dbgear_airflow_provider.core.settings import BudgetSettings
from tests.unit.rollout.fleet import NOW, member

NONE = BudgetSettings(count=0)
STAGES = (
    Stage(name="canary", budget=NONE, soak_s=60, approval=True),
    Stage(name="rest", budget=BudgetSettings(percent=50), soak_s=600),
)
LATER = NOW + timedelta(hours=1)


def judged(members: Sequence[RolloutMember], **keys: Any) -> Verdict:
    return verdict(STAGES, 0, members, **{"now": LATER, "approvals": [{"stage": 0, "by": "aya"}], **keys})


@pytest.mark.parametrize(
    ("budget", "tenants", "allowed"),
    [
        (BudgetSettings(count=3), 1, 3),
        (BudgetSettings(percent=5), 19, 0),
        (BudgetSettings(percent=5), 20, 1),
        (BudgetSettings(percent=29), 100, 29),
        (BudgetSettings(percent=0), 100, 0),
        (BudgetSettings(percent=100), 0, 0),
    ],
)
def test_how_many_may_fail(budget: BudgetSettings, tenants: int, allowed: int) -> None:
    assert allowed_failures(budget, tenants) == allowed


def test_all_is_well() -> None:
    assert judged([member("A"), member("B", "unchanged")]) == Verdict(action="go", reasons=[])
    assert judged([]) == Verdict(action="go", reasons=[])


def test_one_failure_too_many_stops_and_tells_of_what_kind() -> None:
    members = [member("A", "failed"), member("B", "failed"), member("C", "failed", error_kind="Lock", error="held")]
    assert judged([*members, member("D", "pending")]) == Verdict(
        action="stop",
        reasons=[
            "3 of 4 tenants failed or are not healthy, 0 may",
            "StatementError: A, B; no such column of A",
            "Lock: C; held",
        ],
    )


def test_two_failed_instances_of_a_tenant_are_one_failure() -> None:
    members = [member("A", "failed", stage=1), member("A", "failed", stage=1, instance="test"), member("B", stage=1)]
    assert verdict(STAGES, 1, members, now=LATER).action == "go"


def test_it_waits_for_all_of_the_stage() -> None:
    found = judged([member("A"), member("B", "pending"), member("C", "pending", stage=1)])
    assert found == Verdict(action="wait", reasons=["1 of 2 instances are not done"])


def test_it_soaks_from_the_end_of_the_last_one() -> None:
    members = [member("A", at_s=0), member("B", at_s=9)]
    until = NOW + timedelta(seconds=70)
    assert judged(members, now=until - timedelta(milliseconds=1)) == Verdict(
        action="wait", until=until, reasons=["canary soaks until 2026-07-01 12:01:10 UTC"]
    )
    assert judged(members, now=until).action == "go"


def test_it_asks_a_person_when_all_else_is_well() -> None:
    following = member("B", "pending", stage=1)
    assert judged([member("A"), following], approvals=[{"stage": 1, "by": "aya"}]) == Verdict(
        action="ask", reasons=["a person has to approve what follows canary"]
    )
    assert judged([member("A"), following], approvals=[], now=NOW).action == "wait"
    assert judged([member("A", "failed"), following], approvals=[]).action == "stop"
    assert judged([following], approvals=[]).action == "go"  # nobody to look at
    assert judged([member("A"), member("B", stage=1)], approvals=[]).action == "go"  # nothing follows


def test_who_waits_for_a_failed_instance_does_not_hold_up_the_others() -> None:
    members = [
        member("A", "failed", instance="test", stage=0),
        member("A", "pending", stage=1),
        member("B", stage=1),
    ]
    assert verdict(STAGES, 1, members, now=LATER, promotion=["test", "main"]) == Verdict(
        action="go", reasons=["A/main waits: its test is not done"]
    )
    assert verdict(STAGES, 1, members, now=LATER).action == "wait"


async def test_health_is_asked_of_what_was_changed_when_all_else_is_well() -> None:
    asked: list[Sequence[str]] = []

    async def health(tenant_ids: Sequence[str]) -> Mapping[str, str]:
        asked.append(tenant_ids)
        return {"B": "its view is broken"}

    async def check(*members: RolloutMember, stages: Sequence[Stage] = STAGES, now: Any = LATER) -> Verdict:
        return await check_gate(stages, 0, [*members, member("E", "pending", stage=1)], now=now, health=health)

    assert await check(member("A"), member("B"), member("C", "unchanged"), member("D", stage=1)) == Verdict(
        action="stop",
        reasons=["1 of 3 tenants failed or are not healthy, 0 may", "not healthy: B; its view is broken"],
    )
    assert asked.pop() == ["A", "B"]
    assert (await check(member("A"), now=NOW)).action == "wait"
    assert (await check(member("A", "failed"))).action == "stop"
    assert (await check(member("C", "unchanged"))).action == "ask"
    assert (await check(member("B"), stages=[replace(STAGES[0], health=False)])).action == "ask"
    assert not asked
    bold = [replace(STAGES[0], budget=BudgetSettings(count=1))]
    assert (await check(member("A"), member("B"), stages=bold)).action == "ask"
    assert (await check(member("A", "failed"), member("B"), stages=bold)).action == "stop"


def test_failures_by_kind_the_largest_group_first() -> None:
    members = [
        member("C", "failed", error_kind="Lock", error="held"),
        member("B", "failed"),
        member("A", "failed"),
        member("A", "failed", instance="test", error="another"),
        member("D"),
    ]
    assert [(group.kind, group.tenant_ids, group.example) for group in grouped(members)] == [
        ("StatementError", ["A", "B"], "no such column of A"),
        ("Lock", ["C"], "held"),
    ]


# the time left


def working(count: int, at_once: int = 1, each_s: float = 1.0, start_s: float = 0) -> list[RolloutMember]:
    """Return members that were done `at_once` at a time, one batch after the other."""
    return [
        member(f"T{start_s}-{number:04}", at_s=start_s + each_s * (number // at_once), duration_s=each_s, stage=1)
        for number in range(count)
    ]


def pending(count: int, stage: int = 1) -> list[RolloutMember]:
    return [member(f"P{number}", "pending", stage=stage) for number in range(count)]


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 8), st.floats(0.1, 100), st.integers(1, 500))
def test_the_time_left_is_what_is_left_by_the_rate(batches: int, at_once: int, each_s: float, left: int) -> None:
    done = working(batches * at_once, at_once, each_s)
    now = NOW + timedelta(seconds=batches * each_s)
    found = estimate(STAGES, [*done, *pending(left)], now=now)
    assert (found.done, found.left) == (len(done), left)
    assert found.rate == pytest.approx(at_once / each_s, rel=0.05)
    assert found.in_flight == pytest.approx(at_once, rel=0.05)
    assert found.left_s == pytest.approx(left * each_s / at_once, rel=0.05)
    assert found.low_s is not None
    assert found.left_s is not None
    assert found.low_s < found.left_s
    if len(done) < 5:
        assert found.high_s is None
    else:
        assert found.high_s is not None
        assert found.left_s < found.high_s


def test_soaking_and_pauses_are_not_work() -> None:
    done = [*working(50), *working(50, start_s=36_000)]
    found = estimate(STAGES, [*done, *pending(100)], now=NOW + timedelta(seconds=36_050))
    assert found.rate == pytest.approx(1)
    assert found.left_s == pytest.approx(100)


def test_soaks_and_approvals_that_are_to_come_are_told() -> None:
    now = NOW + timedelta(seconds=50)
    found = estimate(STAGES, [*working(50), *pending(10, stage=0), *pending(10)], now=now)
    assert found.left_s == pytest.approx(20 + 60)
    assert found.approvals == 1


def test_of_the_soak_that_has_begun_the_rest_is_told() -> None:
    members = [replace(item, stage=0) for item in working(50)] + pending(10)
    found = estimate(STAGES, members, now=NOW + timedelta(seconds=65))
    assert found.left_s == pytest.approx(10 + 45)
    assert found.approvals == 1
    later = estimate(STAGES, members, now=NOW + timedelta(seconds=500), approvals=[{"stage": 0, "by": "aya"}])
    assert later.left_s == pytest.approx(10)
    assert later.approvals == 0


def test_it_is_of_the_last_ones() -> None:
    slow, fast = working(50, each_s=10), working(300, start_s=500)
    found = estimate(STAGES, [*slow, *fast, *pending(10)], now=NOW + timedelta(seconds=800))
    assert found.rate == pytest.approx(1)


def test_a_server_that_stands_still_makes_it_longer() -> None:
    members, late = [*working(10), *pending(10)], NOW + timedelta(seconds=1000)

    def left_s(**keys: Any) -> float | None:
        return estimate(STAGES, members, **{"now": late, **keys}).left_s

    assert left_s(now=NOW + timedelta(seconds=11), running_since=NOW) == pytest.approx(10)
    assert left_s(running_since=NOW) == pytest.approx(1000)
    assert left_s(running_since=NOW + timedelta(seconds=999)) == pytest.approx(10)  # it has just been resumed
    assert left_s() == pytest.approx(10)  # it is paused


def test_nothing_done_and_nothing_left() -> None:
    nothing = estimate(STAGES, pending(3), now=NOW)
    assert (nothing.left, nothing.rate, nothing.left_s, nothing.high_s) == (3, None, None, None)
    done = estimate(STAGES, working(3), now=NOW)
    assert (done.left, done.left_s, done.high_s) == (0, 0, 0)
    json.dumps(done.details())


# the report


def record(**fields: Any) -> RolloutRecord:
    defaults: dict[str, Any] = {
        "id": "tenant_migrate/manual__2026-07-01",
        "version": "2.1",
        "query": "status = 'active'",
        "status": "stopped",
        "stages": [stage.details() for stage in STAGES],
        "counts": {},
        "approvals": [{"stage": 0, "by": "aya", "at": "2026-07-01T12:05:00+00:00"}],
        "created_at": NOW,
        "updated_at": NOW,
    }
    return RolloutRecord(**defaults | fields)


NASTY = "<script>alert('1')</script> & \"quoted\""
MEMBERS = (
    member("asleep", "skipped", stage=None, error_kind="status", error="the tenant is suspended"),
    member("A"),
    member("B", "unchanged", at_s=1, duration_s=75),
    member(NASTY, "failed", stage=1, at_s=200, error=NASTY),
    member("D", "failed", stage=1, at_s=201),
    member("E", "pending", stage=1),
)


def report(members: Sequence[RolloutMember] = MEMBERS, **fields: Any) -> RolloutReport:
    return build_report(record(**fields), members, now=LATER, verdict=Verdict(action="stop", reasons=["2 of 3"]))


def test_the_report_as_json() -> None:
    document = json.loads(json.dumps(report().document()))
    assert document["counts"] == {"changed": 1, "unchanged": 1, "failed": 2, "pending": 1, "undone": 0, "skipped": 1}
    canary, rest = document["stages"]
    assert (canary["name"], canary["approved_by"], canary["longest_s"], canary["tenants"]) == ("canary", "aya", 75, 2)
    assert (canary["started_at"], canary["ended_at"]) == ("2026-07-01T12:00:00+00:00", "2026-07-01T12:01:16+00:00")
    assert (rest["failed_tenants"], rest["allowed_failures"], rest["approved_by"]) == (2, 1, None)
    assert [(group["kind"], group["tenants"]) for group in document["failures"]] == [("StatementError", 2)]
    assert document["left_out"] == [
        {"kind": "status", "tenants": 1, "tenant_ids": ["asleep"], "example": "the tenant is suspended"}
    ]
    assert len(document["instances"]) == 6
    assert document["verdict"]["action"] == "stop"
    assert document["estimate"]["left"] == 1


def test_the_page_holds_all_in_itself_and_no_value_becomes_markup() -> None:
    page = report().html()
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;" in page
    assert not re.search(r"(src|href|url|@import)\s*[=(]", page)
    for text in ("1. canary", "2. rest", "by aya", "2 of 1 tenant<", "the tenant is suspended", "1 min 15 s", "2 of 3"):
        assert text in page


@pytest.mark.parametrize("members", [(), (member("A", "pending"),), (member("A", "undone"),)])
def test_a_page_of_little(members: tuple[RolloutMember, ...]) -> None:
    page = build_report(record(version=None, query="", approvals=[]), members, now=LATER).html()
    assert "to the newest version, tenants: all" in page
    assert "None" not in page


def test_what_ci_waits_for() -> None:
    report((member("A"), member("B", "skipped", stage=None)), status="done").raise_unless_done()
    with pytest.raises(RolloutStoppedError) as caught:
        report().raise_unless_done()
    assert str(caught.value).startswith(
        "rollout tenant_migrate/manual__2026-07-01 is stopped: 1 changed, 1 unchanged, 2 failed, 1 pending, 1 skipped; "
        "StatementError: "
    )
    for members in ((member("A", "failed"),), (member("A", "pending"),)):
        with pytest.raises(RolloutStoppedError):
            report(members, status="done").raise_unless_done()
    with pytest.raises(RolloutStoppedError):
        report((member("A"),), status="running").raise_unless_done()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.004, "0.00 s"),
        (9.994, "9.99 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.7, "1 h 0 min"),
        (7620, "2 h 7 min"),
    ],
)
def test_spans_as_people_read_them(seconds: float | None, text: str) -> None:
    assert span_text(seconds) == text
