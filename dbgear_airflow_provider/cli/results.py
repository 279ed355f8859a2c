"""How a command on many tenants ends: a line for each of them, the report, the exit code."""

from __future__ import annotations

from argparse import Namespace

from ..core.automation import RunReport
from .output import as_json, print_rows, tell, write_report
from .running import Exit

_SUCCESS = "success"


def ended(report: RunReport, args: Namespace) -> Exit:
    """Print what became of each tenant, those that failed at the end; write the report that was asked for."""
    rows = [
        {
            "tenant": tenant.tenant_id,
            "result": tenant.status,
            "seconds": tenant.duration_s,
            "objects": tenant.created,
            "error": tenant.error,
        }
        for tenant in sorted(report.tenants, key=lambda tenant: tenant.status != _SUCCESS)
    ]
    print_rows(rows, args.output)
    write_report(args.report, lambda: as_json(report.document()))
    counts, kinds = report.counts(), report.error_kinds()
    told = f"{counts['success']} of {counts['tenants']} tenants succeeded"
    told += f"; failed: {', '.join(f'{count} by {kind}' for kind, count in kinds)}" if kinds else ""
    tell(f"{told}{'; a dry run, nothing was changed' if report.dry_run else ''}; run {report.run_id}")
    return Exit.FAILED if report.failed else Exit.OK
