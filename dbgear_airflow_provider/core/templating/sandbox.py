"""The Jinja environment of templates: sandboxed, strict about names, and writing tokens for values."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, StrictUndefined, TemplateSyntaxError
from jinja2.compiler import CodeGenerator, Frame
from jinja2.nodes import Node
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel

from . import binding
from .filters import FILTERS

_TEMPLATES_CACHED = 400

_TEXTS = (binding.Fragment, binding.JsonText)
_RESERVED = re.compile(f"[{binding.OPEN}{binding.CLOSE}]")


class _CodeGenerator(CodeGenerator):
    """Finalizes what Jinja writes as it is: the results of `call` and `filter` blocks and of recursive loops."""

    def start_write(self, frame: Frame, node: Node | None = None) -> None:
        super().start_write(frame, node)
        self.write("environment.finalize(context, ")

    def end_write(self, frame: Frame) -> None:
        self.write(")")
        super().end_write(frame)

    def simple_write(self, s: str, frame: Frame, node: Node | None = None) -> None:
        # Of included templates and blocks: their output is finalized already.
        super().start_write(frame, node)
        self.write(s)
        super().end_write(frame)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """An environment that binds values (see `binding`)."""

    code_generator_class = _CodeGenerator
    concat = staticmethod(binding.concat)

    def __init__(self, loader: BaseLoader, cache_enabled: bool) -> None:
        super().__init__(
            loader=loader,
            undefined=StrictUndefined,
            finalize=binding.finalize,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,  # what follows an include starts a line of its own
            # Fragments do for YAML what Markup does for HTML. Markup itself is a value like any string.
            autoescape=False,
            cache_size=_TEMPLATES_CACHED if cache_enabled else 0,
            auto_reload=True,
        )
        self.filters.update(FILTERS)
        # One tenant, one document: nothing in it may come by chance.
        del self.globals["lipsum"], self.filters["random"]

    def render(self, template: str, context: dict[str, Any]) -> tuple[str, binding.Binding]:
        """Return the rendered text, with tokens for values, and the values."""
        values = binding.Binding()
        token = binding.current.set(values)
        try:
            return "".join(self.get_template(template).generate(context)), values
        finally:
            binding.current.reset(token)

    def preprocess(self, source: str, name: str | None = None, filename: str | None = None) -> str:
        """Refuse a source that holds the characters of tokens."""
        if reserved := _RESERVED.search(source):
            line = source.count("\n", 0, reserved.start()) + 1
            raise TemplateSyntaxError("U+E000 and U+E001 are reserved", line, name, filename)
        return super().preprocess(source, name, filename)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Allow of a model only its fields, as pydantic's methods read files; of a fragment what any string has."""
        if isinstance(obj, BaseModel):
            return attr in type(obj).model_fields
        if isinstance(obj, _TEXTS) and not hasattr(str, attr):
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Make `format` of a fragment a string's: what comes of it is a value, not text of the document."""
        text = getattr(value, "__self__", None)
        if isinstance(text, _TEXTS):
            value = getattr(str.__str__(text), value.__name__)
        return super().wrap_str_format(value)


def default_template_dir() -> Path:
    """Return the folder of the shipped templates: inside the package, or beside it in a checkout."""
    package = Path(__file__).parents[2]
    shipped = package / "templates"
    return shipped if shipped.is_dir() else package.parent / "templates"
