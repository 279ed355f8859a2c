"""Raw SQL of a document (defaults, generated columns, index conditions), parsed before it goes anywhere.

A document is rendered from customers' data. Text that is put into DDL as it stands would let a tenant's name
become SQL; so each text must parse as ONE expression of a white list of nodes, and what is sent is generated
from the parsed tree in the dialect of the engine.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import sqlglot
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import Boolean, Integer, Numeric, TypeEngine
from sqlglot import exp
from sqlglot.errors import SqlglotError

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
    exp.JSONExtract, exp.JSONExtractScalar, exp.JSONPath, exp.JSONPathRoot, exp.JSONPathKey, exp.JSONPathSubscript,
)  # fmt: skip

_NUMBER = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

DEFAULTS = (
    "a number", "text in quotes", "b'0'", "NULL", "TRUE", "FALSE",
    "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "UTC_TIMESTAMP()", "UUID()",
)  # fmt: skip


class SqlText(ColumnElement[Any]):
    """A checked expression that writes itself in the dialect of the engine."""

    inherit_cache = False

    def __init__(self, text: str, *, columns: bool) -> None:
        self.text = text
        self.columns = columns


@compiles(SqlText)
def _compile_sql_text(element: SqlText, compiler: Any, **_: Any) -> str:
    return _generate(element.text, element.columns, _SQLGLOT.get(compiler.dialect.name, compiler.dialect.name))


def default_value(text: str, column_type: TypeEngine[Any]) -> SqlText:
    """Return a column's default. Raises ValueError where it is no constant and no allowed function."""
    value = _parse(text, columns=False).unnest()
    # MySQL's booleans and bits are numbers; an engine with types of their own for them converts neither way.
    number = value.name if isinstance(value, exp.Literal) else str(_integer(value))
    if isinstance(column_type, Boolean) and number in {"0", "1"}:
        text = "TRUE" if number == "1" else "FALSE"
    elif isinstance(column_type, BIT) and number.isdecimal():
        text = f"b'{int(number):0{column_type.length}b}'"
    elif isinstance(column_type, Integer | Numeric) and isinstance(value, exp.Boolean | exp.BitString):
        text = number
    return SqlText(text, columns=False)


def _integer(value: exp.Expr) -> int | None:
    if isinstance(value, exp.BitString):
        return int(value.name, 2)
    return int(value.this) if isinstance(value, exp.Boolean) else None


def expression(text: str, columns: Collection[str]) -> SqlText:
    """Return an expression over the table's columns. Raises ValueError where it is none."""
    for column in _parse(text, columns=True).find_all(exp.Column):
        if column.table or column.name not in columns:
            raise ValueError(f"no such column in it: {column.sql()}")
    return SqlText(text, columns=True)


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
    allowed = (*_VALUES, *_OPERATORS) if columns else _VALUES
    for node in nodes:
        if node.comments:
            raise ValueError("comments are not allowed in it")
        if not isinstance(node, allowed):
            raise ValueError(f"{node.key.upper()} is not allowed in it")
        if isinstance(node, exp.Literal) and not node.is_string and not _NUMBER.fullmatch(node.name):
            raise ValueError(f"{node.name} is no number")
        if isinstance(node, exp.Neg) and not columns and not _is_number(node.this.unnest()):
            raise ValueError("- is for numbers")
        if isinstance(node.this, str) and "\0" in node.this:
            raise ValueError("the character NUL is not allowed in it")
    return tree


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
def _generate(text: str, columns: bool, dialect: str) -> str:
    tree = _parse(text, columns=columns)
    if dialect == "postgres":
        tree = tree.transform(_for_postgres)
    return tree.sql(dialect=dialect, identify=True, comments=False)


def _for_postgres(node: exp.Expression) -> exp.Expression:
    """Return what means on PostgreSQL what MySQL means, where sqlglot's own translation does not."""
    if isinstance(node, exp.CurrentTime):
        return exp.Localtime()
    if isinstance(node, exp.UtcTimestamp):
        utc = exp.AtTimeZone(this=exp.CurrentTimestamp(), zone=exp.Literal.string("UTC"))
        return exp.Paren(this=utc)
    if isinstance(node, exp.JSONExtract | exp.JSONExtractScalar):
        # JSON is JSONB there, and sqlglot writes the functions of PostgreSQL's JSON.
        function = "jsonb_extract_path" + ("_text" if isinstance(node, exp.JSONExtractScalar) else "")
        keys = [exp.Literal.string(str(part.this)) for part in node.expression.expressions[1:]]
        return exp.Anonymous(this=function, expressions=[node.this, *keys])
    return node
