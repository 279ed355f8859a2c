"""Settings of single tenants, in one YAML file each; and YAML as registries read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiofiles
import aiofiles.ospath
import yaml
from yaml.constructor import SafeConstructor

from ...errors import RegistryRecordError, SourceUnavailableError
from ...tenants.fields import excerpt

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_IN_A_FILE_NAME = re.compile(r"[/\\\0]")

# Anchors that hold anchors make a file of gigabytes out of a few lines.
_MAX_REPEATED = 20
_ALWAYS_ALLOWED_NODES = 100_000


async def read_tenant_config(config_dir: Path, tenant_id: str) -> dict[str, Any]:
    """Return what `<tenant_id>.yaml`, or else `<tenant_id>.yml`, in a folder holds; {} without such a file.

    Raises RegistryRecordError where the file is no YAML mapping or the tenant_id would lead out of the folder,
    and SourceUnavailableError where the file or the folder cannot be read.
    """
    if _NOT_IN_A_FILE_NAME.search(tenant_id):
        raise RegistryRecordError(
            "tenant_id is no file name", where=str(config_dir), received=excerpt(tenant_id), allowed="no / or \\"
        )
    for suffix in (".yaml", ".yml"):
        path = config_dir / f"{tenant_id}{suffix}"
        try:
            async with aiofiles.open(path, "rb") as file:
                text = await file.read()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SourceUnavailableError(f"{path}: {error.strerror}") from error
        return _mapping(text, str(path))
    if not await aiofiles.ospath.isdir(config_dir):
        raise SourceUnavailableError(f"{config_dir}: no such folder")
    return {}


def _mapping(text: bytes, source: str) -> dict[str, Any]:
    node = yaml_node(text, source)
    with yaml_errors(source):
        config = None if node is None else SafeConstructor().construct_document(node)
    if config is None:
        return {}
    if node is None or not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise RegistryRecordError(
            "no mapping of settings", where=at(node, source), received=excerpt(config), allowed="name: value"
        )
    return config


def yaml_node(text: bytes, source: str) -> yaml.Node | None:
    """Return the root of a YAML text, None where it is empty. Raises RegistryRecordError."""
    with yaml_errors(source):
        node: yaml.Node | None = _Loader(text).get_single_node()
        sizes: dict[int, int] = {}
        if node and _size(node, sizes) > _ALWAYS_ALLOWED_NODES + _MAX_REPEATED * len(sizes):
            raise ValueError("anchors stand for too much")
        return node


def at(node: yaml.Node | None, source: str) -> str:
    """Return where a node is, as a person would look it up."""
    return f"{source}, line {node.start_mark.line + 1}" if node else source


@contextmanager
def yaml_errors(source: str) -> Iterator[None]:
    """Raise errors of YAML as RegistryRecordError."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        raise RegistryRecordError(f"no YAML: {error.problem}", where=where) from None
    except RecursionError:
        raise RegistryRecordError("no YAML: nested too deeply", where=source) from None
    except (yaml.YAMLError, ValueError) as error:  # an encoding, or a date as 2026-02-30
        raise RegistryRecordError(f"no YAML: {error}", where=source) from None


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many nodes a node has, those behind anchors as often as they are named."""
    if id(node) not in sizes:
        sizes[id(node)] = 1  # an anchor that holds itself is left to the constructor
        parts: list[Any] = [] if isinstance(node, yaml.ScalarNode) else node.value
        inner = (one for part in parts for one in (part if isinstance(part, tuple) else (part,)))
        sizes[id(node)] += sum(_size(one, sizes) for one in inner)
    return sizes[id(node)]
