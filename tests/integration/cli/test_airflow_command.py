"""The command itself, as a process: connections out of Airflow's database, the live view on a terminal."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.cli.shell import Shell

AIRFLOW = str(Path(sys.executable).with_name("airflow"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """AIRFLOW_HOME, with a database of Airflow's own."""
    home = tmp_path / "airflow"
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path / 'airflow.db'}")
    airflow("db", "migrate")
    return home


def airflow(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end; whether it should succeed is for the caller to say."""
    return subprocess.run([AIRFLOW, *words], check=False, capture_output=True, text=True, timeout=120)


@pytest.mark.usefixtures("home")
def test_connections_of_airflows_database_are_found(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    main = os.environ["AIRFLOW_CONN_MAIN"]
    monkeypatch.delenv("AIRFLOW_CONN_MAIN")
    missing = airflow("dbgear", "tenant", "provision")
    assert missing.returncode == 2
    assert missing.stderr.endswith("error: The conn_id `main` isn't defined\n")
    assert "Traceback" not in missing.stderr

    assert airflow("connections", "add", "main", "--conn-json", main).returncode == 0
    done = airflow("dbgear", "tenant", "provision", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert [row["tenant"] for row in json.loads(done.stdout)] == ["T1", "T2", "T3"]
    assert shell.schemas() == [shell.schema(name) for name in ("T1", "T2", "T3")]


def test_the_dashboard_is_live_until_q(shell: Shell) -> None:
    shell("tenant", "provision")
    terminal, theirs = os.openpty()
    process = subprocess.Popen(
        [AIRFLOW, "dbgear", "monitor", "status", "--dashboard"], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        read_until(terminal, [b"provisioned", b"q leaves", b"Last runs"])
        shell("tenant", "provision", "--dry-run", "--query", "tenant_id = 'T1'")
        read_until(terminal, [b"True"])  # the dry run has come into view
        os.write(terminal, b"xq")
        read_until(terminal, [])
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def read_until(terminal: int, wanted: Sequence[bytes], timeout_s: float = 60) -> None:
    """Read what a program shows until all of it has come; of nothing, until the program has closed the terminal."""
    shown, deadline = b"", time.monotonic() + timeout_s
    while not wanted or not all(text in shown for text in wanted):
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 1)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # nobody has it open any more
                assert not wanted, shown
                return
