"""Registries and caches as a project's settings describe them, without Airflow."""

from __future__ import annotations

from typing import Any

from ..errors import SettingsError
from ..settings.registries import (
    ApiRegistrySettings,
    CacheSettings,
    CsvRegistrySettings,
    DatabaseRegistrySettings,
    DbgearRegistrySettings,
    ExcelRegistrySettings,
    RegistrySettings,
)
from .base import TenantRegistryProvider
from .cache import RegistryCache

# The providers are imported where they are made: httpx, SQLAlchemy and openpyxl take their time.
# ruff: noqa: PLC0415


def create_registry(
    settings: RegistrySettings, cache: RegistryCache | None = None, *, where: str = "multi_tenant.tenant_registry"
) -> TenantRegistryProvider:
    """Return the registry that the section `config` describes; nothing is read yet. The caller closes it.

    cache: where the answers of databases and APIs are kept; None: in the memory of the provider, for its cache_ttl.
    where: the settings' name in errors. connection_id is not looked at: connections are Airflow's.
    Raises SettingsError that names the missing key.
    """
    section: Any = getattr(settings.config, settings.provider)
    where = f"{where}.config.{settings.provider}"
    if section is None:
        raise SettingsError(
            "no such section", where=where, received=f"connection_id {settings.connection_id}", allowed=_NO_CONNECTIONS
        )
    match section:
        case CsvRegistrySettings() | ExcelRegistrySettings() | DbgearRegistrySettings():
            return create_file_registry(section)
        case DatabaseRegistrySettings():
            return _database(section, cache, where)
        case ApiRegistrySettings():
            return _api(section, cache, where)
    raise NotImplementedError(settings.provider)


def create_file_registry(
    section: CsvRegistrySettings | ExcelRegistrySettings | DbgearRegistrySettings,
) -> TenantRegistryProvider:
    """Return the registry of a file; nothing is read yet. path may be a `StoredFile` as well."""
    match section:
        case CsvRegistrySettings():
            from .files.csv import CSVTenantProvider

            return CSVTenantProvider(section.path, section.config_dir, section.watch_changes, mapping=section.mapping)
        case ExcelRegistrySettings():
            from .files.excel import ExcelTenantProvider

            return ExcelTenantProvider(
                section.path,
                section.sheet,
                section.header_row,
                section.config_dir,
                section.watch_changes,
                mapping=section.mapping,
            )
        case DbgearRegistrySettings():
            from .files.dbgear import DBGearTenantProvider

            return DBGearTenantProvider(section.path, mapping=section.mapping)


def create_cache(settings: CacheSettings, ttl_s: float) -> RegistryCache | None:
    """Return a cache as the section `cache` describes it, None where answers are not to be kept. The caller closes it.

    ttl_s: seconds that answers are kept; 0 keeps none.
    Raises SettingsError where Redis is an Airflow connection, and as RegistryCache does.
    """
    if ttl_s <= 0:
        return None
    # A variable that is empty, as ${REDIS_URL:-}, is none.
    url = settings.redis_url and settings.redis_url.get_secret_value()
    if not url and settings.redis_connection_id is not None:
        raise SettingsError(
            "no key redis_url",
            where="multi_tenant.cache",
            received=f"redis_connection_id {settings.redis_connection_id}",
            allowed=_NO_CONNECTIONS,
        )
    return RegistryCache(ttl_s, max_entries=settings.max_entries, redis_url=url or None)


_NO_CONNECTIONS = "without Airflow there are no connections"


def _database(section: DatabaseRegistrySettings, cache: RegistryCache | None, where: str) -> TenantRegistryProvider:
    from .database.provider import DatabaseTenantProvider

    if section.url is None:
        raise SettingsError("no key url", where=where, allowed=_NO_CONNECTIONS)
    return DatabaseTenantProvider(
        section.url.get_secret_value(),
        section.tenant_table,
        section.config_table,
        section.cache_ttl,
        mapping=section.mapping,
        create_tables=section.create_tables,
        cache=cache,
    )


def _api(section: ApiRegistrySettings, cache: RegistryCache | None, where: str) -> TenantRegistryProvider:
    from .api.provider import APITenantProvider

    if section.base_url is None:
        raise SettingsError("no key base_url", where=where, allowed=_NO_CONNECTIONS)
    return APITenantProvider(
        section.base_url,
        section.auth_token.get_secret_value() if section.auth_token else None,
        section.timeout,
        section.retry_attempts,
        options=section,
        cache=cache,
    )
