"""Raw SQL of a document (defaults, generated columns, index conditions), parsed before it goes anywhere.

A document is rendered from customers' data. Text that is put into DDL as it stands would let a tenant's name
become SQL; so each text must parse as ONE expression of a white list of nodes, and what is sent is generated
from the parsed tree in the dialect of the engine.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlglot
from sqlalchemy import types as sa_types
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import Boolean, Integer, Numeric, TypeEngine
from sqlglot import exp
from sqlglot.errors import SqlglotError, UnsupportedError

from .families import FAMILY, stable
from .functions import unknown_functions
from .translation import translated

# sqlglot's names of the dialects that SQLAlchemy calls otherwise.
_SQLGLOT = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}

_VALUES = (
    exp.Literal, exp.Null, exp.Boolean, exp.Neg, exp.Paren, exp.BitString,
    exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.UtcTimestamp, exp.Uuid,
)  # fmt: skip
_OPERATORS = (
    exp.Column, exp.Identifier, exp.And, exp.Or, exp.Xor, exp.Not, exp.Is, exp.In, exp.Between, exp.Like, exp.Escape,
    exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv,
    exp.Mod, exp.BitwiseAnd, exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseLeftShift, exp.BitwiseRightShift,
    exp.Case, exp.If, exp.Coalesce, exp.Nullif, exp.Concat, exp.ConcatWs, exp.Lower, exp.Upper, exp.Trim, exp.Length,
    exp.Abs, exp.Round, exp.Floor, exp.Ceil, exp.Cast, exp.DataType, exp.DataTypeParam, exp.Substring, exp.Left,
    exp.Right, exp.Greatest, exp.Least, exp.Year, exp.Month, exp.Day, exp.TsOrDsToDate, exp.RegexpLike,
    exp.DateDiff, exp.Var, exp.Hour, exp.Minute, exp.Second, exp.Quarter, exp.DayOfWeek, exp.DayOfYear,
    exp.TimestampDiff, exp.DateAdd, exp.DateSub, exp.Interval, exp.TimeToStr, exp.TsOrDsToTimestamp, exp.LastDay,
    exp.SubstringIndex,
    exp.StrPosition, exp.Replace, exp.Repeat, exp.Reverse, exp.Pad, exp.MD5, exp.SHA, exp.SHA2, exp.Hex, exp.Unhex,
    exp.Pow, exp.Sqrt, exp.Sign, exp.Ln, exp.Log, exp.Exp, exp.Trunc, exp.Extract,
    exp.JSONExtract, exp.JSONExtractScalar, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript,
)  # fmt: skip

# What sqlglot knows by name alone, and of which the same comes out for the same.
_BY_NAME = {
    "UNIX_TIMESTAMP", "TO_SECONDS", "WEEKDAY", "MID", "FIELD", "CRC32", "INET_ATON", "JSON_LENGTH", "JSON_UNQUOTE",
    "JSON_CONTAINS", "JSON_VALID", "JSON_VALUE", "YEARWEEK",
}  # fmt: skip

_MAX_DEPTH = 100
_NUMBER = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

DEFAULTS = (
    "a number", "text in quotes", "b'0'", "NULL", "TRUE", "FALSE",
    "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "UTC_TIMESTAMP()", "UUID()",
)  # fmt: skip


Families = frozenset[tuple[str, str | None]]


class SqlText(ColumnElement[Any]):
    """A checked expression that writes itself in the dialect of the engine.

    column_type: of the column that it is the default of; None for an expression over columns. updates: the default of
    a column that becomes the time of the row's last change (MySQL's ON UPDATE CURRENT_TIMESTAMP). families: of the
    columns that it may name, as `families.family_of` tells them.
    """

    inherit_cache = False

    def __init__(
        self,
        text: str,
        *,
        column_type: TypeEngine[Any] | None = None,
        updates: bool = False,
        families: Families = frozenset(),
    ) -> None:
        self.text = text
        self.families = families
        self.column_type = column_type
        self.updates = updates


# What MySQL keeps apart from its row, and so has in an index by its beginning alone. SQLAlchemy's Text is no base of
# the other texts.
UNLIMITED = (
    sa_types.Text, mysql.TINYTEXT, mysql.MEDIUMTEXT, mysql.LONGTEXT, sa_types.JSON,
    sa_types.LargeBinary, mysql.TINYBLOB, mysql.MEDIUMBLOB, mysql.LONGBLOB,
)  # fmt: skip


@compiles(SqlText)
def _compile_sql_text(element: SqlText, compiler: Any, **_: Any) -> str:
    dialect = compiler.dialect
    grammar = _SQLGLOT.get(dialect.name, dialect.name)
    return _generate(_adapted(element, dialect), element.column_type is None, grammar, element.families)


@compiles(SqlText, "mysql", "mariadb")
def _compile_for_mysql(element: SqlText, compiler: Any, **_: Any) -> str:
    if element.column_type is None:
        return _generate(element.text, True, "mysql")
    impl = element.column_type.dialect_impl(compiler.dialect)
    tree = _parse(element.text, columns=False).unnest()
    # Both times must have the fraction of the column:
    # https://dev.mysql.com/doc/refman/8.4/en/timestamp-initialization.html
    fraction = getattr(impl, "fsp", None)
    now = f"CURRENT_TIMESTAMP({fraction})" if fraction else "CURRENT_TIMESTAMP"
    is_now = isinstance(tree, exp.CurrentTimestamp) and isinstance(impl, mysql.DATETIME | mysql.TIMESTAMP)
    default = now if is_now else _mysql_constant(tree, _generate(element.text, False, "mysql"), impl)
    return f"{default} ON UPDATE {now}" if element.updates else default


def _mysql_constant(tree: exp.Expr, sql: str, impl: TypeEngine[Any]) -> str:
    constant = isinstance(tree, exp.Literal | exp.Boolean | exp.BitString | exp.Neg)
    if isinstance(tree, exp.Null):
        return "NULL"
    # Text without a limit, JSON and shapes have no plain constant, and functions none of them:
    # https://dev.mysql.com/doc/refman/8.4/en/data-type-defaults.html. MariaDB takes the brackets too.
    if not constant or isinstance(impl, (*UNLIMITED, sa_types.UserDefinedType)):
        return f"({sql})"
    if isinstance(tree, exp.BitString):
        return str(_integer(tree))
    # A number in quotes is what the catalog shows as well; SQLAlchemy puts all else that is no word into brackets.
    number = sql.strip("() ")
    return sql if isinstance(tree, exp.Boolean) or tree.is_string or number.isalnum() else f"'{number}'"


def _adapted(element: SqlText, dialect: Dialect) -> str:
    """Return a default as the type that the column has on this engine takes it."""
    if element.column_type is None:
        return element.text
    impl, value = element.column_type.dialect_impl(dialect), _parse(element.text, columns=False).unnest()
    # MySQL's booleans and bits are numbers; an engine with types of their own for them converts neither way.
    number = value.name if isinstance(value, exp.Literal) else str(_integer(value))
    if isinstance(impl, Boolean) and number in {"0", "1"}:
        return "TRUE" if number == "1" else "FALSE"
    if isinstance(impl, BIT) and number.isdecimal():
        return f"b'{int(number):0{impl.length}b}'"
    if isinstance(impl, Integer | Numeric) and isinstance(value, exp.Boolean | exp.BitString):
        return number
    return element.text


_ON_UPDATE = re.compile(
    r"(?:(?P<default>.*\S)\s+)?ON\s+UPDATE\s+(?:CURRENT_TIMESTAMP|NOW|LOCALTIME|LOCALTIMESTAMP)\s*(?:\(\s*\d?\s*\))?\s*",
    re.IGNORECASE | re.DOTALL,
)


def on_update(text: str | None) -> tuple[str | None, bool]:
    """Return (default, whether the column is set to the time of each change) of a column's default."""
    match = _ON_UPDATE.fullmatch(text or "")
    return (text, False) if match is None else (match["default"], True)


