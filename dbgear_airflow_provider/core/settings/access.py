"""Who may use a tenant's objects: the section `access`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from .section import NonEmpty, Section

SinkKind = Literal["file", "airflow", "vault", "python"]

# The keys that each kind of sink needs, and those it may have besides.
_NEEDED: dict[SinkKind, str] = {"file": "path", "airflow": "connection_id", "vault": "connection_id", "python": "class"}
_OPTIONAL: dict[SinkKind, tuple[str, ...]] = {"file": (), "airflow": (), "vault": (), "python": ("options",)}


class SinkSettings(Section):
    """Where passwords of tenants' logins are handed over.

    path: a folder, for `file`; absolute once loaded. connection_id: of Airflow's own API, for `airflow`, or of a
    Vault, for `vault`. class: `module:Class` of a `CredentialSink`, for `python`; options: its keyword arguments.
    """

    type: SinkKind
    path: Path | None = None
    connection_id: NonEmpty | None = None
    class_: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = Field(default=None, alias="class")
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits_its_type(self) -> SinkSettings:
        given = {type(self).model_fields[name].alias or name for name in self.model_fields_set} - {"type"}
        needed = _NEEDED[self.type]
        if needed not in given:
            told = {"kind": self.type, "field": (needed,), "allowed": [needed, *_OPTIONAL[self.type]]}
            raise PydanticCustomError("sink", "a sink of type {kind} needs it", told)
        if useless := sorted(given - {needed, *_OPTIONAL[self.type]}):
            told = {"kind": self.type, "field": (useless[0],), "allowed": [needed, *_OPTIONAL[self.type]]}
            raise PydanticCustomError("sink", "of no use to a sink of type {kind}", told)
        return self


class AccessSettings(Section):
    """Roles of tenants. roles: whether each has an owner role and a login role; sink: for the login's password."""

    roles: bool = False
    sink: SinkSettings | None = None

    @model_validator(mode="after")
    def _hands_passwords_over(self) -> AccessSettings:
        if self.roles and self.sink is None:
            told = {"field": ("sink",), "allowed": "{type: file, path: ...}, or another type"}
            raise PydanticCustomError("sink", "roles need it: a password has to go somewhere", told)
        return self
