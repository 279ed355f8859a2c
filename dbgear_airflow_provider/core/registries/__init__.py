"""Tenant registries: the sources from which the list of tenants is read."""

from .base import Filters, TenantRegistryProvider
from .csv import CSVTenantProvider

__all__ = ["CSVTenantProvider", "Filters", "TenantRegistryProvider"]
