"""`make run`: from nothing to a provisioned fleet, and a UI to look at it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import httpx
import psycopg
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ..core.errors import DbgearError
from . import environment, report, verify
from .airflow import AirflowError
from .postgres import PostgresError
from .progress import Outcome, RunProgress
from .stack import AlreadyRunningError, Stack

DAG_ID = "tenant_provision"
CONF = {"query": "status = 'active'", "dry_run": False}
SYNC_DAG_ID = "tenant_sync"
SYNC_CONF = {"dry_run": False}

_PARSED_TIMEOUT_S = 90.0
_RUN_TIMEOUT_S = 900.0
_NEVER = "1970-01-01T00:00:00+00:00"
_INTERRUPTED = 130  # as shells report SIGINT


def run(directory: Path, *, port: int, once: bool) -> int:
    """Provision the sample fleet; without `once`, stay until Ctrl-C. Return the exit code.

    0: every good tenant is really on the server. 1: not so, or something went wrong and was told. 130: stopped
    by Ctrl-C before that was known.
    """
    console = report.new_console()
    stack = Stack(directory, port=port)
    code = _INTERRUPTED
    try:
        console.print(f"[bold]DBGear sandbox[/] in {escape(str(stack.directory))}")
        with _interrupts(stack), stack:
            try:
                code = 0 if _provision(stack, console) else 1
                if not once:
                    _stay(stack, console)
            finally:
                console.print("Stopping Airflow and PostgreSQL; Ctrl-C again ends them at once.")
    except KeyboardInterrupt:
        pass
    except AlreadyRunningError as error:
        console.print(f"[yellow]{escape(str(error))}[/]\nIt was left alone; Ctrl-C in its own terminal stops it.")
        code = 1
    except (AirflowError, PostgresError, DbgearError, httpx.HTTPError, psycopg.Error, OSError) as error:
        console.print(f"[red]{type(error).__name__}:[/] {escape(str(error))}")
        code = 1
    return code


@contextmanager
def _interrupts(stack: Stack) -> Iterator[None]:
    """Make the first signal a KeyboardInterrupt, which stops all cleanly, and the second one the end of all.

    Signals that we were started to ignore, as by nohup, stay ignored.
    """
    received = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received == 1:
            raise KeyboardInterrupt
        stack.kill()
        os._exit(_INTERRUPTED)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        # Once stopped by a signal, all that is left is to exit with our code: a late second one has nothing to end.
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if received else handler)


@contextmanager
def _step(console: Console, text: str) -> Iterator[None]:
    began = time.monotonic()
    with console.status(text):
        yield
    console.print(f"[green]✔[/] {text}  [dim]{time.monotonic() - began:.1f} s[/]")


def _stay(stack: Stack, console: Console) -> None:
    console.print("Press Ctrl-C to stop.")
    while True:
        time.sleep(1)
        stack.airflow.check()


def _provision(stack: Stack, console: Console) -> bool:
    """Provision the fleet through Airflow, show all of it, and return whether every good tenant is there."""
    began, since = time.monotonic(), datetime.now(UTC)
    client = stack.airflow.client
    if stack.port != stack.wanted_port:
        console.print(f"[yellow]Port {stack.wanted_port} is in use; Airflow takes {stack.port}.[/]")
    with _step(console, "Start Airflow"):
        # In a thread, where no signal can break into the event loop.
        with ThreadPoolExecutor(1) as threads:
            expected = verify.expected_fleet(shared_database=environment.TENANTS_DATABASE)
            fleet = threads.submit(asyncio.run, expected).result()
        stack.airflow.wait_healthy()
        client.import_pools(environment.pools())
    with _step(console, f"Read the DAGs {SYNC_DAG_ID} and {DAG_ID}"):
        for dag_id in (SYNC_DAG_ID, DAG_ID):
            _wait_parsed(stack, since, dag_id)
            client.unpause(dag_id)
    with _step(console, "Bring the tenant list into the registry"):
        run_id = client.trigger(SYNC_DAG_ID, SYNC_CONF)
        state = stack.airflow.wait_until(lambda: client.outcome(SYNC_DAG_ID, run_id), "the sync", _RUN_TIMEOUT_S)
    if state != "success":
        console.print(_failed_run(stack, SYNC_DAG_ID, run_id, str(state)), soft_wrap=True)
        return False
    run_id = client.trigger(DAG_ID, CONF)
    with _step(console, f"Provision {len(fleet.tenants)} tenants where {CONF['query']}"):
        state, outcomes = _watch(stack, console, run_id, fleet)
    with _step(console, "Ask the server what is there"):
        problems = verify.missing(stack.postgres, fleet)

    console.print(report.results(fleet.tenants, outcomes, problems, width=console.width))
    if problems:
        console.print(report.missing_tenants(outcomes, problems), soft_wrap=True)
    if fleet.rejected:
        console.print(report.rejected_rows(fleet.rejected), soft_wrap=True)
    if state != "success":
        console.print(_failed_run(stack, DAG_ID, run_id, state), soft_wrap=True)
    console.print(report.totals(fleet, problems, time.monotonic() - began), soft_wrap=True)
    console.print(report.where_to_look(stack, since), soft_wrap=True)
    return state == "success" and not problems


def _failed_run(stack: Stack, dag_id: str, run_id: str, state: str) -> str:
    failed = report.failed_tasks(stack.airflow.client.task_instances(dag_id, run_id), stack.logs)
    return f"[red]The run of {dag_id} ended as {state}.[/]\n{failed}"


def _wait_parsed(stack: Stack, since: datetime, dag_id: str) -> None:
    """Wait until this Airflow, not one before it, has read the DAG. Raises AirflowError where it cannot be read."""

    def parsed() -> bool:
        dag = stack.airflow.client.dag(dag_id)
        if dag and not dag["is_stale"] and datetime.fromisoformat(dag["last_parsed_time"] or _NEVER) >= since:
            return True
        for error in stack.airflow.client.import_errors():
            is_news = datetime.fromisoformat(error["timestamp"]) >= since
            if is_news and Path(error["filename"]).stem == dag_id:
                raise AirflowError(f"{error['filename']} cannot be imported\n{error['stack_trace']}")
        return False

    stack.airflow.wait_until(parsed, f"reading the DAG {dag_id} in {stack.dags}", _PARSED_TIMEOUT_S)


def _watch(stack: Stack, console: Console, run_id: str, fleet: verify.ExpectedFleet) -> tuple[str, dict[str, Outcome]]:
    """Show each tenant's outcome as it comes, until the run ends. Return the run's state and the outcomes."""
    tenants = {tenant.tenant_id: tenant for tenant in fleet.tenants}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with stack.postgres.connect(environment.FLEET_DATABASE) as connection, bar:
        # The operators keep their results under this id.
        progress = RunProgress(connection, f"{DAG_ID}/{run_id}")
        task = bar.add_task("Tenants", total=len(tenants))

        def ended() -> str | None:
            state = stack.airflow.client.outcome(DAG_ID, run_id)
            for outcome in progress.news():
                console.print(report.outcome_line(outcome, tenants.get(outcome.tenant_id)))
            bar.update(task, completed=len(progress.outcomes))
            return state

        state = stack.airflow.wait_until(ended, "the run", _RUN_TIMEOUT_S)
    return str(state), progress.outcomes
