"""The REST API, for reading. All of it is for those who may read the DAG `tenant_provision`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.openapi.utils import get_openapi

from ...core.fleet import FleetStore, MemberStatus, RolloutRecord, SortKey
from . import models
from .opened import OverviewDep, StoreDep

READS = "tenant_provision"
_MOST = 500  # rows in an answer
_LAST = 100  # operations of a tenant

Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Limit = Annotated[int, Query(ge=1, le=_MOST)]

may_read = requires_access_dag("GET", param_dag_id=READS)
router = APIRouter(prefix="/api/v1", dependencies=[Depends(may_read)])


@router.get("/openapi.json", include_in_schema=False)
async def description(request: Request) -> dict[str, Any]:
    """Describe the API, as OpenAPI."""
    server = request.scope.get("root_path", "")
    app = request.app
    return get_openapi(title=app.title, version=app.version, routes=app.routes, servers=[{"url": server}])


@router.get("/overview")
async def overview(fleet: OverviewDep, store: StoreDep) -> models.Counts:
    """Count the fleet; tell its last runs and rollouts."""
    status = await store.status.read()
    return models.Counts(tenants=await fleet.counts(), runs=list(status.runs), rollouts=list(status.rollouts))


@router.get("/tenants", responses={400: {"description": "The query is wrong: detail tells where"}})
async def tenants(
    *,
    fleet: OverviewDep,
    query: Annotated[str, Query(max_length=10_000, description="In the tenant query language; empty: all")] = "",
    sort: SortKey = "tenant_id",
    descending: bool = False,
    offset: Offset = 0,
    limit: Limit = 50,
) -> models.Tenants:
    """Search the tenants."""
    found = await fleet.search(query, sort=sort, descending=descending, offset=offset, limit=limit)
    return models.Tenants.model_validate(found)


@router.get("/tenants/{tenant_id:path}", responses={404: {"description": "No such tenant"}})
async def tenant(tenant_id: str, fleet: OverviewDep, store: StoreDep) -> models.TenantPage:
    """Return all that the fleet store knows of a tenant."""
    row = next((row for row in await fleet.rows() if row.info.tenant_id == tenant_id), None)
    if row is None:
        raise HTTPException(404, "no such tenant")
    history = await store.history(tenant_id)
    return models.TenantPage(
        tenant=models.Tenant.model_validate(row),
        instances=[models.Instance.model_validate(item) for item in await store.instances(tenant_id)],
        health=[models.Health.model_validate(look) for look in await store.health.latest(tenant_id)],
        operations=[models.Operation.model_validate(record) for record in history[: -_LAST - 1 : -1]],
    )


@router.get("/rollouts")
async def rollouts(store: StoreDep, limit: Limit = 20) -> list[models.Rollout]:
    """Return the last rollouts, the newest first."""
    return [await _rollout(store, record) for record in await store.rollouts.newest(limit)]


# Ids have slashes in them: the longer path goes first.
@router.get("/rollouts/{rollout_id:path}/members", responses={404: {"description": "No such rollout"}})
async def members(
    rollout_id: str, store: StoreDep, status: MemberStatus | None = None, offset: Offset = 0, limit: Limit = 50
) -> models.Members:
    """Return the instances of a rollout, by stage, tenant and name."""
    await _found(store, rollout_id)
    found = await store.rollouts.members(rollout_id, status=None if status is None else [status])
    rows = [models.Member.model_validate(member) for member in found[offset : offset + limit]]
    return models.Members(total=len(found), rows=rows)


@router.get("/rollouts/{rollout_id:path}", responses={404: {"description": "No such rollout"}})
async def rollout(rollout_id: str, store: StoreDep) -> models.Rollout:
    """Return a rollout."""
    return await _rollout(store, await _found(store, rollout_id))


async def _found(store: FleetStore, rollout_id: str) -> RolloutRecord:
    record = await store.rollouts.get(rollout_id)
    if record is None:
        raise HTTPException(404, "no such rollout")
    return record


async def _rollout(store: FleetStore, record: RolloutRecord) -> models.Rollout:
    return models.Rollout.model_validate(replace(record, counts=await store.rollouts.counts(record.id)))
