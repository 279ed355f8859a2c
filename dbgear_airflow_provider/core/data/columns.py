"""What a column takes, as facts of the document and of the engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect

Kind = Literal[
    "text",
    "integer",
    "decimal",
    "float",
    "boolean",
    "bits",
    "bytes",
    "date",
    "time",
    "datetime",
    "json",
    "set",
    "other",
]
_MYSQL = mysql.dialect()
_BITS = ((mysql.TINYINT, 8), (sa.SmallInteger, 16), (mysql.MEDIUMINT, 24), (sa.BigInteger, 64), (sa.Integer, 32))
_BIGGEST = 2**63 - 1
_SINGLE = 24  # bits of a FLOAT(p) of 32 bits: https://dev.mysql.com/doc/refman/8.0/en/floating-point-types.html


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column. counts: it counts up. needed: a new row must name it. truth: the engine's own type for truth.

    low, high: of integers; high also of bits. length: of text in characters, of bytes in bytes (exact with `padded`).
    fraction: digits of a second. zoned: it keeps moments. items: of ENUM and SET. single: a float of 32 bits.
    """

    name: str
    kind: Kind
    nullable: bool
    counts: bool
    needed: bool
    truth: bool = False
    low: int = 0
    high: int = 0
    length: int | None = None
    padded: bool = False
    precision: int = 0
    scale: int = 0
    fraction: int = 0
    zoned: bool = False
    items: tuple[str, ...] | None = None
    single: bool = False


def column_facts(column: sa.Column[object], dialect: Dialect) -> Column:
    """Return what a column takes on an engine."""
    # The document's types are MySQL's; the engine's own say what it can hold of them.
    written, own = column.type.dialect_impl(_MYSQL), column.type.dialect_impl(dialect)
    counts = column.identity is not None
    nullable = bool(column.nullable)
    needed = not nullable and not counts and column.server_default is None
    base = Column(name=column.name, kind="other", nullable=nullable, counts=counts, needed=needed)
    return Column(**{**base.__dict__, **_type(written, own)})


def _type(written: object, own: object) -> dict[str, object]:  # noqa: PLR0911, PLR0912 - a table of types
    match written:
        case mysql.SET():
            return {"kind": "set", "items": tuple(written.values)}
        case sa.Enum():
            return {"kind": "text", "items": tuple(written.enums)}
        case mysql.TINYINT(display_width=1):
            return {"kind": "boolean", "truth": isinstance(own, sa.Boolean), "low": -128, "high": 127}
        case mysql.YEAR():
            return {"kind": "integer", "low": 1901, "high": 2155}
        case sa.Integer():
            bits = next(bits for kind, bits in _BITS if isinstance(written, kind))
            if getattr(written, "unsigned", False):
                high = 2**bits - 1
                return {"kind": "integer", "high": high if hasattr(own, "unsigned") else min(high, _BIGGEST)}
            return {"kind": "integer", "low": -(2 ** (bits - 1)), "high": 2 ** (bits - 1) - 1}
        case sa.Float():
            single = isinstance(written, mysql.FLOAT) and written.scale is None and (written.precision or 0) <= _SINGLE
            return {"kind": "float", "single": single}
        case sa.Numeric():
            return {"kind": "decimal", "precision": written.precision or 10, "scale": written.scale or 0}
        case mysql.BIT():
            return {"kind": "bits", "length": written.length or 1, "high": 2 ** (written.length or 1) - 1}
        case sa.JSON():
            return {"kind": "json"}
        case sa.String():
            return {"kind": "text", "length": written.length}
        case sa.BINARY() | sa.VARBINARY() | sa.LargeBinary() | mysql.TINYBLOB() | mysql.MEDIUMBLOB() | mysql.LONGBLOB():
            length = getattr(written, "length", None)
            return {"kind": "bytes", "length": length, "padded": isinstance(own, sa.BINARY)}
        case sa.Date():
            return {"kind": "date"}
        case sa.Time():
            return {"kind": "time", "fraction": getattr(written, "fsp", 0) or 0}
        case sa.DateTime():
            fraction, zoned = getattr(written, "fsp", 0) or 0, bool(getattr(own, "timezone", False))
            return {"kind": "datetime", "fraction": fraction, "zoned": zoned}
    return {"kind": "other"}
