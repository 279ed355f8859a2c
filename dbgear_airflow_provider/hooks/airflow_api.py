"""`AirflowApi`: Airflow's own REST API, for what a task cannot do by itself."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import httpx

from ..core.credentials.http import SinkClient
from ..core.errors import CredentialError
from ..core.headers import check_header
from ..core.settings.section import NonEmpty
from ..core.tls import ssl_context
from .connection import Extra, read_connection
from .registry_api import base_url


class AirflowExtra(Extra):
    """ca_file: PEM file of the authority to trust."""

    ca_file: NonEmpty | None = None


class AirflowApi:
    """Requests as a user of Airflow's, who is logged in when the first one is made, and again when that has expired.

    login, password: of an Airflow user that may do what is asked for. Raises as `SinkClient` does.
    """

    def __init__(self, base_url: str, login: str, password: str, **options: Any) -> None:
        self._client = SinkClient(base_url.rstrip("/"), "Airflow's API", **options)
        self._user = {"username": login, "password": password}
        self._token: str | None = None

    async def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *allowed: HTTPStatus
    ) -> httpx.Response:
        """Return the answer, one of success or of the statuses `allowed`. path: with `/api/v2`."""
        fresh = self._token is None
        answer = await self._once(method, path, body, *allowed, HTTPStatus.UNAUTHORIZED)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and not fresh:
            self._token = None  # it has expired
            answer = await self._once(method, path, body, *allowed)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise CredentialError(f"Airflow's API: {method} {path}: the user may not do that", sink=self._client.where)
        return answer

    async def _once(self, method: str, path: str, body: dict[str, Any] | None, *allowed: HTTPStatus) -> httpx.Response:
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


async def open_airflow_api(connection_id: str, *, may: str) -> AirflowApi:
    """Return Airflow's API by an Airflow connection of type `http`. may: what its user has to be allowed to do.

    Raises SettingsError, AirflowNotFoundException.
    """
    connection = await read_connection(connection_id, {"http": AirflowExtra}, "Airflow's API")
    return AirflowApi(
        base_url(connection),
        connection.required("login", f"an Airflow user that may {may}"),
        connection.required("password", "that user's password"),
        verify=ssl_context(connection.extra.ca_file or True, where=f"{connection.where}, extra, ca_file"),
    )
