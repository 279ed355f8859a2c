"""The sink of credentials that the project file names, opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..core.credentials import ClosingSink, CredentialSink, make_sink
from ..core.settings import AccessSettings, SinkSettings
from ..core.settings.section import NonEmpty
from ..core.tls import ssl_context
from .connection import Extra, read_connection
from .registry_api import base_url


class VaultExtra(Extra):
    """mount: of the key-value store, version 2. folder: of the secrets in it. namespace: of Vault Enterprise.

    ca_file: PEM file of the authority to trust.
    """

    ca_file: NonEmpty | None = None
    mount: NonEmpty = "secret"
    folder: NonEmpty = "dbgear"
    namespace: NonEmpty | None = None


@asynccontextmanager
async def open_sink(settings: AccessSettings) -> AsyncIterator[CredentialSink | None]:
    """Open the sink; None where tenants have no roles. Raises SettingsError, AirflowNotFoundException."""
    if not settings.roles or settings.sink is None:
        yield None
        return
    if settings.sink.type in {"file", "python"}:
        yield make_sink(settings.sink)
        return
    sink = await (_vault(settings.sink) if settings.sink.type == "vault" else _airflow(settings.sink))
    try:
        yield sink
    finally:
        await sink.aclose()


async def _vault(settings: SinkSettings) -> ClosingSink:
    from ..core.credentials import VaultSink  # noqa: PLC0415 - imports httpx

    connection = await read_connection(str(settings.connection_id), {"http": VaultExtra}, "a Vault")
    extra = connection.extra
    return VaultSink(
        base_url(connection),
        connection.required("password", "the token, in the field password"),
        mount=extra.mount,
        folder=extra.folder,
        namespace=extra.namespace,
        verify=ssl_context(extra.ca_file or True, where=f"{connection.where}, extra, ca_file"),
    )


async def _airflow(settings: SinkSettings) -> ClosingSink:
    from .airflow_api import open_airflow_api  # noqa: PLC0415 - imports httpx
    from .airflow_connections import AirflowConnectionSink  # noqa: PLC0415

    return AirflowConnectionSink(await open_airflow_api(str(settings.connection_id), may="edit connections"))
