"""Records of a registry, its rows or items, as `TenantInfo`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NoReturn

from pydantic import ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from ..errors import RegistryRecordError
from ..tenants import TenantInfo
from ..tenants.fields import closed_set, excerpt
from ..tenants.timestamps import TIMESTAMP_FORM, to_utc


def parse_record(fields: Mapping[str, Any], *, where: str, label: str = "field") -> TenantInfo:
    """Return the tenant that a record describes.

    fields: {name: value}; None is an absent field. Sources without types may write instances as "main,test",
    billing_info and contract_info as the text of a JSON object, and timestamps as ISO 8601 texts, dates or
    datetimes: without an offset they are UTC, and a date alone is midnight UTC.
    where: the record, as a person would look it up, such as "tenants.csv, row 17".
    label: what the source calls a field, such as "column".

    Raises RegistryRecordError, one for the whole record, which tells all of its bad fields.
    """
    present = {name: value for name, value in fields.items() if value is not None}
    try:
        return TenantInfo.model_validate(dict(_WrittenTenant.model_validate(present)))
    except ValidationError as error:
        problems = {str(details["loc"][0]): _problem(details) for details in reversed(error.errors())}
    places = list(reversed(problems))
    if len(places) == 1:
        raise RegistryRecordError(where=f"{where}, {label} {places[0]}", **problems[places[0]])
    told = [str(RegistryRecordError(where=f"{label} {name}", **problems[name])) for name in places]
    raise RegistryRecordError("; and ".join(told), where=where)


class _WrittenTenant(TenantInfo):
    """A tenant as sources without types write it."""

    @field_validator("created_at", "updated_at", mode="before")
    @classmethod
    def _timestamp(cls, value: Any) -> datetime:
        try:
            if isinstance(value, str | date):
                return to_utc(value)
        except ValueError:
            pass
        raise _refusal("no date-time", TIMESTAMP_FORM)

    @field_validator("instances", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        return [item.strip() for item in value.split(",")] if isinstance(value, str) else value

    @field_validator("billing_info", "contract_info", mode="before")
    @classmethod
    def _object(cls, value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            try:
                value = json.loads(value, parse_constant=_refuse_constant)
            except json.JSONDecodeError as error:
                raise _refusal(f"no JSON, {error.msg} at character {error.pos + 1}", "a JSON object") from None
            except RecursionError:
                raise _refusal("JSON nested too deeply", "a JSON object") from None
        if not isinstance(value, dict):
            raise _refusal("no JSON object", "a JSON object")
        return value


def _refuse_constant(name: str) -> NoReturn:
    # Python reads NaN and Infinity, but JSON has none and databases refuse them.
    raise _refusal(f"no JSON, {name}", "a JSON object")


def _refusal(problem: str, allowed: str) -> PydanticCustomError:
    return PydanticCustomError("registry_record", "{problem}", {"problem": problem, "allowed": allowed})


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
