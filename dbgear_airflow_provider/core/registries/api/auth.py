"""How an API knows us: kinds of credentials, and what keeps them out of texts and logs."""

from __future__ import annotations

import html
import json
import logging
import re
import string
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, quote_plus

from ...errors import SettingsError
from ...headers import check_header

HIDDEN = "***"
# Shorter ones would black out parts of ordinary words, which tells them as well.
_SHORTEST_SECRET_CHARS = 4
_EXCERPT_OF_CHARS = 10_000
_NEVER_ESCAPED = frozenset(f"{string.ascii_letters}{string.digits}")
_HTML_NAMES = {"&": ("&amp;",), "<": ("&lt;",), ">": ("&gt;",), '"': ("&quot;",), "'": ("&apos;",)}
_LONGEST_ESCAPE_CHARS = 28  # four bytes of UTF-8, each with four backslashes, an x and two digits
_CLIENT_LOGGERS = ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token in the header Authorization."""

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        check_header("Authorization", self.token, where="token")


@dataclass(frozen=True, slots=True)
class Basic:
    """A user's name and password in the header Authorization."""

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        if ":" in self.username:
            raise SettingsError("a user's name has no colon", where="username")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in a header, or where the API knows no header for it, in a query parameter of that name."""

    key: str = field(repr=False)
    name: str = "X-API-Key"
    place: Literal["header", "query"] = "header"

    def __post_init__(self) -> None:
        if self.place not in ("header", "query"):
            raise SettingsError("no such place", where="place", received=self.place, allowed=("header", "query"))
        if self.place == "header":
            check_header(self.name, self.key, where="key")
        elif not self.key or not self.name:
            raise SettingsError("empty", where="key" if self.name else "name")


@dataclass(frozen=True, slots=True)
class OAuth2ClientCredentials:
    """OAuth2 client credentials (RFC 6749, 4.4): token_url gives a token, which is sent as Bearer.

    scope: several are parted by spaces. audience: some servers want it, such as Auth0. credentials_in: where
    token_url is told client_id and client_secret: `header` is Basic, which every server must know; `body` is for
    those that do not.
    """

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    audience: str | None = None
    credentials_in: Literal["header", "body"] = "header"

    def __post_init__(self) -> None:
        if self.credentials_in not in ("header", "body"):
            raise SettingsError(
                "no such place", where="credentials_in", received=self.credentials_in, allowed=("header", "body")
            )


ApiAuth = Bearer | Basic | ApiKey | OAuth2ClientCredentials


def basic_header(username: str, password: str) -> str:
    """Return the value of the header Authorization."""
    return f"Basic {b64encode(f'{username}:{password}'.encode()).decode()}"


def auth_headers(auth: ApiAuth | None) -> dict[str, str]:
    """Return the headers that credentials are, as far as they are known beforehand."""
    match auth:
        case Bearer():
            return {"Authorization": f"Bearer {auth.token}"}
        case Basic():
            return {"Authorization": basic_header(auth.username, auth.password)}
        case ApiKey(place="header"):
            return {auth.name: auth.key}
    return {}


def secrets_of(auth: ApiAuth | None) -> list[str]:
    """Return the texts that must not be seen."""
    match auth:
        case Bearer():
            return [auth.token]
        case Basic():
            return [auth.password, basic_header(auth.username, auth.password).removeprefix("Basic ")]
        case ApiKey():
            return [auth.key]
        case OAuth2ClientCredentials():
            # The header is made of the quoted forms, see `ApiClient`.
            pair = quote_plus(auth.client_id), quote_plus(auth.client_secret)
            return [auth.client_secret, basic_header(*pair).removeprefix("Basic ")]
    return []


class Redactor:
    """Blacks secrets out of texts: what a server answers, and what HTTP clients log, may repeat them.

    params: names of query parameters whose values are secrets, of any length; other secrets have 4 characters at least.
    """

    def __init__(self, secrets: Iterable[str] = (), *, params: Iterable[str] = ()) -> None:
        self._forms: dict[str, int] = {}  # {pattern: characters that it may match}
        self._params = [re.escape(form) for name in params for form in {name, quote(name), quote_plus(name)}]
        self._compiled: re.Pattern[str] | None = None
        self.longest_chars = 0
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Black these out too."""
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET_CHARS:
                self._forms |= {re.escape(form): len(form) for form in _forms(secret)}
                self._forms |= _escaped(secret)
        self.longest_chars = max(self._forms.values(), default=0)
        self._compiled = None

    def with_more(self, secrets: Iterable[str]) -> Redactor:
        """Return one that blacks these out too."""
        more = Redactor()
        more._params = self._params
        more._forms = dict(self._forms)
        more.add(secrets)
        return more

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        return self._pattern().sub(lambda found: f"{param}={HIDDEN}" if (param := _param(found)) else HIDDEN, text)

    def excerpt(self, value: Any, limit_chars: int = 200) -> str:
        """Return the beginning of a value's text, for an error to show."""
        text = value if isinstance(value, str) else repr(value)
        # Blacked out before it is cut, or the first half of a secret would stay. Of a huge text a part is enough, whose
        # end may be such a half.
        part = self(text[: _EXCERPT_OF_CHARS + self.longest_chars])
        if len(text) > _EXCERPT_OF_CHARS + self.longest_chars:
            part = part[: max(0, len(part) - self.longest_chars)] + "..."
        return part if len(part) <= limit_chars else part[: max(0, limit_chars - 3)] + "..."

    def _pattern(self) -> re.Pattern[str]:
        if self._compiled is None:  # not before there is a text: most answers are never told
            parts = sorted(self._forms, key=self._forms.__getitem__, reverse=True)
            if self._params:
                parts.insert(0, rf"(?<=[?&])(?P<param>{'|'.join(self._params)})=[^&#\s\"'<>\\]*")
            self._compiled = re.compile("|".join(parts) or "(?!)")
        return self._compiled


