"""Settings of single tenants, copied from those sources of a sync that have them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from ...errors import RegistryRecordError, TenantNotFoundError
from ...registries import TenantRegistryProvider
from .changes import Difference, differences
from .merge import named


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigChange:
    """The settings of one tenant that are to be replaced.

    after: as they will be. fields: {key path: (old, new)} of what differs, such as `features`; None is a missing key.
    """

    tenant_id: str
    after: Mapping[str, Any]
    fields: Mapping[str, Difference]


async def compare_configs(
    registry: TenantRegistryProvider,
    sources: Mapping[str, TenantRegistryProvider],
    tenant_ids: Collection[str],
    added: Collection[str],
) -> tuple[list[ConfigChange], list[RegistryRecordError]]:
    """Return the settings to be written, ordered by tenant_id, and those of the sources that are no settings.

    sources: those that have settings, the first one before the others; a tenant for which none has any keeps its own.
    tenant_ids: of the tenants to compare; added: of those that the registry does not have yet.
    """
    changes, rejected = [], []
    for tenant_id in sorted(tenant_ids):
        try:
            after = await _first(sources, tenant_id)
        except RegistryRecordError as error:
            rejected.append(error)
            continue
        if after:
            before = {} if tenant_id in added else await _config(registry, tenant_id)
            if fields := dict(differences("config", before, after)):
                changes.append(ConfigChange(tenant_id=tenant_id, after=after, fields=fields))
    return changes, rejected


async def _first(sources: Mapping[str, TenantRegistryProvider], tenant_id: str) -> dict[str, Any]:
    for name, source in sources.items():
        try:
            if config := await _config(source, tenant_id):
                return _as_json(config, f"settings of tenant {tenant_id}")
        except RegistryRecordError as error:
            raise named(name, error) from None
    return {}


def _as_json(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return settings as a registry keeps them: a YAML file may hold dates, which JSON has as texts."""
    try:
        text = json.dumps(config, allow_nan=False, default=_as_text)
    except (TypeError, ValueError) as error:
        raise RegistryRecordError(f"no JSON: {error}", where=where) from None
    kept: dict[str, Any] = json.loads(text)
    return kept


def _as_text(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__}")


async def _config(registry: TenantRegistryProvider, tenant_id: str) -> dict[str, Any]:
    try:
        return await registry.get_tenant_config(tenant_id)
    except TenantNotFoundError:
        return {}
