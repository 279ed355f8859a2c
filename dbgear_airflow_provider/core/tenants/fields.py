"""The fields that a tenant query may name, and the values that each compares with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, get_args, get_origin

from ..errors import QueryError
from .info import TenantInfo
from .timestamps import TIMESTAMP_FORM, to_utc

Scalar = str | int | float | datetime  # bool is an int
FieldKind = Literal["text", "time", "list", "object", "json"]

FIELDS = tuple(TenantInfo.model_fields)
REQUIRED_FIELDS = tuple(name for name, field in TenantInfo.model_fields.items() if field.is_required())

# All other fields hold text.
_KINDS: dict[str, FieldKind] = {
    "created_at": "time",
    "updated_at": "time",
    "instances": "list",
    "billing_info": "object",
    "contract_info": "object",
}


def closed_set(name: str) -> tuple[str, ...]:
    """Return the values that a field of `TenantInfo` is limited to, () where it is not limited."""
    annotation = TenantInfo.model_fields[name].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def excerpt(value: Any, limit_chars: int = 80) -> Any:
    """Return `value` for an error to show: as it is where it is short, else the beginning of its text."""
    text = value if isinstance(value, str) else repr(value)
    return value if len(text) <= limit_chars else text[: limit_chars - 3] + "..."


@dataclass(frozen=True, slots=True)
class Field:
    """A field of `TenantInfo`, or a value inside one of its JSON objects (kind "json").

    path: the field's name, then the keys that lead into the JSON object.
    """

    path: tuple[str, ...]
    kind: FieldKind

    @classmethod
    def find(cls, path: Sequence[str], *, where: str) -> Field:
        """Return the field of that path. Raises QueryError where there is none."""
        name, *keys = path
        if name not in TenantInfo.model_fields:
            raise QueryError(
                "no such field",
                where=where,
                received=excerpt(".".join(path)),
                allowed=list(TenantInfo.model_fields),
            )
        kind = _KINDS.get(name, "text")
        if keys and kind != "object":
            objects = [f"{name}.<key>" for name, kind in _KINDS.items() if kind == "object"]
            raise QueryError(f"{name} has no parts", where=where, received=excerpt(".".join(path)), allowed=objects)
        return cls(tuple(path), "json" if keys else kind)

    def __str__(self) -> str:
        return ".".join(self.path)

    def value_of(self, tenant: TenantInfo) -> Any:
        """Return the field's value; None where it is empty or the JSON object has no such key."""
        value = getattr(tenant, self.path[0])
        for key in self.path[1:]:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def equal_to(self, value: Any, *, where: str) -> Scalar:
        """Return what the field is compared with to be equal to `value`.

        Raises QueryError as `comparable` does, and for a value outside a closed set: a misspelt tier would
        otherwise select nothing, and under NOT everything.
        """
        allowed = closed_set(self.path[0])
        if allowed and isinstance(value, str) and value not in allowed:
            raise QueryError(f"no such {self}", where=where, received=excerpt(value), allowed=allowed)
        return self.comparable(value, where=where)

    def comparable(self, value: Any, *, where: str) -> Scalar:
        """Return `value` as the field compares with it. Raises QueryError where their types do not fit."""
        match self.kind:
            case "text" if isinstance(value, str):
                return value
            case "json" if isinstance(value, str | int | float):
                return value
            case "time" if isinstance(value, str | date):
                try:
                    return to_utc(value)
                except ValueError:
                    raise QueryError(
                        f"{self} is a date-time", where=where, received=excerpt(value), allowed=TIMESTAMP_FORM
                    ) from None
            case "list" | "object":
                raise QueryError(
                    f"{self} holds no single value",
                    where=where,
                    received=excerpt(value),
                    allowed=f"'main' IN {self}" if self.kind == "list" else f"a key inside it, {self}.<key>",
                )
        allowed = {"text": "text in single quotes", "time": f"{TIMESTAMP_FORM}, in single quotes"}
        raise QueryError(
            f"{self} does not compare with this",
            where=where,
            received=excerpt(value),
            allowed=allowed.get(self.kind, "text in single quotes, a number, TRUE or FALSE"),
        )

    def item(self, value: Any, *, where: str) -> str:
        """Return `value` as an item of this list field. Raises QueryError where the field is none."""
        if self.kind != "list":
            lists = [name for name, kind in _KINDS.items() if kind == "list"]
            raise QueryError(f"{self} is no list", where=where, allowed=lists)
        if not isinstance(value, str):
            raise QueryError(
                f"{self} holds text", where=where, received=excerpt(value), allowed="text in single quotes"
            )
        return value
