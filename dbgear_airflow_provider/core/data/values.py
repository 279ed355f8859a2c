"""Values of rows as SQL literals of their columns. What does not fit is refused."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import types as sa_types
from sqlalchemy.engine import Dialect

from ..schema.ddl import literals
from ..schema.expressions import default_value
from ..schema.features import features
from .columns import Column
from .variables import Bound

_CALL = re.compile(
    r"(?P<name>NOW|CURRENT_TIMESTAMP|LOCALTIME|LOCALTIMESTAMP|UTC_TIMESTAMP|CURDATE|CURRENT_DATE|CURTIME|CURRENT_TIME"
    r"|UUID)\s*\(\s*\)",
    re.IGNORECASE,
)
_WORD = re.compile(r"CURRENT_TIMESTAMP|CURRENT_DATE|LOCALTIME|LOCALTIMESTAMP", re.IGNORECASE)
_DATES = {"CURDATE", "CURRENT_DATE"}
_TIMES = {"CURTIME", "CURRENT_TIME"}
_TRUE, _FALSE = {"true", "1"}, {"false", "0"}
_MICROSECOND_DIGITS = 6
# Behind an even number of backslashes: the others are a text of these six characters.
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class MisfitError(ValueError):
    """A value that its column does not take. allowed: what it takes."""

    def __init__(self, problem: str, allowed: str | Sequence[str]) -> None:
        super().__init__(problem)
        self.allowed = allowed


class Writer:
    """Writes values as an engine's literals."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.features = features(dialect)
        self._quoted = literals(dialect)
        self._kinds: dict[str, Callable[[Any, Column], str]] = {
            "text": self._text, "set": self._set, "integer": self._integer, "boolean": self._boolean,
            "decimal": self._decimal, "float": self._float, "bits": self._bits, "bytes": self._bytes,
            "date": self._date, "time": self._time, "datetime": self._datetime, "json": self._json,
        }  # fmt: skip

    def function(self, value: Any, column: Column) -> str | None:
        """Return the SQL of a value that is a call of the white list; None where it is none. Raises MisfitError."""
        if not isinstance(value, str) or column.kind == "json":
            return None
        text = value.strip()
        match = _CALL.fullmatch(text)
        if match is None and (column.kind == "text" or not _WORD.fullmatch(text)):
            return None
        name = (match["name"] if match else text).upper()
        takes = {"date", "time", "datetime", "text"}
        if name == "UUID":
            takes = {"text"}
        elif name in _TIMES:
            takes = {"time", "text"}
        elif name in _DATES:
            takes = {"date", "datetime", "text"}
        if column.kind not in takes:
            raise MisfitError(f"a {column.kind} column does not take this function", "a value of its type")
        return str(default_value(text, sa_types.String()).compile(dialect=self.dialect))

    def literal(self, value: Any, column: Column) -> str:
        """Return a value's literal. Raises MisfitError."""
        bound = isinstance(value, Bound)
        if bound:
            value = value.value
        if value is None:
            if column.nullable:
                return "NULL"
            raise MisfitError("it cannot be NULL", "a value")
        write = self._kinds.get(column.kind)
        if write is None:
            raise MisfitError("columns of this type take no initial data", "leave the column out")
        if column.kind == "json" and isinstance(value, str) and not bound:
            value = _from_json(value)
        return write(value, column)

    def _text(self, value: Any, column: Column) -> str:
        if isinstance(value, bool):
            raise MisfitError("a text column gets a boolean", "put it into quotes")
        text = _dumped(value) if isinstance(value, dict | list) else _written(value)
        if column.length is not None and len(text) > column.length:
            raise MisfitError(f"longer than {column.length} characters", f"{column.length} characters")
        if column.items is not None and text not in column.items:
            raise MisfitError("not one of the items", column.items)
        return self._quoted(_storable(text))

    def _set(self, value: Any, column: Column) -> str:
        items = value if isinstance(value, list) else [item for item in _written(value).split(",") if item]
        chosen = [_written(item) for item in items]
        if any(item not in (column.items or ()) for item in chosen):
            raise MisfitError("not all of them are items", column.items or ())
        return self._quoted(",".join(item for item in column.items or () if item in chosen))

    def _number(self, text: str) -> str:
        return f"'{text}'" if self.features.typed_numbers else text

    def _integer(self, value: Any, column: Column) -> str:
        allowed = f"{column.low} to {column.high}"
        number = _decimal_of(value, allowed) if not isinstance(value, bool) else Decimal(int(value))
        if number != number.to_integral_value() or not column.low <= number <= column.high:
            raise MisfitError("no such whole number", allowed)
        if column.counts and number < 1:
            raise MisfitError("a column that counts up begins at 1", "1 or more")
        return self._number(str(int(number)))

    def _boolean(self, value: Any, column: Column) -> str:
        word = str(value).lower() if isinstance(value, bool) else _written(value).lower()
        if word in _TRUE | _FALSE:
            return ("TRUE" if word in _TRUE else "FALSE") if column.truth else ("1" if word in _TRUE else "0")
        if column.truth:
            raise MisfitError("neither true nor false", "true, false, 1, 0")
        return self._integer(value, column)

    def _decimal(self, value: Any, column: Column) -> str:
        allowed = f"{column.precision - column.scale} digits before the point, {column.scale} after it"
        number = _decimal_of(value, allowed)
        if number != round(number, column.scale) or abs(number) >= 10 ** (column.precision - column.scale):
            raise MisfitError("the column does not hold all its digits", allowed)
        return self._number(format(number, "f"))

    def _float(self, value: Any, column: Column) -> str:
        number = float(_decimal_of(value, "a number"))
        if column.single:
            try:
                single(number)
            except OverflowError:
                raise MisfitError("too large", "a number of 32 bits") from None
        if not math.isfinite(number):
            raise MisfitError("too large", "a number")
        return self._number(repr(number))

    def _bits(self, value: Any, column: Column) -> str:
        text = _written(value) if not isinstance(value, bool) else str(int(value))
        match = re.fullmatch(r"[bB]'([01]+)'|([0-9]+)", text)
        number = -1 if match is None else int(match[1], 2) if match[1] else int(match[2])
        if not 0 <= number <= column.high:
            raise MisfitError("not so many bits", f"0 to {column.high}, or b'...'")
        return f"b'{number:0{column.length}b}'"

    def _bytes(self, value: Any, column: Column) -> str:
        content = value if isinstance(value, bytes) else _written(value).encode()
        if column.length is not None and len(content) > column.length:
            raise MisfitError(f"longer than {column.length} bytes", "!!binary, or text, which becomes UTF-8")
        if column.padded:
            content = content.ljust(column.length or 0, b"\0")
        return self.features.binary.format(content.hex())

    def _date(self, value: Any, column: Column) -> str:
        if isinstance(value, datetime):
            if value.tzinfo is None and value.time() != time():
                raise MisfitError("a date column gets a time of day", "date as 2026-01-31")
            value = (value.astimezone(UTC) if value.tzinfo else value).date()
        return f"'{value if isinstance(value, date) else _iso(date, value, '2026-01-31')}'"

    def _time(self, value: Any, column: Column) -> str:
        moment: time = value if isinstance(value, time) else _iso(time, value, "13:30:00")
        return f"'{_cut(moment.replace(tzinfo=None), column.fraction)}'"

    def _datetime(self, value: Any, column: Column) -> str:
        moment: datetime = value if isinstance(value, datetime) else _iso(datetime, value, "2026-01-31 13:30:00")
        moment = (moment.astimezone(UTC) if moment.tzinfo else moment).replace(tzinfo=None)
        return f"'{moment.date()} {_cut(moment.time(), column.fraction)}{'+00' if column.zoned else ''}'"

    def _json(self, value: Any, column: Column) -> str:
        return self._quoted(_storable(_dumped(value)))


