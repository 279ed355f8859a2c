"""`airflow dbgear tenant`: the list of tenants, their documents, provisioning."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from ..core.automation import OperationStatus, apply_sync, build_report, rendered_file
from ..core.automation.sync import COLUMNS
from ..core.errors import SettingsError, SyncRefusedError
from ..core.settings import MultiTenantSettings
from ..core.tenants import TenantInfo
from ..hooks.sync import plan_registry_sync
from .definition import ACTIVE
from .output import as_json, print_data, print_rows, print_tables, progress, tell, tell_rejected, write_report
from .results import ended
from .running import Exit, command, new_run, open_project, parallel
from .selecting import choose

_HISTORY = 10
_PROVISION = "provision"


@command
async def list_tenants(args: Namespace) -> Exit:
    """Print the tenants of the registry that match."""
    async with open_project(args) as fleet:
        registry = fleet.registry
        tenants = await (registry.search_tenants(args.query) if args.query else registry.list_tenants(limit=None))
        tell_rejected(await registry.rejected_records())
        rows = [_listed(tenant, fleet.settings) for tenant in tenants]
    if not rows:
        tell(f"no tenant matches: {args.query}" if args.query else "the registry has no tenants")
    print_rows(rows, args.output)
    return Exit.OK


def _listed(tenant: TenantInfo, settings: MultiTenantSettings) -> dict[str, Any]:
    return {
        "tenant_id": tenant.tenant_id,
        "customer_name": tenant.customer_name,
        "tier": tenant.tier,
        "region": tenant.region,
        "status": tenant.status,
        "isolation": tenant.isolation_strategy,
        "target": _target(tenant, settings),
        "instances": tenant.instances,
    }


def _target(tenant: TenantInfo, settings: MultiTenantSettings) -> str | None:
    try:
        return settings.target_of(tenant)
    except SettingsError:
        return None


@command
async def show(args: Namespace) -> Exit:
    """Print what is known of one tenant."""
    async with open_project(args) as fleet:
        tenant = await fleet.registry.get_tenant(args.tenant_id)
        instances = await fleet.store.instances(tenant.tenant_id)
        history = (await fleet.store.history(tenant.tenant_id))[-_HISTORY:]
        target = _target(tenant, fleet.settings)
    known: dict[str, Any] = to_jsonable_python(tenant)
    placed = [
        {name: value for name, value in row.items() if name != "tenant_id"} for row in to_jsonable_python(instances)
    ]
    done = [
        {
            "started_at": record.started_at.isoformat(timespec="seconds"),
            "operation": record.operation,
            "dry_run": record.dry_run,
            "status": record.status,
            "run_id": record.run_id,
            "error": record.error,
        }
        for record in reversed(history)
    ]
    fields = [{"field": name, "value": value} for name, value in {**known, "target": target}.items()]
    names = ("instance", "target", "isolation", "database_name", "schema_name", "prefix", "state", "version")
    tables = {
        f"Tenant {tenant.tenant_id}": fields,
        "Instances": [{name: row[name] for name in names} for row in placed],
        "Last operations": done,
    }
    print_tables(tables, {"tenant": known, "target": target, "instances": placed, "operations": done}, args.output)
    return Exit.OK


@command
async def sync(args: Namespace) -> Exit:
    """Bring the registry to what its sources say."""
    async with open_project(args) as fleet:
        run = new_run(fleet.store)
        plan = await plan_registry_sync(fleet, args.source or ())
        for name, counts in plan.sources.items():
            tell(f"source {name}: {counts.records} tenants, {counts.rejected} bad records")
        tell_rejected(plan.rejected)
        print_rows([dict(zip(COLUMNS, cells, strict=True)) for cells in plan.rows()], args.output)
        write_report(args.report, lambda: as_json({"run_id": run.run_id, **plan.document()}))
        tell(", ".join(f"{count} {name}" for name, count in plan.counts().items()))
        try:
            plan.check(force=args.force)
        except SyncRefusedError as refusal:
            hint = "; --force goes on all the same" if refusal.details["forceable"] else ""
            tell(f"refused, nothing is written: {refusal}{hint}")
            return Exit.FAILED
        if args.dry_run:
            tell("a dry run, nothing is written")
            return Exit.OK
        await apply_sync(fleet.registry, plan, force=args.force, run=run)
    tell(f"written; run {run.run_id}" if plan else "nothing to write")
    return Exit.OK


@command
async def render(args: Namespace) -> Exit:
    """Render documents, to stdout or into a folder."""
    folder = None if args.directory is None else Path(args.directory)
    rendered: dict[str, Any] = {}

    def take(tenant_id: str, documents: Mapping[str, Any]) -> None:
        if folder is None:
            rendered[tenant_id] = dict(documents)
        else:
            name, text = rendered_file(tenant_id, documents)
            (folder / name).write_text(text, encoding="utf-8")

    async with open_project(args) as fleet:
        query = args.query or ACTIVE
        tenants = await fleet.registry.search_tenants(query)
        tell_rejected(await fleet.registry.rejected_records())
        if not tenants:
            tell(f"no tenant matches: {query}")
            return Exit.OK
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        ids = [tenant.tenant_id for tenant in tenants]
        results = await fleet.automation().render_tenants({"tenant_id": ids}, take)
    if folder is None:
        print_data(rendered, args.output)
    failed = [result for result in results if result.status is OperationStatus.ERROR]
    for result in failed:
        tell(f"tenant {result.tenant_id}: {result.error}")
    tell(f"{len(results) - len(failed)} of {len(results)} tenants rendered")
    return Exit.FAILED if failed else Exit.OK


@command
async def provision(args: Namespace) -> Exit:
    """Provision the tenants that match."""
    async with open_project(args, hands_over=not args.dry_run) as fleet:
        run = new_run(fleet.store)
        chosen = await choose(fleet, args.query or ACTIVE, _PROVISION)
        await fleet.store.record([result.record(run, dry_run=args.dry_run) for result in chosen.clashing])
        results = [*chosen.clashing]
        if chosen.tenants:
            with progress(_PROVISION, len(chosen.tenants)) as on_result:
                results += await fleet.automation(run, on_result).bulk_provision_tenants(
                    {"tenant_id": chosen.tenant_ids}, dry_run=args.dry_run, parallel_limit=parallel(args, fleet)
                )
    report = build_report(
        run.run_id,
        _PROVISION,
        chosen.tenant_ids,
        [result.record(run, dry_run=args.dry_run) for result in results],
        [error.message for error in chosen.rejected],
        dry_run=args.dry_run,
    )
    return ended(report, args)
