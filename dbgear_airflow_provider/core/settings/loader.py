"""Reading a project file.

`${NAME}` in a value is replaced by the environment variable NAME, `${NAME:-default}` by the default where it is
not set, `$${` stands for `${`. Values are put into the parsed YAML, never into its text: a password with a colon
or a quote stays a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import DbgearError, SettingsError
from .project import ProjectSettings

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<wrong>\$\{)")
_VARIABLE_FORMS = ("${NAME}", "${NAME:-default}", "$${ for ${")

S = TypeVar("S", bound=BaseModel)
Keys = tuple[str, ...]  # where a value stands: ("multi_tenant", "targets", "main")


def load_project(path: str | Path, environ: Mapping[str, str] = os.environ) -> ProjectSettings:
    """Read a project file. Relative paths in it are relative to its folder.

    Raises SettingsError that names file, line and field.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
    except RecursionError:
        raise SettingsError("nested too deeply", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot be read: {error}", where=str(path)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise SettingsError(f"no valid YAML: {getattr(error, 'problem', error)}", where=place) from error
    if not isinstance(tree, dict):
        raise SettingsError("not a mapping", where=str(path), allowed="project_name, multi_tenant, ...")

    try:
        lines = dict(_lines(yaml.compose(text), path))
        where = partial(_where, path, lines)
        ours = {key: value for key, value in tree.items() if key in ProjectSettings.model_fields}
        project = ProjectSettings.model_validate(_expand(ours, (), environ, where))
    except RecursionError:
        raise SettingsError("an anchor holds itself, or it is nested too deeply", where=str(path)) from None
    except ValidationError as error:
        raise _settings_error(error, where, tree) from None
    absolute: ProjectSettings = _absolute(project, path.resolve().parent)
    return absolute


def check_section(section: type[S], value: Any, where: str) -> S:
    """Return a section that is in no project file: a parameter of a run, a tenant's own settings.

    where: what errors call the place. Raises SettingsError that names the field in it.
    """
    try:
        return section.model_validate(value)
    except ValidationError as error:
        raise _settings_error(error, lambda field: ".".join((where, *field)), value, section) from None


def _lines(node: yaml.Node | None, path: Path, field: Keys = ()) -> Iterator[tuple[Keys, int]]:
    """Yield (field, line) for every node of the file, lines counted from 1. Raises where a key is there twice."""
    if node is None:
        return
    yield field, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            inner, line = (*field, str(key.value)), key.start_mark.line + 1
            if inner[-1] in seen:
                place = f"{path}, line {line}, {'.'.join(inner)}"
                raise SettingsError("the key is there twice", where=place, allowed=f"line {seen[inner[-1]]} has it")
            seen[inner[-1]] = line
            if not isinstance(value, yaml.ScalarNode):
                yield from _lines(value, path, inner)
            yield inner, line  # after its value, which may begin on a later line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, path, (*field, str(index)))


def _where(path: Path, lines: Mapping[Keys, int], field: Keys) -> str:
    known = field
    while known not in lines:
        known = known[:-1]
    return f"{path}, line {lines[known]}, {'.'.join(field) or 'top'}"


def _expand(node: Any, field: Keys, environ: Mapping[str, str], where: Callable[[Keys], str]) -> Any:
    if isinstance(node, dict):
        return {key: _expand(value, (*field, str(key)), environ, where) for key, value in node.items()}
    if isinstance(node, list):
        return [_expand(value, (*field, str(index)), environ, where) for index, value in enumerate(node)]
    if not isinstance(node, str):
        return node

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if match["wrong"]:
            raise SettingsError("not a variable", where=where(field), received=node, allowed=_VARIABLE_FORMS)
        if name is None:
            return "${"
        value = environ.get(name, match["default"])
        if value is None:
            raise SettingsError(
                f"environment variable {name} is not set", where=where(field), allowed=f"${{{name}:-default}}"
            )
        return value

    return _VARIABLE.sub(replace, node)


def _settings_error(
    error: ValidationError, where: Callable[[Keys], str], tree: Any, root: type[BaseModel] = ProjectSettings
) -> SettingsError:
    """Return the first problem as an error, with the others behind it.

    Values are shown as the file has them, before expansion: what the environment holds may be a secret.
    """
    first, *others = (
        _problem(item, where, tree, root) for item in error.errors(include_url=False, include_input=False)
    )
    for other in others:
        DbgearError.__init__(first, f"{first.message}; {other.message}", **first.details)
    return first


def _problem(item: Any, where: Callable[[Keys], str], tree: Any, root: type[BaseModel]) -> SettingsError:
    context = item.get("ctx", {})
    is_key = item["loc"][-1:] == ("[key]",)
    field = (*(str(part) for part in item["loc"] if part != "[key]"), *context.get("field", ()))
    problem, allowed = item["msg"], context.get("allowed", context.get("expected"))
    if item["type"] == "extra_forbidden":
        problem, allowed = "no such key", _keys(field[:-1], root)
    elif item["type"] == "literal_error":
        problem = "no such value"
    received = field[-1] if is_key else _received(tree, field)
    return SettingsError(problem, where=where(field), received=received, allowed=allowed)


def _keys(field: Keys, section: type[BaseModel]) -> list[str]:
    """Return the keys that the section at `field` may have."""
    for part in field:
        if part in section.model_fields:  # else the name of a target or a place in a list: no other section
            section = _section(section.model_fields[part].annotation) or section
    return [field.alias or name for name, field in section.model_fields.items()]


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section, get_args(annotation))), None)


def _received(tree: Any, field: tuple[str, ...]) -> str | None:
    for part in field:
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return None if isinstance(tree, dict | list) else str(tree)


def _absolute(section: Any, base: Path) -> Any:
    """Return a section with the relative paths in it, at any depth, made absolute."""
    if isinstance(section, Path):
        return base / section
    if isinstance(section, BaseModel):
        return section.model_copy(update={name: _absolute(value, base) for name, value in section})
    if isinstance(section, dict):
        return {name: _absolute(value, base) for name, value in section.items()}
    if isinstance(section, list):
        return [_absolute(value, base) for value in section]
    return section
