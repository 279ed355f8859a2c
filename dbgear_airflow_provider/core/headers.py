"""What a header of HTTP may hold."""

from __future__ import annotations

import re

from .errors import SettingsError

_TEXT = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check_header(name: str, value: str, *, where: str) -> None:
    """Raise SettingsError, without the value, where this is no header of HTTP.

    The HTTP client would refuse it too, but with the value in its error.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError("no name of a header", where=where, received=name)
    if not _TEXT.fullmatch(value):
        raise SettingsError(
            "no value of a header", where=where, allowed="printable ASCII, no line break, no white space around it"
        )
