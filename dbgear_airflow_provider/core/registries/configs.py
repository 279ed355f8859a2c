"""Settings of single tenants, in one YAML file each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiofiles
import aiofiles.ospath
import yaml

from ..errors import RegistryRecordError, SourceUnavailableError
from ..tenants.fields import excerpt

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_IN_A_FILE_NAME = re.compile(r"[/\\\0]")


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
        return _mapping(text, path)
    if not await aiofiles.ospath.isdir(config_dir):
        raise SourceUnavailableError(f"{config_dir}: no such folder")
    return {}


def _mapping(text: bytes, path: Path) -> dict[str, Any]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        config = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise RegistryRecordError(f"no YAML: {error.problem}", where=where) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an encoding, or a date as 2026-02-30
        raise RegistryRecordError(f"no YAML: {error}", where=str(path)) from None
    if config is None:
        return {}
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise RegistryRecordError(
            "no mapping of settings",
            where=f"{path}, line {node.start_mark.line + 1}",
            received=excerpt(config),
            allowed="name: value",
        )
    return config
