"""What `airflow dbgear` understands. Imported at every `airflow` call, whatever it is; commands only when they run."""

from __future__ import annotations

from typing import Any

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ActionCommand,
    Arg,
    CLICommand,
    GroupCommand,
    lazy_load_command,
    positive_int,
)

ACTIVE = "status = 'active'"


def _arg(*flags: str, **options: Any) -> Arg:
    return Arg(flags, **options)  # type: ignore[no-untyped-call]


ARG_CONFIG = _arg("--config", metavar="FILE", help="Project file (default: the one that Airflow's configuration names)")
ARG_REPORT = _arg("--report", metavar="FILE", help="Write a report with every detail into this file, as JSON")
ARG_REPORT_OR_PAGE = _arg(
    "--report", metavar="FILE", help="Write a report into this file: a page for *.html, else JSON"
)
ARG_PARALLEL = _arg(
    "--parallel",
    type=positive_int(allow_zero=False),  # type: ignore[no-untyped-call]
    metavar="N",
    help="Tenants at once, up to automation.max_parallel_operations of the project file (default: that)",
)
ARG_TENANT_ID = _arg("tenant_id", metavar="TENANT", help="The tenant's id")
ARG_SOURCE = _arg(
    "--source", action="append", metavar="NAME", help="Only this source; may be given several times (default: all)"
)
ARG_FORCE = _arg(
    "--force", action="store_true", help="Go on where max_change_percent would refuse; not where a source is empty"
)
ARG_DIRECTORY = _arg(
    "--directory", metavar="DIR", help="Write a file for each tenant into this folder (default: all to stdout)"
)
ARG_FORMAT = _arg(
    "-o", "--output", choices=("yaml", "json"), default="yaml", metavar="(yaml, json)", help="Format on stdout"
)
ARG_AT_ONCE = _arg(
    "--parallel",
    type=positive_int(allow_zero=False),  # type: ignore[no-untyped-call]
    default=50,
    metavar="N",
    help="Databases of a server at once, up to its max_connections (default: 50)",
)
ARG_FINGERPRINTS = _arg(
    "--fingerprints", action="store_true", help="Compare what tenants hold with their documents, too"
)
ARG_FAIL_ON = _arg(
    "--fail-on",
    choices=("warning", "critical", "unreachable", "never"),
    default="critical",
    metavar="STATUS",
    help="The least status that ends with exit code 1: warning, critical, unreachable, or never (default: critical)",
)
ARG_MIGRATION = _arg(
    "--migration", metavar="PATH", help="A folder of migration scripts, or one (default: the project's folder)"
)
ARG_TO = _arg("--to", metavar="VERSION", help="Up to this version (default: the newest there is)")
ARG_APPROVE = _arg(
    "--approve",
    action="store_true",
    help="Go on where a stage waits for a person, instead of asking on the terminal",
)
ARG_RESUME = _arg(
    "--resume", metavar="ID", help="Go on with this rollout; it keeps its own filter, scripts, version and stages"
)
ARG_RETRY_FAILED = _arg("--retry-failed", action="store_true", help="With --resume: try again what has failed, too")
ARG_DASHBOARD = _arg(
    "--dashboard", action="store_true", help="Show it live, until q or Ctrl-C; once where there is no terminal"
)


def _query(default: str) -> Arg:
    # No default of argparse: with --resume, a query that is given is an error.
    return _arg(
        "--query",
        "--filter",
        metavar="QUERY",
        help=f"Which tenants, in the tenant query language (default: {default})",
    )


def _dry_run(what: str) -> Arg:
    return _arg("--dry-run", action="store_true", help=what)


def _command(name: str, help: str, function: str, *args: Arg) -> ActionCommand:  # noqa: A002 - Airflow's word
    output = () if ARG_FORMAT in args else (ARG_OUTPUT,)
    return ActionCommand(
        name=name,
        help=help,
        func=lazy_load_command(f"dbgear_airflow_provider.cli.{function}"),
        args=(*args, *output, ARG_VERBOSE),
    )


_TENANT = (
    _command("list", "List the tenants of the registry", "tenant.list_tenants", _query("all"), ARG_CONFIG),
    _command(
        "show", "Show a tenant: what the registry and the fleet store know", "tenant.show", ARG_TENANT_ID, ARG_CONFIG
    ),
    _command(
        "sync",
        "Bring the registry to what its sources say",
        "tenant.sync",
        ARG_SOURCE,
        _dry_run("Read and compare, print the differences, write nothing"),
        ARG_FORCE,
        ARG_REPORT,
        ARG_CONFIG,
    ),
    _command(
        "render",
        "Render the documents of tenants",
        "tenant.render",
        _query(ACTIVE),
        ARG_DIRECTORY,
        ARG_FORMAT,
        ARG_CONFIG,
    ),
    _command(
        "provision",
        "Create what tenants do not have yet of their documents",
        "tenant.provision",
        _query(ACTIVE),
        ARG_PARALLEL,
        _dry_run("Connect and read, change nothing; the report has the exact statements"),
        ARG_REPORT,
        ARG_CONFIG,
    ),
)
_BATCH = (
    _command(
        "healthcheck",
        "Look at the health of tenants, and keep it in the fleet store",
        "batch.healthcheck",
        _query(ACTIVE),
        ARG_AT_ONCE,
        ARG_FINGERPRINTS,
        ARG_FAIL_ON,
        ARG_REPORT_OR_PAGE,
        ARG_CONFIG,
    ),
    _command(
        "deploy-schema",
        "Roll migrations out over the tenants, in the stages of the project file",
        "batch.deploy_schema",
        _query(ACTIVE),
        ARG_MIGRATION,
        ARG_TO,
        ARG_PARALLEL,
        _dry_run("Connect, read and lint, print the plan, change nothing; the report has the exact statements"),
        ARG_APPROVE,
        ARG_RESUME,
        ARG_RETRY_FAILED,
        ARG_REPORT_OR_PAGE,
        ARG_CONFIG,
    ),
)
_MONITOR = (_command("status", "Show how the fleet stands", "monitor.status", ARG_DASHBOARD),)
_FLEET = (
    _command(
        "rebuild",
        "Rebuild the fleet store's state of tenants from what the servers hold",
        "fleet.rebuild",
        _dry_run("Look for the instances, write nothing"),
        ARG_CONFIG,
    ),
)


def get_cli_commands() -> list[CLICommand]:
    """Return the command `dbgear` with its groups, as Airflow's parser takes them."""
    groups = (
        GroupCommand(name="tenant", help="Tenants: the list, their documents, provisioning", subcommands=_TENANT),
        GroupCommand(name="batch", help="Operations on many tenants", subcommands=_BATCH),
        GroupCommand(name="monitor", help="How the fleet stands", subcommands=_MONITOR),
        GroupCommand(name="fleet", help="The fleet store", subcommands=_FLEET),
    )
    return [GroupCommand(name="dbgear", help="Run a fleet of tenant databases", subcommands=groups)]
