"""How much a row or an index of InnoDB holds, counted as the server counts before it creates a table.

https://dev.mysql.com/doc/refman/8.4/en/innodb-limits.html,
https://dev.mysql.com/doc/refman/8.4/en/column-count-limit.html, https://dev.mysql.com/doc/refman/8.4/en/storage-requirements.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from .columns import Target
from .document import MySQLOptions
from .expressions import UNLIMITED
from .types import charset_of

ROW_BYTES = 65_535
INDEX_BYTES = 3_072
_OLD_INDEX_BYTES = 767  # of each column, in the row formats of before
_OLD_FORMATS = {"REDUNDANT", "COMPACT"}
_OTHER_ENGINES = {"MYISAM": 1_000, "ARIA": 2_000}
# Bytes of a character.
_CHARSETS = {"utf8mb4": 4, "utf8mb3": 3, "utf8": 3, "latin1": 1, "ascii": 1, "binary": 1, "ucs2": 2, "sjis": 2}
_UNKNOWN = 4
_POINTERS = {"TINYTEXT": 9, "TINYBLOB": 9, "TEXT": 10, "BLOB": 10, "MEDIUMTEXT": 11, "MEDIUMBLOB": 11}
_LONG_POINTER = 12
_FIXED: tuple[tuple[type[TypeEngine[Any]] | tuple[type[TypeEngine[Any]], ...], int], ...] = (
    ((mysql.TINYINT, mysql.YEAR), 1),
    (mysql.SMALLINT, 2),
    (mysql.MEDIUMINT, 3),
    (sa.BigInteger, 8),
    (sa.Integer, 4),
    (mysql.FLOAT, 4),
    (mysql.DOUBLE, 8),
    (sa.Date, 3),
    (mysql.TIME, 6),
    (mysql.TIMESTAMP, 7),
    (sa.DateTime, 8),
    (mysql.BIT, 8),
    (mysql.SET, 8),
    (sa.Enum, 2),
)
_BIG = 255  # bytes of a text of which the length takes one byte


def row_too_long(columns: Sequence[sa.Column[Any]], options: MySQLOptions, target: Target) -> str | None:
    """Return why InnoDB has no table of these columns; None where it has."""
    if not target.features.innodb_limits:
        return None
    size = sum(_in_row(column.type.dialect_impl(target.dialect), options) for column in columns)
    size += (sum(column.nullable is not False for column in columns) + 7) // 8
    if size <= ROW_BYTES:
        return None
    return f"a row may be {size} bytes long, of at most {ROW_BYTES} on {target.features.title}: make long texts TEXT"


def index_too_long(
    parts: Sequence[tuple[sa.Column[Any], int | None]],
    options: MySQLOptions,
    target: Target,
    *,
    kind: Literal["primary", "unique", "plain"],
) -> str | None:
    """Return why there is no index over these columns, each with the length of its beginning; None where there is."""
    if len(parts) > target.features.index_columns:
        return f"an index of {target.features.title} has at most {target.features.index_columns} columns"
    if not target.features.innodb_limits:
        return None
    sizes = []
    for column, length in parts:
        impl = column.type.dialect_impl(target.dialect)
        if length is None and isinstance(impl, UNLIMITED):
            return f"an index on {column.name} needs a length on {target.features.title}, {column.name}(191)"
        sizes.append(_in_index(impl, length, options))
    if target.features.long_indexes and kind != "primary":
        # MariaDB makes a hash of a unique one, and of others takes as much of a column as there is room for.
        sizes = [] if kind == "unique" else [min(size, INDEX_BYTES) for size in sizes]
    most = _OTHER_ENGINES.get((options.engine or "").upper(), INDEX_BYTES)
    if (options.row_format or "").upper() in _OLD_FORMATS and max(sizes, default=0) > _OLD_INDEX_BYTES:
        return f"an index has at most {_OLD_INDEX_BYTES} bytes of a column in the row format {options.row_format}"
    if sum(sizes) > most:
        return f"an index of {sum(sizes)} bytes, of at most {most} on {target.features.title}"
    return None


def _in_row(impl: TypeEngine[Any], options: MySQLOptions) -> int:
    if isinstance(impl, UNLIMITED):
        return _POINTERS.get(type(impl).__name__.upper(), _LONG_POINTER)
    size = _in_index(impl, None, options)
    if isinstance(impl, mysql.VARCHAR | sa.VARBINARY):
        return size + (1 if size <= _BIG else 2)
    return size


def _in_index(impl: TypeEngine[Any], length: int | None, options: MySQLOptions) -> int:
    if isinstance(impl, sa.String) and not isinstance(impl, sa.Enum | mysql.SET):
        return (length or impl.length or 1) * _width(impl, options)
    if isinstance(impl, sa.BINARY | sa.VARBINARY | sa.LargeBinary):
        return length or getattr(impl, "length", None) or 1
    if isinstance(impl, sa.Numeric) and not isinstance(impl, sa.Float):
        whole, fraction = (impl.precision or 10) - (impl.scale or 0), impl.scale or 0
        return sum(digits // 9 * 4 + (digits % 9 + 1) // 2 for digits in (whole, fraction))
    return next((size for kinds, size in _FIXED if isinstance(impl, kinds)), _LONG_POINTER)


def _width(impl: TypeEngine[Any], options: MySQLOptions) -> int:
    """Return how many bytes a character may have."""
    own = getattr(impl, "charset", None), getattr(impl, "collation", None)
    for charset, collation in (own, (options.charset, options.collation)):
        if charset or collation:
            return _CHARSETS.get(charset_of(str(charset or collation)).lower(), _UNKNOWN)
    return _CHARSETS["utf8mb4"]
