from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import TenantNotFoundError
from dbgear_airflow_provider.core.templating import TenantTemplateEngine
from dbgear_airflow_provider.core.tenants import TenantInfo

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)


class Registry:
    """Two tenants' worth of a registry."""

    def __init__(self, *tenants: TenantInfo, config: dict[str, Any] | None = None) -> None:
        self.tenants = {tenant.tenant_id: tenant for tenant in tenants}
        self.config = config or {}

    async def get_tenant(self, tenant_id: str) -> TenantInfo:
        try:
            return self.tenants[tenant_id]
        except KeyError:
            raise TenantNotFoundError(f"no tenant {tenant_id}") from None

    async def get_tenant_config(self, tenant_id: str) -> dict[str, Any]:
        return self.config


@pytest.fixture(scope="session")
def make_tenant() -> Callable[..., TenantInfo]:
    def make(**fields: Any) -> TenantInfo:
        given = {
            "tenant_id": "T001",
            "customer_name": "Acme",
            "customer_code": "acme",
            "region": "asia",
            "tier": "premium",
            "status": "active",
            "created_at": EPOCH,
            "updated_at": EPOCH,
            "isolation_strategy": "database",
        }
        return TenantInfo(**(given | fields))

    return make


@pytest.fixture(scope="session")
def tenant(make_tenant: Callable[..., TenantInfo]) -> TenantInfo:
    return make_tenant()


@pytest.fixture(scope="session")
def registry() -> type[Registry]:
    return Registry


@pytest.fixture(scope="session")
def make_engine(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TenantTemplateEngine]:
    """An engine over templates given as {name: source}."""

    def make(templates: dict[str, str], cache_enabled: bool = True) -> TenantTemplateEngine:
        folder = tmp_path_factory.mktemp("templates")
        for name, source in templates.items():
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(source, encoding="utf-8")
        return TenantTemplateEngine(folder, Registry(), cache_enabled)

    return make


@pytest.fixture(scope="session")
def render(make_engine: Callable[..., TenantTemplateEngine], tenant: TenantInfo) -> Callable[..., Any]:
    """Render one source, with variables in `config`; further templates by keyword `files`."""

    def render(source: str, files: dict[str, str] | None = None, **config: Any) -> Any:
        return make_engine({"t.j2": source, **(files or {})}).render_schema(tenant, config, "main", "t.j2")

    return render
