"""MySQL's column types, as documents write them, to SQLAlchemy's.

What PostgreSQL has no equal for becomes the nearest type that holds every value, with these losses:
- BIGINT UNSIGNED is BIGINT: values above 2^63 - 1 are refused by the server (never changed).
- ENUM is text with a CHECK of its items; the order of the items is lost. SET is text without a CHECK.
- lengths of BINARY and BLOB types, display widths and ZEROFILL are lost.
- TIMESTAMP, which MySQL keeps in UTC, is TIMESTAMP WITH TIME ZONE; DATETIME has no zone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import types as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from .expressions import literals

_TYPE = re.compile(
    r"^\s*(?P<base>[a-z][a-z0-9]*)\s*(?:\((?P<args>.*)\))?(?P<flags>[a-z0-9_ ]*)$", re.IGNORECASE | re.DOTALL
)
_NUMBERS = re.compile(r"\s*[0-9]{1,5}\s*(,\s*[0-9]{1,5}\s*)?")
_FLAGS = {"UNSIGNED", "SIGNED", "ZEROFILL", "AUTO_INCREMENT", "PRECISION"}

Args = tuple[int, ...]


def _number(args: Args) -> TypeEngine[Any]:
    precision, scale = (*args, 0)[:2] if args else (10, 0)
    return sa.Numeric(precision, scale)


_FLOAT_BITS = 24  # FLOAT(p) of more bits than that is a DOUBLE


def _fraction(args: Args) -> int:
    # MySQL keeps whole seconds unless told otherwise, PostgreSQL microseconds.
    return args[0] if args else 0


_SIMPLE: dict[str, Callable[[Args], TypeEngine[Any]]] = {
    "TINYINT": lambda args: sa.Boolean() if args == (1,) else sa.SmallInteger(),
    "BOOL": lambda _: sa.Boolean(),
    "BOOLEAN": lambda _: sa.Boolean(),
    "SMALLINT": lambda _: sa.SmallInteger(),
    "YEAR": lambda _: sa.SmallInteger(),
    "MEDIUMINT": lambda _: sa.Integer(),
    "INT": lambda _: sa.Integer(),
    "INTEGER": lambda _: sa.Integer(),
    "BIGINT": lambda _: sa.BigInteger(),
    "DECIMAL": _number,
    "DEC": _number,
    "NUMERIC": _number,
    "FIXED": _number,
    "FLOAT": lambda args: sa.Double() if len(args) == 1 and args[0] > _FLOAT_BITS else sa.REAL(),
    "DOUBLE": lambda _: sa.Double(),
    "REAL": lambda _: sa.Double(),
    "BIT": lambda args: postgresql.BIT(args[0] if args else 1),
    "CHAR": lambda args: sa.CHAR(args[0] if args else 1),
    "VARCHAR": lambda args: sa.String(args[0] if args else None),
    "TINYTEXT": lambda _: sa.Text(),
    "TEXT": lambda _: sa.Text(),
    "MEDIUMTEXT": lambda _: sa.Text(),
    "LONGTEXT": lambda _: sa.Text(),
    "BINARY": lambda _: sa.LargeBinary(),
    "VARBINARY": lambda _: sa.LargeBinary(),
    "TINYBLOB": lambda _: sa.LargeBinary(),
    "BLOB": lambda _: sa.LargeBinary(),
    "MEDIUMBLOB": lambda _: sa.LargeBinary(),
    "LONGBLOB": lambda _: sa.LargeBinary(),
    "DATE": lambda _: sa.Date(),
    "TIME": lambda args: postgresql.TIME(precision=_fraction(args)),
    "DATETIME": lambda args: postgresql.TIMESTAMP(precision=_fraction(args)),
    "TIMESTAMP": lambda args: postgresql.TIMESTAMP(timezone=True, precision=_fraction(args)),
    "JSON": lambda _: postgresql.JSONB(),
}
# An unsigned type needs the next wider one to hold all its values.
_UNSIGNED = {"TINYINT": "SMALLINT", "SMALLINT": "INT", "INT": "BIGINT", "INTEGER": "BIGINT"}

ALLOWED = (*sorted(_SIMPLE), "ENUM", "SET")


@lru_cache(maxsize=4096)
def parse_type(text: str, items: Sequence[str] | None = None) -> tuple[TypeEngine[Any], bool]:
    """Return (type, auto_increment) of a MySQL type's text.

    items: the values of an ENUM or SET where the text does not list them. Raises ValueError with what is wrong.
    """
    match = _TYPE.match(text)
    if match is None:
        raise ValueError("not a column type")
    base, args = match["base"].upper(), match["args"]
    flags = set(match["flags"].upper().split())
    if unknown := flags - _FLAGS:
        raise ValueError(f"{' '.join(sorted(unknown))} is not part of a column type here")
    if base in {"ENUM", "SET"}:
        return _of_items(base, literals(args) if args and args.strip() else list(items or ())), False
    if base not in _SIMPLE:
        raise ValueError("no such column type")
    if args is not None and not _NUMBERS.fullmatch(args):
        raise ValueError("length and precision are whole numbers")
    numbers = tuple(int(part) for part in args.split(",")) if args else ()
    if "UNSIGNED" in flags and numbers != (1,):
        base = _UNSIGNED.get(base, base)
    return _SIMPLE[base](numbers), "AUTO_INCREMENT" in flags


def _of_items(base: str, values: list[str]) -> TypeEngine[Any]:
    if not values:
        raise ValueError(f"{base} without items")
    if len(set(values)) < len(values):
        raise ValueError(f"{base} with an item that is there twice")
    if base == "SET":
        return sa.String(max(1, len(",".join(values))))
    return sa.Enum(*values, native_enum=False, create_constraint=True, length=max(1, *map(len, values)))
