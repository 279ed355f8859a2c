"""Every error the core raises, in one tree.

DbgearError
├── TerminalError             repeating it gives the same answer: Airflow fails at once
│   ├── InvalidInputError     something a person wrote: says where, what was received, what is allowed
│   │   ├── SettingsError         project.yaml
│   │   ├── RegistryRecordError   a row or item of a tenant registry
│   │   ├── QueryError            a tenant query
│   │   ├── TemplateError         a template, or a macro in it
│   │   ├── DocumentError         a schema document
│   │   ├── DataError             a row of initial data, or its data model
│   │   └── MigrationError        a migration script
│   ├── TenantNotFoundError   the registry knows no such tenant
│   ├── NameClashError        two tenants would share a database, schema or table prefix
│   ├── UnsupportedError      the engine or this version cannot do it
│   ├── OwnershipError        an object on the server belongs to somebody else
│   ├── StatementError        the server refused a statement
│   ├── CredentialError       a sink does not take a tenant's credential
│   ├── NotProvisionedError   the instance is not there yet
│   ├── PlanRefusedError      a plan would lose data without leave, or is not the one that was approved
│   ├── EditedMigrationError  a migration that was applied is not what its script says now
│   ├── MigrationOrderError   a version is missing, older than what was applied, or half done
│   ├── SyncRefusedError      what the sources say would change too much of the registry
│   ├── RolloutStoppedError   a rollout takes no new tenants: its error budget is spent, or somebody stopped it
│   └── TenantsFailedError    tenants of a batch or run failed, none of them worth a retry
└── TransientError            worth a retry
    ├── SourceUnavailableError    the registry did not answer
    ├── ServerUnavailableError    the target server did not answer, or dropped the connection
    ├── SinkUnavailableError      the sink of credentials did not answer
    ├── NotificationError         a notifier did not take an alert
    ├── LockTimeoutError          somebody else holds the tenant or one of its objects
    ├── RowsChangedError          somebody has put a row into a table since it was read
    ├── OperationTimeoutError     the tenant's time limit ran out
    └── TenantsRetryableError     tenants of a batch failed, at least one of them worth a retry

Callers tell errors apart by class and attributes, never by their text. All are picklable, because Airflow
carries them between processes. None holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class DbgearError(Exception):
    """Base of all errors of the core. Keyword attributes are kept in `details`."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, Any] = details

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, dict(self.details))

    @property
    def kind(self) -> str:
        """The class's name: the group under which reports count it."""
        return type(self).__name__


def _rebuild(cls: type[DbgearError], message: str, details: dict[str, Any]) -> DbgearError:
    error = cls.__new__(cls)
    DbgearError.__init__(error, message, **details)
    return error


class TerminalError(DbgearError):
    """Repeating the operation gives the same answer."""


class TransientError(DbgearError):
    """The operation may succeed when repeated."""


class InvalidInputError(TerminalError):
    """Something a person wrote is wrong.

    where: file, URL or object, with line, row or field, as a person would look it up.
    received: the offending value; None where nothing was received.
    allowed: what would have been right, in words or as a list of values.
    """

    def __init__(
        self, problem: str, *, where: str, received: Any = None, allowed: Sequence[str] | str | None = None
    ) -> None:
        text = f"{where}: {problem}"
        if received is not None:
            text += f"; received {received!r}"
        if allowed is not None:
            text += "; allowed: " + (allowed if isinstance(allowed, str) else ", ".join(allowed))
        super().__init__(text, problem=problem, where=where, received=received, allowed=allowed)


class SettingsError(InvalidInputError):
    """project.yaml does not hold what it should."""


class RegistryRecordError(InvalidInputError):
    """A row or item of a tenant registry is no valid tenant, or the registry as a whole is no list of tenants."""


class QueryError(InvalidInputError):
    """A tenant query does not parse or names an unknown field."""


class TemplateError(InvalidInputError):
    """A template fails to render, or what it renders is not the document that it should be."""


class DocumentError(InvalidInputError):
    """A schema document is invalid."""


class DataError(InvalidInputError):
    """A row of initial data does not fit its column, or a data model is invalid."""


class MigrationError(InvalidInputError):
    """A migration script, its folder or its manifest is not what it should be."""


class TenantNotFoundError(TerminalError):
    """The registry knows no tenant of that id."""


class NameClashError(TerminalError):
    """Two tenants would share a database, schema or table prefix."""


class UnsupportedError(TerminalError):
    """The engine, or this version of the provider, cannot do what was asked."""


class OwnershipError(TerminalError):
    """A database or schema of that name is there already and is not this tenant's."""


class StatementError(TerminalError):
    """The server refused a statement. `details` has `code` (SQLSTATE or errno) and `statement`."""


class CredentialError(TerminalError):
    """A sink does not take a tenant's credential. The text tells no password."""


class NotProvisionedError(TerminalError):
    """An instance is not there yet, so that nothing of it can be changed."""


class PlanRefusedError(TerminalError):
    """A plan is not carried out: it may lose data and nobody gave leave, or it is not the one that was approved.

    `details` has `statements`, the SQL that is refused, and `plan`, the hash of what would be done now.
    """


class EditedMigrationError(TerminalError):
    """A script was changed after it was applied, or a part of it.

    `details` has `version`, `file`, `applied` (the checksum in the ledger), and where the fleet store has the old text
    `diff` (unified).
    """


class MigrationOrderError(TerminalError):
    """The ledger and the scripts do not go together. `details` has `version`, the one that it is about."""


class SyncRefusedError(TerminalError):
    """A sync would change more of the registry than it may: a source is empty, shrunken or broken.

    `details` has `guard` (`empty`, `shrunken`, `terminated`, `suspended`, `cleared`, `rejected` or `incomplete`),
    `sources` (names of those it is about) and `forceable` (whether a sync with force goes on all the same).
    """


class RolloutStoppedError(TerminalError):
    """A rollout takes no new tenants: its error budget is spent, or somebody stopped it. Nothing was done.

    `details` has `rollout` and `stage` (its index).
    """


class TenantsFailedError(TerminalError):
    """Tenants of a batch or a run failed, for reasons that a retry would not change."""


class SourceUnavailableError(TransientError):
    """A tenant registry's source could not be read."""


class ServerUnavailableError(TransientError):
    """A target server could not be reached, or the connection broke."""


class NotificationError(TransientError):
    """A notifier did not take an alert; the others were told."""


class SinkUnavailableError(TransientError):
    """The sink of credentials could not be reached, or is in trouble."""


class LockTimeoutError(TransientError):
    """Another session holds a lock for longer than we wait."""


class RowsChangedError(TransientError):
    """Somebody has put a row into a table since it was read."""


class OperationTimeoutError(TransientError):
    """A tenant's operation took longer than its time limit."""


class TenantsRetryableError(TransientError):
    """Tenants of a batch failed, and for at least one of them a retry may help."""
