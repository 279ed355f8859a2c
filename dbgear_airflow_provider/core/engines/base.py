"""What an engine gives the operations: sessions on a server, its catalog, its DDL.

A `Server` is one target as one process sees it; a `Session` is a connection to one of its databases. All
differences between engines are behind these two; callers ask for facts, never for names of engines.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sqlalchemy.engine import Dialect

from ..errors import SettingsError
from ..schema import LedgerEntry, Namespace, ObjectKey, Snapshot
from ..tenants.naming import SHORTEST_LIMIT, NameLimit
from .lending import Lender
from .roles import RoleRequest, RoleScript, RoleState
from .vitals import Activity, Vitals

if TYPE_CHECKING:
    from .cloning import CloneSource


@dataclass(frozen=True, kw_only=True)
class ServerAddress:
    """Where a server is and who we are there.

    database: the shared database, in which tenants of the strategies `schema` and `table` live and from which
    databases are created; where schemas are databases it may be empty. options: driver settings (`sslmode`, ...),
    allow-listed by the engine. tls: how to talk TLS, for engines whose options do not say it; None: not at all.
    """

    host: str
    port: int
    user: str
    database: str
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long a session waits, in seconds: for a lock, and for one statement to end."""

    lock_s: float
    statement_s: float


GrantedOn = Literal["schema", "database", "table", "function", "procedure"]


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What grants are asked for.

    kind `schema` or `database`: on those of the names, and where schemas are databases on what is in them; `table`: on
    the objects `parts` of the schemas `names`, which others live in as well.
    """

    kind: GrantedOn
    names: Sequence[str]
    parts: Sequence[ObjectKey] = ()


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One privilege that a role holds on a schema, a database or an object in it.

    name: of the schema or database. part: of the object in it; of a database on MySQL, how the grant is written there.
    grantee: the role; None is PUBLIC, that is every role. grantor: who granted it; None is the object's owner.
    grantable: whether the grantee may grant it on. keeps: whether the grantee can do the same without it, because
    it is a superuser or the owner.
    """

    kind: GrantedOn
    name: str
    privilege: str
    grantee: str | None
    grantor: str | None = None
    grantable: bool = False
    part: str = ""
    keeps: bool = field(default=False, compare=False)

    @property
    def what(self) -> tuple[str, ...]:
        """What is granted, whoever has it."""
        return self.kind, self.name, self.part, self.privilege

    def __str__(self) -> str:
        name = self.name if self.kind in {"schema", "database"} else f"{self.name}.{self.part}"
        text = f"{self.privilege} on {self.kind} {name} to " + (self.grantee or "PUBLIC")
        text += " with grant option" if self.grantable else ""
        return text if self.grantor is None else f"{text}, granted by {self.grantor}"


def alike(grants: Sequence[Grant]) -> list[list[Grant]]:
    """Group grants that one statement can tell: they differ in the privilege alone."""
    groups: dict[tuple[object, ...], list[Grant]] = {}
    for grant in grants:
        groups.setdefault((grant.kind, grant.name, grant.part, grant.grantee, grant.grantable), []).append(grant)
    return list(groups.values())


@dataclass(frozen=True, kw_only=True)
class ExpectedLedger:
    """What a namespace's ledger is thought to say.

    tenant_id, instance: whose it is. begun: what the checksum of its row `provision` does not begin with. digest: of
    what it says of migrations: sha256 in hex of the lines `<version> <checksum>`, sorted.
    """

    namespace: Namespace
    tenant_id: str
    instance: str
    begun: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class OtherSession:
    """A session of somebody else. may_end: whether we are allowed to end it."""

    role: str
    may_end: bool


