from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest

from dbgear_airflow_provider.sandbox import ports
from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres, PostgresError, PostgresServer

FAST = {"fsync": "off"}


def one(server: PostgresServer, query: str, database: str = "postgres") -> object:
    with server.connect(database) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_a_database_is_created_once(postgres: PostgresServer, database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(postgres.create_database, [f"{database}_twice"] * 4))
    try:
        assert one(postgres, "SELECT current_database()", f"{database}_twice") == f"{database}_twice"
    finally:
        postgres.drop_database(f"{database}_twice")
        postgres.drop_database(f"{database}_twice")


def test_it_listens_locally_and_asks_for_the_password(short_dir: Path) -> None:
    with EmbeddedPostgres(short_dir, settings=FAST) as server:
        assert one(server, "SHOW listen_addresses") == "127.0.0.1"
        assert one(server, "SHOW unix_socket_directories") == ""
        assert stat.S_IMODE((short_dir / "password").stat().st_mode) == 0o600
        stranger = PostgresServer(host=server.host, port=server.port, user=server.user, password="wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            stranger.connect()
        assert server.password not in repr(server)
    assert server.pid is None


def test_text_is_utf8_whatever_the_users_locale(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("PGPORT", "1")
    with EmbeddedPostgres(short_dir, settings=FAST) as server:
        server.create_database("顧客")
        assert one(server, "SELECT upper('é東京')", "顧客") == "É東京"


def test_a_directory_is_used_again(short_dir: Path) -> None:
    with EmbeddedPostgres(short_dir, settings=FAST) as server:
        server.create_database("kept")
    with EmbeddedPostgres(short_dir, settings={**FAST, "max_connections": 50}) as again:
        assert one(again, "SELECT count(*) FROM pg_database WHERE datname = 'kept'") == 1
        assert one(again, "SHOW max_connections") == "50"


def test_a_crash_breaks_sessions_and_keeps_what_was_committed(short_dir: Path) -> None:
    with EmbeddedPostgres(short_dir, settings=FAST) as server:
        session = server.connect()
        session.execute("CREATE TABLE t AS SELECT 1 AS a")
        port = server.port
        server.crash()
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
        session.close()
        server.restart()
        assert server.port == port
        assert one(server, "SELECT a FROM t") == 1


def test_a_server_that_was_killed_starts_again(short_dir: Path) -> None:
    with EmbeddedPostgres(short_dir, settings=FAST) as server:
        assert server.pid is not None
        psutil.Process(server.pid).kill()
        while server.pid is not None:
            time.sleep(0.01)
        server.start()
        assert one(server, "SELECT 1") == 1


def test_a_server_that_an_earlier_process_left_is_taken_over(short_dir: Path) -> None:
    earlier = EmbeddedPostgres(short_dir, settings=FAST)
    earlier.start()
    left = earlier.pid
    with EmbeddedPostgres(short_dir, settings=FAST) as server:
        assert server.pid not in (None, left)
        assert one(server, "SELECT 1") == 1


def test_a_pid_file_that_names_another_process_does_no_harm(short_dir: Path) -> None:
    server = EmbeddedPostgres(short_dir, settings=FAST)
    server.start()
    pid_file = short_dir / "data" / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    server.crash()
    sleeper = subprocess.Popen(
        ["/bin/sleep", "60"],
        **({"user": short_dir.stat().st_uid} if os.geteuid() == 0 else {}),
    )
    try:
        pid_file.write_text("\n".join([str(sleeper.pid), *lines[1:]]))
        assert server.pid is None
        with server:
            assert one(server, "SELECT 1") == 1
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_an_interrupted_first_start_is_begun_anew(short_dir: Path) -> None:
    (short_dir / "data.new" / "base").mkdir(parents=True)
    (short_dir / "data.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(short_dir, settings=FAST) as server:
        assert one(server, "SELECT 1") == 1


def test_a_server_that_cannot_start_says_why(short_dir: Path) -> None:
    server = EmbeddedPostgres(short_dir, settings={"max_connections": "many"})
    with pytest.raises(PostgresError, match=r'invalid value for parameter "max_connections": "many"'):
        server.start()


def test_data_of_another_version_is_refused(short_dir: Path) -> None:
    server = EmbeddedPostgres(short_dir)
    (short_dir / "data").mkdir()
    (short_dir / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresError, match=r"made by PostgreSQL 9, installed is \d+; remove "):
        server.start()


def test_a_lost_password_is_told(short_dir: Path) -> None:
    (short_dir / "data").mkdir()
    with pytest.raises(PostgresError, match=r"password is lost; remove "):
        EmbeddedPostgres(short_dir)


def test_a_taken_port_is_not_free() -> None:
    with socket.create_server((ports.HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.free_from(port) != port
    assert ports.is_free(port)
