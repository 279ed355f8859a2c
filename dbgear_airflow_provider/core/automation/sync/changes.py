"""`Change`: what a sync would make of one tenant."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_jsonable_python

from ...tenants import TenantInfo
from ...tenants.fields import excerpt

_EXCERPT_CHARS = 40
_PRIVATE = ("billing_info", "contract_info")

Difference = tuple[Any, Any]  # old, new


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One tenant of the registry that is to be replaced.

    fields: {field: (old, new)} of those that differ; inside billing_info and contract_info each key has a line of its
    own, such as `billing_info.plan`. None stands for an empty field or a missing key.
    """

    tenant_id: str
    before: TenantInfo
    after: TenantInfo
    fields: Mapping[str, Difference]

    @classmethod
    def between(cls, before: TenantInfo, after: TenantInfo) -> Change:
        """Return what leads from one tenant to the other."""
        fields = {
            path: difference
            for name in TenantInfo.model_fields
            for path, difference in differences(name, getattr(before, name), getattr(after, name))
        }
        return cls(tenant_id=before.tenant_id, before=before, after=after, fields=fields)

    def document(self) -> dict[str, Any]:
        """Return the change as JSON, with all values."""
        fields = {path: {"old": old, "new": new} for path, (old, new) in self.fields.items()}
        changed: dict[str, Any] = to_jsonable_python({"tenant_id": self.tenant_id, "fields": fields})
        return changed

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Yield (field, old, new) for a log: shortened, and without the values of billing_info and contract_info."""
        for path, values in self.fields.items():
            is_private = path.split(".")[0] in _PRIVATE
            old, new = map(_presence if is_private else _value, values)
            yield line(path), old, new


def differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Difference]]:
    """Yield (path, (old, new)) where two values differ, for each key of JSON objects; null is a missing key."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from differences(f"{path}.{key}", old.get(key), new.get(key))
    elif not _same(old, new):
        yield path, (old, new)


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_same(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_same, old, new))
    # In Python True equals 1, in JSON it does not.
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def _presence(value: Any) -> str:
    return "" if value is None else "***"


def _value(value: Any) -> str:
    value = to_jsonable_python(value)
    if value is None:
        return ""
    return line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def line(text: str) -> str:
    """Return a text that takes one line of a log and forges no other, shortened."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return str(excerpt(shown, _EXCERPT_CHARS))
