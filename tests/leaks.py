"""Secrets of tests, and a look for them in all that may be seen."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from dbgear_airflow_provider.core.errors import DbgearError

SECRET = "s3cr3t/+token&=no one%may%see"
TOKEN = "s3cr3t.bearer-token_that/nobody+may=see"

E = TypeVar("E", bound=DbgearError)


def secrets_in(text: str) -> list[str]:
    """Return the secrets of the tests that a text tells, in whatever writing: each holds one of these words."""
    return [word for word in ("s3cr3t", "bearer-token", "czNjcjN0") if word in text]


@pytest.fixture(autouse=True)
def nothing_leaks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No log of any level and of any library tells a secret, whatever the test does."""
    for name in (None, "httpx", "httpcore"):  # whose own levels others may have set
        caplog.set_level(logging.DEBUG, name)
    yield
    told = [record.getMessage() for record in caplog.get_records("call")]
    assert [line for line in told if secrets_in(line)] == []


async def error_of(expected: type[E], asking: Coroutine[Any, Any, Any]) -> E:
    """Return the error that a question raises, after a look for secrets in all that could be printed of it."""
    with pytest.raises(expected) as caught:
        await asking
    error = caught.value
    assert type(error) is expected, error
    told = "".join(traceback.format_exception(error))
    assert secrets_in(f"{told} {error!r} {error.details}") == []
    return error
