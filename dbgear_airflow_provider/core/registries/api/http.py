"""One HTTP exchange of an API registry: limits of time and size, redirects, certificates, failures as errors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from ...errors import RegistryRecordError, SettingsError, SourceUnavailableError
from ...tls import ssl_context, untrusted
from .auth import Redactor

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_MAX_REDIRECTS = 5
_MAX_REFUSAL_BYTES = 64 * 1024
_SEE_OTHER = (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER)
_REDIRECTS = (*_SEE_OTHER, HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT)
_COMPRESSIONS = ("gzip", "deflate")
_URL_CHARS = 300
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LARGEST_PORT = 65_535


class RetryError(Exception):
    """A try failed for a reason that may pass.

    wait_s: seconds after which the server asks to be tried again. is_terminal: after the last try it is what the
    API answers, no outage.
    """

    def __init__(
        self, problem: str, *, received: str | None = None, wait_s: float | None = None, is_terminal: bool = False
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.received = received
        self.wait_s = wait_s
        self.is_terminal = is_terminal

    def final(self, where: str, tries: int) -> RegistryRecordError | SourceUnavailableError:
        """Return the error of the last try."""
        problem = self.problem if tries == 1 else f"{self.problem}, {tries} tries"
        if self.is_terminal:
            return RegistryRecordError(problem, where=where, received=self.received, allowed="JSON")
        told = "" if self.received is None else f"; received {self.received!r}"
        return SourceUnavailableError(f"{where}: {problem}{told}", where=where)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer read to its end. url: where it came from, after redirects."""

    url: httpx.URL
    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def phrase(self) -> str:
        """The status as people know it: "404 Not Found"."""
        return (
            f"{self.status} {HTTPStatus(self.status).phrase}" if self.status in list(HTTPStatus) else f"{self.status}"
        )


