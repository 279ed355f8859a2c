"""`$name` and `${MACRO}` in the texts of rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import DataError, TemplateError
from ..templating import MacroProcessor
from ..templating.macros import MACRO
from ..tenants import TenantInfo

_VARIABLE = r"\$(?P<literal>\$?)(?P<variable>[A-Za-z_][A-Za-z0-9_]*)"
_EITHER = re.compile(f"{MACRO.pattern}|{_VARIABLE}")
_ALONE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


class Bound:
    """A value that came from a variable: it is never searched for variables, functions or JSON."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Variables:
    """What `$name` stands for: a tenant's fields, else `instance`, else its config's keys, else the name macros.

    A text that is one variable alone takes the value with its type, within a longer text it is written out.
    `$$name` stands for `$name`.
    """

    def __init__(self, tenant: TenantInfo, instance: str, config: Mapping[str, Any], macros: Mapping[str, str]) -> None:
        self.values = {**macros, **config, "config": config, "instance": instance, **tenant.model_dump()}
        self._macros = MacroProcessor.for_tenant(tenant, instance, macros)

    def fill(self, value: Any, where: str) -> Any:
        """Return a value with its variables filled; a text that had some is `Bound`. Raises DataError."""
        if isinstance(value, dict):
            return {key: self._inner(item, where) for key, item in value.items()}
        if isinstance(value, list):
            return [self._inner(item, where) for item in value]
        if not isinstance(value, str) or "$" not in value:
            return value
        if alone := _ALONE.fullmatch(value):
            return Bound(self._value(alone[1], where))

        def replace(match: re.Match[str]) -> str:
            if match["variable"] is None:
                return self._macros.expand(match)
            if match["literal"]:
                return match[0][1:]
            found = self._value(match["variable"], where)
            return "" if found is None else str(found)

        try:
            filled = _EITHER.sub(replace, value)
        except TemplateError as error:
            raise DataError(error.details["problem"], where=where, allowed=error.details["allowed"]) from None
        return Bound(filled) if filled != value else value

    def _inner(self, value: Any, where: str) -> Any:
        filled = self.fill(value, where)
        return filled.value if isinstance(filled, Bound) else filled

    def _value(self, name: str, where: str) -> Any:
        if name not in self.values:
            allowed = [*sorted(self.values), "$$ for $"]
            raise DataError("there is no such variable", where=where, received=f"${name}", allowed=allowed)
        return self.values[name]