def default_value(text: str, column_type: TypeEngine[Any], *, updates: bool = False) -> SqlText:
    """Return a column's default. Raises ValueError where it is no constant and no allowed function."""
    _parse(text, columns=False)
    return SqlText(text, column_type=column_type, updates=updates)


def _integer(value: exp.Expr) -> int | None:
    if isinstance(value, exp.BitString):
        return int(value.name, 2)
    return int(value.this) if isinstance(value, exp.Boolean) else None


def expression(text: str, columns: Collection[str], families: Mapping[str, str | None] | None = None) -> SqlText:
    """Return an expression over the table's columns. Raises ValueError where it is none.

    families: {column: family of its type on the engine}, where that matters.
    """
    for column in _parse(text, columns=True).find_all(exp.Column):
        if column.table or same_name(column.name, columns) is None:
            raise ValueError(f"no such column in it: {column.sql()}")
    return SqlText(text, families=frozenset((families or {}).items()))


# What gives something else each time.
_MOVING = (exp.CurrentTimestamp, exp.CurrentDate, exp.CurrentTime, exp.UtcTimestamp, exp.Uuid)


def columns_of(text: SqlText) -> list[str]:
    """Return the names of the columns in an expression, sorted."""
    return sorted({column.name for column in _parse(text.text, columns=True).find_all(exp.Column)})


