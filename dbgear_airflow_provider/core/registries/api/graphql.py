"""Errors in the answers of GraphQL servers, which come with the status 200."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import RegistryRecordError, SettingsError
from ...settings import GraphqlSettings
from .auth import Redactor
from .client import Check
from .http import RetryError

# What servers write in extensions.code, and GitHub in type. There is no standard of these words.
_PASSING = {
    *("RATE_LIMITED", "RATE_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS", "THROTTLED"),
    *("INTERNAL", "INTERNAL_ERROR", "INTERNAL_SERVER_ERROR"),
    *("SERVICE_UNAVAILABLE", "UNAVAILABLE", "TIMEOUT", "GATEWAY_TIMEOUT"),
}
_CREDENTIALS = {"UNAUTHENTICATED", "UNAUTHORIZED", "FORBIDDEN", "ACCESS_DENIED"}


def check_of(graphql: GraphqlSettings, redact: Redactor) -> Check:
    """Return what raises for an answer with `errors`, also where there is data with them: it would be a part.

    RetryError where all of them have a code that says it may pass, else SettingsError. Messages are told without the
    texts of the variables, which the server may repeat.
    """

    def check(body: Any, where: str) -> None:
        errors = body.get("errors") if isinstance(body, dict) else None
        if not errors:
            return
        # Not made before: a token of ours may have come since.
        hiding = redact.with_more(texts_of(graphql.variables))
        if not isinstance(errors, list):
            raise RegistryRecordError("errors is no list", where=where, received=hiding.excerpt(errors))
        codes = [_code(error) for error in errors]
        told = hiding.excerpt("; ".join(_message(error, code) for error, code in zip(errors, codes, strict=True)))
        if all(code in _PASSING for code in codes):
            raise RetryError("the server answers with errors", received=told)
        if any(code in _CREDENTIALS for code in codes):
            raise SettingsError("credentials refused", where=where, received=told)
        raise SettingsError("the server refuses the query", where=where, received=told)

    return check


def _code(error: Any) -> str | None:
    if not isinstance(error, dict):
        return None
    extensions = error.get("extensions")
    code = extensions.get("code") if isinstance(extensions, dict) else error.get("type")
    return code.upper() if isinstance(code, str) else None


def _message(error: Any, code: str | None) -> str:
    message = error.get("message", error) if isinstance(error, dict) else error
    return f"{message}{f' ({code})' if code else ''}"


def texts_of(value: Any) -> Iterator[str]:
    """Yield the texts of variables, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts_of(each)
