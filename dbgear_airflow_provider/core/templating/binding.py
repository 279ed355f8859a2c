"""Values are bound into YAML as parameters are bound into SQL.

A template never writes a customer's text. It writes a token, and the text takes the token's place once the YAML
is parsed (`engine`). So a value keeps its type and cannot add a key or leave its quotes, wherever the template
puts it. The rule that makes this hold: only a `Fragment` is text of the document, every other string is a value.

Tokens are numbered in the order of writing. The text is therefore the same for all tenants of one shape, and is
parsed once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import date, time
from decimal import Decimal
from typing import Any, Self
from uuid import UUID

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context

# Private-use characters are legal in YAML, mean nothing to it, and a template's source may not hold them.
OPEN, CLOSE = "\ue000", "\ue001"
TOKEN = re.compile(f"{OPEN}(?P<value>[0-9]+){CLOSE}")

_WORDS = {None: "null", True: "true", False: "false"}


class Binding:
    """The values of one rendering, in the order of their tokens."""

    def __init__(self) -> None:
        self.values: list[str] = []

    def token(self, value: str) -> str:
        """Return a new token that stands for the value."""
        self.values.append(value)
        return f"{OPEN}{len(self.values) - 1}{CLOSE}"

    def bind(self, text: str) -> str:
        """Return the text with the values in the places of their tokens."""
        return TOKEN.sub(lambda match: self.values[int(match["value"])], text)

    def write(self, value: object) -> str:
        """Return what stands for a value in the text of the document."""
        if isinstance(value, Fragment):
            return self._adopt(value)
        if isinstance(value, str):
            return self.token(value)
        if value is None or isinstance(value, (int, float, Decimal)):
            return _literal(value)
        if isinstance(value, (Mapping, list, tuple)):
            return self.token(JsonText.of(value))
        if isinstance(value, Undefined):
            return str(value)  # raises what tells the name, save for an `if` expression without `else`
        return self.token(_text(value))

    def _adopt(self, fragment: Fragment) -> str:
        if fragment.binding is self:
            return fragment.text
        # Jinja keeps an imported module, with what it captured, for later renderings.
        return TOKEN.sub(lambda match: self.token(fragment.binding.values[int(match["value"])]), fragment.text)


class Fragment(str):
    """Text that a template made: the output of a macro, a block or a capture.

    Written out, it is text of the document. In an expression (`~`, `==`, a filter) it is a string like any
    other, with its values in it, and what comes of the expression is a value.
    """

    __slots__ = ("binding", "text")
    binding: Binding
    text: str

    def __new__(cls, text: str, binding: Binding) -> Self:
        """Make a fragment of text that holds tokens of the binding."""
        self = super().__new__(cls, binding.bind(text))
        self.text = text
        self.binding = binding
        return self

    def map(self, change: Callable[[str], str]) -> Fragment:
        """Return the fragment with its text laid out otherwise."""
        return Fragment(change(self.text), self.binding)


class JsonText(str):
    """JSON that is text inside quotes or a longer text, and its `value` where it stands alone in plain YAML."""

    __slots__ = ("value",)
    value: Any

    @classmethod
    def of(cls, value: object, indent: int | None = None) -> Self:
        """Return the value as JSON. Raises TypeError or ValueError where JSON cannot hold it."""
        value = _plain(value)
        self = cls(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent))
        self.value = value
        return self


current: ContextVar[Binding] = ContextVar("binding")


@pass_context  # a function of the context is never folded into the compiled template
def finalize(context: Context, value: object) -> str:
    """Write a value into the rendering under way: Jinja's `finalize`."""
    return current.get().write(value)


def concat(parts: Iterable[str]) -> Fragment:
    """Join what a macro, a block or a capture has written: Jinja's `concat`."""
    return Fragment("".join(parts), current.get())


def _plain(value: object) -> Any:
    """Return the value in JSON's types, as a copy that nobody else holds."""
    match value:
        case str():
            return str.__str__(value)
        case None | bool() | int() | float():
            return value
        case Decimal():
            return float(value)
        case Mapping():
            return {_plain(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return _text(value)


def _text(value: object) -> str:
    match value:
        case date() | time():
            return value.isoformat()
        case UUID() | Undefined():
            return str(value)
    raise TypeError(f"a {type(value).__name__} cannot be written into a document")


def _literal(value: float | Decimal | None) -> str:
    """Return null, a boolean or a number as YAML 1.1 reads it: it knows neither `inf` nor `1e+16`."""
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, Decimal):
        return format(value, "f")
    text = float.__repr__(value)
    return text if "." in text else text.replace("e", ".0e")
