"""`TenantAutomationEngine`: bulk operations on tenants."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

from ..credentials import CredentialSink
from ..engines import Server
from ..errors import (
    DbgearError,
    NameClashError,
    RolloutStoppedError,
    SettingsError,
    TerminalError,
    TransientError,
)
from ..fleet import Run
from ..health import HealthReport
from ..isolation import place
from ..registries import Filters, TenantRegistryProvider
from ..settings import MultiTenantSettings, SchemaTemplate
from ..templating import TenantTemplateEngine
from ..tenants import TenantInfo
from .access import (
    RESTORE,
    REVOKE,
    ChangeAccess,
    access_details,
    refuse_wrong_status,
    restore_access,
    revoke_access,
)
from .drift import DriftGroup, DriftReport
from .fanout import Limits, fanout
from .fleet_drift import FleetDrift
from .health import HealthCheck
from .instance import Instance
from .loading import InitialData
from .migrate import Adopt
from .migrations import FleetMigration, baseline_tenants
from .plan import Plan, apply_plan, plan_instance, refuse_plan
from .provision import ROWS, provision_instance
from .reference import References
from .rehearsal import FleetRehearsal
from .rehearsal_report import RehearsalReport
from .results import OperationResult
from .roles import TenantRoles, tenant_roles
from .rotation import ROTATE, rotate_credentials
from .selection import find_clashing


class TenantAutomationEngine:
    """Does one operation on many tenants at once, one result per tenant.

    servers: the target servers by name; those that no selected tenant lives on may be missing. settings say
    where tenants live and which schema template they have. max_parallel: tenants at once, at the most;
    operation_timeout: seconds for one tenant, retries included. on_result is told each result as it is there.
    run: where results are kept, and which tenants are done already and passed over; None keeps nothing.
    credentials: the sink of passwords, needed where the settings say that tenants have roles. before_tenant: awaited
    before the first try of each tenant; what it raises is its result, and RolloutStoppedError is kept nowhere else.
    operation_history holds every result of this object, in the order in which the operations were called.
    """

    def __init__(
        self,
        registry: TenantRegistryProvider,
        template_engine: TenantTemplateEngine,
        max_parallel: int = 20,
        operation_timeout: float = 300,
        *,
        settings: MultiTenantSettings,
        servers: Mapping[str, Server],
        run: Run | None = None,
        on_result: Callable[[OperationResult], None] = lambda _: None,
        credentials: CredentialSink | None = None,
        before_tenant: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self.registry = registry
        self.template_engine = template_engine
        self.max_parallel = max_parallel
        self.operation_timeout = operation_timeout
        self.settings = settings
        self.servers = servers
        self.operation_history: list[OperationResult] = []
        self._run = run
        self._on_result = on_result
        self._credentials = credentials
        self._before_tenant = before_tenant
        self._references = References()

    async def bulk_provision_tenants(
        self, tenant_filters: Filters, dry_run: bool = True, parallel_limit: int | None = None
    ) -> list[OperationResult]:
        """Provision every instance of the tenants that match, ordered by tenant_id.

        tenant_filters: as for `TenantRegistryProvider.list_tenants`. A dry run connects and reads, and returns
        the exact statements in details["instances"][...]["statements"]; it changes nothing. Safe to repeat:
        what is there is left alone. Tenants that would share a database or schema are not touched: each gets a
        result of the kind NameClashError.
        """
        tenants = await self.registry.list_tenants(tenant_filters, limit=None)
        clashing = self._clashing(tenants)

        async def provision(tenant: TenantInfo, attempt: int) -> dict[str, Any]:
            if tenant.tenant_id in clashing:
                raise clashing[tenant.tenant_id]
            return await self._provision(tenant, dry_run, attempt)

        return await self._bulk("provision", tenants, provision, dry_run=dry_run, parallel_limit=parallel_limit)

    def _clashing(self, tenants: Sequence[TenantInfo]) -> dict[str, NameClashError]:
        on_targets: dict[str, list[TenantInfo]] = defaultdict(list)
        for tenant in tenants:
            with suppress(SettingsError):  # the tenant's own operation tells it
                on_targets[self.settings.target_of(tenant)].append(tenant)
        found: dict[str, NameClashError] = {}
        for target, those in on_targets.items():
            found |= find_clashing(those, self.servers.get(target), roles=self.settings.access.roles)
        return found

    async def bulk_revoke_access(
        self, tenant_filters: Filters, dry_run: bool = True, parallel_limit: int | None = None
    ) -> list[OperationResult]:
        """Take the access of roles other than the owner away from the tenants that match, ordered by tenant_id.

        An active tenant is refused. details["instances"][...] has the exact statements, in a dry run those that
        would be executed; details["changed"] counts the grants taken away. Safe to repeat: it finds nothing.
        """
        return await self._bulk_access(REVOKE, revoke_access, tenant_filters, dry_run, parallel_limit)

    async def bulk_restore_access(
        self, tenant_filters: Filters, dry_run: bool = True, parallel_limit: int | None = None
    ) -> list[OperationResult]:
        """Give back what `bulk_revoke_access` has taken from the tenants that match. Only active ones get it."""
        return await self._bulk_access(RESTORE, restore_access, tenant_filters, dry_run, parallel_limit)

    async def bulk_rotate_credentials(
        self, tenant_filters: Filters, dry_run: bool = True, parallel_limit: int | None = None
    ) -> list[OperationResult]:
        """Give the logins of the tenants that match other passwords, ordered by tenant_id.

        Each is in the sink before the server has it; details["found"] is False where there is no login. A tenant
        that failed is to be done again: the sink may have a password that the server does not know.
        """

        async def work(tenant: TenantInfo, attempt: int) -> dict[str, Any]:
            server = self._server_of(tenant)
            roles = self._roles_of(tenant, server)
            if roles is None:
                raise SettingsError("tenants have no roles", where="multi_tenant.access.roles", allowed="true")
            found = await rotate_credentials(roles, server, dry_run=dry_run, attempt=attempt)
            return {"dry_run": dry_run, "target": server.name, "login": roles.login, "found": found}

        tenants = await self.registry.list_tenants(tenant_filters, limit=None)
        return await self._bulk(ROTATE, tenants, work, dry_run=dry_run, parallel_limit=parallel_limit)

    async def _bulk_access(
        self, operation: str, change: ChangeAccess, filters: Filters, dry_run: bool, parallel_limit: int | None
    ) -> list[OperationResult]:
        async def work(tenant: TenantInfo, attempt: int) -> dict[str, Any]:
            refuse_wrong_status(tenant, operation)
            server, done = self._server_of(tenant), {}
            errors: list[DbgearError] = []
            async for instance in self._instances_of(tenant, server):
                try:
                    done[instance.name] = await change(instance, server, dry_run=dry_run, attempt=attempt)
                except DbgearError as error:  # must not leave the tenant's other instances open
                    errors.append(error)
            if errors:
                raise next((error for error in errors if isinstance(error, TransientError)), errors[0])
            return access_details(done, target=server.name, dry_run=dry_run)

        tenants = await self.registry.list_tenants(filters, limit=None)
        return await self._bulk(operation, tenants, work, dry_run=dry_run, parallel_limit=parallel_limit)

    async def check_drift(self, tenant_filters: Filters) -> DriftReport:
        """Return how what the instances of the tenants that match hold stands to their documents. Changes nothing.

        A tenant whose instances cannot be looked at is told in the report and does not stop the others.
        """
        return await FleetDrift(self, self._references).check(tenant_filters)

    async def check_health(
        self, tenant_filters: Filters, *, fingerprints: bool = False, parallel_limit: int = 50
    ) -> HealthReport:
        """Return how the instances of the tenants that match are, and keep it in the fleet store. Changes nothing.

        fingerprints: also compare what they hold with their documents. parallel_limit: databases of a server that are
        looked into at once, up to its max_connections; instances that share one are asked for together. A server that
        is dead, or an instance that cannot be looked at, is told in the report and keeps nobody else waiting.
        """
        check = HealthCheck(self, fingerprints=fingerprints, parallel=parallel_limit)
        return await check.report(tenant_filters)

    async def plan_group(self, group: DriftGroup) -> Plan:
        """Return the plan of a group's first instance: it is that of all of them, but for names and texts."""
        return await FleetDrift(self, self._references).plan(group)

    async def bulk_plan_tenants(
        self, tenant_filters: Filters, parallel_limit: int | None = None
    ) -> list[OperationResult]:
        """Return what the instances of the tenants that match need to hold what their documents say, by tenant_id.

        details["instances"][...] has the exact statements, and what no statement changes. Changes nothing.
        """
        return await self.bulk_apply_plans(tenant_filters, parallel_limit=parallel_limit)

    async def bulk_apply_plans(
        self,
        tenant_filters: Filters,
        dry_run: bool = True,
        allow_destructive: bool = False,
        parallel_limit: int | None = None,
        clashing: Mapping[str, str] | None = None,
    ) -> list[OperationResult]:
        """Bring the instances of the tenants that match to their documents, ordered by tenant_id.

        allow_destructive: without it, a tenant of whose instances the plan of one may lose data is not touched, and its
        result is of the kind PlanRefusedError. Nor is one of which an instance is not there. clashing: as of
        `Selection`; their results are of the kind NameClashError. details["changed"] counts statements. Safe to repeat:
        it finds nothing to do.
        """
        tenants = await self.registry.list_tenants(tenant_filters, limit=None)

        async def work(tenant: TenantInfo, attempt: int) -> dict[str, Any]:
            if clashing and tenant.tenant_id in clashing:
                raise NameClashError(clashing[tenant.tenant_id])
            server, done = self._server_of(tenant), {}
            instances = [instance async for instance in self._instances_of(tenant, server)]
            if dry_run or len(instances) > 1:
                for instance in instances:
                    done[instance.name] = await plan_instance(instance, server, self._references)
            if not dry_run:
                for plan in done.values():  # of all instances before the first is changed
                    refuse_plan(plan, allow_destructive=allow_destructive)
                for instance in instances:
                    done[instance.name] = await apply_plan(
                        instance, server, self._references, allow_destructive=allow_destructive, attempt=attempt
                    )
            return {
                "dry_run": dry_run,
                "target": server.name,
                "changed": sum(len(plan.statements) for plan in done.values()),
                "instances": {name: plan.details() for name, plan in done.items()},
            }

        return await self._bulk("plan", tenants, work, dry_run=dry_run, parallel_limit=parallel_limit)

    async def bulk_migrate_tenants(
        self,
        tenant_filters: Filters,
        migrations: Path | str,
        to: str | None = None,
        *,
        instances: Collection[str] | None = None,
        dry_run: bool = True,
        parallel_limit: int | None = None,
        out_of_order: bool = False,
        adopt: Adopt | None = None,
        verify: bool = False,
    ) -> list[OperationResult]:
        """Apply migration scripts to the tenants that match, up to a version (None: all), ordered by tenant_id.

        migrations: a folder, or one script. instances: names of those that are meant; None: all. adopt: take over what
        another tool has applied. verify: look into the ledgers also of tenants that the store knows to be there.
        details["changed"] counts scripts; a dry run has details["instances"][...]["statements"]. Safe to repeat.
        Raises MigrationError before anything is done.
        """
        work = FleetMigration(self, migrations, instances=instances, dry_run=dry_run, parallel_limit=parallel_limit)
        return await work.migrate(tenant_filters, to=to, out_of_order=out_of_order, adopt=adopt, verify=verify)

    async def bulk_undo_migrations(
        self,
        tenant_filters: Filters,
        migrations: Path | str,
        to: str,
        *,
        instances: Collection[str] | None = None,
        dry_run: bool = True,
        parallel_limit: int | None = None,
    ) -> list[OperationResult]:
        """Undo the applied scripts that are newer than a version, the newest first, in the tenants that match."""
        work = FleetMigration(self, migrations, instances=instances, dry_run=dry_run, parallel_limit=parallel_limit)
        return await work.undo(tenant_filters, to=to)

    async def rehearse_migrations(
        self,
        tenant_filters: Filters,
        migrations: Path | str,
        to: str | None = None,
        *,
        rows: int = 1000,
        out_of_order: bool = False,
        planned: Sequence[OperationResult] | None = None,
        parallel_limit: int | None = None,
    ) -> RehearsalReport:
        """Run what is pending in the tenants that match on clones: of one instance for each group that is alike.

        The clones are beside the instances, on their servers, and dropped at the end; no tenant is changed. rows: of
        each table, copied on the server; 0: none. planned: results of a dry run of `bulk_migrate_tenants` with the same
        arguments and `verify`, which spares another one. Safe to repeat: drops first what killed rehearsals have left.
        """
        work = FleetRehearsal(self, migrations, to=to, out_of_order=out_of_order, rows=rows)
        return await work.rehearse(tenant_filters, planned, parallel_limit)

    async def bulk_baseline_tenants(
        self,
        tenant_filters: Filters,
        version: str,
        *,
        instances: Collection[str] | None = None,
        dry_run: bool = True,
        parallel_limit: int | None = None,
    ) -> list[OperationResult]:
        """Let all migrations up to a version count as applied in the tenants that match; makes missing ledgers."""
        return await baseline_tenants(
            self, tenant_filters, version, instances=instances, dry_run=dry_run, parallel_limit=parallel_limit
        )

    async def render_tenants(
        self,
        tenant_filters: Filters,
        sink: Callable[[str, Mapping[str, Any]], None],
        parallel_limit: int | None = None,
    ) -> list[OperationResult]:
        """Render the documents of the tenants that match and hand each tenant's to `sink`, in a thread.

        sink gets the tenant_id and `{"environment": document, "schemas": {instance: document}}`. No server is asked.
        """
        tenants = {tenant.tenant_id: tenant for tenant in await self.registry.list_tenants(tenant_filters, limit=None)}

        async def render(tenant_id: str, _: int) -> dict[str, Any]:
            tenant = tenants[tenant_id]
            config = await self.registry.get_tenant_config(tenant_id)
            file = self.settings.schema_template_of(tenant).file
            documents = {
                "environment": self.template_engine.render_environment(tenant, config),
                "schemas": {
                    name: self.template_engine.render_schema(tenant, config, name, file) for name in tenant.instances
                },
            }
            await asyncio.to_thread(sink, tenant_id, documents)
            return {"instances": list(tenant.instances)}

        return await fanout(list(tenants), render, operation="render", limits=self._limits(parallel_limit))

    def _limits(self, parallel_limit: int | None) -> Limits:
        return Limits(
            parallel=self.max_parallel if parallel_limit is None else min(parallel_limit, self.max_parallel),
            timeout_s=self.operation_timeout,
            attempts=self.settings.automation.retry_attempts,
        )

    async def _bulk(
        self,
        operation: str,
        tenants: Sequence[TenantInfo],
        work: Callable[[TenantInfo, int], Awaitable[dict[str, Any]]],
        *,
        dry_run: bool,
        parallel_limit: int | None,
    ) -> list[OperationResult]:
        """Do `work` for each tenant that the run has not done yet; keep every result as soon as it is there."""
        by_id = {tenant.tenant_id: tenant for tenant in tenants}
        run = self._run
        async with AsyncExitStack() as stack:
            recorder = None
            if run is not None:
                for tenant_id in await run.succeeded(operation, list(by_id), dry_run=dry_run):
                    del by_id[tenant_id]
                recorder = await stack.enter_async_context(run.store.recorder())

            def on_result(result: OperationResult) -> None:
                # Of one that was not begun there is nothing to tell but to whoever runs this.
                begun = (result.details or {}).get("error_kind") != RolloutStoppedError.__name__
                if run is not None and recorder is not None and begun:
                    recorder.add(result.record(run, dry_run=dry_run))
                self._on_result(result)

            async def begun(tenant_id: str, attempt: int) -> dict[str, Any]:
                if attempt == 1 and self._before_tenant is not None:
                    await self._before_tenant(tenant_id)
                return await work(by_id[tenant_id], attempt)

            results = await fanout(
                list(by_id),
                begun,
                operation=operation,
                limits=self._limits(parallel_limit),
                on_result=on_result,
            )
        self.operation_history.extend(results)
        return results

    async def _provision(self, tenant: TenantInfo, dry_run: bool, attempt: int) -> dict[str, Any]:
        server, done = self._server_of(tenant), {}
        async for instance in self._instances_of(tenant, server):
            done[instance.name] = await provision_instance(instance, server, dry_run=dry_run, attempt=attempt)
        return {
            "dry_run": dry_run,
            "target": server.name,
            "created": sum(item.created for item in done.values()),
            "rows": {name: sum(getattr(item.load, name) for item in done.values()) for name in ROWS},
            "instances": {name: item.details(dry_run=dry_run) for name, item in done.items()},
        }

    async def _instances_of(self, tenant: TenantInfo, server: Server) -> AsyncIterator[Instance]:
        config = await self.registry.get_tenant_config(tenant.tenant_id)
        template = self.settings.schema_template_of(tenant)
        roles = self._roles_of(tenant, server)
        name_macros = cache(lambda: self.template_engine.name_macros(tenant, config))
        for name in tenant.instances:
            yield Instance(
                tenant_id=tenant.tenant_id,
                name=name,
                place=place(tenant, name, server),
                document=self.template_engine.render_schema(tenant, config, name, template.file),
                template=template.file,
                on_unsupported=self.settings.templates.on_unsupported,
                data=self._initial_data(template, tenant, config, name, name_macros),
                roles=roles,
                version=template.version,
            )

    def _initial_data(
        self,
        template: SchemaTemplate,
        tenant: TenantInfo,
        config: Mapping[str, Any],
        instance: str,
        name_macros: Callable[[], Mapping[str, str]],
    ) -> InitialData | None:
        if template.initial_data is None:
            return None
        return InitialData(
            folder=template.initial_data,
            delete_rows=template.delete_rows,
            tenant=tenant,
            config=config,
            instance=instance,
            name_macros=name_macros,
        )

    def _roles_of(self, tenant: TenantInfo, server: Server) -> TenantRoles | None:
        if not self.settings.access.roles:
            return None
        places = {name: place(tenant, name, server) for name in tenant.instances}
        try:
            return tenant_roles(tenant, places, server, self._credentials)
        except ValueError as error:
            raise TerminalError(f"tenant {tenant.tenant_id}: {error}") from None

    def _server_of(self, tenant: TenantInfo) -> Server:
        name = self.settings.target_of(tenant)
        if name not in self.servers:
            raise SettingsError("no connection to the tenant's target", where="servers", received=name)
        return self.servers[name]
