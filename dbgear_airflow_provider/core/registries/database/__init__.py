"""Tenants from a table of PostgreSQL, MySQL, MariaDB or SQLite."""

from .provider import DEFAULT_CONFIG_TABLE, DatabaseTenantProvider

__all__ = ["DEFAULT_CONFIG_TABLE", "DatabaseTenantProvider"]
