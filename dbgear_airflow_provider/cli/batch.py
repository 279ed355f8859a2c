"""`airflow dbgear batch`: operations on many tenants."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from ..core.automation import RolloutPlan, RolloutRequest, begin_rollout, plan_rollout
from ..core.errors import InvalidInputError, SettingsError
from ..core.fleet import RolloutRecord
from ..core.health import InstanceHealth
from ..core.health.report import STATUSES
from ..hooks.project import Fleet
from .definition import ACTIVE
from .output import as_json, print_rows, tell, tell_rejected, write_report
from .rollout import Course
from .running import Exit, command, new_run, open_project, parallel


@command
async def healthcheck(args: Namespace) -> Exit:
    """Look at the health of the tenants that match."""
    query = args.query or ACTIVE
    async with open_project(args) as fleet:
        tenants = await fleet.registry.search_tenants(query)
        tell_rejected(await fleet.registry.rejected_records())
        if not tenants:
            tell(f"no tenant matches: {query}")
        await fleet.connect_for(tenants)
        report = await fleet.automation(new_run(fleet.store)).check_health(
            {"tenant_id": [tenant.tenant_id for tenant in tenants]},
            fingerprints=args.fingerprints,
            parallel_limit=args.parallel,
        )
    ordered = sorted(report.instances, key=lambda item: -STATUSES.index(item.status))  # the worst at the end
    print_rows([_health(item) for item in ordered], args.output)
    is_page = str(args.report).endswith(".html")
    write_report(args.report, report.html if is_page else lambda: as_json(report.document()))
    tell(report.text())
    return Exit.FAILED if report.failing(args.fail_on) else Exit.OK


def _health(item: InstanceHealth) -> dict[str, Any]:
    return {
        "tenant": item.tenant_id,
        "instance": item.instance,
        "target": item.target,
        "status": item.status,
        "version": item.version,
        "size_bytes": item.facts.size_bytes,
        "connections": item.facts.connections,
        "problems": "; ".join(problem.text for problem in item.problems),
    }


@command
async def deploy_schema(args: Namespace) -> Exit:
    """Plan a rollout and carry it out, or go on with one."""
    _check(args)
    async with open_project(args, hands_over=not args.dry_run) as fleet:
        run = new_run(fleet.store)
        there = await fleet.store.rollouts.require(args.resume) if args.resume else None
        plan = await _plan(fleet, args, run.run_id if there is None else there.id, there)
        tell(plan.text())
        plan.refuse_findings()
        if args.dry_run:
            print_rows(_rows(plan), args.output)
            write_report(args.report, lambda: as_json(plan.document()))
            plan.refuse_failing()
            tell("a dry run, nothing was changed")
            return Exit.OK
        if there is None and not plan.cut.members:
            tell("nothing to do: no tenant that may be touched needs any of it")
            return Exit.OK
        await begin_rollout(fleet.store.rollouts, plan, there, retries=args.retry_failed)
        return await Course(fleet, plan.rollout_id, run, args, in_flight=parallel(args, fleet)).carry_out()


def _check(args: Namespace) -> None:
    if not args.resume:
        if args.retry_failed:
            raise InvalidInputError("not without --resume", where="--retry-failed", allowed="with --resume ID")
        return
    for option, value in (("--filter", args.query), ("--migration", args.migration), ("--to", args.to)):
        if value is not None:
            raise InvalidInputError(
                "not with --resume", where=option, received=value, allowed="the rollout keeps its own"
            )


async def _plan(fleet: Fleet, args: Namespace, rollout_id: str, there: RolloutRecord | None) -> RolloutPlan:
    request = _request(fleet, args) if there is None else RolloutRequest.resumed(there)
    tenants = await fleet.registry.search_tenants(request.query)
    tell_rejected(await fleet.registry.rejected_records())
    if not tenants:
        tell(f"no tenant matches: {request.query}")
    await fleet.connect_for(tenants)
    return await plan_rollout(fleet.automation(), rollout_id, tenants, request)


def _request(fleet: Fleet, args: Namespace) -> RolloutRequest:
    migrations = Path(args.migration) if args.migration else fleet.settings.rollout.migrations
    if migrations is None:
        raise SettingsError(
            "no scripts", where="multi_tenant.rollout.migrations", allowed="a folder, or one script, or --migration"
        )
    # Who resumes it may do so from another folder.
    return RolloutRequest(query=args.query or ACTIVE, migrations=str(migrations.resolve()), to=args.to)


def _rows(plan: RolloutPlan) -> list[dict[str, str | None]]:
    rows = []
    for result in plan.results:
        details = result.details or {}
        instances = details.get("instances") or dict.fromkeys(
            name for tenant_id, name in plan.cut.members if tenant_id == result.tenant_id
        )
        for name, item in instances.items():
            stage = plan.cut.members.get((result.tenant_id, name))
            rows.append(
                {
                    "tenant": result.tenant_id,
                    "instance": name,
                    "stage": None if stage is None else plan.cut.stages[stage].name,
                    "from": item and item["version"],
                    "scripts": ", ".join(item["versions"]) if item else None,
                    "error": result.error,
                }
            )
    return rows
