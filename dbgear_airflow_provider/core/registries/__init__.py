"""Tenant registries: the sources from which the list of tenants is read.

The providers are imported on first use: httpx, SQLAlchemy and YAML take time that a DAG file need not wait for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import Filters, TenantRegistryProvider, TenantRegistryWriter
from .records import Record

if TYPE_CHECKING:
    from .api import APITenantProvider
    from .cache import RegistryCache
    from .database import DatabaseTenantProvider
    from .factory import create_cache, create_registry
    from .files import CSVTenantProvider, DBGearTenantProvider, ExcelTenantProvider, FileTenantProvider
    from .streamed import StreamedTenantProvider

_HOMES = {
    "APITenantProvider": "api",
    "CSVTenantProvider": "files",
    "DBGearTenantProvider": "files",
    "DatabaseTenantProvider": "database",
    "ExcelTenantProvider": "files",
    "FileTenantProvider": "files",
    "RegistryCache": "cache",
    "StreamedTenantProvider": "streamed",
    "create_cache": "factory",
    "create_registry": "factory",
}

__all__ = [
    "APITenantProvider",
    "CSVTenantProvider",
    "DBGearTenantProvider",
    "DatabaseTenantProvider",
    "ExcelTenantProvider",
    "FileTenantProvider",
    "Filters",
    "Record",
    "RegistryCache",
    "StreamedTenantProvider",
    "TenantRegistryProvider",
    "TenantRegistryWriter",
    "create_cache",
    "create_registry",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
