"""The HTTP client of the API registries: credentials, retries, a limit of time, JSON."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
import tenacity

from ...errors import RegistryRecordError, SourceUnavailableError
from ...headers import check_header
from .answers import raise_for_status, read_json
from .auth import (
    ApiAuth,
    ApiKey,
    LogRedaction,
    OAuth2ClientCredentials,
    Redactor,
    auth_headers,
    secrets_of,
)
from .http import HttpAnswer, HttpExchange, RetryError, origin, parse_url
from .token import TokenKeeper

logger = logging.getLogger(__name__)

_LONGEST_WAIT_S = 30

Check = Callable[[Any, str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API. where: the request, as errors name it; body: its JSON."""

    url: httpx.URL
    where: str
    headers: httpx.Headers
    body: Any


class ApiClient:
    """Asks one API, in one event loop.

    timeout_s: for one request. total_timeout_s: for all tries of all requests of one question, see `deadline`.
    retry_attempts: tries of one request, where the server cannot be reached, does not answer in time, breaks off, or
    answers 429 or 5xx. retry_wait_s: before the second try, twice that before the third, and so on to 30 s; the wait is
    random between half of retry_wait_s and that. A Retry-After of the server is obeyed instead.
    verify: True, a file or folder of authorities, or False.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: ApiAuth | None = None,
        headers: Mapping[str, str] | None = None,
        verify: str | bool = True,
        timeout_s: float = 30,
        total_timeout_s: float = 600,
        retry_attempts: int = 3,
        retry_wait_s: float = 0.5,
    ) -> None:
        self.base = parse_url(base_url, where="api_base_url")
        self._total_timeout_s = total_timeout_s
        self._retry_attempts = retry_attempts
        self._retry_wait_s = retry_wait_s
        for name, value in (headers or {}).items():
            check_header(name, value, where=f"headers, {name}")
        self._headers = httpx.Headers({"Accept": "application/json", **(headers or {})})
        self._headers.update(auth_headers(auth))
        secret_params = {auth.name: auth.key} if isinstance(auth, ApiKey) and auth.place == "query" else {}
        # Nobody knows which of the headers are secrets.
        self.redact = Redactor([*secrets_of(auth), *(headers or {}).values()], params=secret_params)
        self._http = HttpExchange(verify=verify, timeout_s=timeout_s, redactor=self.redact, secret_params=secret_params)
        self._token = TokenKeeper(auth, self._http, self.redact) if isinstance(auth, OAuth2ClientCredentials) else None
        self._log_redaction = LogRedaction(self.redact)
        if verify is False and self.base.scheme == "https":
            logger.warning("%s: the server's certificate is not checked", self.base)

    def url(self, path: str, *, tenant_id: str | None = None) -> httpx.URL:
        """Return the URL of a path under the base. tenant_id: stands in for {tenant_id}, whatever characters it has."""
        if tenant_id is not None:
            path = path.replace("{tenant_id}", quote(tenant_id, safe=""))
        path = path.lstrip("/")
        return httpx.URL(f"{str(self.base).rstrip('/')}/{path}" if path else self.base)

    def linked(self, answer: Answer, link: str) -> httpx.URL:
        """Return the URL that an answer leads to. Raises RegistryRecordError where it is another server's."""
        try:
            url = self._http.without_secrets(answer.url.join(link))
        except httpx.InvalidURL:
            raise RegistryRecordError(
                "the link to the next page is no URL", where=answer.where, received=self.redact.excerpt(link)
            ) from None
        if origin(url) != origin(self.base):
            # Our credentials are for this server alone.
            raise RegistryRecordError(
                "the next page is on another server",
                where=answer.where,
                received=self.redact.excerpt(link),
                allowed=str(self.base.copy_with(raw_path=b"/")),
            )
        return url

    def where(self, method: str, url: httpx.URL) -> str:
        """Return a request as errors name it."""
        return self._http.where(method, url)

    def clean(self, error: RegistryRecordError) -> RegistryRecordError:
        """Return an error whose text is short and has no secrets of ours: the API may have repeated one."""
        details = error.details
        received = details["received"]
        if received is not None and not isinstance(received, bool | int | float):
            received = self.redact.excerpt(received)
        if received == details["received"] and self.redact(error.message) == error.message:
            return error
        problem, where = self.redact(details["problem"]), self.redact(details["where"])
        return RegistryRecordError(problem, where=where, received=received, allowed=details["allowed"])

    def deadline(self) -> float:
        """Return when a question that begins now must be answered, on the event loop's clock."""
        return asyncio.get_running_loop().time() + self._total_timeout_s

    async def ask(self, url: httpx.URL, *, deadline: float, json: Any = None, check: Check | None = None) -> Answer:
        """Return what the API answers to a GET, or to a POST of JSON. Only what is safe to repeat may be asked.

        check: gets the body and the request's name, and may raise RetryError.
        Raises SettingsError where the API refuses us or the request, RegistryRecordError where its answer is no JSON,
        SourceUnavailableError where there is none.
        """
        answer = await self.find(url, deadline=deadline, json=json, check=check, may_be_missing=False)
        assert answer is not None  # noqa: S101  a 404 is an error here
        return answer

    async def find(
        self,
        url: httpx.URL,
        *,
        deadline: float,
        json: Any = None,
        check: Check | None = None,
        may_be_missing: bool = True,
        hidden: Collection[str] = (),
    ) -> Answer | None:
        """Return the same as `ask`, or None for a 404. hidden: texts that errors do not tell, next to our secrets."""
        method = "GET" if json is None else "POST"
        where = self.where(method, url)
        last: list[RetryError] = []

        async def attempt() -> Answer | None:
            try:
                answer = await self._authorized(method, url, json)
                if may_be_missing and answer.status == HTTPStatus.NOT_FOUND:
                    return None
                redact = self.redact.with_more(hidden) if hidden else self.redact
                raise_for_status(answer, where, redact)
                body = read_json(answer, redact)
                if check is not None:
                    check(body, where)
            except RetryError as error:
                last[:] = [error]
                raise
            return Answer(answer.url, where, answer.headers, body)

        self._log_redaction.start()
        retrying = self._retrying(where, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return await retrying(attempt)
        except TimeoutError:
            told = f", last: {last[0].problem}" if last else ""
            raise SourceUnavailableError(
                f"{where}: no whole answer within total_timeout, {self._total_timeout_s:g} s{told}", where=where
            ) from None
        except RetryError as error:
            raise error.final(where, retrying.statistics["attempt_number"]) from None

    async def aclose(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._http.aclose()
        self._log_redaction.stop()

    async def _authorized(self, method: str, url: httpx.URL, json: Any) -> HttpAnswer:
        if self._token is None:
            return await self._http.send(method, url, headers=self._headers, json=json)
        token = await self._token.token()
        answer = await self._send_with(token, method, url, json)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            # It may have ended early, or have been revoked: another one decides.
            answer = await self._send_with(await self._token.token(instead_of=token), method, url, json)
        return answer

    async def _send_with(self, token: str, method: str, url: httpx.URL, json: Any) -> HttpAnswer:
        headers = httpx.Headers(self._headers)
        headers["Authorization"] = f"Bearer {token}"
        return await self._http.send(method, url, headers=headers, json=json)

    def _retrying(self, where: str, deadline: float) -> tenacity.AsyncRetrying:
        loop = asyncio.get_running_loop()
        usual_wait = tenacity.wait_random_exponential(
            multiplier=self._retry_wait_s, min=self._retry_wait_s / 2, max=max(_LONGEST_WAIT_S, self._retry_wait_s)
        )
        jitter = tenacity.wait_random(0, self._retry_wait_s)

        def wait_s(state: tenacity.RetryCallState) -> float:
            asked_s = _failure(state).wait_s
            return usual_wait(state) if asked_s is None else asked_s + jitter(state)

        def is_last(state: tenacity.RetryCallState) -> bool:
            error = _failure(state)
            if state.attempt_number >= self._retry_attempts:
                return True
            if error.wait_s is None or loop.time() + error.wait_s < deadline:
                return False
            error.problem += f" and asks to wait {error.wait_s:g} s, longer than total_timeout leaves"
            return True

        def tell(state: tenacity.RetryCallState) -> None:
            logger.warning("%s: %s; trying again in %.1f s", where, _failure(state).problem, state.upcoming_sleep)

        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(RetryError),
            stop=is_last,
            wait=wait_s,
            before_sleep=tell,
            reraise=True,
        )


def _failure(state: tenacity.RetryCallState) -> RetryError:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, RetryError):
        raise TypeError(f"only a RetryError is tried again, not {error!r}")
    return error
