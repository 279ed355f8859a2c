"""What is handed over when a tenant's login is made, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A tenant's login on its target server.

    engine: `postgresql` or `mysql` (MariaDB is a MySQL here). instances: {instance: {database, schema, isolation, and
    with isolation `table` prefix}}.
    """

    tenant_id: str
    target: str
    engine: str
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    instances: Mapping[str, Mapping[str, str]]

    def document(self) -> dict[str, Any]:
        """Return it as JSON, with the password in clear."""
        return {
            "tenant_id": self.tenant_id,
            "target": self.target,
            "engine": self.engine,
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "instances": {name: dict(details) for name, details in self.instances.items()},
        }

    @property
    def database(self) -> str:
        """The database to connect to: that of the first instance."""
        return next(iter(self.instances.values()))["database"]


class CredentialSink(Protocol):
    """Takes the credentials of tenants' logins and keeps them for who needs them."""

    async def put(self, credential: Credential) -> None:
        """Keep a credential instead of an earlier one of the tenant. Safe to repeat.

        It is there for good when this returns: only then the login gets the password. Raises CredentialError
        or SettingsError, or SinkUnavailableError where a later try may do. No error tells the password.
        """


class ClosingSink(CredentialSink, Protocol):
    """A sink that holds connections."""

    async def aclose(self) -> None:
        """Close them. Safe to repeat."""
