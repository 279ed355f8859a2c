"""`Stack`: PostgreSQL and Airflow together, in one directory, one at a time."""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from . import ports
from .airflow import Airflow
from .environment import (
    FLEET_DATABASE,
    METADATA_DATABASE,
    PROJECT_FILE,
    REGISTRY_DATABASE,
    REPOSITORY,
    TENANTS_DATABASE,
    airflow_settings,
)
from .postgres import EmbeddedPostgres


class AlreadyRunningError(RuntimeError):
    """Another process runs a stack in this directory. `url` is its UI's address, "" where it has none yet."""

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(f"a sandbox runs in {directory} already" + (f": {url}" if url else ""))
        self.url = url


class Stack:
    """A PostgreSQL and an Airflow that run together: entering the context starts them, leaving it stops them.

    directory: keeps all data, keys, logs and reports, and is used again by the next stack.
    port: of Airflow's UI; where it is taken, the next free one. dags: folder of the DAG files. project: the project
    file, the sample fleet's unless told otherwise.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int,
        dags: Path = REPOSITORY / "dags",
        project: Path = PROJECT_FILE,
    ) -> None:
        self.directory = directory.absolute()
        self.wanted_port = self.port = port
        self.dags = dags.absolute()
        self.project = project.absolute()
        self.postgres: EmbeddedPostgres
        self.airflow: Airflow
        self._exit = ExitStack()
        self._kills: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            lock = stack.enter_context(self._locked())
            self.postgres = EmbeddedPostgres(self.directory / "postgres")
            self._kills.append(self.postgres.crash)
            stack.enter_context(self.postgres)
            for database in (METADATA_DATABASE, FLEET_DATABASE, REGISTRY_DATABASE, TENANTS_DATABASE):
                self.postgres.create_database(database)
            self.port = ports.free_from(self.wanted_port)
            settings = airflow_settings(
                self.directory, self.postgres, port=self.port, dags=self.dags, project=self.project
            )
            self.write_shell_settings(settings)
            self.airflow = Airflow(self.directory, settings)
            self._kills.append(self.airflow.kill)
            stack.enter_context(self.airflow)
            lock.write_text(self.airflow.url)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._exit.__exit__(kind, error, traceback)

    def kill(self) -> None:
        """End everything at once, from a signal handler too; the data stay as after a crash."""
        for kill in reversed(self._kills):
            kill()

    @property
    def logs(self) -> Path:
        """The folder of the logs: of each task's, and `standalone.log`."""
        return self.directory / "logs"

    @property
    def reports(self) -> Path:
        """The folder of the reports."""
        return self.directory / "reports"

    @property
    def shell_settings(self) -> Path:
        """A file for `. FILE` in a shell, whose `airflow` commands then work on this Airflow. Mode 0600."""
        return self.directory / "env.sh"

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / "lock"
        with path.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunningError(self.directory, path.read_text()) from None
            file.truncate(0)
            yield path

    def write_shell_settings(self, settings: dict[str, str]) -> None:
        """Write `shell_settings`."""
        descriptor = os.open(self.shell_settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in settings.items())
