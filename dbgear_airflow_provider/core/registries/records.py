"""Records of a registry, its rows or items, as `TenantInfo`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from pydantic import ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from ..errors import RegistryRecordError
from ..tenants import TenantInfo
from ..tenants.fields import closed_set, excerpt
from ..tenants.timestamps import TIMESTAMP_FORM, to_utc
from .numbers import finite, refuse_constant


@dataclass(frozen=True, slots=True)
class Record:
    """What a source holds of one tenant, unchecked.

    fields: {name: value}; None is an absent field. where: the record, as a person would look it up, such as
    "tenants.csv, row 17". label: what the source calls a field, such as "column". names: {field: the source's own name
    for it} where they differ.
    """

    fields: Mapping[str, Any]
    where: str
    label: str = "field"
    names: Mapping[str, str] = field(default_factory=dict)

    def tenant(self) -> TenantInfo:
        """Return the tenant that the record describes. Raises RegistryRecordError."""
        return parse_record(self.fields, where=self.where, label=self.label, names=self.names)

    def known(self) -> dict[str, Any]:
        """Return the present fields alone, checked and in their types, whatever is missing.

        Raises RegistryRecordError, also for a record without a tenant_id.
        """
        present = {name: value for name, value in self.fields.items() if value is not None}
        checked = parse_record(
            {**_ANY, **present, "tenant_id": present.get("tenant_id")},
            where=self.where,
            label=self.label,
            names=self.names,
        )
        return {name: getattr(checked, name) for name in present}


_OWN_NAMES: Mapping[str, str] = {}

# Stands in for the fields that a record of a partial source lacks.
_ANY = {
    **dict.fromkeys(("customer_name", "customer_code", "region"), "x"),
    **dict.fromkeys(("created_at", "updated_at"), "2000-01-01"),
    "tier": "basic",
    "status": "active",
    "isolation_strategy": "schema",
}


def parse_record(
    fields: Mapping[str, Any], *, where: str, label: str = "field", names: Mapping[str, str] = _OWN_NAMES
) -> TenantInfo:
    """Return the tenant that a record describes.

    fields: {name: value}; None is an absent field. Sources without types may write instances as "main,test",
    billing_info and contract_info as the text of a JSON object, and timestamps as ISO 8601 texts, dates or
    datetimes: without an offset they are UTC, and a date alone is midnight UTC.
    where: the record, as a person would look it up, such as "tenants.csv, row 17".
    label: what the source calls a field, such as "column". names: {field: the source's own name for it}.

    Raises RegistryRecordError, one for the whole record, which tells all of its bad fields.
    """
    present = {name: value for name, value in fields.items() if value is not None}
    try:
        # Nearly all records are good, and registries are long: the checks that tell all that is bad take twice as long.
        return TenantInfo.model_validate(_typed(present))
    except ValueError:
        pass
    try:
        return TenantInfo.model_validate(dict(_WrittenTenant.model_validate(present)))
    except ValidationError as error:
        problems = {str(details["loc"][0]): _problem(details) for details in reversed(error.errors())}
    places = list(reversed(problems))
    if len(places) == 1:
        raise RegistryRecordError(where=f"{where}, {label} {names.get(places[0], places[0])}", **problems[places[0]])
    told = [str(RegistryRecordError(where=f"{label} {names.get(name, name)}", **problems[name])) for name in places]
    raise RegistryRecordError("; and ".join(told), where=where)


def _timestamp(value: Any) -> datetime:
    try:
        if isinstance(value, str | date):
            return to_utc(value)
    except ValueError:
        pass
    raise _refusal("no date-time", TIMESTAMP_FORM)


def _list(value: Any) -> Any:
    return [item.strip() for item in value.split(",")] if isinstance(value, str) else value


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            # A decoder that is kept is twice as fast, but only loads() tells of a byte order mark.
            value = json.loads(value) if value.startswith("\ufeff") else _JSON.decode(value)
        except json.JSONDecodeError as error:
            raise _refusal(f"no JSON, {error.msg} at character {error.pos + 1}", "a JSON object") from None
        except ValueError as error:  # of a number
            raise _refusal(f"no JSON, {error}", "a JSON object") from None
        except RecursionError:
            raise _refusal("JSON nested too deeply", "a JSON object") from None
    if not isinstance(value, dict):
        raise _refusal("no JSON object", "a JSON object")
    return value


_JSON = json.JSONDecoder(parse_constant=refuse_constant, parse_float=finite)


def _refusal(problem: str, allowed: str) -> PydanticCustomError:
    return PydanticCustomError("registry_record", "{problem}", {"problem": problem, "allowed": allowed})


# Fields that sources without types write in other types than ours.
_WRITTEN: Mapping[str, Callable[[Any], Any]] = {
    "created_at": _timestamp,
    "updated_at": _timestamp,
    "instances": _list,
    "billing_info": _object,
    "contract_info": _object,
}
_DEFAULTS = {name: field.default for name, field in TenantInfo.model_fields.items() if not field.is_required()}


def _typed(present: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields, all of them and in our types. Raises ValueError for the first that is bad."""
    return {
        **_DEFAULTS,
        **present,
        **{name: read(present[name]) for name, read in _WRITTEN.items() if name in present},
    }


class _WrittenTenant(TenantInfo):
    """A tenant as sources without types write it."""

    @field_validator(*_WRITTEN, mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        return _WRITTEN[str(info.field_name)](value)


def _problem(details: ErrorDetails) -> dict[str, Any]:
    """Return what a RegistryRecordError tells of one of pydantic's errors."""
    name = str(details["loc"][0])
    match details["type"]:
        case "missing":
            return {"problem": "no value", "allowed": closed_set(name) or None}
        case "literal_error":
            return {"problem": f"no such {name}", "received": excerpt(details["input"]), "allowed": closed_set(name)}
        case "extra_forbidden":
            return {"problem": "no such field", "allowed": list(TenantInfo.model_fields)}
    context = details.get("ctx", {})
    return {
        "problem": str(context.get("error", details["msg"])),
        "received": excerpt(details["input"]),
        "allowed": context.get("allowed"),
    }
