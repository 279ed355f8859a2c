from __future__ import annotations

import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import RegistryRecordError
from dbgear_airflow_provider.core.registries.records import parse_record
from dbgear_airflow_provider.core.tenants import TenantInfo

RECORD: dict[str, Any] = {
    "tenant_id": "T0001",
    "customer_name": "Acme",
    "customer_code": "acme",
    "region": "us",
    "tier": "basic",
    "status": "active",
    "created_at": "2024-01-01",
    "updated_at": "2024-01-01T09:00:00+09:00",
    "isolation_strategy": "schema",
}


def refused(**changes: Any) -> RegistryRecordError:
    with pytest.raises(RegistryRecordError) as caught:
        parse_record(RECORD | changes, where="https://crm/tenants, item 3")
    return caught.value


@pytest.mark.parametrize(
    "written",
    [
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01 09:00+09:00",
        "20240101",
        date(2024, 1, 1),
        datetime(2024, 1, 1),
        datetime(2024, 1, 1, 9, tzinfo=timezone(timedelta(hours=9))),
    ],
)
def test_timestamps_are_utc(written: object) -> None:
    created_at = parse_record(RECORD | {"created_at": written}, where="x").created_at
    assert created_at.isoformat() == "2024-01-01T00:00:00+00:00"
    assert created_at.tzinfo is UTC


def test_sources_with_and_without_types() -> None:
    typed = {"instances": ["main", "test"], "billing_info": {"plan": "pro"}, "contract_info": None}
    written = {"instances": " main , test ", "billing_info": '{"plan": "pro"}'}
    assert parse_record(RECORD | typed, where="x") == parse_record(RECORD | written, where="x")


def test_absent_instances_are_main() -> None:
    assert parse_record(RECORD | {"instances": None}, where="x").instances == ["main"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tier": "gold"}, "tier: no such tier; received 'gold'; allowed: basic, standard, premium, enterprise"),
        ({"status": None}, "status: no value; allowed: active, inactive, suspended, terminated"),
        ({"region": None}, "region: no value"),
        ({"region": ""}, "region: String should have at least 1 character; received ''"),
        ({"tenant_id": 17}, "tenant_id: Input should be a valid string; received 17"),
        (
            {"created_at": "01/02/2024"},
            "created_at: no date-time; received '01/02/2024'; allowed: an ISO 8601 date or date-time, such as "
            "2026-01-31 or 2026-01-31T09:00:00+09:00",
        ),
        (
            {"created_at": 1704067200},
            "created_at: no date-time; received 1704067200; allowed: an ISO 8601 date or date-time, such as "
            "2026-01-31 or 2026-01-31T09:00:00+09:00",
        ),
        ({"instances": "main,main"}, "instances: each instance may be named once; received ['main', 'main']"),
        ({"instances": "main,"}, "instances: String should have at least 1 character; received ''"),
        (
            {"billing_info": '{"plan": '},
            "billing_info: no JSON, Expecting value at character 10; received '{\"plan\": '; allowed: a JSON object",
        ),
        ({"billing_info": "[1]"}, "billing_info: no JSON object; received '[1]'; allowed: a JSON object"),
        ({"billing_info": [1]}, "billing_info: no JSON object; received [1]; allowed: a JSON object"),
        (
            {"billing_info": '{"rate": NaN}'},
            "billing_info: no JSON, NaN is no number; received '{\"rate\": NaN}'; allowed: a JSON object",
        ),
        (
            {"contract_info": '{"a": [-1e999]}'},
            "contract_info: no JSON, -1e999 is too large a number; received '{\"a\": [-1e999]}'; "
            "allowed: a JSON object",
        ),
    ],
)
def test_tells_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    assert str(refused(**changes)) == f"https://crm/tenants, item 3, field {message}"


def test_a_byte_order_mark_is_told() -> None:
    assert "no JSON, Unexpected UTF-8 BOM (decode using utf-8-sig) at character 1" in str(
        refused(billing_info="\ufeff{}")
    )


def test_all_fields_are_set_and_are_the_tenants_own() -> None:
    billing_info = {"plan": "pro"}
    tenant = parse_record(RECORD | {"billing_info": billing_info}, where="x")
    assert type(tenant) is TenantInfo
    assert tenant.model_fields_set == set(TenantInfo.model_fields)
    tenant.instances.append("test")
    billing_info["plan"] = "free"
    assert tenant.billing_info == {"plan": "pro"}
    assert parse_record(RECORD, where="x").instances == ["main"]


def test_unknown_field() -> None:
    error = refused(colour="red")
    assert error.details["where"] == "https://crm/tenants, item 3, field colour"
    assert "tenant_id" in error.details["allowed"]


def test_tells_all_that_is_wrong() -> None:
    assert str(refused(tier="gold", status="gone")) == (
        "https://crm/tenants, item 3: "
        "field tier: no such tier; received 'gold'; allowed: basic, standard, premium, enterprise; and "
        "field status: no such status; received 'gone'; allowed: active, inactive, suspended, terminated"
    )


def test_does_not_print_long_values() -> None:
    error = refused(billing_info='{"iban": "' + "9" * 10_000)
    assert len(error.details["received"]) == 80
    assert len(str(error)) < 300


def test_deep_json_is_a_bad_record() -> None:
    assert refused(billing_info="[" * 100_000).details["problem"] in {"JSON nested too deeply", "no JSON object"}


def test_errors_can_be_pickled() -> None:
    error = refused(tier="gold", status="gone")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own pickle
