"""What an engine gives the operations: sessions on a server, its catalog, its DDL.

A `Server` is one target as one process sees it; a `Session` is a connection to one of its databases. All
differences between engines are behind these two; callers ask for facts, never for names of engines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from sqlalchemy.engine import Dialect

from ..schema import ObjectKey


@dataclass(frozen=True, kw_only=True)
class ServerAddress:
    """Where a server is and who we are there.

    database: the shared database, in which tenants of the strategies `schema` and `table` live and from which
    databases are created. options: driver settings (`sslmode`, ...), allow-listed by the engine.
    """

    host: str
    port: int
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a session waits, in seconds: for a lock, and for one statement to end."""

    lock_s: float
    statement_s: float


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A row of a tenant's ledger."""

    version: str
    tenant_id: str
    instance: str
    checksum: str


class Session(ABC):
    """One connection to one database of a server.

    Every method raises ServerUnavailableError, LockTimeoutError, OperationTimeoutError or StatementError.
    """

    @abstractmethod
    def locked(self, name: str, timeouts: Timeouts) -> AbstractAsyncContextManager[None]:
        """Open a transaction that holds the advisory lock `name`; commit at its end, roll back on an error.

        Raises LockTimeoutError when another session holds the lock for longer than timeouts.lock_s.
        """

    @abstractmethod
    def read_only(self, timeouts: Timeouts) -> AbstractAsyncContextManager[None]:
        """Open a transaction in which the server refuses every change."""

    @abstractmethod
    async def objects(self, schemas: Sequence[str]) -> set[ObjectKey]:
        """Return the schemas of these names that exist, and the tables, indexes and foreign keys in them.

        Views and other things that take a table's name count as tables.
        """

    @abstractmethod
    async def ledger_entry(self, schema: str, version: str) -> LedgerEntry | None:
        """Return the entry of a schema's ledger, which must exist; None where it has no such row."""

    @abstractmethod
    async def write_ledger(self, schema: str, entry: LedgerEntry) -> None:
        """Write or replace an entry of a schema's ledger."""

    @abstractmethod
    async def apply(self, statements: Sequence[str]) -> None:
        """Execute statements in order, within the open transaction.

        Raises StatementError that names the statement which the server refused.
        """


class Server(ABC):
    """One target server, with the sessions that this process has on it.

    Belongs to the event loop in which it is first used.
    """

    dialect: Dialect

    def __init__(self, name: str, address: ServerAddress, *, max_connections: int = 8) -> None:
        self.name = name
        self.address = address
        self.max_connections = max_connections

    @abstractmethod
    def session(self, database: str) -> AbstractAsyncContextManager[Session]:
        """Open or reuse a connection, waiting while max_connections are taken."""

    @abstractmethod
    async def database_exists(self, name: str) -> bool:
        """Tell whether the server has a database of that name."""

    @abstractmethod
    def create_database_statement(self, name: str) -> str:
        """Return the SQL that creates a database."""

    @abstractmethod
    async def create_database(self, name: str) -> bool:
        """Create a database; False where another session has just done so."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections. Safe to repeat."""

    @abstractmethod
    async def version(self) -> str:
        """Return the server's version, as it tells it. Raises ServerUnavailableError."""
