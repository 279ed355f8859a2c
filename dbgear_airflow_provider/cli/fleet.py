"""`airflow dbgear fleet`: the fleet store."""

from __future__ import annotations

from argparse import Namespace

from ..core.automation import RebuildReport, rebuild_state
from .output import print_rows, tell, tell_rejected
from .running import Exit, command, new_run, open_project


@command
async def rebuild(args: Namespace) -> Exit:
    """Rebuild the state of tenants from the servers."""
    async with open_project(args) as fleet:
        await fleet.connect(fleet.settings.targets)
        engine = fleet.automation(new_run(fleet.store))
        report = await rebuild_state(engine, fleet.store, dry_run=args.dry_run)
        tell_rejected(await fleet.registry.rejected_records())
    print_rows(_rows(report), args.output)
    told = ", ".join(f"{count} {name}" for name, count in report.counts().items())
    tell(f"instances: {told}{'; a dry run, nothing is written' if args.dry_run else ''}")
    return Exit.FAILED if report.unread else Exit.OK


def _rows(report: RebuildReport) -> list[dict[str, str | None]]:
    columns = ("tenant", "instance", "state", "target", "version", "note")
    by_rule = {(item.tenant_id, item.instance): target for item, target in report.elsewhere.items()}
    found = []
    for item in report.found:
        rule = by_rule.get((item.tenant_id, item.instance))
        note = None if rule is None else f"the rules say {rule or 'nowhere'}"
        found.append((item.tenant_id, item.instance, "provisioned", item.target, item.version, note))
    missing = [(item.tenant_id, item.instance, "missing", None, None, None) for item in report.missing]
    unread = [
        (item.tenant_id, item.instance, "unread", None, None, error.message) for item, error in report.unread.items()
    ]
    return [dict(zip(columns, cells, strict=True)) for cells in (*found, *missing, *unread)]
