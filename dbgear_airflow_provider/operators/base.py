"""What all operators of the provider share."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import get_ident
from typing import Any

from airflow.sdk import BaseAsyncOperator, Context, ObjectStoragePath
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

from ..core.automation import OperationResult, OperationStatus
from ..core.errors import InvalidInputError
from ..core.fleet import FleetStore, Run
from ..hooks.fleet import FleetStoreHook
from ..hooks.project import report_dir

RETRY_POLICY = ExceptionRetryPolicy(
    [
        RetryRule(
            "dbgear_airflow_provider.core.errors.TerminalError",
            action=RetryAction.FAIL,
            reason="a retry would not change it",
        )
    ]
)


class DbgearOperator(BaseAsyncOperator):
    """Base of the operators: terminal errors fail at once, transient ones are retried; a kill cancels the work.

    project_file: path of project.yaml; None: the one of Airflow's configuration. fleet_conn_id: the connection of
    the fleet store.
    """

    template_fields: Sequence[str] = ("project_file", "fleet_conn_id")

    def __init__(
        self,
        *,
        project_file: str | None = None,
        fleet_conn_id: str = FleetStoreHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        # Mapped operators are given None for what their author left out.
        kwargs["retry_policy"] = kwargs.get("retry_policy") or RETRY_POLICY
        super().__init__(**kwargs)
        self.project_file = project_file
        self.fleet_conn_id = fleet_conn_id
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None

    async def aexecute(self, context: Context) -> Any:
        """Run the operator's work as a task that `on_kill` can cancel."""
        work = asyncio.create_task(self.work(context))
        self._running = (asyncio.get_running_loop(), work)
        try:
            return await work
        finally:
            self._running = None

    async def work(self, context: Context) -> Any:
        """Do what the operator is for; return small JSON."""
        raise NotImplementedError

    def _tell(self, result: OperationResult) -> None:
        """Log what became of a tenant."""
        details = result.details or {}
        if result.status is OperationStatus.ERROR:
            self.log.error("tenant %s: %s: %s", result.tenant_id, details.get("error_kind"), result.error)
        else:
            self._tell_success(result, details)

    def _tell_success(self, result: OperationResult, details: Mapping[str, Any]) -> None:
        """Log what was done to a tenant."""

    def on_kill(self) -> None:
        """Start nothing further; let running statements roll back."""
        if self._running is not None:
            loop, work = self._running
            loop.call_soon_threadsafe(work.cancel)


def run_of(context: Context, store: FleetStore, since: datetime | None = None) -> Run:
    """Return this DAG run as the fleet store knows it; since: as of `Run`."""
    return Run(store=store, run_id=run_key(context), attempt=context["ti"].try_number, since=since)


def run_key(context: Context) -> str:
    """Return the id of this DAG run in the fleet store: run ids alone repeat from DAG to DAG."""
    return f"{context['dag'].dag_id}/{context['run_id']}"


def run_folder(context: Context) -> ObjectStoragePath:
    """Return the folder of this DAG run's reports."""
    return ObjectStoragePath(report_dir()) / context["dag"].dag_id / context["run_id"].replace(":", "_")


async def write_json(path: ObjectStoragePath, document: Mapping[str, Any]) -> None:
    """Write a report, see `write_text`."""
    await asyncio.to_thread(write_text, path, json.dumps(document, ensure_ascii=False, indent=1))


def write_text(path: ObjectStoragePath, text: str) -> None:
    """Write a file, and the folders above it: as a whole or not at all, for a retry may need what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.protocol not in ("", "file"):
        path.write_text(text, encoding="utf-8")  # object storage has all of it or what was there before
        return
    local = Path(path.path)
    new = local.with_name(f".{os.getpid()}.{get_ident()}")  # a longer name could be too long
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(local)
    finally:
        new.unlink(missing_ok=True)


def as_bool(value: bool | str, field: str) -> bool:
    """Return a template field that stands for a flag: rendered, it is text."""
    if isinstance(value, bool):
        return value
    if value.lower() in {"true", "false"}:
        return value.lower() == "true"
    raise InvalidInputError("not a flag", where=field, received=value, allowed="true, false")


def as_list(value: Sequence[str] | str, field: str) -> list[str]:
    """Return a template field that stands for a list of words: rendered, it is Python's or JSON's text of it."""
    if isinstance(value, str):
        words = [word.strip(" \"'") for word in value.strip("[] ").split(",")]
        value = [word for word in words if word]
    if not all(isinstance(word, str) for word in value):
        raise InvalidInputError("not a list of words", where=field, received=value)
    return list(value)


def as_int(value: int | str, field: str, *, minimum: int = 1) -> int:
    """Return a template field that stands for a number."""
    try:
        number = int(value)
    except ValueError:
        number = minimum - 1
    if number < minimum:
        raise InvalidInputError("not a number", where=field, received=value, allowed=f"{minimum} or more")
    return number
