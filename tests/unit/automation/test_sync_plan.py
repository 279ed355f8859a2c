"""What a sync would change: sources put together, compared with the registry, and what stops it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from typing_extensions import override

from dbgear_airflow_provider.core.automation import SyncPlan, apply_sync, plan_sync
from dbgear_airflow_provider.core.automation.sync import SourceCounts, id_queries
from dbgear_airflow_provider.core.automation.sync.changes import differences
from dbgear_airflow_provider.core.errors import (
    RegistryRecordError,
    SourceUnavailableError,
    SyncRefusedError,
    UnsupportedError,
)
from dbgear_airflow_provider.core.registries import Record, StreamedTenantProvider, TenantRegistryWriter
from dbgear_airflow_provider.core.settings import SyncSettings
from dbgear_airflow_provider.core.tenants import TenantInfo, TenantQuery

NOW = datetime(2026, 7, 1, tzinfo=UTC)
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
LENIENT = SyncSettings(max_change_percent=100)


def fields(tenant_id: str, **changes: Any) -> dict[str, Any]:
    """Return what a source that knows all says of a tenant."""
    return {
        "tenant_id": tenant_id,
        "customer_name": f"顧客 {tenant_id}",
        "customer_code": tenant_id.lower(),
        "region": "jp",
        "tier": "basic",
        "status": "active",
        "created_at": CREATED,
        "updated_at": CREATED,
        "isolation_strategy": "schema",
        **changes,
    }


def tenant(tenant_id: str, **changes: Any) -> TenantInfo:
    return TenantInfo.model_validate(fields(tenant_id, **changes))


class Source(StreamedTenantProvider):
    """A source that holds what it is given."""

    def __init__(self, *held: Mapping[str, Any] | RegistryRecordError | Exception) -> None:
        super().__init__("a list")
        self.held = held

    @override
    async def records(self, fields: Collection[str] | None = None) -> AsyncIterator[Record | RegistryRecordError]:
        for number, item in enumerate(self.held, start=1):
            if isinstance(item, RegistryRecordError):
                yield item
            elif isinstance(item, Exception):
                raise item
            else:
                yield Record(item, f"list, row {number}")

    @override
    def _stream(self, query: TenantQuery) -> AsyncGenerator[TenantInfo | RegistryRecordError]:
        raise NotImplementedError

    @override
    async def _config(self, tenant_id: str) -> dict[str, Any]:
        raise NotImplementedError


class Registry(StreamedTenantProvider, TenantRegistryWriter):
    """A registry of record in memory."""

    def __init__(self, *tenants: TenantInfo) -> None:
        super().__init__("memory")
        self.tenants = {tenant.tenant_id: tenant for tenant in tenants}
        self.broken: list[Record | RegistryRecordError] = []
        self.writes = 0

    @override
    async def records(self, fields: Collection[str] | None = None) -> AsyncIterator[Record | RegistryRecordError]:
        for record in self.broken:
            yield record
        for tenant_id, held in self.tenants.items():
            yield Record(dict(held), f"memory, {tenant_id}")

    @override
    def _stream(self, query: TenantQuery) -> AsyncGenerator[TenantInfo | RegistryRecordError]:
        raise NotImplementedError

    @override
    async def _config(self, tenant_id: str) -> dict[str, Any]:
        return {}

    @override
    async def write_tenants(self, tenants: Sequence[TenantInfo]) -> None:
        self.writes += 1
        self.tenants |= {tenant.tenant_id: tenant for tenant in tenants}

    @override
    async def write_configs(self, configs: Mapping[str, Mapping[str, Any]]) -> None:
        assert not configs


async def plan(
    registry: Registry,
    settings: SyncSettings = LENIENT,
    *,
    known: Mapping[str, Collection[str]] | None = None,
    configured: Mapping[str, Collection[str] | None] | None = None,
    previous: Mapping[str, SourceCounts] | None = None,
    **sources: Sequence[Any],
) -> SyncPlan:
    """Plan a sync from sources, each given as what it holds. known: the fields that a source is said to know."""
    given = {name: (Source(*held), (known or {}).get(name)) for name, held in sources.items()}
    return await plan_sync(registry, given, settings, now=NOW, configured=configured, previous=previous)


def guards(found: SyncPlan) -> list[str]:
    return [refusal.details["guard"] for refusal in found.refusals]


async def test_added_changed_gone_and_unchanged_are_told_apart():
    registry = Registry(tenant("A"), tenant("B"), tenant("C"))
    found = await plan(registry, crm=[fields("D"), fields("B", tier="premium"), fields("A")])
    assert found.counts() == {
        "added": 1,
        "changed": 1,
        "terminated": 1,
        "unchanged": 1,
        "kept": 0,
        "rejected": 0,
        "configs": 0,
    }
    assert [new.tenant_id for new in found.added] == ["D"]
    assert found.changed[0].fields == {"tier": ("basic", "premium"), "updated_at": (CREATED, NOW)}
    assert found.gone[0].after == tenant("C", status="terminated", updated_at=NOW)
    assert registry.writes == 0


async def test_a_second_sync_changes_nothing():
    registry = Registry(tenant("A"), tenant("B", tier="premium"), tenant("C"))
    sources = [fields("A", updated_at=None), fields("B"), fields("D", created_at=None, billing_info={"plan": "x"})]
    await apply_sync(registry, await plan(registry, crm=sources))
    again = await plan(registry, crm=sources)
    assert not again
    assert again.counts()["unchanged"] == 4
    await apply_sync(registry, again)
    assert registry.writes == 1


async def test_a_tenant_that_comes_back_has_the_status_of_its_source_again():
    registry = Registry(tenant("A"), tenant("B"))
    await apply_sync(registry, await plan(registry, crm=[fields("A")]))
    assert registry.tenants["B"].status == "terminated"
    assert not await plan(registry, crm=[fields("A")])
    back = await plan(registry, crm=[fields("A"), fields("B", status="suspended")])
    assert back.changed[0].fields["status"] == ("terminated", "suspended")
    assert back.became("suspended") == ["B"]


async def test_the_first_source_with_a_value_wins_field_by_field():
    crm = [fields("A", customer_name="CRM", tier="basic", billing_info=None)]
    billing = [fields("A", customer_name="Billing", tier="premium", billing_info={"plan": "yearly"})]
    found = await plan(Registry(), crm=crm, billing=billing)
    (new,) = found.added
    assert (new.customer_name, new.tier, new.billing_info) == ("CRM", "basic", {"plan": "yearly"})

    other = SyncSettings(precedence={"tier": ["billing"]})
    (new,) = (await plan(Registry(), other, crm=crm, billing=billing)).added
    assert (new.customer_name, new.tier) == ("CRM", "premium")


async def test_the_order_of_the_sources_is_the_one_that_is_configured():
    one, two = [fields("A", tier="basic")], [fields("A", tier="premium")]
    (new,) = (await plan(Registry(), configured={"two": None, "one": None}, one=one, two=two)).added
    assert new.tier == "premium"


async def test_a_partial_source_adds_what_it_knows():
    registry = Registry(tenant("A"), tenant("B"))
    found = await plan(
        registry,
        known={"billing": ["tenant_id", "billing_info"]},
        crm=[fields("A"), fields("B")],
        billing=[{"tenant_id": "A", "billing_info": {"plan": "yearly"}, "tier": "not asked for"} | {"tier": None}],
    )
    (change,) = found.changed
    assert change.fields["billing_info"] == (None, {"plan": "yearly"})
    assert change.tenant_id == "A"


async def test_a_former_customer_that_only_billing_remembers_is_gone():
    registry = Registry(tenant("A"), tenant("B", billing_info={"plan": "x"}))
    billing = [{"tenant_id": name, "billing_info": {"plan": "x"}} for name in ("A", "B")]
    found = await plan(registry, crm=[fields("A")], billing=billing)
    assert [change.tenant_id for change in found.gone] == ["B"]
    assert found.gone[0].after.billing_info == {"plan": "x"}
    await apply_sync(registry, found)
    assert registry.tenants["B"].status == "terminated"
    assert not await plan(
        registry, crm=[fields("A")], billing=[*billing[:1], {"tenant_id": "B", "billing_info": {"plan": "y"}}]
    )


async def test_fields_that_no_source_knows_stay_the_registrys_own():
    own = {"schema_suffix": "_v2", "contract_info": {"signed": True}, "instances": ["main", "test"]}
    registry = Registry(tenant("A", **own))
    found = await plan(registry, crm=[fields("A", tier="premium"), fields("B")])
    after = {new.tenant_id: new for new in found.tenants()}
    assert after["A"].schema_suffix == "_v2"
    assert after["A"].contract_info == {"signed": True}
    assert after["A"].instances == ["main", "test"]
    assert after["B"].instances == ["main"]


async def test_a_field_that_a_source_knows_and_leaves_empty_is_cleared():
    registry = Registry(tenant("A", schema_suffix="_v2"), tenant("B"))
    by_value = await plan(registry, crm=[fields("A"), fields("B", schema_suffix="_v3")])
    assert {change.tenant_id: change.fields["schema_suffix"] for change in by_value.changed} == {
        "A": ("_v2", None),
        "B": (None, "_v3"),
    }
    said = await plan(registry, known={"crm": list(TenantInfo.model_fields)}, crm=[fields("A"), fields("B")])
    assert [change.fields["schema_suffix"] for change in said.changed] == [("_v2", None)]


async def test_timestamps_that_nobody_knows_are_the_time_of_the_sync():
    registry = Registry(tenant("A"), tenant("B"))
    unknown = {"created_at": None, "updated_at": None}
    found = await plan(
        registry, crm=[fields("A", **unknown), fields("B", tier="premium", **unknown), fields("C", **unknown)]
    )
    assert (found.added[0].created_at, found.added[0].updated_at) == (NOW, NOW)
    (change,) = found.changed
    assert (change.after.created_at, change.after.updated_at) == (CREATED, NOW)


async def test_updated_at_alone_is_no_change():
    later = datetime(2026, 6, 1, tzinfo=UTC)
    registry = Registry(tenant("A"), tenant("B"))
    found = await plan(registry, crm=[fields("A", updated_at=later), fields("B", updated_at=later, tier="premium")])
    (change,) = found.changed
    assert (change.tenant_id, change.after.updated_at) == ("B", later)


async def test_a_tenant_of_which_too_little_is_known_is_rejected_and_told():
    registry = Registry(tenant("A"), tenant("B"))
    crm = [fields("A", tier="premium"), fields("B", region=None), fields("C", region=None, tier=None)]
    found = await plan(registry, crm=crm, erp=[{"tenant_id": "C", "customer_name": "x"}])
    assert [error.message for error in found.rejected] == [
        "tenant B, in crm: no value for region",
        "tenant C, in crm, erp: no value for region, tier",
    ]
    assert list(found.kept) == ["B"]
    assert not found.added


async def test_a_bad_record_leaves_its_tenant_as_it_is():
    registry = Registry(tenant("A"), tenant("B"), tenant("C", tier="premium"))
    found = await plan(
        registry,
        crm=[fields("A"), fields("B", tier="gold"), fields("C"), fields("D", status="odd")],
        billing=[{"tenant_id": "C", "billing_info": "{"}],
    )
    assert not found
    assert list(found.kept) == ["B", "C"]
    assert "crm: list, row 2" in found.kept["B"]
    assert "received 'gold'" in found.kept["B"]
    assert "billing_info" in found.kept["C"]
    assert [error.message.split(",")[0] for error in found.rejected] == ["crm: list", "crm: list", "billing: list"]


async def test_a_bad_record_of_the_registry_is_told_and_not_written_over():
    registry = Registry(tenant("A"), tenant("B"))
    registry.broken = [
        Record(fields("X", tier="gold", schema_suffix="_v2"), "memory, X"),
        Record(fields("A", tier="gold"), "memory, A"),
        RegistryRecordError("no tenant_id", where="memory, ?"),
    ]
    found = await plan(registry, crm=[fields("A", tier="premium"), fields("B"), fields("X")])
    assert list(found.kept) == ["X"]
    assert "registry: memory, X" in found.kept["X"]
    assert len(found.rejected) == 3
    assert [change.tenant_id for change in found.changed] == ["A"]
    assert not found.added
    assert found.unchanged == 2


async def test_of_two_records_of_a_tenant_the_first_good_one_stands():
    crm = [fields("A", tier="gold"), fields("A", tier="premium"), fields("A", tier="basic")]
    found = await plan(Registry(), crm=crm)
    assert [new.tier for new in found.added] == ["premium"]
    assert "row 3, field tenant_id: list, row 2 has this tenant_id already" in found.rejected[1].message


async def test_while_a_record_cannot_be_told_apart_nobody_is_gone():
    registry = Registry(tenant("A"), tenant("B"))
    broken = RegistryRecordError("15 cells", where="list, row 2")
    found = await plan(registry, crm=[fields("A"), broken])
    assert not found.gone
    assert "1 records cannot be told apart" in found.kept["B"]


@pytest.mark.parametrize("tenant_id", ["", ["B"], {"id": "B"}, 1.5])
async def test_a_record_whose_tenant_id_is_none_cannot_be_told_apart(tenant_id):
    registry = Registry(tenant("A"), tenant("B"))
    found = await plan(registry, crm=[fields("A"), fields("B") | {"tenant_id": tenant_id}])
    assert not found.gone
    assert "1 records cannot be told apart" in found.kept["B"]


async def test_a_bad_record_keeps_its_tenant_whether_or_not_its_id_has_spaces():
    registry = Registry(tenant("A"), tenant(" B"), tenant("C"))
    found = await plan(registry, crm=[fields("A"), fields(" B", tier="gold"), fields(" C ", tier="gold")])
    assert list(found.kept) == [" B", "C"]
    assert not found.gone


async def test_nobody_is_gone_where_no_source_knows_the_status():
    registry = Registry(tenant("A"), tenant("B"))
    found = await plan(registry, billing=[{"tenant_id": "A", "billing_info": {"plan": "x"}}])
    assert [change.tenant_id for change in found.changed] == ["A"]
    assert not found.gone


async def test_with_some_of_the_sources_only_nobody_is_gone_and_the_others_word_stands():
    registry = Registry(tenant("A", tier="premium"), tenant("B"), tenant("C"))
    configured = {"crm": None, "partner": None}
    found = await plan(
        registry, configured=configured, partner=[fields("A", tier="basic", customer_name="x"), fields("D")]
    )
    assert found.unread == ["crm"]
    assert [new.tenant_id for new in found.added] == ["D"]
    assert not found.changed
    assert not found.gone

    found = await plan(registry, configured=configured, crm=[fields("A", tier="basic")])
    assert [change.tenant_id for change in found.changed] == ["A"]
    assert not found.gone


async def test_what_a_source_knew_at_its_last_sync_is_what_it_is_taken_to_know() -> None:
    registry = Registry(tenant("A", billing_info={"plan": "x"}))
    found = await plan(
        registry,
        configured={"crm": None, "billing": None},
        previous={"crm": SourceCounts(records=1, rejected=0, fields=("status", "tier"))},
        billing=[{"tenant_id": "A", "billing_info": {"plan": "y"}, "tier": "premium"}],
    )
    (change,) = found.changed
    assert list(change.fields) == ["updated_at", "billing_info.plan"]


async def test_without_a_partial_source_the_others_still_say_who_is_gone():
    registry = Registry(tenant("A", billing_info={"plan": "x"}), tenant("B"))
    found = await plan(
        registry, configured={"crm": None, "billing": ["tenant_id", "billing_info"]}, crm=[fields("A", tier="premium")]
    )
    assert [change.tenant_id for change in found.gone] == ["B"]
    assert found.changed[0].after.billing_info == {"plan": "x"}


async def test_a_registry_that_cannot_be_written_is_told_before_anything_is_read():
    with pytest.raises(UnsupportedError, match="a list: a sync needs a registry that can be written"):
        await plan_sync(Source(), {"crm": (Source(SourceUnavailableError("down")), None)}, LENIENT, now=NOW)


async def test_a_source_that_breaks_off_is_no_shorter_source():
    with pytest.raises(SourceUnavailableError, match="broke off"):
        await plan(Registry(tenant("A"), tenant("B")), crm=[fields("A"), SourceUnavailableError("broke off")])


@pytest.mark.parametrize("held", [[], [fields("A", tier="gold")]])
async def test_a_source_without_anything_stops_the_sync_and_force_does_not_help(held):
    registry = Registry(*[tenant(f"T{number}") for number in range(4)])
    found = await plan(registry, SyncSettings(), crm=held, billing=[{"tenant_id": "T1", "region": "us"}])
    assert guards(found)[0] == "empty"
    for force in (False, True):
        with pytest.raises(SyncRefusedError, match="source crm has no good record"):
            await apply_sync(registry, found, force=force)
    assert registry.writes == 0


async def test_too_many_gone_stop_the_sync_unless_forced():
    registry = Registry(*[tenant(f"T{number}") for number in range(10)], tenant("X", status="terminated"))
    found = await plan(registry, SyncSettings(), crm=[fields(f"T{number}") for number in range(7)])
    with pytest.raises(
        SyncRefusedError, match=r"source crm: 3 of 10 \(30 %, max_change_percent is 20\) live tenants would become"
    ):
        await apply_sync(registry, found)
    assert registry.writes == 0
    await apply_sync(registry, found, force=True)
    assert [held.status for held in registry.tenants.values()].count("terminated") == 4


async def test_as_many_as_allowed_may_go():
    registry = Registry(*[tenant(f"T{number}") for number in range(10)])
    found = await plan(registry, SyncSettings(), crm=[fields(f"T{number}") for number in range(8)])
    assert not found.refusals


async def test_a_source_that_says_terminated_of_too_many_is_stopped_too():
    registry = Registry(*[tenant(f"T{number}") for number in range(10)])
    found = await plan(
        registry, SyncSettings(), crm=[fields(f"T{number}", status="terminated") for number in range(10)]
    )
    assert guards(found) == ["terminated"]


async def test_a_source_that_suspends_too_many_is_stopped_for_their_access_may_go_with_it():
    registry = Registry(*[tenant(f"T{number}") for number in range(10)])
    crm = [fields(f"T{number}", status="suspended" if number < 3 else "active") for number in range(10)]
    found = await plan(registry, SyncSettings(), crm=crm)
    assert guards(found) == ["suspended"]
    assert "3 of 10 (30 %, max_change_percent is 20) live tenants would become suspended" in found.refusals[0].message
    assert not (await plan(registry, SyncSettings(), crm=[*crm[1:], fields("T0")])).refusals


@pytest.mark.parametrize(("lost", "guard"), [("status", "incomplete"), ("billing_info", "cleared")])
async def test_a_field_that_a_source_had_at_its_last_sync_and_has_no_more_is_no_unknown_one(lost, guard):
    """A CRM that renames a field tells of nobody any more who is suspended: not in silence."""
    held = {"billing_info": {"plan": "x"}}
    registry = Registry(*[tenant(f"T{number}", **held) for number in range(4)])
    crm = [fields(f"T{number}", **(held | {lost: None})) for number in range(4)]
    known = ("status", "billing_info")
    found = await plan(
        registry, SyncSettings(), previous={"crm": SourceCounts(records=4, rejected=0, fields=known)}, crm=crm
    )
    assert guards(found) == [guard]
    assert lost not in found.sources["crm"].fields


async def test_a_source_that_shrank_since_its_last_sync_is_stopped():
    registry = Registry(*[tenant(f"T{number}") for number in range(10)])
    crm = [fields(f"T{number}") for number in range(10)]
    billing = [{"tenant_id": f"T{number}", "region": "jp"} for number in range(3)]
    found = await plan(
        registry,
        SyncSettings(),
        previous={name: SourceCounts(records=10, rejected=0, fields=()) for name in ("crm", "billing")},
        crm=crm,
        billing=billing,
    )
    (refusal,) = found.refusals
    assert refusal.details == {"guard": "shrunken", "sources": ["billing"], "forceable": True}
    assert "source billing: 7 of 10 (70 %" in refusal.message


async def test_a_field_that_too_many_would_lose_stops_the_sync():
    registry = Registry(*[tenant(f"T{number}", billing_info={"plan": "x"}) for number in range(10)])
    found = await plan(
        registry,
        SyncSettings(),
        known={"billing": ["billing_info"]},
        crm=[fields(f"T{number}") for number in range(10)],
        billing=[{"tenant_id": "T1", "billing_info": {"plan": "x"}}],
    )
    (refusal,) = found.refusals
    assert refusal.details["sources"] == ["billing"]
    assert "9 of 10" in refusal.message
    assert "lose their billing_info" in refusal.message


async def test_too_many_bad_records_stop_the_sync():
    registry = Registry(*[tenant(f"T{number}") for number in range(4)])
    found = await plan(
        registry,
        SyncSettings(),
        crm=[fields(f"T{number}", tier="gold") for number in (0, 1)] + [fields("T2"), fields("T3")],
    )
    assert guards(found) == ["rejected"]
    assert "2 of 4 (50 %" in found.refusals[0].message


async def test_too_many_incomplete_tenants_stop_the_sync_but_those_that_only_billing_remembers_do_not():
    old = [{"tenant_id": f"OLD{number}", "billing_info": {"plan": "x"}} for number in range(20)]
    found = await plan(Registry(), SyncSettings(), crm=[fields("A"), fields("B", region=None)], billing=old)
    assert guards(found) == ["incomplete"]
    assert "1 of 2" in found.refusals[0].message
    found = await plan(Registry(), SyncSettings(), crm=[fields("A")], billing=old)
    assert guards(found) == []
    assert len(found.rejected) == 20


async def test_the_first_sync_has_nothing_to_compare_with():
    found = await plan(Registry(), SyncSettings(max_change_percent=0), crm=[fields("A")])
    assert not found.refusals


async def test_who_became_what():
    registry = Registry(tenant("A", status="suspended"), tenant("B"), tenant("C"))
    found = await plan(registry, crm=[fields("A"), fields("B", status="suspended"), fields("D")])
    assert found.became("active") == ["A", "D"]
    assert found.became("active", added=False) == ["A"]
    assert found.became("suspended") == ["B"]
    assert found.became("terminated") == ["C"]


async def test_the_report_has_all_values_and_the_log_no_private_ones():
    registry = Registry(tenant("A", billing_info={"card": {"number": "4242", "year": 2026}}), tenant("B"), tenant("C"))
    name = "新しい名前\nERROR forged " + "x" * 100
    found = await plan(
        registry,
        crm=[
            fields("A", customer_name=name, billing_info={"card": {"number": "5555", "year": 2026}}),
            fields("B", tier="gold"),
            fields("D"),
        ],
    )
    document = json.loads(json.dumps(found.document(), ensure_ascii=False))
    assert document["changed"][0]["fields"]["billing_info.card.number"] == {"old": "4242", "new": "5555"}
    assert document["changed"][0]["fields"]["customer_name"] == {"old": "顧客 A", "new": name}
    assert "billing_info.card.year" not in document["changed"][0]["fields"]
    assert document["terminated"][0]["tenant_id"] == "C"
    assert document["added"][0]["customer_code"] == "d"
    assert document["sources"]["crm"]["records"] == 2

    table = found.table()
    assert "billing_info.card.number" in table
    assert "4242" not in table
    assert "5555" not in table
    assert "新しい名前 ERROR forged" in table
    assert "x" * 41 not in table
    lines = [line.split()[:2] for line in table.splitlines()]
    assert lines[0] == ["tenant", "change"]
    assert ["C", "terminated"] in lines
    assert ["B", "kept"] in lines
    assert ["D", "added"] in lines
    assert len(found.table(limit_rows=2).splitlines()) == 4


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 1.0}, {}),
        ({"a": 1}, {"a": True}, {"x.a": (1, True)}),
        ({"a": [0, 1]}, {"a": [False, 1]}, {"x.a": ([0, 1], [False, 1])}),
        ({"a": None}, {}, {}),
        ({}, None, {"x": ({}, None)}),
        ({"a": {"b": 1}}, {"a": 1}, {"x.a": ({"b": 1}, 1)}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 2, "c": 2, "d": 3}}, {"x.a.b": (1, 2), "x.a.d": (None, 3)}),
    ],
)
def test_json_is_compared_key_by_key(old, new, expected):
    assert dict(differences("x", old, new)) == expected


HOSTILE_IDS = [
    "it's",
    "''",
    "a\\",
    "--",
    "/* x */",
    "a\nb",
    "顧客",
    "%_",
    "; DROP TABLE tenants",
    "'' OR TRUE",
    '"',
    "{{ x }}",
]


def test_queries_by_id_select_exactly_those_that_still_have_the_status():
    tenants = [tenant(name) for name in HOSTILE_IDS] + [tenant("other"), tenant("gone", status="suspended")]
    (query,) = id_queries([*HOSTILE_IDS, "gone"], status="active")
    assert [one.tenant_id for one in tenants if TenantQuery.parse(query).matches(one)] == HOSTILE_IDS
    (query,) = id_queries(["it's", "gone"])
    assert [one.tenant_id for one in tenants if TenantQuery.parse(query).matches(one)] == ["it's", "gone"]
    assert id_queries([]) == []


def test_queries_by_id_are_cut():
    ids = [f"T{number:06}" for number in range(20_000)]
    queries = id_queries(ids, status="active")
    assert len(queries) == 2
    assert all(len(query) <= 150_000 for query in queries)
    parsed = [TenantQuery.parse(query) for query in queries]
    for tenant_id in (ids[0], ids[-1], ids[13_000]):
        assert sum(one.matches(tenant(tenant_id)) for one in parsed) == 1
    assert len(id_queries(["x" * 200, "y" * 200], limit_chars=100)) == 2
