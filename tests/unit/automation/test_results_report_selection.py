from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from dbgear_airflow_provider.core import errors
from dbgear_airflow_provider.core.automation import (
    OperationResult,
    OperationStatus,
    build_report,
    cut_batches,
    raise_for_failures,
    select_tenants,
)
from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, ServerAddress
from dbgear_airflow_provider.core.errors import (
    DbgearError,
    InvalidInputError,
    QueryError,
    RegistryRecordError,
    SettingsError,
    TenantNotFoundError,
    TenantsFailedError,
    TenantsRetryableError,
    TerminalError,
    TransientError,
)
from dbgear_airflow_provider.core.fleet import OperationRecord
from dbgear_airflow_provider.core.registries import Filters, Record, TenantRegistryProvider
from dbgear_airflow_provider.core.settings import MultiTenantSettings
from dbgear_airflow_provider.core.tenants import TenantInfo, TenantQuery

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def result(tenant_id: str, status: OperationStatus = OperationStatus.SUCCESS, **fields: Any) -> OperationResult:
    return OperationResult(tenant_id, "provision", status, 0.5, **fields)


def failed(tenant_id: str, error: str, *, transient: bool) -> OperationResult:
    details = {"error_kind": "LockTimeoutError" if transient else "StatementError", "transient": transient}
    return result(tenant_id, OperationStatus.ERROR, error=error, details=details)


def record(tenant_id: str, status: str = "success", **fields: Any) -> OperationRecord:
    defaults: dict[str, Any] = {
        "run_id": "r",
        "tenant_id": tenant_id,
        "operation": "provision",
        "status": status,
        "dry_run": False,
        "attempt": 1,
        "started_at": NOW,
        "duration_s": 1.2304,
        "details": {"created": 7},
    }
    return OperationRecord(**defaults | fields)


# errors