def _param(found: re.Match[str]) -> str | None:
    return found.groupdict().get("param")


def _forms(secret: str) -> Iterator[str]:
    """Yield how a secret is written in URLs, JSON, HTML and Python's own texts."""
    yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret), html.escape(secret))
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield from (repr(secret)[1:-1], repr(secret.encode())[2:-1])


def _escaped(secret: str) -> dict[str, int]:
    r"""Return the pattern of a secret with any of its characters escaped in any way, and how long that may be.

    Each server has its own: PHP writes `\/` in JSON, .NET and Go write & as `\u0026`, proxies write %2f for %2F.
    """
    parts, longest_chars = [], 0
    # Backslashes side by side are one part: else there were too many ways to share out those of a text among them.
    for part in re.findall(r"\\+|[^\\]", secret):
        if part in _NEVER_ESCAPED:
            parts.append(part)
            longest_chars += 1
        else:
            number = len(part)
            plain = rf"\\{{{number},{4 * number}}}" if part[0] == "\\" else rf"\\{{0,3}}{re.escape(part)}"
            parts.append(f"(?:{plain}|(?:{'|'.join(_codes(part[0]))}){{{number}}})")
            longest_chars += _LONGEST_ESCAPE_CHARS * number
    return {"".join(parts): longest_chars}


def _codes(char: str) -> Iterator[str]:
    """Yield the patterns of a character as URLs, programs, JSON and HTML write it by its number or name."""
    utf_8 = [f"{byte:02x}" for byte in char.encode(errors="surrogatepass")]
    utf_16 = char.encode("utf-16-be", "surrogatepass").hex()
    units = [utf_16[start : start + 4] for start in range(0, len(utf_16), 4)]
    for before, after, codes in (
        ("%", "", utf_8),
        (r"\\{1,4}x", "", utf_8),
        (r"\\{1,4}u", "", units),
        ("&#x0{0,4}", ";", [f"{ord(char):x}"]),
        ("&#0{0,4}", ";", [f"{ord(char)}"]),
    ):
        yield f"(?i:{''.join(f'{before}{code}{after}' for code in codes)})"
    yield from _HTML_NAMES.get(char, ())


class LogRedaction(logging.Filter):
    """Keeps secrets out of what the HTTP client's loggers log: httpx logs URLs, httpcore the headers of answers."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it holds a secret; let all pass."""
        text = record.getMessage()
        clean = self._redactor(text)
        if clean != text:
            record.msg, record.args = clean, ()
        return True

    def start(self) -> None:
        """Watch the loggers, of the whole process. Safe to repeat."""
        for name in _CLIENT_LOGGERS:
            logging.getLogger(name).addFilter(self)

    def stop(self) -> None:
        """Watch no longer. Safe to repeat."""
        for name in _CLIENT_LOGGERS:
            logging.getLogger(name).removeFilter(self)
