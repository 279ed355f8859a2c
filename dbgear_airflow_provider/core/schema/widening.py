"""Which changes of a column's type keep every value, told from the types' texts in the servers' catalogs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .expressions import literals

_TYPE = re.compile(r"(?P<head>[^(]*)(?:\((?P<args>.*)\))?(?P<tail>[^)]*)", re.DOTALL)
_INTEGER_BITS = {
    "tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "integer": 32, "bigint": 64,
}  # fmt: skip
_DIGITS = {8: 3, 16: 5, 24: 8, 32: 10, 64: 20}  # of the largest number, without a sign
_FLOATS = {"float": 1, "real": 1, "double": 2, "double precision": 2}
# Bytes that a text or binary type without a length of its own holds; PostgreSQL's hold more than any with one.
# https://dev.mysql.com/doc/refman/8.4/en/storage-requirements.html
_UNLIMITED_BYTES = {
    "tinytext": 2**8 - 1, "text": 2**16 - 1, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1,
    "tinyblob": 2**8 - 1, "blob": 2**16 - 1, "mediumblob": 2**24 - 1, "longblob": 2**32 - 1,
}  # fmt: skip
_VARYING = {"varchar": "text", "character varying": "text", "varbinary": "blob"}
_FIXED = {"char": "text", "character": "text", "binary": "blob"}
_BYTES_PER_CHAR = 4
_POSTGRES_TEXT = "character varying"
# Of TIME, DATETIME and TIMESTAMP where no precision is told.
_FRACTIONS = {"timestamp without time zone": 6, "timestamp with time zone": 6, "time without time zone": 6}


@dataclass(frozen=True, kw_only=True)
class _Type:
    base: str
    args: str | None
    unsigned: bool

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(int(part) for part in (self.args or "").split(",") if part.strip().isdigit())


def keeps_values(old: str, new: str) -> bool:
    """Tell whether each value of the old type is one of the new; False where that is not known.

    Types are as `format_type` of PostgreSQL or COLUMN_TYPE of MySQL writes them: `character varying(50)`,
    `int(10) unsigned`, `enum('a','b')`.
    """
    if old == new:
        return True
    one, two = _parsed(old), _parsed(new)
    if one.base in {"enum", "set"} or two.base in {"enum", "set"}:
        return one.base == two.base and set(literals(one.args or "''")) <= set(literals(two.args or "''"))
    return any(check(one, two) for check in (_integers, _decimals, _floats, _texts, _fractions))


def family(text: str) -> str:
    """Return what types are of one kind: those of one are converted without being asked."""
    kind = _parsed(text)
    if kind.base in _INTEGER_BITS or kind.base in _FLOATS or kind.base in {"numeric", "decimal"}:
        return "number"
    if kind.base in _UNLIMITED_BYTES or kind.base in _VARYING or kind.base in _FIXED:
        return "blob" if kind.base.endswith(("blob", "binary")) else "text"
    return kind.base.split()[0]


def _parsed(text: str) -> _Type:
    match = _TYPE.fullmatch(text.strip())
    head, args, tail = (match["head"], match["args"], match["tail"]) if match else (text, None, "")
    words = f"{head} {tail}".lower().split()
    base = " ".join(word for word in words if word not in {"unsigned", "zerofill"})
    return _Type(base=base, args=args, unsigned="unsigned" in words)


def _range(kind: _Type) -> tuple[int, int]:
    bits = _INTEGER_BITS[kind.base]
    return (0, 2**bits - 1) if kind.unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _integers(one: _Type, two: _Type) -> bool:
    if one.base not in _INTEGER_BITS:
        return False
    if two.base in _INTEGER_BITS:
        (least, most), (lower, upper) = _range(one), _range(two)
        return lower <= least and most <= upper
    if two.base in {"numeric", "decimal"} and not (two.unsigned and not one.unsigned):
        precision, scale = (*two.numbers, 0, 0)[:2]
        return not two.numbers or precision - scale >= _DIGITS[_INTEGER_BITS[one.base]]
    return False


def _decimals(one: _Type, two: _Type) -> bool:
    if one.base not in {"numeric", "decimal"} or two.base != one.base or (two.unsigned and not one.unsigned):
        return False
    if not two.numbers or not one.numbers:
        return not two.numbers  # PostgreSQL's without a precision holds all
    (precision, scale), (wider, finer) = ((*kind.numbers, 0)[:2] for kind in (one, two))
    return finer >= scale and wider - finer >= precision - scale


def _floats(one: _Type, two: _Type) -> bool:
    if one.base not in _FLOATS or two.base not in _FLOATS or one.args or two.args:
        return False
    return _FLOATS[one.base] <= _FLOATS[two.base] and (one.unsigned or not two.unsigned)


def _texts(one: _Type, two: _Type) -> bool:
    if one.base in _FIXED:
        return one.base == two.base and one.numbers <= two.numbers
    kinds = [_kind_of_text(kind.base) for kind in (one, two)]
    if None in kinds or kinds[0] != kinds[1]:
        return False
    if _POSTGRES_TEXT in {one.base, two.base}:
        return two.base == "text" or not two.numbers or (one.base == two.base and () < one.numbers <= two.numbers)
    if one.base in _VARYING and two.base in _VARYING:
        return one.numbers <= two.numbers
    # Characters of several bytes into a limit of bytes, or bytes that may be a character each into one of characters.
    per_char = _BYTES_PER_CHAR if kinds[0] == "text" and one.base in _VARYING else 1
    return _length(one) * per_char <= _length(two)


def _kind_of_text(base: str) -> str | None:
    if base in _UNLIMITED_BYTES:
        return "blob" if base.endswith("blob") else "text"
    return _VARYING.get(base)


def _length(kind: _Type) -> int:
    return kind.numbers[0] if kind.base in _VARYING else _UNLIMITED_BYTES[kind.base]


def _fractions(one: _Type, two: _Type) -> bool:
    if one.base != two.base or not one.base.startswith(("time", "datetime", "bit", "year")):
        return False
    digits = [kind.numbers[0] if kind.numbers else _FRACTIONS.get(kind.base, 0) for kind in (one, two)]
    # PostgreSQL's bit(n) has exactly n bits.
    return digits[0] <= digits[1]