def kinds_of(kind: type[DbgearError]) -> Iterator[type[DbgearError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from kinds_of(child)


@pytest.mark.parametrize("kind", sorted(set(kinds_of(DbgearError)), key=repr))
def test_every_error_survives_pickling_and_copying(kind: type[DbgearError]) -> None:
    if issubclass(kind, InvalidInputError):
        error: DbgearError = kind("wrong", where="顧客.csv, line 3", received={"a": [1]}, allowed=["x", "y"])
    else:
        error = kind("it failed: 失敗", code="42P04", tenant_ids=["A"])
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(other) is kind
        assert str(other) == str(error) == other.message
        assert other.details == error.details
        assert other.kind == kind.__name__


def test_every_error_is_terminal_or_transient_and_stands_in_the_tree() -> None:
    classes = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DbgearError)}
    for kind in classes - {DbgearError}:
        assert issubclass(kind, TerminalError) != issubclass(kind, TransientError)
    above, told = ["DbgearError"], set()
    for branch, name in re.findall(r"^([│ ]*[├└]── )(\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(branch) // 4
        above = [*above[:depth], name]
        told.add((name, above[-2]))
    assert told == {(kind.__name__, kind.__bases__[0].__name__) for kind in classes - {DbgearError}}


def test_invalid_input_says_where_what_and_what_is_allowed() -> None:
    error = QueryError("no such field", where="query, column 3", received="tire", allowed=["tier", "region"])
    assert str(error) == "query, column 3: no such field; received 'tire'; allowed: tier, region"


# results


def test_no_failure_raises_nothing() -> None:
    raise_for_failures([])
    raise_for_failures([result("A"), result("B")])


def test_terminal_failures() -> None:
    results = [result("A"), *(failed(f"T{number}", f"why {number}", transient=False) for number in range(7))]
    with pytest.raises(TenantsFailedError) as caught:
        raise_for_failures(results)
    assert caught.value.details["tenant_ids"] == [f"T{number}" for number in range(7)]
    assert str(caught.value).startswith("7 of 8 tenants failed: T0: why 0; T1: why 1")
    assert str(caught.value).endswith("T4: why 4; and 2 more")


def test_one_transient_failure_makes_a_retry_worth_it() -> None:
    with pytest.raises(TenantsRetryableError):
        raise_for_failures([failed("A", "no", transient=False), failed("B", "held", transient=True)])


# report


def test_a_report_counts_every_tenant() -> None:
    records = [record("B", "error", error="refused", error_kind="StatementError"), record("A"), record("X", "error")]
    report = build_report("r", "provision", ["A", "B", "C"], records, ["row 5: bad"], dry_run=True)
    assert [line.tenant_id for line in report.tenants] == ["A", "B", "C", "X"]
    assert report.counts() == {"tenants": 4, "success": 1, "error": 2, "missing": 1, "rejected": 1}
    assert [line.tenant_id for line in report.failed] == ["B", "C", "X"]
    assert dict(report.error_kinds()) == {"StatementError": 1, "missing": 1, "error": 1}
    document = json.loads(json.dumps(report.document()))
    assert document["counts"]["missing"] == 1
    assert document["rejected"] == ["row 5: bad"]
    assert document["dry_run"] is True
    assert document["tenants"][0]["created"] == 7
    assert document["tenants"][2]["error"].startswith("no result")


def test_the_table_has_failures_first_and_one_line_for_each() -> None:
    records = [record("A"), record("B顧客", "error", error="refused\n  by the server", details=None)]
    lines = build_report("r", "provision", ["A", "C"], records, [], dry_run=False).table().splitlines()
    assert lines[0].split() == ["tenant", "result", "seconds", "objects", "error"]
    assert lines[1].split(maxsplit=3) == ["B顧客", "error", "1.23", "refused by the server"]
    assert lines[2].split(maxsplit=2)[:2] == ["C", "missing"]
    assert lines[3].split() == ["A", "success", "1.23", "7"]
    assert len(lines) == 4


def test_a_missing_tenant_fails_the_run() -> None:
    build_report("r", "provision", ["A"], [record("A")], ["a bad row"], dry_run=False).raise_for_failures()
    build_report("r", "provision", [], [], [], dry_run=False).raise_for_failures()
    with pytest.raises(TenantsFailedError, match=r"1 of 2 tenants failed: B: no result") as caught:
        build_report("r", "provision", ["A", "B"], [record("A")], [], dry_run=False).raise_for_failures()
    assert caught.value.details["tenant_ids"] == ["B"]


# batches


@given(st.lists(st.text(max_size=5), max_size=300), st.integers(1, 120))
def test_batches_lose_nothing_and_are_nearly_equal(tenant_ids: list[str], max_batches: int) -> None:
    selected_at = datetime(2026, 1, 1, tzinfo=UTC)
    batches = cut_batches(tenant_ids, target="main", max_batches=max_batches, selected_at=selected_at)
    assert [name for batch in batches for name in batch["tenant_ids"]] == tenant_ids
    assert [batch["index"] for batch in batches] == list(range(len(batches)))
    assert all(batch["target"] == "main" for batch in batches)
    assert all(batch["selected_at"] == "2026-01-01T00:00:00+00:00" for batch in batches)
    assert len(batches) == min(max_batches, len(tenant_ids))
    sizes = {len(batch["tenant_ids"]) for batch in batches}
    assert not sizes or max(sizes) - min(sizes) <= 1


# selection


class Registry(TenantRegistryProvider):
    def __init__(self, tenants: Sequence[TenantInfo]) -> None:
        self.tenants = sorted(tenants, key=lambda tenant: tenant.tenant_id)

    @override
    async def list_tenants(
        self, filters: Filters | None = None, offset: int = 0, limit: int | None = 100
    ) -> list[TenantInfo]:
        return self.tenants[offset : None if limit is None else offset + limit]

    @override
    async def get_tenant(self, tenant_id: str) -> TenantInfo:
        raise TenantNotFoundError(tenant_id)

    @override
    async def get_tenant_config(self, tenant_id: str) -> dict[str, Any]:
        return {}

    @override
    async def search_tenants(self, query: str) -> list[TenantInfo]:
        return [tenant for tenant in self.tenants if TenantQuery.parse(query).matches(tenant)]

    @override
    async def get_tenant_count(self, filters: Filters | None = None) -> int:
        return len(self.tenants)

    @override
    async def stream_tenants(self, query: TenantQuery | None = None) -> AsyncGenerator[TenantInfo]:
        for tenant in self.tenants:
            if query is None or query.matches(tenant):
                yield tenant

    @override
    async def records(self, fields: Collection[str] | None = None) -> AsyncGenerator[Record | RegistryRecordError]:
        for tenant in self.tenants:
            yield Record(dict(tenant), where=tenant.tenant_id)

    @override
    async def rejected_records(self) -> list[RegistryRecordError]:
        return [RegistryRecordError("no id", where="row 9")]


def tenant(tenant_id: str, **changes: Any) -> TenantInfo:
    fields: dict[str, Any] = {
        "tenant_id": tenant_id,
        "customer_name": tenant_id,
        "customer_code": tenant_id.lower(),
        "region": "asia",
        "tier": "premium",
        "status": "active",
        "created_at": NOW,
        "updated_at": NOW,
        "isolation_strategy": "schema",
    }
    return TenantInfo(**fields | changes)


def settings(*rules: tuple[str | None, str]) -> MultiTenantSettings:
    return MultiTenantSettings.model_validate(
        {
            "tenant_registry": {"connection_id": "r"},
            "targets": {"one": {"connection_id": "one"}, "two": {"connection_id": "two"}},
            "placement": [{"query": query, "target": target} for query, target in rules],
        }
    )


TWO = settings(("region = 'asia'", "one"), (None, "two"))
ACTIVE = "status = 'active'"


async def selected(*tenants: TenantInfo, **changes: Any) -> list[str]:
    arguments = {"query": ACTIVE, "target": "one"} | changes
    selection = await select_tenants(Registry(tenants), TWO, **arguments)
    return [tenant.tenant_id for tenant in selection.tenants]


async def test_tenants_are_selected_by_query_target_and_isolation() -> None:
    tenants = [
        tenant("A"),
        tenant("B", region="europe"),
        tenant("C", status="terminated"),
        tenant("D", isolation_strategy="database"),
    ]
    assert await selected(*tenants) == ["A", "D"]
    assert await selected(*tenants, target="two") == ["B"]
    assert await selected(*tenants, isolation=["database"]) == ["D"]
    assert await selected(*tenants, isolation=("schema", "table")) == ["A"]
    assert await selected(*tenants, query="tenant_id = 'C'") == ["C"]


async def test_more_tenants_than_a_page_are_selected() -> None:
    assert len(await selected(*(tenant(f"T{number}") for number in range(250)))) == 250


async def test_clashing_tenants_are_left_out_and_told() -> None:
    tenants = [
        tenant("A", customer_code="same"),
        tenant("B", customer_code="SAME", status="terminated"),
        tenant("C"),
        tenant("D", customer_code="same", region="Asia", isolation_strategy="database"),
    ]
    selection = await select_tenants(Registry(tenants), TWO, query=ACTIVE, target="one")
    assert [item.tenant_id for item in selection.tenants] == ["C"]
    assert selection.clashing == {"A": "same_asia_main would be shared by tenants A, B"}
    assert [error.details["where"] for error in selection.rejected] == ["row 9"]


async def test_where_schemas_are_databases_two_strategies_clash_and_so_does_the_shared_schema() -> None:
    tenants = [
        tenant("A", customer_code="same"),
        tenant("B", customer_code="same", isolation_strategy="database"),
        tenant("C", customer_code="all"),
        tenant("D", isolation_strategy="table"),
    ]
    address = ServerAddress(host="h", port=3306, user="u", password="p", database="")
    mysql = MySQLServer("one", address, shared_schema="ALL_asia_main")
    postgres = PostgresServer("one", address)
    assert await selected(*tenants, server=postgres) == ["A", "B", "C", "D"]
    selection = await select_tenants(Registry(tenants), TWO, query=ACTIVE, target="one", server=mysql)
    assert [item.tenant_id for item in selection.tenants] == ["D"]
    assert selection.clashing == {
        "A": "same_asia_main would be shared by tenants A, B",
        "B": "same_asia_main would be shared by tenants A, B",
        "C": "all_asia_main would be shared by tenant C and those of isolation table",
    }


async def test_equal_names_on_two_targets_do_not_clash() -> None:
    rules = settings(("tier = 'premium'", "one"), (None, "two"))
    tenants = [tenant("A", customer_code="same"), tenant("B", customer_code="same", tier="basic")]
    for target, expected in (("one", "A"), ("two", "B")):
        selection = await select_tenants(Registry(tenants), rules, query=ACTIVE, target=target)
        assert [item.tenant_id for item in selection.tenants] == [expected]
        assert not selection.clashing


async def test_a_tenant_that_no_rule_places_stops_only_a_run_that_it_is_in() -> None:
    rules = settings(("region = 'asia'", "one"))
    registry = Registry([tenant("A"), tenant("B", region="europe", status="terminated")])
    selection = await select_tenants(registry, rules, query=ACTIVE, target="one")
    assert [item.tenant_id for item in selection.tenants] == ["A"]
    with pytest.raises(SettingsError, match="no placement rule"):
        await select_tenants(registry, rules, query="tenant_id IN ('A', 'B')", target="one")


async def test_a_wrong_query() -> None:
    with pytest.raises(QueryError):
        await selected(tenant("A"), query="tire = 'x'")
