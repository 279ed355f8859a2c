"""A fleet is cut into stages."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.rollout import Cut, Stage, cut, held_back
from dbgear_airflow_provider.core.settings import BudgetSettings, RolloutSettings
from dbgear_airflow_provider.core.tenants import TenantInfo
from tests.unit.rollout.fleet import NOW, member, tenant

NAMES = ("main", "test", "staging", "demo")
REGIONS = ("japan", "asia", "europe")
TIERS = ("basic", "standard", "premium", "enterprise")
STATUSES = ("active", "active", "active", "suspended", "inactive", "terminated")


def target_of(one: TenantInfo) -> str:
    return f"server-{one.region}"


def cut_by(tenants: list[TenantInfo], rollout_id: str = "r1", configs: Any = None, **keys: Any) -> Cut:
    wanted = RolloutSettings.model_validate(keys)
    return cut(rollout_id, tenants, wanted, target_of=target_of, now=NOW, configs=configs)


def tenants_in(plan: Cut, stage: int) -> set[str]:
    return {tenant_id for (tenant_id, _), index in plan.members.items() if index == stage}


@st.composite
def fleets(draw: st.DrawFn) -> list[TenantInfo]:
    ids = draw(st.lists(st.text(min_size=1, max_size=6), unique=True, max_size=40))
    return [
        tenant(
            tenant_id,
            tier=draw(st.sampled_from(TIERS)),
            region=draw(st.sampled_from(REGIONS)),
            status=draw(st.sampled_from(STATUSES)),
            instances=draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)),
        )
        for tenant_id in ids
    ]


MEASURES = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {"count": st.integers(1, 5)}, optional={"per": st.sampled_from(["tier", "region", "target"])}
    ),
    st.fixed_dictionaries({"percent": st.floats(0.1, 30)}),
)
STAGES = st.lists(
    st.builds(
        lambda measure, some: measure | some,
        MEASURES,
        st.fixed_dictionaries(
            {},
            optional={
                "query": st.sampled_from(["tier = 'basic'", "region IN ('asia', 'europe')", "'test' IN instances"]),
                "instances": st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
            },
        ),
    ),
    min_size=1,
    max_size=4,
)
PROMOTIONS = st.sampled_from([[], ["test", "main"], ["test", "staging", "main"]])


@given(fleets(), STAGES, PROMOTIONS)
@settings(max_examples=150, deadline=None)
def test_every_instance_is_in_one_stage_or_left_out(
    fleet: list[TenantInfo], stages: list[dict[str, Any]], promotion: list[str]
) -> None:
    for number, stage in enumerate(stages):
        stage["name"] = f"stage {number}"
    assume(all(set(stage) & {"query", "count", "percent", "instances"} for stage in stages[:-1]))
    assume(sum(stage.get("percent", 0) for stage in stages) <= 100)
    plan = cut_by(fleet, stages=stages, promotion=promotion)

    everything = {(one.tenant_id, name) for one in fleet for name in one.instances}
    left_out = [(item.tenant_id, item.instance) for item in plan.left_out]
    assert Counter([*plan.members, *left_out]) == Counter(everything)
    assert all(0 <= index < len(plan.stages) for index in plan.members.values())
    assert {item.tenant_id for item in plan.left_out if item.reason == "status"} == {
        one.tenant_id for one in fleet if one.status != "active"
    }
    for one in fleet:  # an instance comes after all that are before it
        order = [plan.members.get((one.tenant_id, name)) for name in promotion if name in one.instances]
        if one.status == "active":
            known = [index for index in order if index is not None]
            assert known == sorted(set(known))
            assert order == [*known, *[None] * (len(order) - len(known))]

    again = cut_by(fleet[::-1], stages=stages, promotion=promotion)
    assert again == plan
    if not set(stages[-1]) & {"query", "count", "percent", "instances"}:
        assert {item.reason for item in plan.left_out} <= {"status"}


@given(st.integers(0, 300), st.lists(st.sampled_from([0.1, 1, 5, 7.5, 10, 12, 29, 33.3]), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_percents_are_of_all_tenants_and_add_up(size: int, percents: list[float]) -> None:
    assume(sum(percents) <= 100)
    stages: list[dict[str, Any]] = [
        {"name": f"{number}", "percent": percent} for number, percent in enumerate(percents)
    ]
    plan = cut_by([tenant(f"T{number}") for number in range(size)], stages=[*stages, {"name": "rest"}])
    sizes = [len(tenants_in(plan, index)) for index in range(len(plan.stages))]
    left = size
    for percent, found in zip(percents, sizes, strict=False):
        assert found == min(left, math.ceil(round(percent * 1000) * size / 100_000))
        left -= found
    assert sum(sizes) == size


@given(fleets(), st.integers(1, 4), st.sampled_from(["tier", "region"]))
@settings(max_examples=60, deadline=None)
def test_so_many_of_each(fleet: list[TenantInfo], count: int, per: str) -> None:
    plan = cut_by(fleet, stages=[{"name": "canary", "count": count, "per": per}, {"name": "rest"}])
    of_each = Counter(getattr(one, per) for one in fleet if one.status == "active")
    canaries = Counter(getattr(one, per) for one in fleet if one.tenant_id in tenants_in(plan, 0))
    assert canaries == {value: min(count, number) for value, number in of_each.items()}


def test_who_is_first_is_by_chance_and_another_one_in_another_rollout() -> None:
    fleet = [tenant(f"T{number:03}") for number in range(300)]
    stages = [{"name": "canary", "count": 10}, {"name": "rest"}]
    first = [tenants_in(cut_by(fleet, f"r{number}", stages=stages), 0) for number in range(5)]
    assert all(len(some) == 10 for some in first)
    assert len(set.union(*first)) > 35
    assert first[0] != {f"T{number:03}" for number in range(10)}


def test_a_tenant_that_comes_or_goes_moves_few_others() -> None:
    fleet = [tenant(f"T{number:03}") for number in range(300)]
    stages = [{"name": "canary", "percent": 10}, {"name": "rest"}]
    before = tenants_in(cut_by(fleet, stages=stages), 0)
    after = tenants_in(cut_by([*fleet[1:], tenant("new")], stages=stages), 0)
    assert len(before ^ after) <= 4


def test_the_default_stages() -> None:
    fleet = [tenant(f"T{number:03}", tier=TIERS[number % 2]) for number in range(100)]
    plan = cut_by(fleet)
    assert [stage.name for stage in plan.stages] == ["canary", "ten percent", "rest"]
    assert [len(tenants_in(plan, index)) for index in range(3)] == [2, 10, 88]
    assert [stage.budget for stage in plan.stages] == [
        BudgetSettings(count=0),
        BudgetSettings(percent=5),
        BudgetSettings(percent=5),
    ]


def test_a_number_of_each_target_and_of_those_that_match() -> None:
    fleet = [tenant(f"T{number}", region=REGIONS[number % 3]) for number in range(30)]
    stages = [
        {"name": "canary", "count": 1, "per": "target", "query": "region <> 'asia'"},
        {"name": "asia", "query": "region = 'asia'", "percent": 20},
        {"name": "rest"},
    ]
    plan = cut_by(fleet, stages=stages)
    assert [len(tenants_in(plan, index)) for index in range(3)] == [2, 2, 26]


def test_promotion_makes_several_stages_of_one() -> None:
    fleet = [tenant("A", instances=["main", "test"]), tenant("B", instances=["main"])]
    plan = cut_by(fleet, promotion=["test", "main"], stages=[{"name": "all", "soak": 5}])
    assert [stage.name for stage in plan.stages] == ["all (test)", "all (main)"]
    assert plan.members == {("A", "test"): 0, ("A", "main"): 1, ("B", "main"): 1}
    assert [stage.soak_s for stage in plan.stages] == [5, 5]


def test_promotion_by_stages_of_instances() -> None:
    fleet = [tenant("A", instances=["main", "test"]), tenant("B", instances=["main"])]
    stages = [
        {"name": "early", "instances": ["main"], "count": 1},
        {"name": "test", "instances": ["test"]},
        {"name": "rest"},
    ]
    plan = cut_by(fleet, promotion=["test", "main"], stages=stages)
    assert plan.members == {("B", "main"): 0, ("A", "test"): 1, ("A", "main"): 2}
    never = cut_by(fleet, promotion=["test", "main"], stages=[{"name": "main", "instances": ["main"]}])
    assert [(item.instance, item.reason, item.text) for item in never.left_out] == [
        ("main", "promotion", "no stage has its test before it"),
        ("test", "no stage", "no stage takes it"),
    ]


def test_who_is_left_out_and_why() -> None:
    closed = {"maintenance": {"days": ["sat"], "from": "01:00", "to": "05:00", "timezone": "Asia/Tokyo"}}
    open_now = {"maintenance": {"days": ["wed"], "from": "12:00", "to": "13:00"}}
    fleet = [
        tenant("asleep", status="suspended", instances=["main", "test"]),
        tenant("big", tier="enterprise"),
        tenant("closed"),
        tenant("open"),
        tenant("wrong"),
    ]
    configs = {"closed": closed, "open": open_now, "wrong": {"maintenance": {"from": "1"}}}
    plan = cut_by(fleet, configs=configs, exclude="tier = 'enterprise'")
    assert plan.members == {("open", "main"): 0}
    told = {(item.tenant_id, item.instance): (item.reason, item.text) for item in plan.left_out}
    assert told.pop(("wrong", "main"))[1].startswith("settings of tenant wrong.maintenance.0.from: ")
    assert told == {
        ("asleep", "main"): ("status", "the tenant is suspended"),
        ("asleep", "test"): ("status", "the tenant is suspended"),
        ("big", "main"): ("excluded", "the tenant matches exclude: tier = 'enterprise'"),
        ("closed", "main"): (
            "window",
            "outside its maintenance windows; the next one opens at 2026-07-03 16:00 UTC",
        ),
    }
    records = {record.tenant_id: record for record in plan.records([{"name": "canary"}], {("open", "main"): "1.0"})}
    assert (records["open"].stage, records["open"].status, records["open"].from_version) == (0, "pending", "1.0")
    assert (records["closed"].stage, records["closed"].status, records["closed"].error_kind) == (
        None,
        "skipped",
        "window",
    )


def test_a_later_cut_goes_by_the_stages_of_the_first_one() -> None:
    first = cut_by([tenant("A", instances=["main", "test"])], promotion=["test", "main"], stages=[{"name": "all"}])
    assert [stage.name for stage in first.stages] == ["all (test)", "all (main)"]
    later = cut_by([tenant("B")], stages=[{"name": "all (test)", "count": 1}, {"name": "rest"}])
    begun = [stage.details() for stage in first.stages]
    assert [record.stage for record in later.records(begun)] == [0]
    renamed = cut_by([tenant("B")], stages=[{"name": "everybody"}])
    assert [record.stage for record in renamed.records(begun)] == [1]


def test_a_tenant_that_no_rule_places_is_left_out() -> None:
    def nowhere(one: TenantInfo) -> str:
        raise SettingsError("no placement rule matches the tenant", where="multi_tenant.placement")

    plan = cut("r1", [tenant("A")], RolloutSettings(), target_of=nowhere, now=NOW)
    assert [(item.tenant_id, item.reason) for item in plan.left_out] == [("A", "settings")]


def test_a_stage_comes_back_from_the_store_as_it_was() -> None:
    stage = Stage(name="canary", budget=BudgetSettings(percent=2.5), soak_s=30, approval=True, health=False)
    assert Stage.of(stage.details()) == stage


def test_an_instance_waits_while_the_one_before_it_is_not_done() -> None:
    members = [
        member("A", "failed", instance="test"),
        member("A", "pending", instance="main", stage=1),
        member("A", "pending", instance="demo", stage=1),
        member("B", "unchanged", instance="test"),
        member("B", "pending", instance="main", stage=1),
    ]
    assert held_back(members, ["test", "main"]) == {("A", "main"): "its test is not done"}
    assert held_back(members, []) == {}
