"""Numbers of JSON that Python reads and databases refuse. For `json.loads`; both functions raise ValueError."""

from __future__ import annotations

import math
from typing import NoReturn

_CHARS = 40


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which JSON has not. For `parse_constant`."""
    raise ValueError(f"{name} is no number")


def finite(text: str) -> float:
    """Return a number, unless it is one such as 1e999, which Python reads as Infinity. For `parse_float`."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:_CHARS]} is too large a number")
    return number
