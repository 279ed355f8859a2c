"""The core: everything but Airflow, which it never imports.

The names of the multi-tenant design are re-exported here, on first use: importing the package itself is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .automation import OperationResult, OperationStatus, TenantAutomationEngine
    from .fleet import FleetStore
    from .registries import (
        APITenantProvider,
        CSVTenantProvider,
        DatabaseTenantProvider,
        DBGearTenantProvider,
        ExcelTenantProvider,
        TenantRegistryProvider,
    )
    from .settings import load_project
    from .templating import MacroProcessor, TenantTemplateEngine
    from .tenants import TenantInfo, TenantQuery

_HOMES = {
    "APITenantProvider": "registries",
    "CSVTenantProvider": "registries",
    "DBGearTenantProvider": "registries",
    "DatabaseTenantProvider": "registries",
    "ExcelTenantProvider": "registries",
    "FleetStore": "fleet",
    "MacroProcessor": "templating",
    "OperationResult": "automation",
    "OperationStatus": "automation",
    "TenantAutomationEngine": "automation",
    "TenantInfo": "tenants",
    "TenantQuery": "tenants",
    "TenantRegistryProvider": "registries",
    "TenantTemplateEngine": "templating",
    "load_project": "settings",
}

__all__ = [
    "APITenantProvider",
    "CSVTenantProvider",
    "DBGearTenantProvider",
    "DatabaseTenantProvider",
    "ExcelTenantProvider",
    "FleetStore",
    "MacroProcessor",
    "OperationResult",
    "OperationStatus",
    "TenantAutomationEngine",
    "TenantInfo",
    "TenantQuery",
    "TenantRegistryProvider",
    "TenantTemplateEngine",
    "load_project",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
