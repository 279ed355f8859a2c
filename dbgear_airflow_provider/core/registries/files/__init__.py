"""Tenants from files: CSV, Excel, and DBGear's own list."""

from .csv import CSVTenantProvider
from .dbgear import DBGearTenantProvider
from .excel import ExcelTenantProvider
from .provider import FileTenantProvider

__all__ = ["CSVTenantProvider", "DBGearTenantProvider", "ExcelTenantProvider", "FileTenantProvider"]
