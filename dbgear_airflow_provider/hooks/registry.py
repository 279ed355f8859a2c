"""Airflow connections to tenant registries."""

from __future__ import annotations

import asyncio

from airflow.sdk import BaseHook

from ..core.errors import DbgearError, SettingsError
from ..core.registries import CSVTenantProvider, TenantRegistryProvider
from ..core.settings import RegistrySettings


class CSVRegistryHook(BaseHook):
    """A CSV file of tenants. The connection's extra has `path` and, optionally, `config_dir`."""

    conn_name_attr = "registry_conn_id"
    default_conn_name = "dbgear_registry"
    conn_type = "dbgear_csv"
    hook_name = "DBGear tenant registry (CSV)"

    def __init__(self, registry_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.registry_conn_id = registry_conn_id

    async def get_provider(self) -> CSVTenantProvider:
        """Return the registry. Raises SettingsError where the connection does not say which file."""
        connection = await self.aget_connection(self.registry_conn_id)
        extra = connection.extra_dejson
        path = extra.get("path")
        if not path:
            raise SettingsError(
                "the extra has no path", where=f"connection {self.registry_conn_id}", allowed='{"path": "/a/file.csv"}'
            )
        return CSVTenantProvider(path, extra.get("config_dir") or None)

    def test_connection(self) -> tuple[bool, str]:
        """Read the file; tell how many tenants it has and which rows are bad."""
        try:
            return True, asyncio.run(self._test())
        except DbgearError as error:
            return False, error.message

    async def _test(self) -> str:
        provider = await self.get_provider()
        count = await provider.get_tenant_count()
        rejected = await provider.rejected_records()
        return "; ".join([f"{count} tenants, {len(rejected)} rejected rows", *(error.message for error in rejected)])


async def open_registry(settings: RegistrySettings) -> TenantRegistryProvider:
    """Return the registry that a project names: its Airflow connection, else its own section."""
    if settings.connection_id is not None:
        return await CSVRegistryHook(settings.connection_id).get_provider()
    csv = settings.config.csv
    if csv is None:
        raise SettingsError("no section config.csv", where="multi_tenant.tenant_registry")
    return CSVTenantProvider(str(csv.path), csv.config_dir and str(csv.config_dir), watch_changes=csv.watch_changes)
