"""Airflow connections, checked before anything is made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar
from urllib.parse import quote, quote_plus

from airflow.sdk import BaseHook
from airflow.sdk.log import amask_secret
from pydantic import ValidationError

from ..core.errors import SettingsError
from ..core.settings.section import NonEmpty, Section


class Extra(Section):
    """What the extra of a connection may hold; any other key is an error.

    secrets: keys whose values are neither shown in errors nor logged.
    """

    secrets: ClassVar[frozenset[str]] = frozenset()


class FormExtra(Extra):
    """The extra of a connection type of ours, as its form fills it.

    source: the section of project.yaml that the Test button reads with: `tenant_registry` or a name of `sources`.
    """

    source: NonEmpty | None = None


def json_object(value: Any) -> Any:
    """Return an object that a form holds as the text of it; for pydantic, which checks the rest."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON object: {error.msg} at character {error.pos + 1}") from None


E = TypeVar("E", bound=Extra)


@dataclass(frozen=True, kw_only=True)
class CheckedConnection(Generic[E]):
    """A connection whose type and extra are right. Fields that are empty are None."""

    conn_id: str
    conn_type: str
    host: str | None
    port: int | None
    schema: str | None
    login: str | None
    password: str | None = field(repr=False)
    extra: E

    @property
    def where(self) -> str:
        """Name the connection in errors."""
        return f"connection {self.conn_id}"

    def required(self, name: str, allowed: str) -> str:
        """Return a standard field. Raises SettingsError where it is empty; allowed: what it should hold."""
        value = getattr(self, name)
        if not value:
            raise SettingsError(f"no {name}", where=self.where, allowed=allowed)
        return str(value)


async def read_connection(conn_id: str, extras: Mapping[str, type[E]], purpose: str) -> CheckedConnection[E]:
    """Return the connection; its secrets are masked in Airflow's logs from now on.

    extras: {conn_type: what its extra may hold}. purpose: what it is read for, as errors tell it.
    Raises SettingsError, and AirflowNotFoundException where there is no such connection.
    """
    connection = await BaseHook.aget_connection(conn_id)
    where = f"connection {conn_id}"
    conn_type = connection.conn_type or ""
    if conn_type not in extras:
        raise SettingsError(
            f"not a type of connection for {purpose}",
            where=where,
            received=conn_type,
            allowed=list(extras),
        )
    if connection.password:
        # In URLs it stands in another form.
        for secret in {connection.password, quote(connection.password, safe=""), quote_plus(connection.password)}:
            await amask_secret(secret)
    return CheckedConnection(
        conn_id=conn_id,
        conn_type=conn_type,
        host=connection.host or None,
        port=connection.port,
        schema=connection.schema or None,
        login=connection.login or None,
        password=connection.password or None,
        extra=await _extra(connection.extra, extras[conn_type], where),
    )


async def _extra(text: str | None, model: type[E], where: str) -> E:
    try:
        tree = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise SettingsError(f"the extra is no JSON, {error.msg} at character {error.pos + 1}", where=where) from None
    if not isinstance(tree, dict):
        raise SettingsError("the extra is no JSON object", where=where, allowed=list(model.model_fields))
    await amask_secret(tree)
    for name in model.secrets & tree.keys():
        for secret in _texts_of(tree[name]):
            await amask_secret(secret)
    try:
        # Forms send what was left empty as null or "".
        return model.model_validate({name: value for name, value in tree.items() if value not in (None, "")})
    except ValidationError as error:
        raise _wrong(error, model, where) from None


def _texts_of(value: Any) -> set[str]:
    """Return the texts of a secret: it may be an object, or the text of one, as forms have it."""
    texts = {value} if isinstance(value, str) else set()
    with suppress(ValueError):  # no object is said to be so by the check of the extra
        value = json_object(value)
    return texts | {text for text in value.values() if isinstance(text, str)} if isinstance(value, dict) else texts


def _wrong(error: ValidationError, model: type[Extra], where: str) -> SettingsError:
    """Return the first problem with an extra."""
    problem: Mapping[str, Any] = error.errors(include_url=False)[0]
    name = str(problem["loc"][0])
    place = f"{where}, extra"
    match problem["type"]:
        case "extra_forbidden" if len(problem["loc"]) == 1:
            return SettingsError("no such key", where=place, received=name, allowed=list(model.model_fields))
        case "literal_error":
            told = {"problem": "no such value", "allowed": problem["ctx"]["expected"]}
        case _:
            told = {"problem": problem["msg"], "allowed": None}
    received = None if name in model.secrets or isinstance(problem["input"], dict | list) else problem["input"]
    return SettingsError(where=f"{place}, {'.'.join(map(str, problem['loc']))}", received=received, **told)
