"""Tenants to write, and what is asked of the providers that do."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider
from dbgear_airflow_provider.core.tenants import TenantInfo

MOMENT = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
PASSWORD = "s3cret/p@ss"

Open = Callable[..., DatabaseTenantProvider]


def tenant(tenant_id: str, **changes: Any) -> TenantInfo:
    fields: dict[str, Any] = {
        "tenant_id": tenant_id,
        "customer_name": "株式会社 '100%'",
        "customer_code": "acme",
        "region": "asia",
        "tier": "basic",
        "status": "active",
        "created_at": MOMENT,
        "updated_at": MOMENT,
        "isolation_strategy": "schema",
    }
    return TenantInfo.model_validate(fields | changes)


RICH = tenant(
    "T2",
    database_prefix="p ",
    schema_suffix="_s",
    table_prefix="t_",
    instances=["main", "a,b", " x", "日本"],
    billing_info={
        "plan": 'pro\n"x"',
        "seats": 3,
        "rate": 0.25,
        "ok": True,
        "none": None,
        "deep": {"a": [1, {"b": "é"}]},
    },
    contract_info={},
)


def ids(tenants: list[TenantInfo]) -> list[str]:
    return [each.tenant_id for each in tenants]


def record(registry: DatabaseTenantProvider, statements: list[tuple[str, Any]]) -> None:
    """Keep the statements that are sent to the database, with their parameters."""

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    sa.event.listen(registry._engine.sync_engine, "before_cursor_execute", keep)


def assert_no_secret(error: BaseException) -> None:
    text = "".join(traceback.format_exception(error)) + repr(getattr(error, "details", ""))
    assert PASSWORD not in text
    assert "s3cret" not in text
