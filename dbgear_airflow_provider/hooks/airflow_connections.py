"""`AirflowConnectionSink`: each tenant's login becomes an Airflow connection, by Airflow's own REST API."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Any

import httpx

from ..core.credentials import Credential
from ..core.credentials.http import SinkClient
from ..core.errors import CredentialError
from ..core.headers import check_header

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

    login, password: of an Airflow user that may edit connections.
    """

    def __init__(self, base_url: str, login: str, password: str, **options: Any) -> None:
        self._client = SinkClient(base_url.rstrip("/"), "Airflow's API", **options)
        self._user = {"username": login, "password": password}
        self._token: str | None = None

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
        if (await self._send("PATCH", path, body, HTTPStatus.NOT_FOUND)).is_success:
            return
        if not (await self._send("POST", "/api/v2/connections", body, HTTPStatus.CONFLICT)).is_success:
            await self._send("PATCH", path, body)  # made in the meantime: an answer was lost, or another did

    async def _send(self, method: str, path: str, body: dict[str, Any], *allowed: HTTPStatus) -> httpx.Response:
        fresh = self._token is None
        answer = await self._once(method, path, body, *allowed, HTTPStatus.UNAUTHORIZED)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and not fresh:
            self._token = None  # it has expired
            answer = await self._once(method, path, body, *allowed)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise CredentialError(f"Airflow's API: {method} {path}: the user may not do that", sink=self._client.where)
        return answer

    async def _once(self, method: str, path: str, body: dict[str, Any], *allowed: HTTPStatus) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self._logged_in()}"}
        return await self._client.request(method, path, json=body, headers=headers, allowed=allowed)

    async def _logged_in(self) -> str:
        if self._token is None:
            answer = await self._client.request("POST", "/auth/token", json=self._user)
            where = f"{self._client.where}: POST /auth/token"
            try:
                token = str(answer.json()["access_token"])
            except (ValueError, KeyError, TypeError):
                raise CredentialError(f"{where}: no token in the answer", sink=self._client.where) from None
            check_header("Authorization", token, where=f"{where}, access_token")
            self._token = token
        return self._token

    async def aclose(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._client.aclose()
