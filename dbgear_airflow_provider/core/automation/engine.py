"""`TenantAutomationEngine`: bulk operations on tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from ..engines import Server
from ..errors import NameClashError, SettingsError
from ..fleet import Run
from ..isolation import place
from ..registries import Filters, TenantRegistryProvider
from ..settings import MultiTenantSettings
from ..templating import TenantTemplateEngine
from ..tenants import TenantInfo, naming
from .fanout import Limits, fanout
from .provision import Instance, Provisioned, provision_instance
from .results import OperationResult


class TenantAutomationEngine:
    """Does one operation on many tenants at once, one result per tenant.

    servers: the target servers by name; those that no selected tenant lives on may be missing. settings say
    where tenants live and which schema template they have. max_parallel: tenants at once, at the most;
    operation_timeout: seconds for one tenant, retries included. on_result is told each result as it is there.
    run: where results are kept, and which tenants are done already and passed over; None keeps nothing.
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
        clashes = naming.find_clashes(tenants)
        clashing = {
            tenant_id: NameClashError(f"{name} would be shared by tenants {', '.join(ids)}", name=name, tenants=ids)
            for name, ids in clashes.items()
            for tenant_id in ids
        }

        async def provision(tenant: TenantInfo, attempt: int) -> dict[str, Any]:
            if tenant.tenant_id in clashing:
                raise clashing[tenant.tenant_id]
            return await self._provision(tenant, dry_run, attempt)

        return await self._bulk("provision", tenants, provision, dry_run=dry_run, parallel_limit=parallel_limit)

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
                for tenant_id in await run.succeeded(operation, list(by_id)):
                    del by_id[tenant_id]
                recorder = await stack.enter_async_context(run.store.recorder())

            def on_result(result: OperationResult) -> None:
                if run is not None and recorder is not None:
                    recorder.add(result.record(run, dry_run=dry_run))
                self._on_result(result)

            results = await fanout(
                list(by_id),
                lambda tenant_id, attempt: work(by_id[tenant_id], attempt),
                operation=operation,
                limits=self._limits(parallel_limit),
                on_result=on_result,
            )
        self.operation_history.extend(results)
        return results

    async def _provision(self, tenant: TenantInfo, dry_run: bool, attempt: int) -> dict[str, Any]:
        server = self._server_of(tenant)
        config = await self.registry.get_tenant_config(tenant.tenant_id)
        template = self.settings.schema_template_of(tenant)
        done = {}
        for name in tenant.instances:
            document = self.template_engine.render_schema(tenant, config, name, template.file)
            instance = Instance(
                tenant_id=tenant.tenant_id,
                name=name,
                place=place(tenant, name, server),
                document=document,
                template=template.file,
            )
            done[name] = await provision_instance(instance, server, dry_run=dry_run, attempt=attempt)
        return {
            "dry_run": dry_run,
            "target": server.name,
            "created": sum(item.created for item in done.values()),
            "instances": {name: _details(item, dry_run) for name, item in done.items()},
        }

    def _server_of(self, tenant: TenantInfo) -> Server:
        name = self.settings.target_of(tenant)
        if name not in self.servers:
            raise SettingsError("no connection to the tenant's target", where="servers", received=name)
        return self.servers[name]


def _details(item: Provisioned, dry_run: bool) -> dict[str, Any]:
    details: dict[str, Any] = {
        "database": item.place.database,
        "schema": item.place.schema,
        "isolation": "database" if item.place.own_database else "schema",
        "checksum": item.checksum,
        "created": item.created,
        "document_changed": item.document_changed,
    }
    if dry_run:
        details["statements"] = item.statements
    return details
