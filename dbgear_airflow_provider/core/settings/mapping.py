"""`FieldMapping`: tenants in sources that were not made for us."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal

from ..tenants import TenantInfo
from .section import NonEmpty, Section

FieldName = Literal[
    "tenant_id",
    "customer_name",
    "customer_code",
    "region",
    "tier",
    "status",
    "created_at",
    "updated_at",
    "isolation_strategy",
    "database_prefix",
    "schema_suffix",
    "table_prefix",
    "instances",
    "billing_info",
    "contract_info",
]


class FieldMapping(Section):
    """Where a source keeps each field of `TenantInfo`, and in which words.

    fields: {field: the source's name for it}: a column; for an API, a JMESPath expression on an item. A field that is
    not named here has its own name. defaults: {field: value} where the source has none. values: {field: {the source's
    word: ours}}, such as {status: {A: active}}; other words stay as they are.
    """

    fields: dict[FieldName, NonEmpty] = {}
    defaults: dict[FieldName, Any] = {}
    values: dict[FieldName, dict[str, str]] = {}

    def source_name(self, name: str) -> str:
        """Return what the source calls a field."""
        return self.fields.get(name, name)  # type: ignore[call-overload, no-any-return]

    def is_plain(self, name: str) -> bool:
        """Tell whether a field's value is the source's own: only then can the source compare it for us."""
        return name not in self.defaults and name not in self.values

    def read(self, value_of: Callable[[str], Any], fields: Collection[str] | None = None) -> dict[str, Any]:
        """Return the fields of a record: {field: value, None where it is absent}.

        value_of(field) returns what the source has. fields: those asked for, tenant_id always with them; None: all.
        """
        return {
            name: self._value(name, value_of(name))
            for name in TenantInfo.model_fields
            if fields is None or name in fields or name == "tenant_id"
        }

    def _value(self, name: Any, value: Any) -> Any:
        if value is None:
            return self.defaults.get(name)
        # A source may write its words as numbers: {status: {"1": active}}.
        return self.values[name].get(str(value), value) if name in self.values else value
