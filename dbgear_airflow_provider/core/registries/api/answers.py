"""What an HTTP answer of an API means: its JSON, a refusal, or a reason to try again."""

from __future__ import annotations

import json
from collections import Counter
from http import HTTPStatus
from typing import Any, NoReturn

from ...errors import SettingsError
from ..numbers import finite, refuse_constant
from .auth import Redactor
from .http import HttpAnswer, RetryError, retry_after_s

_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
# What may be left of a word or number where a text ends in the middle of it.
_HALF_WORDS = {"-", ".", *(f"{e}{sign}" for e in "eE" for sign in ("", "+", "-"))} | {
    word[:end] for word in ("true", "false", "null") for end in range(len(word))
}


def raise_for_status(answer: HttpAnswer, where: str, redact: Redactor) -> None:
    """Raise RetryError for 429 and 5xx, SettingsError for all else that is no success."""
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        received = _shown(answer, redact)
        raise RetryError(f"the server answers {answer.phrase}", received=received, wait_s=retry_after_s(answer.headers))
    if answer.status in _REFUSED:
        refuse_credentials(answer, where, redact)
    raise SettingsError(f"the server answers {answer.phrase}", where=where, received=_shown(answer, redact))


def refuse_credentials(answer: HttpAnswer, where: str, redact: Redactor) -> NoReturn:
    """Raise SettingsError: another try gives the same."""
    raise SettingsError(f"credentials refused, {answer.phrase}", where=where, received=_shown(answer, redact))


def read_json(answer: HttpAnswer, redact: Redactor) -> Any:
    """Return the answer's JSON. Raises RetryError: it may have been cut off, or be a proxy's page for a moment."""
    try:
        return json.loads(answer.body, parse_constant=refuse_constant, parse_float=finite, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        is_cut = _is_cut(error)
        problem = f"no JSON, {error.msg} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        is_cut = isinstance(error, UnicodeDecodeError) and error.reason == "unexpected end of data"
        problem = f"no JSON, {'nested too deeply' if isinstance(error, RecursionError) else redact.excerpt(str(error))}"
    content_type = answer.headers.get("Content-Type", "").partition(";")[0]
    if not answer.body.strip():
        problem = "an empty answer"
    elif content_type and "json" not in content_type:
        problem = f"no JSON but {redact.excerpt(content_type)}"
    elif is_cut:
        problem = "the answer's JSON ends in the middle"
    raise RetryError(problem, received=_shown(answer, redact), is_terminal=not is_cut)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Python takes the last one: of two lists of tenants that would lose the first.
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice in one object")
    return found


def _is_cut(error: json.JSONDecodeError) -> bool:
    """Tell whether the text is JSON as far as it goes."""
    rest = error.doc[error.pos :].strip()
    half_text = error.msg.startswith("Unterminated string") or (
        error.msg.startswith("Invalid \\u") and len(rest) < len("\\u65e5")
    )
    return error.doc.lstrip().startswith(("{", "[")) and (half_text or rest in _HALF_WORDS)


def _shown(answer: HttpAnswer, redact: Redactor) -> str | None:
    """Return the beginning of the body on one line; None where it is empty."""
    # As json.loads reads it: in UTF-16 a secret would be another text.
    text = answer.body.decode(json.detect_encoding(answer.body), errors="replace")
    return " ".join(redact.excerpt(text).split()) or None
