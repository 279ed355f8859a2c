from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from dbgear_airflow_provider.sandbox import sessions

# A child in a process group of its own, as Airflow's tasks are. Until it is what it shall be, it is a bash as well.
SCRIPT = "set -m; /bin/sleep 60 & until [ $(</proc/$!/comm) = sleep ]; do :; done; echo started; wait"


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        ["/bin/bash", "-c", SCRIPT],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={"MARK": "mine", "PATH": "/bin"},
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    sessions.kill(process.pid)
    process.communicate()


def test_all_of_a_session_die_whatever_their_process_group(leader: subprocess.Popen[str]) -> None:
    assert len(sessions.members(leader.pid)) == 2
    sessions.kill(leader.pid)
    assert sessions.members(leader.pid) == []


def test_members_outlive_their_leader_and_are_found(leader: subprocess.Popen[str]) -> None:
    leader.kill()
    leader.wait()
    assert [process.name() for process in sessions.members(leader.pid)] == ["sleep"]
    assert sessions.is_marked(leader.pid, "MARK", "mine")
    sessions.kill(leader.pid)


def test_a_session_of_somebody_else_is_not_marked(leader: subprocess.Popen[str]) -> None:
    assert not sessions.is_marked(leader.pid, "MARK", "another")
