"""MySQL's column types, as documents write them, to SQLAlchemy's: one type with a variant for each engine.

MySQL and MariaDB get the type as it is written; of display widths they keep those that change what is read,
`TINYINT(1)` and ZEROFILL's. What PostgreSQL has no equal for becomes the nearest type that holds every value, with
these losses:
- BIGINT UNSIGNED is BIGINT: values above 2^63 - 1 are refused by the server (never changed).
- ENUM is text with a CHECK of its items; the order of the items is lost. SET is text without a CHECK.
- lengths of BINARY and BLOB types, display widths and ZEROFILL are lost; charsets and collations too.
- TIMESTAMP, which MySQL keeps in UTC, is TIMESTAMP WITH TIME ZONE; DATETIME has no zone.
- spatial types have no equal at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import types as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from .expressions import literals

_TYPE = re.compile(
    r"^\s*(?P<base>[a-z][a-z0-9]*)\s*(?:\((?P<args>.*)\))?(?P<flags>[a-z0-9_ ]*)$", re.IGNORECASE | re.DOTALL
)
_CHARSET = re.compile(r"\s(?:CHARACTER\s+SET|CHARSET)\s+([a-z0-9_]+)(?=\s|$)", re.IGNORECASE)
_COLLATION = re.compile(r"\sCOLLATE\s+([a-z0-9_]+)(?=\s|$)", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z0-9_]+")
_NUMBERS = re.compile(r"\s*[0-9]{1,5}\s*(,\s*[0-9]{1,5}\s*)?")
_FLAGS = {"UNSIGNED", "SIGNED", "ZEROFILL", "AUTO_INCREMENT", "PRECISION"}

Args = tuple[int, ...]
_VARIANTS = ("mysql", "mariadb")


class Unheld(sa.UserDefinedType[Any]):
    """The variant of a type for an engine that has no equal for it; `why` says so to people."""

    cache_ok = True

    def __init__(self, why: str) -> None:
        self.why = why

    def get_col_spec(self, **_: Any) -> str:
        """Raise ValueError: whoever compiles it has not looked."""
        raise ValueError(self.why)


class Spatial(sa.UserDefinedType[Any]):
    """A spatial type of MySQL's."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: Any) -> str:
        """Return its name."""
        return self.name


@dataclass(frozen=True)
class _Written:
    """A type as the document writes it."""

    base: str
    args: Args
    flags: frozenset[str]
    text: tuple[tuple[str, str], ...]

    @property
    def sign(self) -> dict[str, bool]:
        zerofill = "ZEROFILL" in self.flags  # which implies UNSIGNED
        return {"unsigned": zerofill or "UNSIGNED" in self.flags, "zerofill": zerofill}


def _number(args: Args) -> TypeEngine[Any]:
    precision, scale = (*args, 0)[:2] if args else (10, 0)
    return sa.Numeric(precision or 10, scale)


_FLOAT_BITS = 24  # FLOAT(p) of more bits than that is a DOUBLE


def _fraction(args: Args) -> int:
    # MySQL keeps whole seconds unless told otherwise, PostgreSQL microseconds.
    return args[0] if args else 0


def _integer(kind: Callable[..., TypeEngine[Any]]) -> Callable[[_Written], TypeEngine[Any]]:
    def build(written: _Written) -> TypeEngine[Any]:
        matters = "ZEROFILL" in written.flags or (written.base == "TINYINT" and written.args == (1,))
        return kind(display_width=written.args[0] if written.args and matters else None, **written.sign)

    return build


def _decimal(kind: Callable[..., TypeEngine[Any]]) -> Callable[[_Written], TypeEngine[Any]]:
    return lambda written: kind(*written.args, **written.sign)


def _pair(kind: Callable[..., TypeEngine[Any]]) -> Callable[[_Written], TypeEngine[Any]]:
    def build(written: _Written) -> TypeEngine[Any]:
        # DOUBLE has both of its numbers or none.
        args = written.args if len(written.args) == 2 else ()  # noqa: PLR2004
        return kind(*args, asdecimal=False, **written.sign)

    return build


def _text(kind: Callable[..., TypeEngine[Any]]) -> Callable[[_Written], TypeEngine[Any]]:
    return lambda written: kind(*written.args, **dict(written.text))


def _long_text(kind: Callable[..., TypeEngine[Any]]) -> Callable[[_Written], TypeEngine[Any]]:
    return lambda written: kind(**dict(written.text))


def _sized(kind: Callable[..., TypeEngine[Any]]) -> Callable[[_Written], TypeEngine[Any]]:
    def build(written: _Written) -> TypeEngine[Any]:
        if not written.args:
            return Unheld(f"{written.base} needs a length there")
        return kind(written.args[0], **dict(written.text))

    return build