def single(number: float) -> float:
    """Return the number that a float of 32 bits holds of another. Raises OverflowError where it is too large."""
    (held,) = struct.unpack("<f", struct.pack("<f", number))
    return float(held)


def _written(value: Any) -> str:
    """Return a value as the file writes it."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes | dict | list):
        raise MisfitError(f"a {type(value).__name__} does not fit", "a single value")
    return getattr(value, "text", None) or str(value)


def _nul() -> MisfitError:
    return MisfitError("the character NUL is not allowed in it", "text without it")


def _storable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MisfitError("half a character", "text in UTF-8") from None
    if "\0" in text:
        raise _nul()
    return text


def _dumped(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_written)
    except (ValueError, TypeError) as error:
        raise MisfitError(f"no JSON: {error}", "JSON") from None
    if _ESCAPED_NUL.search(text):
        raise _nul()
    return text


def _from_json(text: str) -> Any:
    """Return what a text in a JSON column means: DBGear takes it for JSON, and plain words are texts."""
    try:
        return json.loads(text)
    except ValueError as error:
        if text.lstrip().startswith(("{", "[", '"')):
            raise MisfitError(f"no JSON: {error}", "JSON, or text that does not begin as JSON does") from None
        return text


def _decimal_of(value: Any, allowed: str) -> Decimal:
    try:
        if isinstance(value, bool):
            raise InvalidOperation
        number = Decimal(str(value) if isinstance(value, int | float | Decimal) else _written(value).strip())
    except InvalidOperation:
        raise MisfitError("not a number", allowed) from None
    if not number.is_finite():
        raise MisfitError("not a number", allowed)
    return number


def _iso(kind: Any, value: Any, example: str) -> Any:
    try:
        return kind.fromisoformat(_written(value).strip())
    except ValueError:
        raise MisfitError(f"not a {kind.__name__}", f"{kind.__name__} as {example}") from None


def _cut(moment: time, digits: int) -> str:
    step = 10 ** (_MICROSECOND_DIGITS - digits)
    return moment.replace(microsecond=moment.microsecond // step * step).isoformat()
