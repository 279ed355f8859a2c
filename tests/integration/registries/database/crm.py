"""A table that others made, with columns of other names and types than ours."""

from __future__ import annotations

from typing import Any

from dbgear_airflow_provider.core.settings.mapping import FieldMapping

from ..conftest import Place

# What the columns of a table that others made are called, and how the engines write their types.
CRM_TYPES = {
    "sqlite": {"key": "TEXT", "text": "TEXT", "char": "CHAR(10)", "time": "TEXT", "json": "TEXT"},
    "postgresql": {"key": "varchar(40)", "text": "text", "char": "char(10)", "time": "timestamp", "json": "json"},
    "mariadb": {
        "key": "varchar(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        "text": "text CHARACTER SET utf8mb4",
        "char": "char(10) CHARACTER SET latin1",
        "time": "datetime(6)",
        "json": "longtext",
    },
}
CRM = FieldMapping(
    fields={
        "tenant_id": "Customer No",
        "customer_name": "名前",
        "customer_code": "code",
        "status": "state",
        "tier": "plan",
        "updated_at": "changed",
        "created_at": "made",
        "instances": "copies",
        "billing_info": "billing",
    },
    defaults={"isolation_strategy": "schema", "region": "japan", "tier": "standard"},
    values={"status": {"1": "active", "0": "terminated"}, "tier": {"gold": "premium"}},
)


def make_crm(place: Place, *, key: str = "", name: str = "customers") -> None:
    types = CRM_TYPES[place.engine]
    columns = {
        "Customer No": types["key"] + key,
        "名前": types["text"],
        "code": types["char"],
        "state": "integer",
        "plan": types["text"],
        "made": types["time"],
        "changed": types["time"],
        "copies": types["text"],
        "billing": types["json"],
        "unrelated %s": types["text"],
    }
    place.execute(
        f"CREATE TABLE {name} ({', '.join(f'{place.name(column)} {kind}' for column, kind in columns.items())})"
    )


def crm_row(number: str | None, **changes: Any) -> dict[str, Any]:
    row = {
        "Customer No": number,
        "名前": "星野",
        "code": "hoshino",
        "state": 1,
        "plan": "gold",
        "made": "2024-01-02 03:04:05",
        "changed": "2024-01-02 03:04:05.5",
        "copies": "main, test",
        "billing": '{"seats": 3}',
    }
    return row | changes
