"""What the sandbox shows in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.errors import RegistryRecordError
from ..core.tenants import TenantInfo
from .progress import Outcome
from .stack import Stack
from .verify import ExpectedFleet

_WIDTH_WITHOUT_TERMINAL = 140
_TASKS_SHOWN = 5
_CUSTOMER_MIN = 10
_OTHER_COLUMNS = 70  # what they take in a run without errors
_GOOD, _BAD = "[green]✔[/]", "[red]✘[/]"


def new_console() -> Console:
    """Return the terminal, or what stands for it in a pipe or a log."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH_WITHOUT_TERMINAL)


def outcome_line(outcome: Outcome, tenant: TenantInfo | None) -> str:
    """Return one tenant's outcome as a line."""
    name = escape(_one_line(tenant.customer_name)) if tenant else ""
    text = escape(_one_line(outcome.text))
    mark = _GOOD if outcome.ok else _BAD
    return f"{mark} {escape(outcome.tenant_id)}  {name}  [dim]{text}, {outcome.duration_s:.1f} s[/]"


def results(
    tenants: Sequence[TenantInfo],
    outcomes: Mapping[str, Outcome],
    problems: Mapping[str, Sequence[str]],
    *,
    width: int,
) -> Table:
    """Return the table of results: of each tenant, what the server has.

    width: of the terminal, in columns. On a narrow one the customers' names are cut.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column("tenant", no_wrap=True)
    table.add_column("customer", no_wrap=True, max_width=max(_CUSTOMER_MIN, width - _OTHER_COLUMNS))
    for name in ("tier", "isolation", "instances"):
        table.add_column(name, no_wrap=True)
    table.add_column("result")
    table.add_column("seconds", justify="right", no_wrap=True)
    for tenant in tenants:
        outcome = outcomes.get(tenant.tenant_id)
        if tenant.tenant_id in problems:
            result = f"{_BAD} not there"
        else:
            result = f"{_GOOD} {outcome.text if outcome and outcome.ok else 'there'}"
        table.add_row(
            escape(tenant.tenant_id),
            escape(_one_line(tenant.customer_name)),
            tenant.tier,
            tenant.isolation_strategy,
            escape(", ".join(tenant.instances)),
            result,
            f"{outcome.duration_s:.1f}" if outcome else "",
        )
    return table


def missing_tenants(outcomes: Mapping[str, Outcome], problems: Mapping[str, Sequence[str]]) -> str:
    """Return a line for each tenant that is not there: why it failed, or else what the server lacks."""
    lines = []
    for tenant_id, (first, *others) in problems.items():
        outcome = outcomes.get(tenant_id)
        more = f" (and {len(others)} more)" if others else ""
        reason = outcome.text if outcome and not outcome.ok else first + more
        lines.append(f"{_BAD} {escape(tenant_id)}: {escape(_one_line(reason))}")
    return "\n".join(lines)


def rejected_rows(rejected: Sequence[RegistryRecordError]) -> str:
    """Return the rows of the tenant list that are no tenants, each with what is wrong with it."""
    lines = [f"[yellow]![/] {escape(str(error))}" for error in rejected]
    return "\n".join([f"[bold]{len(rejected)} rows of the tenant list were left out:[/]", *lines])


def failed_tasks(tasks: Sequence[Mapping[str, Any]], logs: Path) -> str:
    """Return the tasks of a run that failed, each with its log file."""
    failed = [task for task in tasks if task["state"] == "failed"]
    lines = []
    for task in failed[:_TASKS_SHOWN]:
        index = task["map_index"]
        name = task["task_id"] + (f" [{task.get('rendered_map_index') or index}]" if index >= 0 else "")
        parts = [f"dag_id={task['dag_id']}", f"run_id={task['dag_run_id']}", f"task_id={task['task_id']}"]
        parts += [f"map_index={index}"] if index >= 0 else []
        log = logs.joinpath(*parts, f"attempt={task['try_number']}.log")
        lines.append(f"{_BAD} task {escape(name)}: {escape(_shown(log))}")
    if len(failed) > _TASKS_SHOWN:
        lines.append(f"{_BAD} and {len(failed) - _TASKS_SHOWN} more")
    return "\n".join(lines)


def totals(fleet: ExpectedFleet, problems: Mapping[str, Sequence[str]], seconds: float) -> str:
    """Return the sum of it in a line. seconds: since the start."""
    good = [place for place in fleet.places if place.tenant_id not in problems]
    there = len(fleet.tenants) - len(problems)
    schemas = len({(place.database, place.schema) for place in good})
    tables = sum(len(place.tables) for place in good)
    rows = sum(sum(place.rows.values()) for place in good)
    mark = _BAD if problems else _GOOD
    return (
        f"{mark} [bold]{there} of {len(fleet.tenants)} tenants are on the server[/] with {schemas} schemas, "
        f"{tables} tables and {rows} rows of initial data, {seconds:.0f} s after the start"
    )


def where_to_look(stack: Stack, since: datetime) -> str:
    """Return the addresses of all that a person may want to look at now. since: when this run began."""
    server, password = stack.postgres, stack.airflow.client.password
    lines = [
        f"Airflow     [bold]{stack.airflow.url}[/]  login [bold]admin[/]  password [bold]{escape(password)}[/]",
        f"Shell       . {escape(shlex.quote(_shown(stack.shell_settings)))}  for `airflow` commands on it",
        f"PostgreSQL  {server.host}:{server.port}  user {server.user}  "
        f"password in {escape(_shown(server.directory / 'password'))}",
    ]
    for report in sorted(stack.reports.rglob("*.json")):
        if report.stat().st_mtime >= since.timestamp():
            lines.insert(0, f"Report      {escape(_shown(report))}")
    return "\n".join(lines)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _one_line(text: str) -> str:
    return " ".join(text.split())
