"""`RegistryHook`: what the hooks of all registries share, the Test button first of all."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from concurrent.futures import Future
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

from ..core.errors import DbgearError, SettingsError
from ..core.settings import RegistrySettings
from ..core.settings.registries import ProviderKind
from .connection import CheckedConnection, Extra, FormExtra, read_connection

if TYPE_CHECKING:
    from ..core.registries import RegistryCache, TenantRegistryProvider

TEST_TIMEOUT_S = 20
_GIVE_UP_S = TEST_TIMEOUT_S + 5  # where even cancelling hangs, as in a file of a dead network share
_REJECTED_TOLD = 3
_MARKUP = re.compile(r"\[(?=[a-z#/@])")

E = TypeVar("E", bound=Extra)
S = TypeVar("S")


class RegistryHook(BaseHook, ABC, Generic[E]):
    """A registry of tenants, by an Airflow connection.

    The connection says where the tenants are and who asks for them; the project's section, `config.<provider>`, says
    how they are read. What the connection says of where and who goes before the section. Of the rest, the
    connection's form fills what the section leaves at its default.
    """

    conn_name_attr = "registry_conn_id"
    default_conn_name = "dbgear_registry"
    conn_type: ClassVar[str]
    hook_name: ClassVar[str]
    provider: ClassVar[ProviderKind]
    records_are: ClassVar[str] = "rows"

    def __init__(self, registry_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.registry_conn_id = registry_conn_id

    @classmethod
    @abstractmethod
    def extras(cls) -> dict[str, type[E]]:
        """Return the types of connections that will do, and what the extra of each may hold."""

    @abstractmethod
    async def _open(
        self, connection: CheckedConnection[E], section: Any, cache: RegistryCache | None
    ) -> TenantRegistryProvider:
        """Return the registry. section: the project's, of this kind of registry; None where it has none."""

    @classmethod
    def _tested(cls, section: Any) -> Any:
        """Return the section as the Test button uses it."""
        return section

    async def get_provider(
        self, settings: RegistrySettings | None = None, cache: RegistryCache | None = None
    ) -> TenantRegistryProvider:
        """Return the registry; files are opened and servers connected when it is first read.

        settings: the project's, of which the section of this kind is used; None: defaults. cache: of the caller, who
        closes it. Raises SettingsError, and AirflowNotFoundException where there is no such connection.
        """
        connection = await self._connection()
        return await self._opened(connection, settings and getattr(settings.config, self.provider), cache)

    async def _opened(
        self, connection: CheckedConnection[E], section: Any, cache: RegistryCache | None
    ) -> TenantRegistryProvider:
        try:
            return await self._open(connection, section, cache)
        except SettingsError as error:
            if error.details["where"].startswith(connection.where):
                raise
            # The core knows what is wrong, not whose it is.
            told = {**error.details, "where": f"{connection.where}, {error.details['where']}"}
            raise SettingsError(told.pop("problem"), **told) from None

    async def _connection(self) -> CheckedConnection[E]:
        return await read_connection(self.registry_conn_id, self.extras(), f"a registry of provider {self.provider}")

    def test_connection(self) -> tuple[bool, str]:
        """Read the registry, for TEST_TIMEOUT_S seconds at the most, and tell what it holds or what is wrong.

        It is read as the section of project.yaml says that the form's `source` names, else the one that names this
        connection, else with defaults. Blocks, with or without an event loop in the calling thread.
        """
        answer: Future[tuple[bool, str]] = Future()
        context = copy_context()  # has the connection where Airflow tests one that is not saved

        def test() -> None:
            answer.set_result(context.run(asyncio.run, self._test()))

        Thread(target=test, daemon=True).start()
        try:
            is_good, text = answer.result(_GIVE_UP_S)
        except TimeoutError:
            return False, f"connection {self.registry_conn_id}: no answer within {_GIVE_UP_S} s"
        # `airflow connections test` would take "[word]" for markup: drop it, or fail on "[/word]".
        return is_good, _MARKUP.sub("[ ", text)

    async def _test(self) -> tuple[bool, str]:
        answers = False
        try:
            async with asyncio.timeout(TEST_TIMEOUT_S):
                connection = await self._connection()
                settings, told = await self._tested_settings(connection)
                section = settings and getattr(settings.config, self.provider)
                provider = await self._opened(connection, self._tested(section), None)
                try:
                    await provider.list_tenants(limit=1)
                    answers = True
                    count = await provider.get_tenant_count()
                    rejected = await provider.rejected_records()
                finally:
                    await provider.aclose()
        except TimeoutError:
            if answers:
                return True, f"it answers, but not all of it was read within {TEST_TIMEOUT_S} s{told}"
            return False, f"connection {self.registry_conn_id}: no answer within {TEST_TIMEOUT_S} s"
        except (DbgearError, AirflowException) as error:
            return False, str(error)
        except Exception as error:
            # Not one of ours, so its text may hold anything: the log masks what is secret.
            self.log.exception("connection %s: the test failed", self.registry_conn_id)
            return False, f"connection {self.registry_conn_id}: {type(error).__name__}; the log has more"
        examples = [error.message for error in rejected[:_REJECTED_TOLD]]
        if len(rejected) > _REJECTED_TOLD:
            examples.append(f"and {len(rejected) - _REJECTED_TOLD} more")
        text = f"{count} tenants, {len(rejected)} rejected {self.records_are}{told}"
        return count > 0 or not rejected, "; ".join([text, *examples])

    async def _tested_settings(self, connection: CheckedConnection[E]) -> tuple[RegistrySettings | None, str]:
        """Return the settings to test with, None for defaults, and what to tell of them."""
        from .project import project_settings  # noqa: PLC0415 - it imports the registries

        source = connection.extra.source if isinstance(connection.extra, FormExtra) else None
        try:
            project = await asyncio.to_thread(project_settings)
        except SettingsError as error:
            if source is not None:
                raise
            # The API server needs no project file, nor the environment variables in it.
            is_there = not isinstance(error.__cause__, FileNotFoundError)
            return None, f", read with defaults ({error.message})" if is_there else ""
        named = {"tenant_registry": project.tenant_registry, **project.sources}
        ours = {name: settings for name, settings in named.items() if settings.provider == self.provider}
        if source is None:
            # The form tests under a name of its own, a saved connection under its own.
            found = [name for name in ours if ours[name].connection_id == self.registry_conn_id]
            source = found[0] if found else None
        elif source not in ours:
            raise SettingsError(
                f"project.yaml has no registry of provider {self.provider} by this name",
                where=f"{connection.where}, extra, source",
                received=source,
                allowed=list(ours) or "nothing",
            )
        return (ours[source], f", read as {source} of project.yaml says") if source else (None, "")


def filled(section: S, **form: Any) -> S:
    """Return a section whose keys are filled from a connection's form where they are at their default."""
    fields = type(section).model_fields  # type: ignore[attr-defined]
    update = {
        name: value
        for name, value in form.items()
        if value is not None and getattr(section, name) == fields[name].get_default()
    }
    return section.model_copy(update=update)  # type: ignore[attr-defined, no-any-return]
