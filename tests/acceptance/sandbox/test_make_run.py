"""`make run`, as a person meets it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbgear_airflow_provider.sandbox import ports, sessions
from dbgear_airflow_provider.sandbox.airflow import AirflowError
from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres
from dbgear_airflow_provider.sandbox.stack import Stack

COMMAND = [sys.executable, "-m", "dbgear_airflow_provider.sandbox"]


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def airflow_session(directory: Path) -> int | None:
    pid_file = directory / "airflow.pid"
    return int(pid_file.read_text() or 0) if pid_file.exists() else None


@pytest.fixture
def starting(short_dir: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start `make run` and come back while Airflow starts."""
    processes = []

    def start() -> subprocess.Popen[str]:
        before = airflow_session(short_dir)
        process = subprocess.Popen(
            [*COMMAND, "--dir", str(short_dir), "--port", str(ports.any_free())],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        until(lambda: airflow_session(short_dir) not in (None, 0, before))
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_once_provisions_every_good_tenant(short_dir: Path) -> None:
    with socket.create_server((ports.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [*COMMAND, "--once", "--dir", str(short_dir), "--port", str(port)],
            check=False,
            capture_output=True,
            text=True,
            timeout=400,
        )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    assert f"Port {port} is in use" in result.stdout
    assert re.search(r"✔ (\d+) of \1 tenants are on the server", result.stdout)
    assert re.search(r" tables and [1-9]\d* rows of initial data", result.stdout)
    assert "2 rows of the tenant list were left out" in result.stdout
    assert "✔ T0007  東京製作所  provisioned, " in result.stdout
    assert airflow_session(short_dir) is None
    assert EmbeddedPostgres(short_dir / "postgres").pid is None


def test_a_second_start_leaves_the_first_alone(airflow_sandbox: Stack) -> None:
    result = subprocess.run(
        [*COMMAND, "--once", "--dir", str(airflow_sandbox.directory)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert airflow_sandbox.airflow.url in result.stdout
    assert airflow_sandbox.airflow.client.healthy()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_stops_everything(
    short_dir: Path, starting: Callable[[], subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = starting()
    session = airflow_session(short_dir)
    assert session is not None
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert sessions.members(session) == []
    assert EmbeddedPostgres(short_dir / "postgres").pid is None


def test_a_second_signal_ends_everything_at_once(
    short_dir: Path, starting: Callable[[], subprocess.Popen[str]]
) -> None:
    process = starting()
    session = airflow_session(short_dir)
    assert session is not None
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    assert sessions.members(session) == []
    assert EmbeddedPostgres(short_dir / "postgres").pid is None


def test_what_a_killed_sandbox_left_running_is_ended_at_the_next_start(
    short_dir: Path, starting: Callable[[], subprocess.Popen[str]]
) -> None:
    killed = starting()
    left = airflow_session(short_dir)
    assert left is not None
    killed.kill()
    killed.wait()
    assert sessions.members(left)
    again = starting()
    assert sessions.members(left) == []
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=60)
    assert EmbeddedPostgres(short_dir / "postgres").pid is None


def test_an_airflow_that_dies_is_told_with_the_end_of_its_log(short_dir: Path) -> None:
    with Stack(short_dir, port=ports.any_free()) as stack:
        session = airflow_session(stack.directory)
        assert session is not None
        sessions.kill(session)
        with pytest.raises(AirflowError, match=r"ended by itself\nThe last lines of .*standalone\.log"):
            stack.airflow.wait_healthy()
