"""Airflow itself, run as `airflow standalone` in a process session of its own."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

from . import sessions
from .api import AirflowClient
from .environment import process_environment

_HEALTHY_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 6.0  # the triggerer takes its time and holds nothing that a kill would lose
_POLL_S = 0.3
_LOG_TAIL_LINES = 25
_MARK = "DBGEAR_SANDBOX_PROCESS_OF"

Answer = TypeVar("Answer")


class AirflowError(RuntimeError):
    """Airflow did not do as it was told; the message ends with the tail of its log."""


class Airflow:
    """An Airflow that keeps its files in `directory`: `airflow`, `logs`, `airflow.pid`.

    Everything it starts ends with `stop`, and at the next start what a killed one left running is ended first.
    settings: as `environment.airflow_settings` gives them.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.url = settings["AIRFLOW__API__BASE_URL"]
        self.log = directory / "logs" / "standalone.log"
        self.environment = process_environment(settings)
        self.client = AirflowClient(
            self.url, Path(settings["AIRFLOW_HOME"]) / "simple_auth_manager_passwords.json.generated"
        )
        self._mark = str(directory)
        self._pid_file = directory / "airflow.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen_dead: set[int] = set()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self.client.close()

    def start(self) -> None:
        """Start all components; `wait_healthy` waits until they work."""
        self.kill_leftovers()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                ["airflow", "standalone"],  # noqa: S607  found on the PATH that we give
                # SPT_NOENV: processes that rename themselves leave their environment as it is, with our mark.
                env={**self.environment, _MARK: self._mark, "SPT_NOENV": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._pid_file.write_text(str(self._process.pid))

    def stop(self) -> None:
        """Stop all components: as they like to be stopped, and what is left after 6 s by force."""
        if self._process is None:
            return
        try:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def kill(self) -> None:
        """End all components at once. Safe to repeat."""
        if self._process is not None:
            sessions.kill(self._process.pid)
            self._process.wait(_STOP_TIMEOUT_S)
            self._pid_file.unlink(missing_ok=True)
            self._process = None

    def kill_leftovers(self) -> None:
        """End what a sandbox that was killed left running in this directory."""
        try:
            session = int(self._pid_file.read_text())
        except (FileNotFoundError, ValueError):
            return
        if sessions.is_marked(session, _MARK, self._mark):
            sessions.kill(session)
        self._pid_file.unlink()

    def check(self) -> None:
        """Raise AirflowError where Airflow or one of its components has ended."""
        if self._process is None or self._process.poll() is not None:
            raise AirflowError(f"Airflow ended by itself\n{self.log_tail()}")
        # `airflow standalone` goes on when a component dies, which then stays its zombie.
        dead = {child.pid for child in _children(self._process.pid) if child.status() == psutil.STATUS_ZOMBIE}
        if dead & self._seen_dead:
            raise AirflowError(f"a component of Airflow ended by itself\n{self.log_tail()}")
        self._seen_dead = dead

    def wait_healthy(self) -> None:
        """Wait until API, scheduler and DAG processor are up."""
        self.wait_until(self.client.healthy, "Airflow's start", _HEALTHY_TIMEOUT_S)

    def wait_until(self, condition: Callable[[], Answer], what: str, timeout_s: float) -> Answer:
        """Return the condition's first true answer. Raises AirflowError after timeout_s, or when Airflow dies."""
        deadline = time.monotonic() + timeout_s
        while not (answer := condition()):
            self.check()
            if time.monotonic() > deadline:
                raise AirflowError(f"{what} took longer than {timeout_s:g} s\n{self.log_tail()}")
            time.sleep(_POLL_S)
        return answer

    def log_tail(self) -> str:
        """Return where the log is, and its last lines."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"The last lines of {self.log}:", *lines[-_LOG_TAIL_LINES:]])


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []
