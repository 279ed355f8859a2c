"""MariaDB, from Debian's package mariadb-server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from .process import Server, program

USER = "dbgear"
PASSWORD = "p@ss:word/%1"
_SETTINGS = (
    "--skip-networking=0",
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-buffer-pool-size=64M",
    "--innodb-doublewrite=0",
    "--innodb-flush-method=nosync",
    "--debug-no-sync",
    "--sync-binlog=0",
    "--max-connections=100",
    "--character-set-server=utf8mb4",
    "--console",
)


class MySQLServer:
    """A server to connect to as an administrator."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self.host, self.port, self.user, self.password = host, port, user, password

    @classmethod
    def from_url(cls, url: str) -> MySQLServer:
        """Return the server of mysql://user:password@host:port."""
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 3306
        return MySQLServer(host, port, unquote(parts.username or "root"), unquote(parts.password or ""))

    def connect(self, database: str | None = None) -> Any:
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            password=self.password,
            database=database,
            autocommit=True,
            # To read the certificates of authorities takes 40 ms each time, and a test asks often.
            ssl_disabled=True,
        )

    def query(self, sql: str, database: str | None = None) -> Any:
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall()
        finally:
            connection.close()

    def create_database(self, name: str) -> None:
        self.query(f"CREATE DATABASE IF NOT EXISTS `{name}`")

    def drop_database(self, name: str) -> None:
        self.query(f"DROP DATABASE IF EXISTS `{name}`")


class MariaDB(Server, MySQLServer):
    """A server of our own, with the account `dbgear`, which may do everything."""

    def __init__(self, directory: Path) -> None:
        Server.__init__(self, directory)
        MySQLServer.__init__(self, self.host, self.port, USER, PASSWORD)
        self._data = directory / "data"
        self._account = directory / "account.sql"

    def command(self) -> list[str]:
        user = ["--user=root"] if os.geteuid() == 0 else []
        if not self._data.exists():
            install = [program("mariadb-install-db"), "--no-defaults", "--auth-root-authentication-method=normal"]
            options = [f"--datadir={self._data}", "--skip-test-db", *user]
            subprocess.run([*install, *options], check=True, capture_output=True, cwd=self.directory)
            self._account.write_text(
                f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n"
                f"GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
            )
        return [
            program("mariadbd"),
            "--no-defaults",
            f"--datadir={self._data}",
            f"--socket={self.directory / 'sql'}",
            f"--pid-file={self.directory / 'pid'}",
            f"--port={self.port}",
            f"--init-file={self._account}",
            *_SETTINGS,
            *user,
        ]

    def ping(self) -> None:
        self.query("SELECT 1")
