"""The project file and all that it names, opened for one task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from airflow.sdk.configuration import conf, get_airflow_config

from ..core.automation import OperationResult, Selection, TenantAutomationEngine, select_tenants
from ..core.credentials import CredentialSink
from ..core.engines import Server
from ..core.errors import SettingsError
from ..core.fleet import FleetStore, Run
from ..core.registries import TenantRegistryProvider
from ..core.settings import MultiTenantSettings, ProjectSettings, load_project
from ..core.templating import TenantTemplateEngine
from ..core.tenants import TenantInfo
from .cache import open_cache
from .credentials import open_sink
from .fleet import FleetStoreHook
from .metrics import count_result, gauge_connections
from .registry import cache_ttl_s, open_registry
from .target import TenantTargetHook


def open_project(project_file: str | None = None) -> ProjectSettings:
    """Return what a project file says; None: the one that Airflow's `[dbgear] project_file` names.

    Raises SettingsError.
    """
    path = project_file or conf.get("dbgear", "project_file", fallback="")
    return load_project(path or _home() / "include" / "project.yaml")


def project_settings(project_file: str | None = None) -> MultiTenantSettings:
    """Return the section `multi_tenant` of a project file, as `open_project` does."""
    return open_project(project_file).multi_tenant


def report_dir() -> str:
    """Return the URL of the folder for reports: Airflow's `[dbgear] report_dir`, else one in AIRFLOW_HOME."""
    return conf.get("dbgear", "report_dir", fallback="") or (_home() / "dbgear_reports").as_uri()


def _home() -> Path:
    return Path(get_airflow_config()).parent


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What a project names, open: for one task, in one event loop. servers: the targets that are connected."""

    settings: MultiTenantSettings
    registry: TenantRegistryProvider
    store: FleetStore
    opened: AsyncExitStack = field(repr=False)
    servers: dict[str, Server] = field(default_factory=dict)
    credentials: CredentialSink | None = None

    async def connect(self, targets: Collection[str]) -> None:
        """Open the targets of these names; they are closed with the fleet. Safe to repeat."""
        for name in targets:
            if name in self.servers:
                continue
            target = self.settings.target(name)
            hook = TenantTargetHook(target.connection_id)
            self.servers[name] = await hook.get_server(
                name, max_connections=target.max_connections, shared_schema=target.shared_schema
            )
            self.opened.push_async_callback(self.servers[name].aclose)
            self.opened.callback(gauge_connections, self.servers[name])

    async def connect_for(self, tenants: Collection[TenantInfo]) -> None:
        """Open the targets that tenants live on; one that no rule places is told of by its own operation."""
        targets = set()
        for tenant in tenants:
            with suppress(SettingsError):
                targets.add(self.settings.target_of(tenant))
        await self.connect(sorted(targets))

    async def select(self, query: str, target: str, isolation: Collection[str] = ()) -> Selection:
        """Select the tenants that match a query and live on a target that is connected. See `select_tenants`.

        The registry is read as a whole for it: what it holds is kept in the fleet store.
        """
        selection = await select_tenants(
            self.registry,
            self.settings,
            query=query,
            target=target,
            isolation=isolation,
            server=self.servers[target],
        )
        await self._keep(selection.everybody, complete=not selection.rejected)
        return selection

    async def keep_tenants(self) -> None:
        """Keep in the fleet store what the registry holds now. Safe to repeat."""
        tenants = await self.registry.list_tenants(limit=None)
        await self._keep(tenants, complete=not await self.registry.rejected_records())

    async def _keep(self, tenants: Sequence[TenantInfo], *, complete: bool) -> None:
        # A record that cannot be read may be of any tenant: then nobody is known to be gone.
        await self.store.tenants.record(tenants, self._target_or_none, complete=complete)

    def _target_or_none(self, tenant: TenantInfo) -> str | None:
        try:
            return self.settings.target_of(tenant)
        except SettingsError:  # shown as a tenant without a place
            return None

    def templates(self) -> TenantTemplateEngine:
        """Return the project's templates."""
        templates = self.settings.templates
        return TenantTemplateEngine(
            templates.base_dir and str(templates.base_dir),
            self.registry,
            environment_template=templates.environment,
        )

    def automation(
        self,
        run: Run | None = None,
        on_result: Callable[[OperationResult], None] = lambda _: None,
        before_tenant: Callable[[str], Awaitable[None]] | None = None,
    ) -> TenantAutomationEngine:
        """Return the engine for bulk operations, with the project's limits. Its results are counted as metrics too."""
        limits = self.settings.automation

        def counted(result: OperationResult) -> None:
            count_result(result)
            on_result(result)

        return TenantAutomationEngine(
            self.registry,
            self.templates(),
            limits.max_parallel_operations,
            limits.operation_timeout,
            settings=self.settings,
            servers=self.servers,
            run=run,
            on_result=counted,
            credentials=self.credentials,
            before_tenant=before_tenant,
        )


@asynccontextmanager
async def open_store(fleet_conn_id: str) -> AsyncIterator[FleetStore]:
    """Open the fleet store, and close it at the end."""
    store = await FleetStoreHook(fleet_conn_id).get_store()
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def open_fleet(
    project_file: str | None, *, fleet_conn_id: str, targets: Collection[str] = (), hands_over: bool = False
) -> AsyncIterator[Fleet]:
    """Open a project's registry, fleet store and the targets of these names; close them at the end.

    hands_over: whether passwords of logins are made, so that the project's sink is opened too.
    """
    settings = project_settings(project_file)
    async with AsyncExitStack() as stack:
        cache = await open_cache(settings.cache, cache_ttl_s(settings.tenant_registry))
        if cache is not None:
            stack.push_async_callback(cache.aclose)
        registry = await open_registry(settings.tenant_registry, cache)
        stack.push_async_callback(registry.aclose)
        store = await stack.enter_async_context(open_store(fleet_conn_id))
        sink = await stack.enter_async_context(open_sink(settings.access)) if hands_over else None
        fleet = Fleet(settings=settings, registry=registry, store=store, opened=stack, credentials=sink)
        await fleet.connect(targets)
        yield fleet