def moving(text: SqlText) -> list[str]:
    """Return the functions of an expression whose value changes while the row stays, sorted."""
    found = _parse(text.text, columns=True).find_all(*_MOVING)
    return sorted({node.sql_name() for node in found})


def unstable(text: SqlText) -> list[str]:
    """Return what of an expression PostgreSQL has not, or has with a value that may change while the row stays."""
    if found := moving(text):
        return found
    tree = _with_families(_parse(text.text, columns=True), text.families)
    # It takes any type, and so its value is of the session's settings.
    if tree.find(exp.ConcatWs):
        return ["CONCAT_WS"]
    if found := stable(tree):
        return found[:1]
    try:
        return unknown_functions(_generate(text.text, True, "postgres", text.families))
    except UnsupportedError as error:
        return [str(error)]


def same_name(name: str, names: Collection[str]) -> str | None:
    """Return the one of the names that MySQL takes a name for, whose names of columns know no case."""
    return name if name in names else next((other for other in names if other.lower() == name.lower()), None)


def _with_families(tree: exp.Expression, families: Families) -> exp.Expression:
    """Return a copy of the tree whose columns are called as they are in the table, and have their families."""
    tree, kinds = tree.copy(), dict(families)
    for column in tree.find_all(exp.Column):
        if name := same_name(column.name, kinds):
            column.set("this", exp.to_identifier(name, quoted=True))
            column.meta[FAMILY] = kinds[name]
    return tree


def literals(text: str) -> list[str]:
    """Return the values of a list of texts in quotes, `'a','b'`. Raises ValueError where it is none."""
    tree = _parse(f"NULL IN ({text})", columns=True)
    items = tree.expressions if isinstance(tree, exp.In) else []
    if not items or not all(item.is_string for item in items):
        raise ValueError("not a list of texts in quotes")
    return [item.name for item in items]


@lru_cache(maxsize=4096)
def _parse(text: str, *, columns: bool) -> exp.Expression:
    try:
        trees = sqlglot.parse(text, dialect="mysql")
        if len(trees) != 1 or trees[0] is None:
            raise ValueError("not one SQL expression")
        tree = trees[0].transform(_now)
        nodes = list(tree.walk())
    except SqlglotError:
        raise ValueError("no SQL expression") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _depth(nodes) > _MAX_DEPTH:
        raise ValueError("nested too deeply")
    allowed = (*_VALUES, *_OPERATORS) if columns else _VALUES
    for node in nodes:
        if node.comments:
            raise ValueError("comments are not allowed in it")
        by_name = columns and isinstance(node, exp.Anonymous) and node.name.upper() in _BY_NAME
        if not isinstance(node, allowed) and not by_name:
            raise ValueError(f"{node.key.upper()} is not allowed in it")
        if isinstance(node, exp.Literal) and not node.is_string and not _NUMBER.fullmatch(node.name):
            raise ValueError(f"{node.name} is no number")
        if isinstance(node, exp.Neg) and not columns and not _is_number(node.this.unnest()):
            raise ValueError("- is for numbers")
        if isinstance(node.this, str) and "\0" in node.this:
            raise ValueError("the character NUL is not allowed in it")
    return tree