def _timed(kind: Callable[..., TypeEngine[Any]]) -> Callable[[_Written], TypeEngine[Any]]:
    return lambda written: kind(fsp=_fraction(written.args) or None)


def _plain(kind: Callable[[], TypeEngine[Any]]) -> Callable[[_Written], TypeEngine[Any]]:
    return lambda _: kind()


def _flag(_: _Written) -> TypeEngine[Any]:
    return mysql.TINYINT(display_width=1)


@dataclass(frozen=True)
class _Kind:
    postgres: Callable[[Args], TypeEngine[Any]]
    mysql: Callable[[_Written], TypeEngine[Any]]


_BLOB = sa.LargeBinary()
_TEXT = sa.Text()
_SPATIAL = Unheld("spatial types are PostGIS's, which is not part of the engine")


def _spatial(written: _Written) -> TypeEngine[Any]:
    return Spatial(written.base)


_KINDS: dict[str, _Kind] = {
    "TINYINT": _Kind(lambda args: sa.Boolean() if args == (1,) else sa.SmallInteger(), _integer(mysql.TINYINT)),
    "BOOL": _Kind(lambda _: sa.Boolean(), _flag),
    "BOOLEAN": _Kind(lambda _: sa.Boolean(), _flag),
    "SMALLINT": _Kind(lambda _: sa.SmallInteger(), _integer(mysql.SMALLINT)),
    "YEAR": _Kind(lambda _: sa.SmallInteger(), _plain(mysql.YEAR)),
    "MEDIUMINT": _Kind(lambda _: sa.Integer(), _integer(mysql.MEDIUMINT)),
    "INT": _Kind(lambda _: sa.Integer(), _integer(mysql.INTEGER)),
    "INTEGER": _Kind(lambda _: sa.Integer(), _integer(mysql.INTEGER)),
    "BIGINT": _Kind(lambda _: sa.BigInteger(), _integer(mysql.BIGINT)),
    "DECIMAL": _Kind(_number, _decimal(mysql.DECIMAL)),
    "DEC": _Kind(_number, _decimal(mysql.DECIMAL)),
    "NUMERIC": _Kind(_number, _decimal(mysql.DECIMAL)),
    "FIXED": _Kind(_number, _decimal(mysql.DECIMAL)),
    "FLOAT": _Kind(
        lambda args: sa.Double() if len(args) == 1 and args[0] > _FLOAT_BITS else sa.REAL(), _decimal(mysql.FLOAT)
    ),
    "DOUBLE": _Kind(lambda _: sa.Double(), _pair(mysql.DOUBLE)),
    "REAL": _Kind(lambda _: sa.Double(), _pair(mysql.DOUBLE)),
    "BIT": _Kind(
        lambda args: postgresql.BIT(max(1, args[0]) if args else 1),
        lambda written: mysql.BIT(max(1, written.args[0]) if written.args else 1),
    ),
    "CHAR": _Kind(lambda args: sa.CHAR(max(1, args[0]) if args else 1), _text(mysql.CHAR)),
    "VARCHAR": _Kind(lambda args: sa.String(max(1, args[0]) if args else None), _sized(mysql.VARCHAR)),
    "TINYTEXT": _Kind(lambda _: _TEXT, _long_text(mysql.TINYTEXT)),
    "TEXT": _Kind(lambda _: _TEXT, _long_text(mysql.TEXT)),
    "MEDIUMTEXT": _Kind(lambda _: _TEXT, _long_text(mysql.MEDIUMTEXT)),
    "LONGTEXT": _Kind(lambda _: _TEXT, _long_text(mysql.LONGTEXT)),
    "BINARY": _Kind(lambda _: _BLOB, lambda written: sa.BINARY(written.args[0] if written.args else 1)),
    "VARBINARY": _Kind(lambda _: _BLOB, _sized(sa.VARBINARY)),
    "TINYBLOB": _Kind(lambda _: _BLOB, _plain(mysql.TINYBLOB)),
    "BLOB": _Kind(lambda _: _BLOB, _plain(sa.BLOB)),
    "MEDIUMBLOB": _Kind(lambda _: _BLOB, _plain(mysql.MEDIUMBLOB)),
    "LONGBLOB": _Kind(lambda _: _BLOB, _plain(mysql.LONGBLOB)),
    "DATE": _Kind(lambda _: sa.Date(), _plain(sa.DATE)),
    "TIME": _Kind(lambda args: postgresql.TIME(precision=_fraction(args)), _timed(mysql.TIME)),
    "DATETIME": _Kind(lambda args: postgresql.TIMESTAMP(precision=_fraction(args)), _timed(mysql.DATETIME)),
    "TIMESTAMP": _Kind(
        lambda args: postgresql.TIMESTAMP(timezone=True, precision=_fraction(args)), _timed(mysql.TIMESTAMP)
    ),
    "JSON": _Kind(lambda _: postgresql.JSONB(), _plain(mysql.JSON)),
    **{
        name: _Kind(lambda _: _SPATIAL, _spatial)
        for name in (
            "GEOMETRY", "POINT", "LINESTRING", "POLYGON",
            "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION",
        )
    },
}  # fmt: skip
# An unsigned type needs the next wider one to hold all its values.
_UNSIGNED = {"TINYINT": "SMALLINT", "SMALLINT": "INT", "INT": "BIGINT", "INTEGER": "BIGINT"}
_TEXTS = {"CHAR", "VARCHAR", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT", "ENUM", "SET"}

ALLOWED = (*sorted(_KINDS), "ENUM", "SET")


@lru_cache(maxsize=4096)
def parse_type(
    text: str, items: Sequence[str] | None = None, charset: str | None = None, collation: str | None = None
) -> tuple[TypeEngine[Any], bool]:
    """Return (type, auto_increment) of a MySQL type's text.

    items: the values of an ENUM or SET where the text does not list them. charset, collation: of a text type that
    names none itself. Raises ValueError with what is wrong.
    """
    head, bracket, tail = text.rpartition(")")
    found = {"charset": _CHARSET.search(f" {tail}"), "collation": _COLLATION.search(f" {tail}")}
    tail = _COLLATION.sub("", _CHARSET.sub("", f" {tail}"))
    match = _TYPE.match(head + bracket + tail)
    if match is None:
        raise ValueError("not a column type")
    base, args = match["base"].upper(), match["args"]
    flags = frozenset(match["flags"].upper().split())
    if unknown := flags - _FLAGS:
        raise ValueError(f"{' '.join(sorted(unknown))} is not part of a column type here")
    given = {"charset": charset, "collation": collation}
    of_text = {key: there[1] if there else given[key] for key, there in found.items()}
    words = {key: word for key, word in of_text.items() if word is not None and base in _TEXTS}
    if wrong := [word for word in words.values() if not _WORD.fullmatch(word)]:
        raise ValueError(f"{wrong[0]!r} is no charset or collation")
    if base in {"ENUM", "SET"}:
        return _of_items(base, literals(args) if args and args.strip() else list(items or ()), words), False
    if base not in _KINDS:
        raise ValueError("no such column type")
    if args is not None and not _NUMBERS.fullmatch(args):
        raise ValueError("length and precision are whole numbers")
    numbers = tuple(int(part) for part in args.split(",")) if args else ()
    _check(base, numbers)
    written = _Written(base, numbers, flags, tuple(words.items()))
    if written.sign["unsigned"] and numbers != (1,):
        base = _UNSIGNED.get(base, base)
    kind = _KINDS[base].postgres(numbers).with_variant(_KINDS[written.base].mysql(written), *_VARIANTS)
    return kind, "AUTO_INCREMENT" in flags


def charset_of(collation: str) -> str:
    """Return the character set of a collation, with which its name begins."""
    return collation.split("_", maxsplit=1)[0]


_MOST = {
    "CHAR": 255, "BINARY": 255, "VARCHAR": 65_535, "VARBINARY": 65_535, "DECIMAL": 65, "NUMERIC": 65, "DEC": 65,
    "FIXED": 65, "BIT": 64, "TIME": 6, "DATETIME": 6, "TIMESTAMP": 6, "FLOAT": 255, "DOUBLE": 255, "REAL": 255,
}  # fmt: skip
_MOST_FRACTION = 30


def _check(base: str, numbers: Args) -> None:
    """Raise ValueError for what no version of MySQL takes: https://dev.mysql.com/doc/refman/8.4/en/data-types.html"""
    size, fraction = (*numbers, 0, 0)[:2]
    if size > _MOST.get(base, size):
        raise ValueError(f"{base} of at most {_MOST[base]}")
    if fraction > _MOST_FRACTION or (len(numbers) > 1 and fraction > size):
        raise ValueError(f"no more digits behind the point than in all, and at most {_MOST_FRACTION}")


def _of_items(base: str, values: list[str], words: dict[str, str]) -> TypeEngine[Any]:
    if not values:
        raise ValueError(f"{base} without items")
    if len(set(values)) < len(values):
        raise ValueError(f"{base} with an item that is there twice")
    if base == "SET":
        # SQLAlchemy reads a SET with an empty item as a number only.
        own: TypeEngine[Any] = mysql.SET(*values, retrieve_as_bitwise="" in values, **words)
        return sa.String(max(1, len(",".join(values)))).with_variant(own, *_VARIANTS)
    text = sa.Enum(*values, native_enum=False, create_constraint=True, length=max(1, *map(len, values)))
    return text.with_variant(mysql.ENUM(*values, **words), *_VARIANTS)
