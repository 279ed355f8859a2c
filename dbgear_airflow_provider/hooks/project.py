"""The project file and all that it names, opened for one task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from airflow.sdk.configuration import conf, get_airflow_config

from ..core.automation import OperationResult, TenantAutomationEngine
from ..core.engines import Server
from ..core.fleet import FleetStore, Run
from ..core.registries import TenantRegistryProvider
from ..core.settings import MultiTenantSettings, load_project
from ..core.templating import TenantTemplateEngine
from .fleet import FleetStoreHook
from .registry import open_registry
from .target import TenantTargetHook


def project_settings(project_file: str | None = None) -> MultiTenantSettings:
    """Return the settings of a project file; None: the one that Airflow's `[dbgear] project_file` names.

    Raises SettingsError.
    """
    path = project_file or conf.get("dbgear", "project_file", fallback="")
    return load_project(path or _home() / "include" / "project.yaml").multi_tenant


def report_dir() -> str:
    """Return the URL of the folder for reports: Airflow's `[dbgear] report_dir`, else one in AIRFLOW_HOME."""
    return conf.get("dbgear", "report_dir", fallback="") or (_home() / "dbgear_reports").as_uri()


def _home() -> Path:
    return Path(get_airflow_config()).parent


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What a project names, open: for one task, in one event loop."""

    settings: MultiTenantSettings
    registry: TenantRegistryProvider
    store: FleetStore
    servers: Mapping[str, Server]

    def templates(self) -> TenantTemplateEngine:
        """Return the project's templates."""
        templates = self.settings.templates
        return TenantTemplateEngine(
            templates.base_dir and str(templates.base_dir),
            self.registry,
            environment_template=templates.environment,
        )

    def automation(
        self, run: Run | None = None, on_result: Callable[[OperationResult], None] = lambda _: None
    ) -> TenantAutomationEngine:
        """Return the engine for bulk operations, with the project's limits."""
        limits = self.settings.automation
        return TenantAutomationEngine(
            self.registry,
            self.templates(),
            limits.max_parallel_operations,
            limits.operation_timeout,
            settings=self.settings,
            servers=self.servers,
            run=run,
            on_result=on_result,
        )


@asynccontextmanager
async def open_fleet(
    project_file: str | None, *, fleet_conn_id: str, targets: Collection[str] = ()
) -> AsyncIterator[Fleet]:
    """Open a project's registry, fleet store and the targets of these names; close them at the end."""
    settings = project_settings(project_file)
    async with AsyncExitStack() as stack:
        registry = await open_registry(settings.tenant_registry)
        stack.push_async_callback(registry.aclose)
        store = await FleetStoreHook(fleet_conn_id).get_store()
        stack.push_async_callback(store.aclose)
        servers = {}
        for name in targets:
            target = settings.target(name)
            hook = TenantTargetHook(target.connection_id)
            servers[name] = await hook.get_server(name, max_connections=target.max_connections)
            stack.push_async_callback(servers[name].aclose)
        yield Fleet(settings=settings, registry=registry, store=store, servers=servers)