def _depth(nodes: Sequence[exp.Expr]) -> int:
    depths: dict[int, int] = {}
    for node in nodes:  # each after the one that it is in
        depths[id(node)] = depths.get(id(node.parent), 0) + 1
    return max(depths.values())


def _is_number(node: exp.Expr) -> bool:
    return isinstance(node, exp.Neg) or (isinstance(node, exp.Literal) and not node.is_string)


def _now(node: exp.Expression) -> exp.Expression:
    # sqlglot knows MySQL's NOW() as a function without a meaning; its synonyms mean something else elsewhere.
    if isinstance(node, exp.Localtime | exp.Localtimestamp) or (
        isinstance(node, exp.Anonymous) and node.name.upper() == "NOW"
    ):
        return exp.CurrentTimestamp()
    return node


@lru_cache(maxsize=4096)
def _generate(text: str, columns: bool, dialect: str, families: Families = frozenset()) -> str:
    tree = _parse(text, columns=columns)
    if dialect == "postgres":
        tree = translated(_with_families(tree, families))
    if dialect == "mysql":
        tree = tree.transform(_for_mysql)
    return tree.sql(dialect=dialect, identify=True, comments=False)


def _for_mysql(node: exp.Expression) -> exp.Expression:
    """Return what both MySQL and MariaDB read, where sqlglot writes what but one of them does."""
    if isinstance(node, exp.JSONExtractScalar):
        extract = exp.Anonymous(this="JSON_EXTRACT", expressions=[node.this, exp.Literal.string(_path_of(node))])
        return exp.Anonymous(this="JSON_UNQUOTE", expressions=[extract])
    if isinstance(node, exp.Paren) and isinstance(node.this, exp.Add) and isinstance(node.this.this, exp.DateDiff):
        # sqlglot's reading of TO_DAYS, by which partitions can be told from each other.
        days = node.this.this
        if days.expression.find(exp.Literal) == exp.Literal.string("0000-01-01"):
            return exp.Anonymous(this="TO_DAYS", expressions=[days.this.this])
    if isinstance(node, exp.RegexpLike) and node.args.get("flag") is None:
        left, right = (part.transform(_for_mysql).sql("mysql", identify=True) for part in (node.this, node.expression))
        return exp.Paren(this=exp.Var(this=f"{left} REGEXP {right}"))
    return node


def _path_of(node: exp.JSONExtractScalar) -> str:
    return str(node.expression.sql("mysql")).strip("'")


def generated(text: SqlText, dialect: str) -> str:
    """Return an expression as it is written in one of sqlglot's dialects."""
    return _generate(text.text, text.column_type is None, dialect)


def constants(text: str, dialect: str, word: str) -> list[str]:
    """Return the constants of a list in a dialect; `word` may stand for one. Raises ValueError where it is none."""
    tree = _parse(f"NULL IN ({text})", columns=True)
    items = tree.expressions if isinstance(tree, exp.In) else []
    if not items:
        raise ValueError("not a list of constants")
    return [
        word
        if isinstance(item, exp.Column) and item.name.upper() == word and not item.table
        else _constant(item, dialect)
        for item in items
    ]


def _constant(item: exp.Expr, dialect: str) -> str:
    if item.find(exp.Column):
        raise ValueError("not a list of constants")
    return str((item.transform(_for_mysql) if dialect == "mysql" else item).sql(dialect=dialect))
