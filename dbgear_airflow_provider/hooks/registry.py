"""Airflow connections to tenant registries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.errors import SettingsError
from ..core.settings import ApiRegistrySettings, DatabaseRegistrySettings, MultiTenantSettings, RegistrySettings
from ..core.settings.registries import ProviderKind
from .registry_api import APIRegistryHook
from .registry_database import DatabaseRegistryHook
from .registry_files import CSVRegistryHook, DbgearProjectRegistryHook, ExcelRegistryHook, stored_file
from .registry_hook import RegistryHook

if TYPE_CHECKING:
    from ..core.registries import RegistryCache, TenantRegistryProvider

__all__ = [
    "HOOKS",
    "APIRegistryHook",
    "CSVRegistryHook",
    "DatabaseRegistryHook",
    "DbgearProjectRegistryHook",
    "ExcelRegistryHook",
    "RegistryHook",
    "cache_ttl_s",
    "open_registry",
    "open_source",
]

# {kind of registry: its hook}
HOOKS: dict[ProviderKind, type[RegistryHook[Any]]] = {
    hook.provider: hook
    for hook in (CSVRegistryHook, ExcelRegistryHook, DatabaseRegistryHook, APIRegistryHook, DbgearProjectRegistryHook)
}


async def open_registry(
    settings: RegistrySettings, cache: RegistryCache | None = None, *, where: str = "multi_tenant.tenant_registry"
) -> TenantRegistryProvider:
    """Return the registry that a project names, by its Airflow connection or its own section.

    cache: of the caller, who closes it, as he does the registry. where: the settings' name in errors.
    Raises SettingsError, UnsupportedError, and AirflowNotFoundException where there is no such connection.
    """
    if settings.connection_id is not None:
        return await HOOKS[settings.provider](settings.connection_id).get_provider(settings, cache)
    from ..core.registries.factory import create_registry  # noqa: PLC0415 - DAG files need not wait for it

    return create_registry(await _with_credentials(settings, where), cache, where=where)


async def open_source(
    name: str, settings: MultiTenantSettings, cache: RegistryCache | None = None
) -> TenantRegistryProvider:
    """Return a source of the project. Raises SettingsError where there is none of that name, and as `open_registry`."""
    if name not in settings.sources:
        raise SettingsError(
            "no such source", where="multi_tenant.sources", received=name, allowed=list(settings.sources) or "none"
        )
    return await open_registry(settings.sources[name], cache, where=f"multi_tenant.sources.{name}")


def cache_ttl_s(settings: RegistrySettings) -> float:
    """Return how many seconds answers of a registry are kept; 0: they are not, as with files, which are read anew."""
    match settings.provider:
        case "database":
            return (settings.config.database or DatabaseRegistrySettings()).cache_ttl
        case "api":
            return (settings.config.api or ApiRegistrySettings()).cache_ttl
    return 0


async def _with_credentials(settings: RegistrySettings, where: str) -> RegistrySettings:
    """Return the settings with a file on object storage as one that Airflow's connections open."""
    section = getattr(settings.config, settings.provider)
    path = getattr(section, "path", None)
    if not isinstance(path, str):  # a Path is a file of this machine
        return settings
    file = await stored_file(path, f"{where}.config.{settings.provider}.path")
    config = settings.config.model_copy(update={settings.provider: section.model_copy(update={"path": file})})
    return settings.model_copy(update={"config": config})
