"""`AirflowConnectionSink`: each tenant's login becomes an Airflow connection, by Airflow's own REST API."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus

from ..core.credentials import Credential
from .airflow_api import AirflowApi

_PREFIX = "dbgear_tenant_"
_ODD = re.compile(r"[^A-Za-z0-9_.-]")
_MAX_ID_CHARS = 200  # https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html
_HASH_CHARS = 12
_CONN_TYPES = {"postgresql": "postgres", "mysql": "mysql"}


def connection_id(tenant_id: str) -> str:
    """Return the id of a tenant's connection; what an id may not have is told apart by a hash."""
    name = _ODD.sub("_", f"{_PREFIX}{tenant_id}")
    if name == f"{_PREFIX}{tenant_id}" and len(name) <= _MAX_ID_CHARS:
        return name
    digest = hashlib.sha256(tenant_id.encode()).hexdigest()[:_HASH_CHARS]
    return f"{name[: _MAX_ID_CHARS - _HASH_CHARS - 1]}_{digest}"


class AirflowConnectionSink:
    """Makes or changes the connection `dbgear_tenant_<tenant_id>`; its schema is the first instance's database.

    api: of a user that may edit connections.
    """

    def __init__(self, api: AirflowApi) -> None:
        self._api = api

    async def put(self, credential: Credential) -> None:
        """Write the tenant's connection. Raises CredentialError, SettingsError, SinkUnavailableError."""
        name = connection_id(credential.tenant_id)
        body = {
            "connection_id": name,
            "conn_type": _CONN_TYPES[credential.engine],
            "description": f"DBGear: login of tenant {credential.tenant_id} on target {credential.target}",
            "host": credential.host,
            "port": credential.port,
            "login": credential.user,
            "password": credential.password,
            "schema": credential.database,
        }
        path = f"/api/v2/connections/{name}"
        if (await self._api.request("PATCH", path, body, HTTPStatus.NOT_FOUND)).is_success:
            return
        if not (await self._api.request("POST", "/api/v2/connections", body, HTTPStatus.CONFLICT)).is_success:
            await self._api.request("PATCH", path, body)  # made in the meantime: an answer was lost, or another did

    async def aclose(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._api.aclose()
