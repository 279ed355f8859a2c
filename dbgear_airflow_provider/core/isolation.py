"""Isolation: where on its target server an instance's objects live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .engines import Server
from .errors import NameClashError, TerminalError, UnsupportedError
from .tenants import TenantInfo, naming


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one instance of one tenant lives.

    schema: the instance's main schema, where its ledger is. own_database: whether `database` is the instance's
    alone, so that it is created and dropped with it.
    """

    target: str
    database: str
    schema: str
    own_database: bool

    def schemas(self, names: Iterable[str]) -> dict[str, str]:
        """Return {schema of the document: schema on the server}.

        A document's first schema is the main one; further ones stand beside it, named `<main>_<name>`.
        Raises NameClashError where two of them would be one.
        """
        first, *others = names
        places = {first: self.schema, **{name: naming.safe_identifier(f"{self.schema}_{name}") for name in others}}
        for place, count in Counter(places.values()).items():
            if count > 1:
                clashing = [name for name in places if places[name] == place]
                raise NameClashError(f"{place} would be shared by the schemas {', '.join(clashing)}", name=place)
        return places


def place(tenant: TenantInfo, instance: str, server: Server) -> Place:
    """Return where an instance lives on its target. Raises TerminalError where it can have no name."""
    try:
        if tenant.isolation_strategy == "database":
            database = naming.database_name(tenant, instance)
            schema = naming.safe_identifier(instance)
            return Place(target=server.name, database=database, schema=schema, own_database=True)
        if tenant.isolation_strategy == "schema":
            schema = naming.schema_name(tenant, instance)
            return Place(target=server.name, database=server.address.database, schema=schema, own_database=False)
    except ValueError as error:
        raise TerminalError(f"tenant {tenant.tenant_id}: {error}") from None
    raise UnsupportedError(f"tenant {tenant.tenant_id}: isolation strategy 'table' is not supported yet")
