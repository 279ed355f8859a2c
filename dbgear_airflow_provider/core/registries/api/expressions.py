"""JMESPath expressions of the project file, compiled once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError
from jmespath.functions import Functions

from ...errors import RegistryRecordError, SettingsError
from ...tenants.fields import excerpt

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Expression:
    """A JMESPath expression. where: the key of the settings that holds it, such as "config.api.items".

    Raises SettingsError where it is none, or calls a function that does not exist.
    """

    def __init__(self, text: str, *, where: str) -> None:
        self.text = text
        # Most expressions are the name of a key: there the interpreter would take most of the time of a large list.
        self._is_name = _NAME.fullmatch(text) is not None
        try:
            self._compiled = jmespath.compile(text)
            # JMESPath finds wrong calls only when it makes them. That a function refuses nothing's type is no mistake.
            self._compiled.search({})
        except JMESPathTypeError:
            pass
        except JMESPathError as error:
            # The error's later lines draw an arrow below the expression.
            reason = str(error).splitlines()[0].removesuffix(", for expression:")
            raise SettingsError(f"no JMESPath expression: {reason}", where=where, received=text) from None
        for name in _functions(self._compiled.parsed):
            if name not in Functions.FUNCTION_TABLE:
                allowed = sorted(Functions.FUNCTION_TABLE)
                raise SettingsError(f"JMESPath has no function {name}", where=where, received=text, allowed=allowed)

    def of(self, value: Any, *, where: str) -> Any:
        """Return what the expression finds; None: nothing. Raises RegistryRecordError where it cannot be evaluated."""
        if self._is_name:
            return value.get(self.text) if isinstance(value, dict) else None
        try:
            return self._compiled.search(value)
        except JMESPathError as error:
            raise RegistryRecordError(f"{self.text} cannot be evaluated: {excerpt(str(error))}", where=where) from None


def _functions(node: Any) -> Iterator[str]:
    """Yield the names of the functions that a parsed expression calls."""
    if isinstance(node, list):
        for each in node:
            yield from _functions(each)
    elif isinstance(node, dict):
        if node.get("type") == "function_expression":
            yield node["value"]
        yield from _functions(node.get("children", []))
