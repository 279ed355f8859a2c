"""Tenants: what a tenant is, how it is named and how tenants are selected."""

from .info import IsolationStrategy, Status, TenantInfo, Tier
from .query import TenantQuery

__all__ = ["IsolationStrategy", "Status", "TenantInfo", "TenantQuery", "Tier"]
