"""YAML text -> tree -> document: parsing, and putting other texts into a copy."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import yaml
from typing_extensions import override

from ..errors import TemplateError
from .binding import OPEN, TOKEN

try:
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

_MERGE = "tag:yaml.org,2002:merge"
_VALUE = "tag:dbgear,2025:value"
_LINES_AROUND = 2
_MAX_DEPTH = 100
_CONTAINERS = (dict, list, tuple)

# A token as it is, and as Python's own messages quote it.
_SHOWN = re.compile(rf"{TOKEN.pattern}|\\ue000([0-9]+)\\ue001")

# What loading YAML raises: PyYAML lets its scalars' own errors through, such as ValueError for 2025-99-99.
LOAD_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Slot:
    """A plain scalar that is one token: it takes the value with its type."""

    number: int


class StrictLoader(_SafeLoader):
    """Safe YAML that refuses a key that is there twice, and nesting that is too deep."""

    _depth = 0

    @override
    def descend_resolver(self, current_node: yaml.Node | None, current_index: Any) -> None:
        # The composer calls this on its way down, and in C it would go down until the process dies.
        self._depth += 1
        if current_node is not None and self._depth > _MAX_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, f"more than {_MAX_DEPTH} levels of nesting", current_node.start_mark
            )

    @override
    def ascend_resolver(self) -> None:
        self._depth -= 1

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        # Before merge keys are flattened: a key may override a merged one.
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.comparable(key_node)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key_node.value!r} is there twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)

    def comparable(self, key_node: yaml.Node) -> Any:
        """Return what two keys have in common that are the same."""
        return self.construct_object(key_node, deep=True)


class _Loader(StrictLoader):
    """YAML that makes `Slot`s."""


def _slot(loader: _Loader, node: yaml.ScalarNode) -> Slot:
    match = TOKEN.fullmatch(node.value)
    if not match:
        raise yaml.constructor.ConstructorError(None, None, "this tag is the loader's own", node.start_mark)
    return Slot(int(match["value"]))


_Loader.add_implicit_resolver(_VALUE, re.compile(f"{TOKEN.pattern}$"), [OPEN])
_Loader.add_constructor(_VALUE, _slot)
for _tag in ("set", "omap", "pairs", "binary"):  # a document is made of mappings, lists and scalars
    del _Loader.yaml_constructors[f"tag:yaml.org,2002:{_tag}"]


def parse(text: str) -> Any:
    """Return the tree of one YAML document. Raises one of LOAD_ERRORS."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def unparsable(error: Exception, text: str, template: str) -> TemplateError:
    """Return the error that shows where a rendered text is no YAML. Values are shown by their numbers only."""
    mark = getattr(error, "problem_mark", None)
    problem = ", ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", None)))) or str(error)
    problem = f"renders no valid YAML: {problem}"
    where = template
    if mark is not None:
        where += f", rendered line {mark.line + 1}"
        lines = text.split("\n")
        first = max(mark.line - _LINES_AROUND, 0)
        for number, line in enumerate(lines[first : mark.line + _LINES_AROUND + 1], first):
            problem += f"\n{'>' if number == mark.line else ' '} {number + 1:4} | {line}"
    return TemplateError(_SHOWN.sub(lambda match: f"<value {match[1] or match[2]}>", problem), where=where)


def rebuild(tree: Any, leaf: Callable[[Any], Any], where: str) -> Any:
    """Return a copy of the tree with each key and scalar replaced by what `leaf` makes of it.

    Raises TemplateError where two keys become one.
    """
    if isinstance(tree, dict):
        copy: dict[Any, Any] = {}
        for key, value in tree.items():
            new_key = leaf(key)
            if type(new_key) is not str and not isinstance(new_key, Hashable):  # `isinstance` alone is slow
                raise TemplateError("a mapping or list stands where a key is expected", where=where)
            if new_key in copy:
                raise TemplateError(f"two keys of one mapping become {new_key!r}", where=where)
            copy[new_key] = rebuild(value, leaf, where) if type(value) in _CONTAINERS else leaf(value)
        return copy
    if isinstance(tree, (list, tuple)):
        return [rebuild(item, leaf, where) if type(item) in _CONTAINERS else leaf(item) for item in tree]
    return leaf(tree)
