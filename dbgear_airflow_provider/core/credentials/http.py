"""Requests to what keeps credentials: tried again where it is away, and errors that tell no secret."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from ..errors import CredentialError, SinkUnavailableError
from ..headers import check_header
from ..tls import untrusted

ATTEMPTS = 4
TIMEOUT_S = 15.0
_FIRST_WAIT_S = 0.2
_TOO_MANY = 429


class SinkClient:
    """An HTTP API that keeps credentials.

    where: what errors call it. headers: sent with each request. wait_s: before the second try, twice that before the
    third, and so on. Raises SettingsError, without the value, for what is no header.
    """

    def __init__(
        self,
        base_url: str,
        where: str,
        *,
        headers: Mapping[str, str] | None = None,
        verify: Any = True,
        wait_s: float = _FIRST_WAIT_S,
        **options: Any,
    ) -> None:
        for name, value in (headers or {}).items():
            check_header(name, value, where=f"{where}, {name}")
        self.where = where
        self._wait_s = wait_s
        self._client = httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=TIMEOUT_S, verify=verify, **options
        )

    async def request(self, method: str, path: str, *, allowed: Collection[int] = (), **options: Any) -> httpx.Response:
        """Return the answer, one of success or of the statuses `allowed`.

        Raises SinkUnavailableError where there is none after ATTEMPTS tries, or but 5xx and 429; SettingsError for a
        certificate that is not trusted; CredentialError for any other status. Neither the request nor the answer is
        told: both may hold the password.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(SinkUnavailableError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(self._wait_s, max=5),
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                return await self._once(method, path, allowed, options)
        raise AssertionError  # the last attempt has returned or raised

    async def _once(self, method: str, path: str, allowed: Collection[int], options: Any) -> httpx.Response:
        told = f"{self.where}: {method} {path}"
        try:
            answer = await self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            if (refused := untrusted(error, where=self.where, key="ca_file")) is not None:
                raise refused from None
            raise SinkUnavailableError(f"{told}: {type(error).__name__}", sink=self.where) from None
        status = answer.status_code
        if answer.is_success or status in allowed:
            return answer
        if answer.is_server_error or status == _TOO_MANY:
            raise SinkUnavailableError(f"{told}: status {status}", sink=self.where, status=status)
        raise CredentialError(f"{told}: status {status}", sink=self.where, status=status)

    async def aclose(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._client.aclose()
