"""A server process: started, asked until it answers, stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dbgear_airflow_provider.sandbox import ports

START_TIMEOUT_S = 60


def program(name: str) -> str:
    """Return the path of a server's program, which Debian keeps outside of people's PATH."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; `make servers` installs it")
    return found


class Server:
    """Base of the servers. A crash and a restart on the same port are for tests of faults."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = ports.HOST
        self.port = ports.any_free()
        self.log = directory / "server.log"
        self._process: subprocess.Popen[Any] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def ping(self) -> None:
        """Raise unless the server answers."""
        raise NotImplementedError

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), cwd=self.directory, stdout=log, stderr=log)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(sign)
            self._process.wait(timeout=START_TIMEOUT_S)
            self._process = None

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        """Start a server in a temporary folder right under the system's own; stop it and delete all at the end."""
        directory = Path(tempfile.mkdtemp(prefix="dbgear-"))
        server = cls(directory)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(directory)

    def crash(self) -> None:
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """Let the server hold its connections and answer nothing, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.ping()
            except Exception:  # noqa: BLE001 - whatever its client raises, it is not there yet
                runs = self._process is not None and self._process.poll() is None
                if not runs or time.monotonic() > deadline:
                    log = self.log.read_text(errors="replace")
                    raise RuntimeError(f"the server does not start:\n{log[-3000:]}") from None
                time.sleep(0.05)
            else:
                return
