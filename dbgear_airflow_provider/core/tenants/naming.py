"""Names of a tenant's databases, schemas, tables and other objects.

All names are deterministic, hold only letters, digits and underscores of Unicode's basic plane (MySQL takes no
others), and fit the engine's limit. Names of up to 63 bytes of UTF-8 are alike on every engine; what is longer is
cut where the engine has to. Case is kept as the registry has it; clashes are judged without case, because MySQL folds
database names on some platforms.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .info import TenantInfo

MAX_NAME_BYTES = 63
MAX_PREFIX_BYTES = 31
_MAX_FURTHER_BYTES = 47
_HASH_CHARS = 8


@dataclass(frozen=True)
class NameLimit:
    """How long an engine's names may be: in characters, or in bytes of UTF-8."""

    length: int
    in_bytes: bool

    def holds(self, name: str) -> bool:
        """Tell whether a name is short enough."""
        return (len(name.encode()) if self.in_bytes else len(name)) <= self.length

    def head(self, name: str, room: int) -> str:
        """Return as much of the beginning of a name as leaves that many characters of ASCII free."""
        if self.in_bytes:
            return name.encode()[: self.length - room].decode(errors="ignore")
        return name[: self.length - room]


# NAMEDATALEN - 1: https://www.postgresql.org/docs/current/limits.html
SHORTEST_LIMIT = NameLimit(MAX_NAME_BYTES, in_bytes=True)
_UNLIMITED = NameLimit(1_000_000, in_bytes=False)
_NOT_A_WORD = re.compile(r"(?:\W|[^\u0000-\uffff])+")
_RESERVED = "pg_"  # PostgreSQL keeps schemas whose names begin so to itself


def shorten(name: str, limit: NameLimit | int = SHORTEST_LIMIT) -> str:
    """Return `name`, or where it is too long its beginning and a hash of the whole. limit: an engine's, or in bytes."""
    if isinstance(limit, int):
        limit = NameLimit(limit, in_bytes=True)
    if limit.holds(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_CHARS]
    return f"{limit.head(name, _HASH_CHARS + 1)}_{digest}"


def safe_identifier(text: str, limit: NameLimit = SHORTEST_LIMIT) -> str:
    """Return `text` as an identifier: runs of other characters become "_", a leading digit or `pg_` gets one before it.

    Raises ValueError where no letter or digit is left.
    """
    name = _NOT_A_WORD.sub("_", unicodedata.normalize("NFKC", text))
    if not name.strip("_"):
        raise ValueError(f"no letter or digit in {text!r} to make a name of")
    return shorten(f"_{name}" if name[0].isdigit() or name.startswith(_RESERVED) else name, limit)


def tenant_prefix(tenant: TenantInfo) -> str:
    """Return what all names of the tenant begin with: customer_code and region."""
    return safe_identifier(_prefix(tenant))


def database_name(tenant: TenantInfo, instance: str, limit: NameLimit = SHORTEST_LIMIT) -> str:
    """Return the name of an instance's own database; database_prefix replaces the tenant's prefix."""
    prefix = tenant.database_prefix or safe_identifier(_prefix(tenant), limit)
    return safe_identifier(f"{prefix}_{instance}", limit)


def schema_name(tenant: TenantInfo, instance: str, limit: NameLimit = SHORTEST_LIMIT) -> str:
    """Return the name of an instance's own schema in a shared database; schema_suffix is put behind it."""
    prefix = safe_identifier(_prefix(tenant), limit)
    return safe_identifier(f"{prefix}_{instance}{tenant.schema_suffix or ''}", limit)


def _prefix(tenant: TenantInfo) -> str:
    return f"{tenant.customer_code}_{tenant.region}"


def owner_role(tenant: TenantInfo, limit: NameLimit = SHORTEST_LIMIT) -> str:
    """Return the name of the role that the tenant's objects belong to. limit: of names of roles."""
    return _role(tenant, "owner", limit)


def login_role(tenant: TenantInfo, limit: NameLimit = SHORTEST_LIMIT) -> str:
    """Return the name of the role that the tenant's applications log in as. limit: of names of roles."""
    return _role(tenant, "login", limit)


def _role(tenant: TenantInfo, kind: str, limit: NameLimit) -> str:
    # The whole name is hashed, so that the two of a tenant, and those of tenants that begin alike, stay apart.
    return shorten(f"{safe_identifier(_prefix(tenant), _UNLIMITED)}_{kind}", limit)