class Session(ABC):
    """One connection to one database of a server.

    Every method raises ServerUnavailableError, LockTimeoutError, OperationTimeoutError or StatementError.
    """

    @abstractmethod
    def locked(self, name: str, timeouts: Timeouts) -> AbstractAsyncContextManager[None]:
        """Hold the advisory lock `name`, in a transaction that is committed at the end and rolled back on an error.

        Where DDL is not transactional there is no transaction: each statement stands when it is done.
        Raises LockTimeoutError when another session holds the lock for longer than timeouts.lock_s.
        """

    @abstractmethod
    def held(self, name: str, timeouts: Timeouts) -> AbstractAsyncContextManager[None]:
        """Hold the same lock without a transaction, taken by asking again and again. In a session `apart`.

        Raises LockTimeoutError as `locked` does.
        """

    @abstractmethod
    def read_only(self, timeouts: Timeouts) -> AbstractAsyncContextManager[None]:
        """Open a transaction in which every change is refused."""

    @abstractmethod
    async def objects(self, namespaces: Sequence[Namespace]) -> set[ObjectKey]:
        """Return the schemas of these namespaces that exist, and what is in them, each of the kind of its `ObjectKey`.

        With a prefix: of what is in the schema, that whose name begins with it, as `_` and case are written, and what
        belongs to such tables. Things that take a table's name and are no views count as tables.
        """

    @abstractmethod
    async def describe(self, groups: Sequence[Sequence[Namespace]]) -> list[Snapshot]:
        """Return what each group of namespaces holds, an instance's in the order of its document.

        Within `locked`, `read_only` or `scratch`. A few queries for all groups together, so hand over hundreds, not
        tens of thousands. A snapshot is empty where nothing is there.
        """

    @abstractmethod
    def scratch(self, count: int, timeouts: Timeouts) -> AbstractAsyncContextManager[list[Namespace]]:
        """Give so many namespaces that do not exist yet, for objects that are gone at the end, even of a killed run."""

    @abstractmethod
    async def ledger_entry(self, namespace: Namespace, version: str) -> LedgerEntry | None:
        """Return the entry of a namespace's ledger, which must exist; None where it has no such row."""

    @abstractmethod
    async def ledger(self, namespace: Namespace) -> list[LedgerEntry] | None:
        """Return all rows of a namespace's ledger, which need not exist: None where there is none that is ours."""

    @abstractmethod
    async def ledgers(self, namespaces: Sequence[Namespace]) -> dict[Namespace, list[LedgerEntry]]:
        """Return the rows of those ledgers that exist, by a few queries for all together.

        One that is dropped meanwhile may cost others their place in the answer: who is not in it is to be asked alone.
        """

    @abstractmethod
    async def select(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query that has no parameters."""

    @abstractmethod
    def atomic(self) -> AbstractAsyncContextManager[None]:
        """Make the rows that are written within it stand together or not at all, where nothing does so already."""

    @abstractmethod
    async def other_charsets(self, schemas: Sequence[str]) -> dict[str, str]:
        """Return those of the schemas that do not keep text in Unicode, {name: character set}."""

    @abstractmethod
    async def apply(self, statements: Sequence[str], *, last: bool = False, foreign: bool = False) -> None:
        """Execute statements in order, within the open transaction or lock.

        last: nothing follows, so that the transaction may be committed with them: it spares a round trip. foreign:
        with `last`, statements are not ours: what they have set of the session ends with them.
        Raises StatementError that names the statement which the server refused.
        """

    async def apply_blindly(
        self, name: str, timeouts: Timeouts, ledger: ExpectedLedger, statements: Sequence[str]
    ) -> bool:
        """Execute statements that are not ours in a transaction under the lock `name`, all in one round trip.

        False where the ledger is not as expected, or a statement was refused: nothing is done then, and a look tells
        more. Most engines must look first, whatever is expected.
        """
        return False

    async def before_again(self, statement: str) -> None:  # noqa: B027 - most statements leave nothing
        """Take away what the statement has left where it was tried and failed, within `held`."""

    @abstractmethod
    async def grants(self, scope: Scope) -> list[Grant]:
        """Return what others than the owner and us may do there, what holds by default included.

        Ordered by object, grantee and privilege.
        """

    @abstractmethod
    async def roles_with_access(self, scope: Scope) -> list[str]:
        """Return the roles that may log in and need no grant to enter: members of an owner, readers of all data.

        Without the owners themselves, superusers and us; ordered by name.
        """

    @abstractmethod
    async def existing_roles(self, names: Sequence[str]) -> set[str]:
        """Return those of the names that are roles of the server."""

    @abstractmethod
    async def rows(self, schema: str, table: str) -> list[tuple[object, ...]] | None:
        """Return all rows of a small table that is ours; None where there is none.

        Something else of that name, or a table of a tenant's own role, is not read: doing so could run their code.
        """

    @abstractmethod
    async def other_sessions(self, databases: Sequence[str]) -> list[OtherSession]:
        """Return the sessions on databases of roles that are neither its owner, members of it, superusers nor us."""

    @abstractmethod
    async def end_other_sessions(self, databases: Sequence[str]) -> None:
        """Tell those of `other_sessions` to end that may be ended. Does not wait for their end."""

    @abstractmethod
    async def vitals(self, namespaces: Sequence[Namespace]) -> dict[Namespace, Vitals]:
        """Return what the catalog says of the health of namespaces, by a few queries for hundreds of them.

        Raises LockTimeoutError where somebody has locked a table of one of them for himself alone.
        """

    @abstractmethod
    async def activity(self) -> Activity:
        """Return what the server is doing, as far as we may see it."""

    @abstractmethod
    async def role_state(self, request: RoleRequest) -> RoleState:
        """Return what there is of a tenant's roles and of what they shall be able to do, by one query."""


class Server(ABC):
    """One target server, with the sessions that this process has on it.

    Belongs to the event loop in which it is first used.

    duplicate_key: the code of its error for a row whose key is there already.
    transactional_ddl: whether a transaction takes DDL back; otherwise each statement is done for good, whole or not at
    all. schemas_are_databases: whether the server knows but one of the two, so that every schema is reached from every
    session. name_limit: of names. folds_names: whether the catalog has names in lower case only; known by `ready`.
    dialect: for the compilers; of the server's very version after `ready`. role_limit: of names of roles. marks_roles:
    whether a role says itself whose it is; otherwise the tenant's ledger does. keeps_grants: whether grants outlive
    what they are on. ending_needs: what we need to end
    sessions of others, in words; ending_refused: the code of its error where we have it not.

    shared_schema: in which tenants of the strategy `table` live; None: there is none. connections: those in use.
    """

    transactional_ddl: ClassVar[bool] = True
    duplicate_key: ClassVar[str | int]
    schemas_are_databases: ClassVar[bool] = False
    name_limit: ClassVar[NameLimit] = SHORTEST_LIMIT
    role_limit: ClassVar[NameLimit] = SHORTEST_LIMIT
    marks_roles: ClassVar[bool] = True
    keeps_grants: ClassVar[bool] = False
    ending_needs: ClassVar[str] = ""
    ending_refused: ClassVar[str | int]
    folds_names: bool = False
    dialect: Dialect

    def __init__(
        self, name: str, address: ServerAddress, *, max_connections: int = 8, shared_schema: str | None = None
    ) -> None:
        self.name = name
        self.address = address
        self.max_connections = max_connections
        self.connections = Lender(name, max_connections)
        self.shared_schema = shared_schema or self._usual_schema()

    def _usual_schema(self) -> str | None:
        """Return the shared schema where no other is wanted."""
        return self.address.database or None

    @property
    def shared_schema_name(self) -> str:
        """The shared schema. Raises SettingsError where there is none."""
        if self.shared_schema is None:
            where = f"multi_tenant.targets.{self.name}.shared_schema"
            raise SettingsError("no schema for tenants of isolation table", where=where, allowed="the name of a schema")
        return self.shared_schema

    @abstractmethod
    def stand(self, schema: str, role: str | None, *, transaction: bool) -> list[str]:
        """Return the SQL after which names without a schema mean one, with the rights of a role (None: ours).

        transaction: it ends with the transaction, otherwise with the session.
        """

    @abstractmethod
    def stand_up(self, role: str | None) -> list[str]:
        """Return the SQL after which our own rights are there again."""

    @abstractmethod
    def is_done_already(self, statement: str, code: str | int) -> bool:
        """Tell whether an error says that what the statement makes is there, or what it drops is not."""

    async def ready(self) -> None:  # noqa: B027 - most engines need not ask
        """Learn what only the server can tell of itself. Safe to repeat: it asks once.

        Raises ServerUnavailableError, and UnsupportedError for a version that cannot do what we need.
        """

    @abstractmethod
    def session(self, database: str, *, apart: bool = False) -> AbstractAsyncContextManager[Session]:
        """Open or reuse a connection, waiting while max_connections are taken.

        apart: nobody uses it afterwards, whatever was set in it.
        """

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
    def revoke_statements(self, grants: Sequence[Grant]) -> list[str]:
        """Return the SQL that takes grants away, with those that hang on them."""

    @abstractmethod
    def grant_statements(self, grants: Sequence[Grant]) -> list[str]:
        """Return the SQL that gives grants back, each in the name of its grantor, the owners' before the others'."""

    @abstractmethod
    def role_script(self, request: RoleRequest, state: RoleState, password: str | None) -> RoleScript:
        """Return the SQL that is missing to a tenant's roles. password: of a new login; None shows `***` for it."""

    @abstractmethod
    def password_statement(self, login: str, password: str | None) -> str:
        """Return the SQL that gives an existing login another password; None shows `***` for it."""

    @abstractmethod
    def clone(self, source: CloneSource) -> AbstractAsyncContextManager[list[Namespace]]:
        """Copy what an instance holds, for other sessions to work on, and give where; the copies are gone at the end.

        The originals may be read and written meanwhile. Needs a session for as long, besides those that work on it.
        Raises UnsupportedError for what cannot be copied.
        """

    @abstractmethod
    async def drop_left_clones(self) -> None:
        """Drop the clones that killed workers have left; those in use stay."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close all connections. Safe to repeat."""

    @abstractmethod
    async def version(self) -> str:
        """Return the server's version, as it tells it. Raises ServerUnavailableError."""
