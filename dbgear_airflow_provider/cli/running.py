"""How a command runs: in an event loop of its own, with an exit code for scripts."""

from __future__ import annotations

import asyncio
import os
import signal
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from enum import IntEnum
from functools import wraps
from getpass import getuser

from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.utils.cli import action_cli

from ..core.errors import DbgearError, InvalidInputError, TenantNotFoundError
from ..core.fleet import FleetStore, Run
from ..hooks.fleet import FleetStoreHook
from ..hooks.project import Fleet, open_fleet
from .output import tell

_CONTEXT = "_AIRFLOW_PROCESS_CONTEXT"


class Exit(IntEnum):
    """Exit codes.

    FAILED: a tenant failed, or the work could not be done. WRONG: what was asked for makes no sense. WAITING: a person
    has to approve. INTERRUPTED, TERMINATED: by Ctrl-C and by SIGTERM, as shells have them.
    """

    OK = 0
    FAILED = 1
    WRONG = 2
    WAITING = 3
    INTERRUPTED = 130
    TERMINATED = 143


def command(work: Callable[[Namespace], Awaitable[Exit]]) -> Callable[[Namespace], None]:
    """Make the function that Airflow calls of a coroutine that does a command's work and returns the exit code.

    Ctrl-C and SIGTERM cancel the work: nothing new begins, running statements roll back.
    """

    @action_cli(check_db=False)  # type: ignore[no-untyped-call, untyped-decorator]
    @wraps(work)
    def run(args: Namespace) -> None:
        with _connections_of_airflow():
            raise SystemExit(_exit_code(work, args))

    return run  # type: ignore[no-any-return]


def _exit_code(work: Callable[[Namespace], Awaitable[Exit]], args: Namespace) -> Exit:
    try:
        return asyncio.run(_cancellable(work(args)))
    except KeyboardInterrupt:
        tell("interrupted")
        return Exit.INTERRUPTED
    except asyncio.CancelledError:
        tell("terminated")
        return Exit.TERMINATED
    except (InvalidInputError, TenantNotFoundError, AirflowNotFoundException) as error:
        tell(f"error: {error}")
        return Exit.WRONG
    except DbgearError as error:
        tell(f"error: {error}")
        return Exit.FAILED


async def _cancellable(work: Awaitable[Exit]) -> Exit:
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await work


@contextmanager
def _connections_of_airflow() -> Iterator[None]:
    """Let connections be found in Airflow's database too, as Airflow's own `connections test` does.

    Otherwise a process that is no task finds only those of environment variables and of secrets backends.
    """
    before = os.environ.get(_CONTEXT)
    os.environ[_CONTEXT] = "server"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CONTEXT]
        else:
            os.environ[_CONTEXT] = before


@asynccontextmanager
async def open_project(args: Namespace, *, hands_over: bool = False) -> AsyncIterator[Fleet]:
    """Open the project that the command is about. hands_over: as of `open_fleet`."""
    async with open_fleet(args.config, fleet_conn_id=FleetStoreHook.default_conn_name, hands_over=hands_over) as fleet:
        yield fleet


def new_run(store: FleetStore) -> Run:
    """Return a run under whose id this command's results are kept."""
    now = datetime.now(UTC)
    return Run(store=store, run_id=f"cli/{now:%Y-%m-%dT%H:%M:%S.%f}-{getuser()}", since=now)


def parallel(args: Namespace, fleet: Fleet) -> int | None:
    """Return how many tenants at once were asked for; tell where the project allows fewer. None: the project's."""
    most = fleet.settings.automation.max_parallel_operations
    if args.parallel is not None and args.parallel > most:
        tell(f"{most} tenants at once: automation.max_parallel_operations of the project file allows no more")
    number: int | None = args.parallel
    return number