def table_name(tenant: TenantInfo, table: str) -> str:
    """Return a table's name with the tenant's table_prefix, or as it is where the tenant has none.

    With the isolation `table` it is as it is too: there a prefix is put before the name of every object anyway.
    """
    if tenant.isolation_strategy == "table" or not tenant.table_prefix:
        return table
    return shorten(f"{tenant.table_prefix}{table}")


def object_prefix(tenant: TenantInfo, instance: str) -> str:
    """Return what the names of an instance's objects begin with in a shared schema, at most MAX_PREFIX_BYTES long."""
    before = tenant.table_prefix or f"{_prefix(tenant)}_"
    return safe_identifier(f"{before}{instance}", NameLimit(MAX_PREFIX_BYTES - 1, in_bytes=True)) + "_"


def further_prefix(prefix: str, schema: str) -> str:
    """Return the prefix of a document's further schema, beside that of its first one. It leaves room for names."""
    room = NameLimit(_MAX_FURTHER_BYTES - 1 - len(prefix.encode()), in_bytes=True)
    return f"{prefix}{safe_identifier(schema, room)}_"


def prefixed(prefix: str, name: str, *, prefix_bytes: int | None = None) -> str:
    """Return the name on the server of an object of a document, in a namespace with that prefix.

    The prefix stays whole; the name is cut to what is left, and does not depend on more than the prefix's length.
    prefix_bytes: of the real one, where `prefix` stands for it.
    """
    taken = len(prefix.encode()) if prefix_bytes is None else prefix_bytes
    return prefix + shorten(name, MAX_NAME_BYTES - taken)


def location(tenant: TenantInfo, instance: str) -> str:
    """Return what an instance has for itself on its server: a database, a schema, or the beginning of names."""
    if tenant.isolation_strategy == "database":
        return database_name(tenant, instance)
    if tenant.isolation_strategy == "schema":
        return schema_name(tenant, instance)
    return object_prefix(tenant, instance)


def find_clashes(
    tenants: Iterable[TenantInfo], *, schemas_are_databases: bool = False, shared_schema: str | None = None
) -> dict[str, list[str]]:
    """Return {location: tenant_ids} for each location on one server that more than one instance would take.

    Locations are compared without case. Two prefixes clash where one begins with the other, and the location is the
    shorter one. One tenant clashes with itself where two of its instances get one name, and alone where its
    schema would be the shared one. A tenant without a name (ValueError from `safe_identifier`) is passed over: its own
    operation tells why. schemas_are_databases: whether the strategies `database` and `schema` share their names.
    """
    takers: dict[tuple[str, str], list[str]] = defaultdict(list)
    prefixes: list[tuple[str, str]] = []
    for tenant in tenants:
        strategy = tenant.isolation_strategy
        for instance in tenant.instances:
            try:
                name = location(tenant, instance).casefold()
            except ValueError:
                continue
            if strategy == "table":
                prefixes.append((name, tenant.tenant_id))
            else:
                takers["schema" if schemas_are_databases else strategy, name].append(tenant.tenant_id)
    clashes: dict[str, list[str]] = defaultdict(list)
    shared = None if shared_schema is None else ("schema", shared_schema.casefold())
    for key, ids in takers.items():
        if len(ids) > 1 or key == shared:
            clashes[key[1]] += ids
    for prefix, ids in _begun_alike(prefixes):
        clashes[prefix] += ids
    return dict(clashes)


def _begun_alike(prefixes: list[tuple[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each prefix that others begin with, and who takes it or one of them, in the order of the list."""
    # Sorted, what begins with a prefix stands right behind it.
    groups: list[tuple[str, list[int]]] = []
    for at in sorted(range(len(prefixes)), key=lambda at: prefixes[at][0]):
        name = prefixes[at][0]
        if not groups or not name.startswith(groups[-1][0]):
            groups.append((name, []))
        groups[-1][1].append(at)
    for name, members in groups:
        if len(members) > 1:
            yield name, [prefixes[at][1] for at in sorted(members)]


def find_role_clashes(tenants: Iterable[TenantInfo]) -> dict[str, list[str]]:
    """Return {name of a login role: tenant_ids} for each that more than one tenant would take, compared without case.

    A tenant without a name is passed over, as by `find_clashes`.
    """
    takers: dict[str, list[str]] = defaultdict(list)
    for tenant in tenants:
        try:
            takers[login_role(tenant).casefold()].append(tenant.tenant_id)
        except ValueError:
            continue
    return {name: ids for name, ids in takers.items() if len(ids) > 1}
