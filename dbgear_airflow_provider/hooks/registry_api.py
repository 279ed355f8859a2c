"""Registries behind an API, by a connection of our own type or an ordinary `http` one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import field_validator
from typing_extensions import override

from ..core.errors import SettingsError
from ..core.settings import ApiRegistrySettings
from ..core.settings.section import NonEmpty
from .connection import CheckedConnection, FormExtra, json_object
from .registry_hook import TEST_TIMEOUT_S, RegistryHook

if TYPE_CHECKING:
    from ..core.registries import RegistryCache, TenantRegistryProvider
    from ..core.registries.api import ApiAuth

Auth = Literal["none", "basic", "bearer", "api_key", "oauth2"]

# The keys of the extra that each way to authenticate has for itself.
_KEYS: Mapping[Auth, tuple[str, ...]] = {
    "none": (),
    "basic": (),
    "bearer": (),
    "api_key": ("api_key_header", "api_key_param"),
    "oauth2": ("token_url", "scope", "audience", "credentials_in"),
}
_USELESS_FIELDS: Mapping[Auth, tuple[str, ...]] = {
    "none": ("login", "password"),
    "bearer": ("login",),
    "api_key": ("login",),
}
_EXAMPLE = "https://crm.example/api"
_DEFAULT_SCHEMES = {"dbgear_api": "https", "http": "http", "https": "https"}


class ApiExtra(FormExtra):
    """auth: how to authenticate. ca_file: PEM file of the authority to trust. headers: sent with each request."""

    secrets: ClassVar[frozenset[str]] = frozenset({"headers"})

    auth: Auth | None = None
    api_key_header: NonEmpty | None = None
    api_key_param: NonEmpty | None = None
    token_url: NonEmpty | None = None
    scope: NonEmpty | None = None
    audience: NonEmpty | None = None
    credentials_in: Literal["header", "body"] | None = None
    ca_file: NonEmpty | None = None
    headers: dict[str, str] = {}

    _headers_may_be_text = field_validator("headers", mode="before")(json_object)


class APIRegistryHook(RegistryHook[ApiExtra]):
    """A REST or GraphQL API, by a connection of type `dbgear_api` or an ordinary `http` one.

    The host is the base URL, with or without scheme and path. How to authenticate is `auth` of the extra; where it
    does not say: basic with a login and a password, bearer with a password alone, none without both.
    """

    conn_type = "dbgear_api"
    hook_name = "DBGear tenant registry (API)"
    provider = "api"
    records_are = "items"

    @override
    @classmethod
    def extras(cls) -> dict[str, type[ApiExtra]]:
        return dict.fromkeys(_DEFAULT_SCHEMES, ApiExtra)

    @override
    async def _open(
        self,
        connection: CheckedConnection[ApiExtra],
        section: ApiRegistrySettings | None,
        cache: RegistryCache | None,
    ) -> TenantRegistryProvider:
        from ..core.registries.api import APITenantProvider  # noqa: PLC0415 - imports httpx

        options = section or ApiRegistrySettings()
        return APITenantProvider(
            base_url(connection),
            None,
            options.timeout,
            options.retry_attempts,
            auth=_auth(connection),
            options=options,
            headers=connection.extra.headers,
            verify=connection.extra.ca_file or True,
            cache=cache,
        )

    @override
    @classmethod
    def _tested(cls, section: ApiRegistrySettings | None) -> ApiRegistrySettings:
        # Why there was no answer in time is known to the client, which so has the time to say it.
        section = section or ApiRegistrySettings()
        timeout_s = min(section.total_timeout, TEST_TIMEOUT_S - 2)
        return section.model_copy(update={"total_timeout": timeout_s, "timeout": min(section.timeout, timeout_s)})


def base_url(connection: CheckedConnection[Any]) -> str:
    """Return the URL that host, schema and port make. Raises SettingsError."""
    host = connection.required("host", _EXAMPLE)
    scheme = connection.schema or _DEFAULT_SCHEMES[connection.conn_type]
    where = f"{connection.where}, host"
    try:
        parts = urlsplit(host if "://" in host else f"{scheme}://{host}")
        port = parts.port
    except ValueError:
        # What was received, and what Python says of it, stays out: it may be a part of a password.
        raise SettingsError("no URL", where=where, allowed=_EXAMPLE) from None
    if parts.scheme not in {"http", "https"}:
        raise SettingsError("no scheme of an API", where=where, received=parts.scheme, allowed="http, https")
    if parts.username or parts.password:
        # What was received stays out: it is a secret in the wrong place.
        raise SettingsError("a user stands in the URL", where=where, allowed="the fields login and password")
    if parts.query or parts.fragment:
        # Parameters are a usual place for keys.
        problem = "more than a place is in the URL"
        raise SettingsError(problem, where=where, allowed=f"{_EXAMPLE}; a key as api_key_param, others as params")
    if not parts.hostname:
        raise SettingsError("no base URL", where=where, received=host, allowed=_EXAMPLE)
    twice = {"scheme": (connection.schema, parts.scheme), "port": (connection.port, port)}
    for name, (one, other) in twice.items():
        if "://" in host and one and other and one != other:
            raise SettingsError(f"two {name}s", where=where, received=f"{other} in the host, {one} in its own field")
    return _with_port(parts, port or connection.port)


def _with_port(parts: SplitResult, port: int | None) -> str:
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return parts._replace(netloc=f"{name}:{port}" if port else str(name)).geturl()


def _auth(connection: CheckedConnection[ApiExtra]) -> ApiAuth | None:
    """Return how to authenticate; None: not at all. Raises SettingsError where a part is missing or has no use."""
    extra, where = connection.extra, f"{connection.where}, auth"
    auth: Auth = extra.auth or ("basic" if connection.login else "bearer" if connection.password else "none")
    useless = [name for other, names in _KEYS.items() if other != auth for name in names if getattr(extra, name)]
    useless += [name for name in _USELESS_FIELDS.get(auth, ()) if getattr(connection, name)]
    if useless:
        raise SettingsError(f"{', '.join(useless)} given, which it does not use", where=where, received=auth)
    return _credentials(auth, connection)


def _credentials(auth: Auth, connection: CheckedConnection[ApiExtra]) -> ApiAuth | None:
    from ..core.registries.api import ApiKey, Basic, Bearer, OAuth2ClientCredentials  # noqa: PLC0415 - as above

    extra = connection.extra
    match auth:
        case "none":
            return None
        case "basic":
            return Basic(connection.required("login", "the user, for basic"), connection.password or "")
        case "bearer":
            return Bearer(connection.required("password", "the token, for bearer"))
        case "api_key":
            if extra.api_key_header and extra.api_key_param:
                raise SettingsError(
                    "both api_key_header and api_key_param",
                    where=f"{connection.where}, extra",
                    allowed="a header, or a parameter of the URL",
                )
            key = connection.required("password", "the key, for api_key")
            if extra.api_key_param:
                return ApiKey(key, extra.api_key_param, "query")
            return ApiKey(key, extra.api_key_header) if extra.api_key_header else ApiKey(key)
        case "oauth2":
            if not extra.token_url:
                raise SettingsError("no token_url", where=f"{connection.where}, extra", allowed="a URL, for oauth2")
            return OAuth2ClientCredentials(
                extra.token_url,
                connection.required("login", "the client's id, for oauth2"),
                connection.required("password", "the client's secret, for oauth2"),
                scope=extra.scope,
                audience=extra.audience,
                credentials_in=extra.credentials_in or "header",
            )