def parse_url(text: str, *, where: str) -> httpx.URL:
    """Return the URL of a server. Raises SettingsError for anything that is none, or that holds credentials."""
    # What was received, and what httpx says of it, stays out: it may hold a password.
    refused = SettingsError("no URL of a server", where=where, allowed="https://host/path")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise refused from None
    port = 0 if url.port is None else url.port
    if url.scheme not in _DEFAULT_PORTS or not url.host or "%" in url.host or port > _LARGEST_PORT:
        raise refused
    if url.userinfo or url.query or url.fragment:
        raise SettingsError(
            "more than a place is in the URL", where=where, allowed="credentials as auth, parameters as params"
        )
    return url


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return scheme, host and port: what credentials are for."""
    return url.scheme, url.host, url.port or _DEFAULT_PORTS.get(url.scheme)


class HttpExchange:
    """Sends requests, one answer each. timeout_s: for a request, from its beginning to the answer's last byte.

    secret_params: added to each URL that is sent, and taken out of those that come back.
    """

    def __init__(
        self, *, verify: str | bool, timeout_s: float, redactor: Redactor, secret_params: Mapping[str, str]
    ) -> None:
        # Its own time-outs are for single steps: a server that drips would have for ever.
        self._http = httpx.AsyncClient(
            verify=ssl_context(verify),
            timeout=None,  # noqa: S113
            headers={"Accept-Encoding": ", ".join(_COMPRESSIONS)},
            # A question's answer is not to depend on those before it, and no cookie has to be kept secret.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )
        self._timeout_s = timeout_s
        self._redact = redactor
        self._secret_params = dict(secret_params)

    def where(self, method: str, url: httpx.URL) -> str:
        """Return a request as errors name it."""
        return f"{method} {self._redact.excerpt(str(url), _URL_CHARS)}"

    def without_secrets(self, url: httpx.URL) -> httpx.URL:
        """Return a URL that a server has made of ours, without credentials."""
        for name in self._secret_params:
            url = url.copy_remove_param(name)
        return url.copy_with(userinfo=b"")

    async def send(
        self,
        method: str,
        url: httpx.URL,
        *,
        headers: Mapping[str, str],
        is_api: bool = True,
        json: Any = None,
        data: Mapping[str, str] | None = None,
    ) -> HttpAnswer:
        """Return the answer, whatever its status; redirects are followed on the same server only.

        is_api: whether secret_params go with it. Raises RetryError where there is no whole answer, SettingsError for
        a certificate that is not trusted or a redirect to another server, RegistryRecordError for an answer that is
        too large.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            sent = url.copy_merge_params(self._secret_params) if is_api and self._secret_params else url
            request = self._http.build_request(method, sent, headers=dict(headers), json=json, data=data)
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._exchange(request, url)
            except TimeoutError:
                raise RetryError(f"no whole answer within {self._timeout_s:g} s") from None
            except httpx.RequestError as error:
                raise self._failure(error, url) from None
            if answer.status not in _REDIRECTS:
                return answer
            url = self._redirected(method, answer)
        raise SettingsError("redirects go round and round", where=self.where(method, url))

    async def aclose(self) -> None:
        """Close the connections. Safe to repeat."""
        await self._http.aclose()

    async def _exchange(self, request: httpx.Request, url: httpx.URL) -> HttpAnswer:
        response = await self._http.send(request, stream=True)
        try:
            is_success = response.is_success
            if not self._is_compressed_as_asked(response, url):
                return HttpAnswer(url, response.status_code, response.headers, b"")
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if not is_success and len(body) > _MAX_REFUSAL_BYTES:
                    break
                if len(body) > MAX_ANSWER_BYTES:
                    raise RegistryRecordError(
                        "the answer is too large",
                        where=self.where(request.method, url),
                        allowed=f"{MAX_ANSWER_BYTES // 1024**2} MB; a smaller page_size",
                    )
        finally:
            await response.aclose()
        return HttpAnswer(url, response.status_code, response.headers, bytes(body))

    def _is_compressed_as_asked(self, response: httpx.Response, url: httpx.URL) -> bool:
        """Tell whether the body may be read. Raises RegistryRecordError where there is nothing without it."""
        # What is compressed twice, or in the other ways that httpx knows, can grow to gigabytes in one step.
        used = [name.lower() for name in response.headers.get_list("Content-Encoding", split_commas=True) if name]
        if len(used) <= 1 and {*used} <= {*_COMPRESSIONS, "identity"}:
            return True
        if response.is_success:
            raise RegistryRecordError(
                "the answer is compressed in another way than was asked for",
                where=self.where(response.request.method, url),
                received=self._redact.excerpt(", ".join(used)),
                allowed=f"{' or '.join(_COMPRESSIONS)}, once",
            )
        return False

    def _failure(self, error: httpx.RequestError, url: httpx.URL) -> Exception:
        where = str(url.copy_with(raw_path=b"/", userinfo=b""))
        if (refused := untrusted(error, where=where, key="verify")) is not None:
            return refused
        text = self._redact.excerpt(str(error)).strip()
        return RetryError(f"{type(error).__name__}{text and ': '}{text}")

    def _redirected(self, method: str, answer: HttpAnswer) -> httpx.URL:
        where = self.where(method, answer.url)
        try:
            url = self.without_secrets(answer.url.join(answer.headers.get("Location", "")))
        except httpx.InvalidURL:
            url = httpx.URL()
        if origin(url) != origin(answer.url):
            # With our credentials it would be a leak, and without them no answer.
            received = self._redact.excerpt(str(url.copy_with(query=None, fragment=None)))
            raise SettingsError("redirected to another server", where=where, received=received)
        if method == "POST" and answer.status in _SEE_OTHER:
            raise SettingsError(f"a POST is redirected, {answer.phrase}", where=where, received=str(url.path))
        return url


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Return the seconds that the header Retry-After asks to wait; None where it is not there or no time."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        # The server's own clock, if it tells it: ours may differ.
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
