"""The token of OAuth2 client credentials, kept until shortly before it ends."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus

from ...errors import SettingsError
from ...headers import check_header
from .answers import raise_for_status, read_json, refuse_credentials
from .auth import OAuth2ClientCredentials, Redactor, basic_header
from .http import HttpExchange, RetryError, parse_url

# A token that ends while a request is under way would be refused.
_MARGIN_S = 30


class TokenKeeper:
    """Asks for a token when there is none, once for all who wait for it."""

    def __init__(self, auth: OAuth2ClientCredentials, http: HttpExchange, redact: Redactor) -> None:
        self._auth = auth
        self._url = parse_url(auth.token_url, where="token_url")
        self._http = http
        self._redact = redact
        self._lock = asyncio.Lock()
        self._token: str | None = None
        self._ends_at = 0.0

    async def token(self, *, instead_of: str | None = None) -> str:
        """Return a token. instead_of: one that the API has refused.

        Raises SettingsError where the server refuses our credentials, RetryError where it does not answer.
        """
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._token is None or self._token == instead_of or now >= self._ends_at:
                where = self._http.where("POST", self._url)
                try:
                    body = await self._ask(where)
                except RetryError as error:
                    error.problem = f"no token from {where}, {error.problem}"
                    raise
                self._token = self._read(body, where)
                # Without it the token is good until the API refuses it.
                lifetime_s = _seconds(body.get("expires_in"))
                self._ends_at = now + lifetime_s - min(_MARGIN_S, lifetime_s / 2)
            return self._token

    async def _ask(self, where: str) -> Any:
        auth = self._auth
        form = {"grant_type": "client_credentials", "scope": auth.scope, "audience": auth.audience}
        headers = {"Accept": "application/json"}
        if auth.credentials_in == "body":
            form |= {"client_id": auth.client_id, "client_secret": auth.client_secret}
        else:
            # RFC 6749, 2.3.1: both are quoted as in a form.
            headers["Authorization"] = basic_header(quote_plus(auth.client_id), quote_plus(auth.client_secret))
        data = {name: value for name, value in form.items() if value is not None}
        answer = await self._http.send("POST", self._url, headers=headers, is_api=False, data=data)
        if answer.status == HTTPStatus.BAD_REQUEST:  # RFC 6749, 5.2: so are credentials refused, next to 401
            refuse_credentials(answer, where, self._redact)
        raise_for_status(answer, where, self._redact)
        return read_json(answer, self._redact)

    def _read(self, body: Any, where: str) -> str:
        token = body.get("access_token") if isinstance(body, dict) else None
        if not isinstance(token, str):
            raise SettingsError("no access_token in the answer", where=where, received=self._redact.excerpt(body))
        check_header("Authorization", token, where=f"{where}, access_token")
        self._redact.add([token])
        return token


def _seconds(value: Any) -> float:
    """Return a lifetime, which some servers write as a text; infinity where there is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return float("inf")
