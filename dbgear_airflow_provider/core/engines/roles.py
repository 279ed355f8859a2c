"""What an engine is asked for a tenant's roles: the state of them, and the SQL that is missing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from ..schema import Namespace, ObjectKey

HIDDEN = "***"


@dataclass(frozen=True, kw_only=True)
class RoleRequest:
    """A tenant's roles and one of its instances, which the login shall be able to work with.

    owner, login: names of the roles. own_database: whether the instance has its database for itself. shared: whether
    its namespaces are parts of a schema of others as well. kept: names of our own tables, which the login must not
    see. objects: tables, views and routines of the document, and where the schemas are its own, what else is there;
    created: those of them that are made now. suspended: access is revoked, and must not come back.
    """

    tenant_id: str
    owner: str
    login: str
    database: str
    own_database: bool
    shared: bool
    namespaces: Sequence[Namespace]
    kept: Collection[str]
    objects: Collection[ObjectKey]
    created: Collection[ObjectKey] = ()
    suspended: bool = False

    @property
    def schemas(self) -> list[str]:
        """The schemas of the instance, each once."""
        return list(dict.fromkeys(namespace.schema for namespace in self.namespaces))


# What is the case: (what, schema, name, and for an object that is not yet as it should be, how SQL calls it).
Fact = tuple[str, str, str, str]


@dataclass(frozen=True, kw_only=True)
class RoleState:
    """What there is.

    existing: of the two names, those that the server has. marked: those of them that say they are the tenant's.
    facts: of the engine's own, for its script.
    """

    existing: frozenset[str]
    marked: frozenset[str]
    facts: frozenset[Fact] = frozenset()

    def has(self, what: str, schema: str = "", name: str = "") -> bool:
        """Tell whether something is the case."""
        return (what, schema, name, "") in self.facts

    def in_new_database(self) -> RoleState:
        """Return what will be the case in a database that is to be made: it is open to all, and nothing is in it."""
        of_server = {fact for fact in self.facts if fact[0] in {"superuser", "member"}}
        return replace(self, facts=frozenset({*of_server, ("public", "", "", "")}))

    def texts(self, what: str) -> list[str]:
        """Return how SQL calls the objects of which it is the case, ordered."""
        return sorted(text for fact, _, _, text in self.facts if fact == what)


@dataclass(frozen=True, kw_only=True)
class RoleScript:
    """What is missing to a tenant's roles.

    first: before anything of the instance. owning: when its schemas and the ledger are there. begin, end: around what
    creates the other objects. last: when they are there.
    """

    first: Sequence[str] = ()
    owning: Sequence[str] = ()
    begin: Sequence[str] = ()
    end: Sequence[str] = ()
    last: Sequence[str] = ()

    def around(self, frame: Sequence[str], objects: Sequence[str]) -> list[str]:
        """Return it with the statements that create schemas and ledger, and those that create objects."""
        inside = [*self.begin, *objects, *self.end] if objects else []
        return [*self.first, *frame, *self.owning, *inside, *self.last]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is missing."""
        return not (self.first or self.owning or self.last)
