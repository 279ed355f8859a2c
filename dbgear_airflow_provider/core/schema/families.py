"""Families of types, of columns and expressions: what PostgreSQL compares and converts within each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine
from sqlglot import exp

# What a column's meta has: boolean, number, float, text, date (of no zone) or moment; None for what stands alone.
FAMILY = "family"

_TYPES: tuple[tuple[Any, str], ...] = (
    (sa.Boolean, "boolean"),
    (sa.Float, "float"),
    (sa.Integer, "number"),
    (sa.Numeric, "number"),
    (sa.String, "text"),
    (sa.Date, "date"),
)
_CASTS = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INT", "BIGINT", "UBIGINT", "DECIMAL"), "number"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "float"),
    **dict.fromkeys(("CHAR", "VARCHAR", "TEXT", "NCHAR"), "text"),
    **dict.fromkeys(("DATE", "DATETIME", "TIMESTAMP", "TIMESTAMPTZ"), "date"),
    "BOOLEAN": "boolean",
}
_TRUTHS = (exp.Predicate, exp.Connector, exp.Not, exp.Boolean)
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg, exp.Sum, exp.Avg)
_NUMBERS = (
    exp.Count, exp.Length, exp.Extract, exp.Year, exp.Month, exp.Day, exp.Hour, exp.Minute, exp.Second, exp.Quarter,
    exp.DayOfWeek, exp.DayOfYear, exp.StrPosition, exp.DateDiff, exp.TimestampDiff, exp.RowNumber, exp.Rank,
    exp.DenseRank,
)  # fmt: skip
_SAME = (exp.Abs, exp.Round, exp.Trunc, exp.Floor, exp.Ceil, exp.Max, exp.Min, exp.AnyValue, exp.Window, exp.Paren,
         exp.Alias, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.Nullif)  # fmt: skip
_TEXTS = (
    exp.Concat, exp.ConcatWs, exp.DPipe, exp.Upper, exp.Lower, exp.Trim, exp.Substring, exp.Left, exp.Right, exp.Pad,
    exp.Replace, exp.GroupConcat, exp.TimeToStr, exp.Repeat, exp.Reverse, exp.RegexpReplace, exp.MD5,
    exp.JSONExtractScalar,
)  # fmt: skip
_DATES = (exp.CurrentDate, exp.UtcTimestamp, exp.TsOrDsToDate, exp.TsOrDsToTimestamp, exp.LastDay, exp.StrToDate)


def family_of(kind: TypeEngine[Any]) -> str | None:
    """Return the family of a column's type on PostgreSQL; None for one that stands alone."""
    if isinstance(kind, sa.DateTime):
        return "moment" if kind.timezone else "date"
    return next((name for of, name in _TYPES if isinstance(kind, of)), None)


def family(node: exp.Expr | None) -> str | None:
    """Return an expression's family: None where it is not known, and `literal` for text in quotes, which takes any."""
    return next((told(node) for kinds, told in _FAMILIES if isinstance(node, kinds)), None)


def _of_arithmetic(node: exp.Expr) -> str:
    parts = {family(part) for part in node.iter_expressions()}
    return next((name for name in ("moment", "date", "float") if name in parts), "number")


def _of_results(node: exp.Expr) -> str | None:
    return next((name for part in results(node) if (name := family(part)) not in {None, "literal"}), None)


def _of_query(node: exp.Subquery) -> str | None:
    items = node.this.expressions if isinstance(node.this, exp.Select) else ()
    return family(items[0]) if len(items) == 1 else None


_FAMILIES: tuple[tuple[Any, Callable[[Any], str | None]], ...] = (
    (exp.Column, lambda node: node.meta.get(FAMILY)),
    (exp.Literal, lambda node: "literal" if node.is_string else "number"),
    (exp.Cast, lambda node: _CASTS.get(node.to.this.name)),
    (_TRUTHS, lambda _: "boolean"),
    (_ARITHMETIC, _of_arithmetic),
    ((exp.Case, exp.If, exp.Coalesce, exp.Greatest, exp.Least), _of_results),
    (_SAME, lambda node: family(node.this)),
    (exp.Subquery, _of_query),
    ((exp.DateAdd, exp.DateSub), lambda node: family(node.this) or "date"),
    (exp.CurrentTimestamp, lambda _: "moment"),
    (_NUMBERS, lambda _: "number"),
    (_TEXTS, lambda _: "text"),
    (_DATES, lambda _: "date"),
)


def results(node: exp.Expr) -> list[exp.Expr]:
    """Return the expressions of which one is the value."""
    if isinstance(node, exp.Case):
        found = [
            *(part.args["true"] for part in node.args["ifs"]),
            node.args.get("default"),
        ]
    elif isinstance(node, exp.If):
        found = [node.args["true"], node.args.get("false")]
    else:
        found = [node.this, *node.expressions]
    return [part for part in found if part is not None]


def stable(tree: exp.Expr) -> list[str]:
    """Return the parts of an expression whose value on PostgreSQL is of the session's settings as well, as SQL.

    Its dates and moments become text in the session's style, and text becomes these; moments have dates in its zone.
    https://www.postgresql.org/docs/current/xfunc-volatility.html
    """
    return [node.sql("mysql") for node in tree.walk() if _is_stable(node)]


def _is_stable(node: exp.Expr) -> bool:
    kinds = {family(part) for part in node.iter_expressions()}
    times = kinds & {"date", "moment"}
    if isinstance(node, exp.Concat | exp.DPipe | exp.Like | exp.RegexpLike | exp.TimeToStr):
        return bool(times)
    if isinstance(node, exp.Cast):
        to = _CASTS.get(node.to.this.name)
        return (to == "text" and bool(times)) or (to == "date" and bool(kinds & {"text", "moment"}))
    if isinstance(node, exp.Binary):
        return times == {"date", "moment"}
    parts = (exp.TsOrDsToDate, exp.TsOrDsToTimestamp, exp.Extract, exp.Year, exp.Month, exp.Day, exp.Hour, exp.Minute,
             exp.Second, exp.Quarter, exp.DayOfWeek, exp.DayOfYear, exp.DateDiff, exp.LastDay)  # fmt: skip
    return isinstance(node, parts) and bool(kinds & {"text", "moment"})
