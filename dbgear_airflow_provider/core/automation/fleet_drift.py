"""The drift of many tenants: their documents rendered, and compared in bulk with what is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..errors import DbgearError, TenantNotFoundError
from ..registries import Filters
from ..tenants import TenantInfo
from .drift import CHUNK, CHUNKS_AT_ONCE, DriftCheck, DriftGroup, DriftReport, InstanceId
from .instance import Instance
from .plan import Plan, plan_instance
from .reference import References

if TYPE_CHECKING:
    from .engine import TenantAutomationEngine


class FleetDrift:
    """Looks for drift among the tenants of an engine. references: what is known of documents already."""

    def __init__(self, engine: TenantAutomationEngine, references: References) -> None:
        self._engine = engine
        self._references = references

    async def check(self, tenant_filters: Filters) -> DriftReport:
        """Return how what the instances of the tenants that match hold stands to their documents."""
        engine = self._engine
        tenants = await engine.registry.list_tenants(tenant_filters, limit=None)
        check = DriftCheck(engine.servers, self._references)
        width = asyncio.Semaphore(engine.max_parallel)
        at_once = CHUNK * CHUNKS_AT_ONCE
        for start in range(0, len(tenants), at_once):
            async with asyncio.TaskGroup() as tasks:
                rendered = [
                    tasks.create_task(self._to_check(tenant, check, width))
                    for tenant in tenants[start : start + at_once]
                ]
            checked = await check.add([instance for task in rendered for instance in task.result()])
            if engine._run is not None:
                await engine._run.store.record_fingerprints(checked)
        return check.report()

    async def _to_check(self, tenant: TenantInfo, check: DriftCheck, width: asyncio.Semaphore) -> list[Instance]:
        """Return a tenant's instances; [] where it has told the check why there are none."""
        engine, target = self._engine, ""
        try:
            target = engine.settings.target_of(tenant)
            async with width:
                return [instance async for instance in engine._instances_of(tenant, engine._server_of(tenant))]
        except DbgearError as error:
            for name in tenant.instances:
                check.leave_out(InstanceId(tenant_id=tenant.tenant_id, instance=name), target, error)
            return []

    async def plan(self, group: DriftGroup) -> Plan:
        """Return the plan of a group's first instance: it is that of all of them, but for names and texts."""
        first = group.members[0]
        tenant = await self._engine.registry.get_tenant(first.tenant_id)
        server = self._engine._server_of(tenant)
        async for instance in self._engine._instances_of(tenant, server):
            if instance.name == first.instance:
                return await plan_instance(instance, server, self._references)
        raise TenantNotFoundError(f"tenant {first.tenant_id} has no instance {first.instance} any more")
