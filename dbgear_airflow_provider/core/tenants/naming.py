"""Names of a tenant's databases, schemas, tables and other objects.

All names are deterministic, hold only letters, digits and underscores of Unicode's basic plane (MySQL takes no
others), and fit in 63 bytes of UTF-8: that is
PostgreSQL's limit (NAMEDATALEN - 1) and lies within MySQL's 64 characters, so a tenant is named alike on every
engine. Case is kept as the registry has it; clashes are judged without case, because MySQL folds database
names on some platforms.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from .info import TenantInfo

MAX_NAME_BYTES = 63
_HASH_CHARS = 8
_NOT_A_WORD = re.compile(r"(?:\W|[^\u0000-\uffff])+")
_RESERVED = "pg_"  # PostgreSQL keeps schemas whose names begin so to itself


def shorten(name: str, limit_bytes: int = MAX_NAME_BYTES) -> str:
    """Return `name`, or where it is too long its beginning and a hash of the whole."""
    raw = name.encode()
    if len(raw) <= limit_bytes:
        return name
    digest = hashlib.sha256(raw).hexdigest()[:_HASH_CHARS]
    head = raw[: limit_bytes - _HASH_CHARS - 1].decode(errors="ignore")
    return f"{head}_{digest}"


def safe_identifier(text: str) -> str:
    """Return `text` as an identifier: runs of other characters become "_", a leading digit or `pg_` gets one before it.

    Raises ValueError where no letter or digit is left.
    """
    name = _NOT_A_WORD.sub("_", unicodedata.normalize("NFKC", text))
    if not name.strip("_"):
        raise ValueError(f"no letter or digit in {text!r} to make a name of")
    return shorten(f"_{name}" if name[0].isdigit() or name.startswith(_RESERVED) else name)


def tenant_prefix(tenant: TenantInfo) -> str:
    """Return what all names of the tenant begin with: customer_code and region."""
    return safe_identifier(f"{tenant.customer_code}_{tenant.region}")


def database_name(tenant: TenantInfo, instance: str) -> str:
    """Return the name of an instance's own database; database_prefix replaces the tenant's prefix."""
    return safe_identifier(f"{tenant.database_prefix or tenant_prefix(tenant)}_{instance}")


def schema_name(tenant: TenantInfo, instance: str) -> str:
    """Return the name of an instance's own schema in a shared database; schema_suffix is put behind it."""
    return safe_identifier(f"{tenant_prefix(tenant)}_{instance}{tenant.schema_suffix or ''}")


def table_name(tenant: TenantInfo, table: str) -> str:
    """Return a table's name with the tenant's table_prefix, or as it is where the tenant has none."""
    return shorten(f"{tenant.table_prefix}{table}") if tenant.table_prefix else table


def location(tenant: TenantInfo, instance: str) -> str:
    """Return what an instance has for itself on its server: the name of its database, schema or tables."""
    if tenant.isolation_strategy == "database":
        return database_name(tenant, instance)
    if tenant.isolation_strategy == "schema":
        return schema_name(tenant, instance)
    return table_name(tenant, f"{instance}_")


def find_clashes(tenants: Iterable[TenantInfo]) -> dict[str, list[str]]:
    """Return {location: tenant_ids} for each location that more than one instance would take.

    Locations are compared without case and within one isolation strategy. One tenant clashes with itself where
    two of its instances get one name. A tenant without a name (ValueError from `safe_identifier`) is passed over:
    its own operation tells why.
    """
    takers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for tenant in tenants:
        for instance in tenant.instances:
            try:
                name = location(tenant, instance)
            except ValueError:
                continue
            takers[tenant.isolation_strategy, name.casefold()].append(tenant.tenant_id)
    clashes: dict[str, list[str]] = defaultdict(list)
    for (_, name), ids in takers.items():
        if len(ids) > 1:
            clashes[name] += ids
    return dict(clashes)
