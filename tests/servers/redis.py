"""Redis, from Debian's package redis-server."""

from __future__ import annotations

from pathlib import Path

import redis

from .process import Server, program


class Redis(Server):
    """A server of our own, in memory only. It asks for a password."""

    def __init__(self, directory: Path, password: str = "redis:p@ss") -> None:
        super().__init__(directory)
        self.password = password

    @property
    def url(self) -> str:
        """Return the server's URL, with its password."""
        return f"redis://:{self.password.replace(':', '%3A').replace('@', '%40')}@{self.host}:{self.port}/0"

    def command(self) -> list[str]:
        options = ["--port", str(self.port), "--bind", self.host, "--requirepass", self.password]
        return [program("redis-server"), *options, "--save", "", "--appendonly", "no", "--dir", str(self.directory)]

    def client(self) -> redis.Redis:
        return redis.Redis(host=self.host, port=self.port, password=self.password, decode_responses=True)

    def ping(self) -> None:
        with self.client() as client:
            client.ping()
