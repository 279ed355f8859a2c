"""Isolation: where on its target server an instance's objects live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from .engines import Server
from .errors import NameClashError, TerminalError
from .schema import Namespace
from .tenants import IsolationStrategy, TenantInfo, naming


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one instance of one tenant lives.

    schema: the instance's main schema; with the isolation `table` the shared one, in which the names of the instance's
    objects begin with `prefix`. schemas_are_databases: whether the server knows but one of the two; `database` and
    `schema` are the same then, and each further schema is a database too. name_limit: of the server's names.
    """

    target: str
    isolation: IsolationStrategy
    database: str
    schema: str
    prefix: str = ""
    schemas_are_databases: bool = False
    name_limit: naming.NameLimit = naming.SHORTEST_LIMIT

    @property
    def own_database(self) -> bool:
        """Whether `database` is created and dropped with the instance."""
        return self.isolation == "database"

    @property
    def namespace(self) -> Namespace:
        """The instance's main namespace, where its ledger is."""
        return Namespace(self.schema, self.prefix)

    @property
    def lock(self) -> str:
        """The name of the lock under which the instance is changed, by one at a time."""
        return ".".join(part for part in (self.database, self.schema, self.prefix) if part)

    def namespaces(self, names: Iterable[str]) -> dict[str, Namespace]:
        """Return {schema of the document: where it is on the server}.

        A document's first schema is the main one; further ones stand beside it, named `<main>_<name>`; in a shared
        schema they have a prefix that goes on so, `<prefix><name>_`.
        Raises NameClashError where two of them would be one.
        """
        first, *others = names
        places = {first: self.namespace, **{name: self._beside(name) for name in others}}
        for place, count in Counter(places.values()).items():
            if count > 1:
                clashing = [name for name in places if places[name] == place]
                told = place.prefix or place.schema
                raise NameClashError(f"{told} would be shared by the schemas {', '.join(clashing)}", name=told)
        return places

    def _beside(self, name: str) -> Namespace:
        if self.prefix:
            return Namespace(self.schema, naming.further_prefix(self.prefix, name))
        return Namespace(naming.safe_identifier(f"{self.schema}_{name}", self.name_limit))

    def told(self, namespace: Namespace | None = None) -> str:
        """Name the place, or one namespace of it, for errors."""
        if namespace is None and self.own_database:
            return f"{self.database} on target {self.target}"
        where = namespace or self.namespace
        name = where.schema if self.schemas_are_databases else f"{self.database}.{where.schema}"
        return f"{name}{'.' + where.prefix + '*' if where.prefix else ''} on target {self.target}"

    def details(self) -> dict[str, str]:
        """Return what reports and the fleet store tell of it."""
        details = {"database": self.database, "schema": self.schema, "isolation": self.isolation}
        return {**details, "prefix": self.prefix} if self.prefix else details


def place(tenant: TenantInfo, instance: str, server: Server) -> Place:
    """Return where an instance lives on its target.

    Raises TerminalError where it can have no name, and SettingsError where a shared schema is needed and not known.
    """
    strategy, limit = tenant.isolation_strategy, server.name_limit
    own, prefix = strategy == "database", ""
    try:
        if strategy == "table":
            prefix = naming.object_prefix(tenant, instance)
        name = (naming.database_name if own else naming.schema_name)(tenant, instance, limit)
        inner = naming.safe_identifier(instance, limit)
    except ValueError as error:
        raise TerminalError(f"tenant {tenant.tenant_id}: {error}") from None
    if prefix:
        name = inner = server.shared_schema_name
    if server.schemas_are_databases:
        database = schema = name
    else:
        database, schema = (name, inner) if own else (server.address.database, name)
    return Place(
        target=server.name,
        isolation=strategy,
        database=database,
        schema=schema,
        prefix=prefix,
        schemas_are_databases=server.schemas_are_databases,
        name_limit=limit,
    )
