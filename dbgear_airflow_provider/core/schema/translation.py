"""What MySQL means, said so that PostgreSQL means it too, where sqlglot's translation says something else.

MySQL has no type for truth, and converts text to numbers and back wherever it finds them. PostgreSQL does neither:
truths become numbers and numbers truths where it is known which they are, numbers and dates become text for functions
of text, and text beside numbers is not translated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from sqlglot import exp
from sqlglot.errors import UnsupportedError

from .families import family, results

Node = Any  # of sqlglot's trees, whose parts have no types

# Of Python's strftime, which sqlglot makes of MySQL's DATE_FORMAT; both are in English there.
_FORMATS = {
    "%Y": "YYYY", "%y": "YY", "%m": "MM", "%-m": "FMMM", "%d": "DD", "%-d": "FMDD", "%H": "HH24", "%-H": "FMHH24",
    "%I": "HH12", "%-I": "FMHH12", "%M": "MI", "%S": "SS", "%f": "US", "%p": "AM", "%j": "DDD", "%B": "FMMonth",
    "%b": "Mon", "%A": "FMDay", "%a": "Dy",
}  # fmt: skip
_FORMAT = re.compile(r"%-?[A-Za-z%]")
_PLAIN = {"number", "float", "date", "moment", "boolean"}
_TEXTS_OF = (
    exp.Upper, exp.Lower, exp.Trim, exp.Substring, exp.Left, exp.Right, exp.Pad, exp.Replace, exp.Length, exp.Like,
    exp.RegexpLike, exp.RegexpReplace, exp.Reverse, exp.Repeat, exp.StrPosition, exp.MD5,
)  # fmt: skip
_NUMBERS_OF = (exp.Sum, exp.Avg, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.IntDiv, exp.Mod, exp.Neg)
_COMPARED = (exp.EQ, exp.NEQ, exp.NullSafeEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Nullif)
_PARTS = {exp.Hour: "HOUR", exp.Minute: "MINUTE", exp.Second: "SECOND", exp.Quarter: "QUARTER"}
_ALIKE = {"float": "number", "moment": "date"}
_NUMBER = re.compile(r"\s*[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?\s*")
_NO_DATE = re.compile(r"\s*|0000.*|[0-9]+-0?0-.*|[0-9]+-[0-9]+-0?0(\D.*)?")


def translated(tree: Node) -> Node:
    """Return a tree of MySQL's as PostgreSQL takes it. Columns have their families in their meta.

    Raises sqlglot's UnsupportedError for what cannot be said.
    """
    tree = tree.transform(_in_other_words)
    root = exp.Tuple(expressions=[tree])
    for node in reversed(list(tree.walk())):
        for kinds, rule in _RULES:
            if isinstance(node, kinds) and (new := rule(node)) is not node:
                node.replace(new)
                break
    return root.expressions[0]


def _in_other_words(node: Node) -> Node:
    """Return a node as PostgreSQL has it, whatever is in it, where sqlglot's own translation means something else."""
    if isinstance(node, exp.CurrentTime):
        return exp.Localtime()
    if isinstance(node, exp.UtcTimestamp):
        utc = exp.AtTimeZone(this=exp.CurrentTimestamp(), zone=exp.Literal.string("UTC"))
        return exp.Paren(this=utc)
    if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.UBIGINT:
        return exp.DataType.build("bigint")  # as a column of that type
    if isinstance(node, exp.JSONExtract | exp.JSONExtractScalar):
        # JSON is JSONB there, and sqlglot writes the functions of PostgreSQL's JSON.
        parts = node.expression.expressions[1:]
        if node.expressions or not all(isinstance(part.this, str | int) for part in parts):
            raise UnsupportedError("JSON paths that find more than one value")
        function = "jsonb_extract_path" + ("_text" if isinstance(node, exp.JSONExtractScalar) else "")
        keys = [exp.Literal.string(str(part.this)) for part in parts]
        return exp.Anonymous(this=function, expressions=[node.this, *keys])
    return node


def _cast(node: Node, kind: str) -> exp.Cast:
    return exp.Cast(this=node, to=exp.DataType.build(kind, dialect="postgres"))


def _number(node: Node) -> Node:
    return _cast(node.copy(), "int") if family(node) == "boolean" else node


def _text(node: Node) -> Node:
    if isinstance(node, exp.Literal) or family(node) not in _PLAIN:
        return node
    return _cast(_number(node).copy(), "text")


def _truth(node: Node) -> Node:
    if family(node) in {"number", "float"}:
        return exp.NEQ(this=exp.Paren(this=node.copy()), expression=exp.Literal.number(0))
    if family(node) == "text":
        raise UnsupportedError("text as a condition")
    return node


def _set(node: Node, keys: Sequence[str], change: Callable[[Node], Node]) -> None:
    for key in keys:
        part = node.args.get(key)
        if isinstance(part, exp.Expr):
            node.set(key, change(part))
        elif isinstance(part, list):
            node.set(key, [change(item) if isinstance(item, exp.Expr) else item for item in part])


def _together(parts: Sequence[Node]) -> Callable[[Node], Node]:
    """Return what to do with each of several parts that are compared, or of which one is the value."""
    found = {family(part) for part in parts} - {None}
    kinds = {_ALIKE.get(kind, kind) for kind in found if kind is not None} - {"literal"}
    if "text" in kinds and len(kinds) > 1:
        raise UnsupportedError(f"text together with a {(kinds - {'text'}).pop()}")
    if "date" in kinds and len(kinds) > 1:
        raise UnsupportedError(f"a date together with a {(kinds - {'date'}).pop()}")
    wrong = {
        "number": lambda text: not _NUMBER.fullmatch(text),
        "boolean": lambda text: text not in {"0", "1"},
        "date": lambda text: _NO_DATE.fullmatch(text) is not None,
    }
    for part in parts:
        if (
            isinstance(part, exp.Literal)
            and part.is_string
            and any(wrong[kind](part.name) for kind in kinds & set(wrong))
        ):
            raise UnsupportedError(f"{part.name!r} together with a {kinds.pop()}")
    if kinds == {"number", "boolean"}:
        numbers = [part for part in parts if family(part) == "number"]
        return _one_or_zero if all(map(_is_one_or_zero, numbers)) else _number
    return lambda node: node


def _is_one_or_zero(node: Node) -> bool:
    return isinstance(node, exp.Literal) and node.name in {"0", "1"}


def _one_or_zero(node: Node) -> Node:
    return exp.Boolean(this=node.name == "1") if _is_one_or_zero(node) else node


def _compared(node: Node) -> Node:
    _set(node, ("this", "expression"), _together([node.this, node.expression]))
    return node


def _between(node: Node) -> Node:
    _set(node, ("this", "low", "high"), _together([node.this, node.args["low"], node.args["high"]]))
    return node


def _in(node: Node) -> Node:
    if node.expressions:
        _set(node, ("this", "expressions"), _together([node.this, *node.expressions]))
    return node


def _chosen(node: Node) -> Node:
    change = _together(results(node))
    if isinstance(node, exp.Case):
        if node.this is None:
            _set_each(node.args["ifs"], "this", _truth)
        _set_each(node.args["ifs"], "true", change)
        _set(node, ("default",), change)
    elif isinstance(node, exp.If):
        if not isinstance(node.parent, exp.Case):
            _set(node, ("this",), _truth)
        _set(node, ("true", "false"), change)
    else:
        _set(node, ("this", "expressions"), change)
    if isinstance(node, exp.Greatest | exp.Least):
        # NULL is the greatest and the least of all on MySQL; PostgreSQL passes it over.
        empty = [part.is_(exp.null()) for part in results(node) if not isinstance(part, exp.Literal)]
        if empty:
            return exp.Case(ifs=[exp.If(this=exp.or_(*empty), true=exp.null())], default=node.copy())
    return node


def _set_each(nodes: Sequence[Node], key: str, change: Callable[[Node], Node]) -> None:
    for node in nodes:
        _set(node, (key,), change)


def _condition(node: Node) -> Node:
    _set(node, ("this", "expression") if isinstance(node, exp.Connector) else ("this",), _truth)
    if isinstance(node, exp.Xor):
        sides = [exp.Paren(this=node.args[key].copy()) for key in ("this", "expression")]
        return exp.Paren(this=exp.NEQ(this=sides[0], expression=sides[1]))
    return node


def _join(node: Node) -> Node:
    _set(node, ("on",), _truth)
    return node


def _of_numbers(node: Node) -> Node:
    if isinstance(node, exp.Sum | exp.Avg) and isinstance(node.this, exp.Distinct):
        _set(node.this, ("expressions",), _number)
    _set(node, ("this", "expression"), _number)
    if isinstance(node, exp.Mod | exp.IntDiv):
        if "float" in {family(node.this), family(node.expression)}:
            _set(node, ("this", "expression"), lambda part: _cast(part.copy(), "decimal"))
        # Without a remainder of nothing MySQL has NULL, PostgreSQL an error.
        if not isinstance(node.expression, exp.Literal) or node.expression.name == "0":
            node.set("expression", exp.Nullif(this=node.expression.copy(), expression=exp.Literal.number(0)))
    return node


def _of_texts(node: Node) -> Node:
    _set(node, ("this",), _text)
    if isinstance(node, exp.Length) and node.args.get("binary"):
        return exp.Anonymous(this="OCTET_LENGTH", expressions=[node.this.copy()])
    if isinstance(node, exp.Substring) and isinstance(start := node.args.get("start"), exp.Neg):
        if node.args.get("length") is not None or not isinstance(start.this, exp.Literal):
            raise UnsupportedError("SUBSTRING from the end with a length")
        return exp.Right(this=node.this.copy(), expression=start.this.copy())
    return node


def _joined(node: Node) -> Node:
    _set(node, ("this", "expression", "expressions"), _text)
    return node


def _group_concat(node: Node) -> Node:
    order = node.this if isinstance(node.this, exp.Order) else None
    value = order.this if order is not None else node.this
    one = value.expressions[0] if isinstance(value, exp.Distinct) and len(value.expressions) == 1 else value
    as_text = _text(one)
    if isinstance(value, exp.Distinct):
        by = [item.this.sql() for item in order.expressions] if order is not None else []
        if len(value.expressions) != 1 or (by and (by != [one.sql()] or as_text is not one)):
            raise UnsupportedError("GROUP_CONCAT of DISTINCT values in another order")
    if as_text is not one:
        one.replace(as_text)
    return node


def _rounded(node: Node) -> Node:
    # Of a number of digits PostgreSQL has it for NUMERIC alone.
    if node.args.get("decimals") is not None:
        node.set("this", _cast(node.this.copy(), "decimal"))
    return node


def _log(node: Node) -> Node:
    if node.args.get("expression") is not None:
        node.set("expression", _cast(node.expression.copy(), "decimal"))
    return node


def _formatted(node: Node) -> Node:
    pattern = node.args.get("format")
    if not (isinstance(pattern, exp.Literal) and pattern.is_string):
        raise UnsupportedError("DATE_FORMAT with a format that is no text in quotes")
    at, parts = 0, []
    for match in [*_FORMAT.finditer(pattern.name), None]:
        plain = pattern.name[at : match.start() if match else len(pattern.name)]
        parts.append('"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"' if plain else "")
        if match is None:
            break
        if match[0] != "%%" and match[0] not in _FORMATS:
            raise UnsupportedError(f"DATE_FORMAT with {match[0]} (in the notation of strftime)")
        parts.append(_FORMATS.get(match[0], "%"))
        at = match.end()
    time = node.this.this if isinstance(node.this, exp.TsOrDsToTimestamp | exp.TsOrDsToDate) else node.this
    call = [_cast(time.copy(), "timestamp"), exp.Literal.string("".join(parts))]
    return exp.Anonymous(this="TO_CHAR", expressions=call)


def _part(node: Node) -> Node:
    part = exp.Extract(this=exp.var(_PARTS[type(node)]), expression=_at(node.this))
    return exp.Floor(this=part) if isinstance(node, exp.Second) else part


def _at(node: Node) -> Node:
    inner = node.this if isinstance(node, exp.TsOrDsToDate | exp.TsOrDsToTimestamp) else node
    return inner.copy() if family(inner) in {"date", "moment"} else _cast(inner.copy(), "timestamp")


def _day_of_week(node: Node) -> Node:
    return exp.Paren(this=exp.Extract(this=exp.var("DOW"), expression=_at(node.this)) + 1)


def _day_of_year(node: Node) -> Node:
    return exp.Extract(this=exp.var("DOY"), expression=_at(node.this))


def _casted(node: Node) -> Node:
    if node.to.this == exp.DataType.Type.CHARACTER_SET or node.to.args.get("charset") or node.to.args.get("kind"):
        return _text(node.this).copy()
    if node.to.this in {exp.DataType.Type.BINARY, exp.DataType.Type.VARBINARY}:
        raise UnsupportedError("BINARY")
    # CHAR alone is of any length on MySQL, and of one character on PostgreSQL.
    if node.to.this == exp.DataType.Type.CHAR:
        size = node.to.expressions
        kind = "text" if not size else f"varchar({size[0].name})"
        return _cast(_number(node.this).copy(), kind)
    if family(node) in {"number", "float"}:
        _set(node, ("this",), _number)
    return node


def _called(node: Node) -> Node:
    name, values = node.name.upper(), node.expressions
    if name == "WEEKDAY" and len(values) == 1:
        return exp.Paren(this=exp.Extract(this=exp.var("ISODOW"), expression=_at(values[0])) - 1)
    if name == "MID" and len(values) == 3:  # noqa: PLR2004
        return _of_texts(exp.Substring(this=values[0].copy(), start=values[1].copy(), length=values[2].copy()))
    if name == "JSON_UNQUOTE" and len(values) == 1 and values[0].name == "jsonb_extract_path":
        return exp.Anonymous(
            this="jsonb_extract_path_text", expressions=[part.copy() for part in values[0].expressions]
        )
    return node


def _collated(_: Node) -> Node:
    raise UnsupportedError("COLLATE")


def _select(node: Node) -> Node:
    node.set("operation_modifiers", None)  # STRAIGHT_JOIN and the like: how, not what
    return node


_RULES: tuple[tuple[Any, Callable[[Node], Node]], ...] = (
    (exp.Collate, _collated),
    (_COMPARED, _compared),
    (exp.Between, _between),
    (exp.In, _in),
    ((exp.Case, exp.If, exp.Coalesce, exp.Greatest, exp.Least), _chosen),
    ((exp.Connector, exp.Not, exp.Where, exp.Having), _condition),
    (exp.Join, _join),
    (_NUMBERS_OF, _of_numbers),
    (_TEXTS_OF, _of_texts),
    ((exp.Concat, exp.DPipe, exp.ConcatWs), _joined),
    (exp.GroupConcat, _group_concat),
    ((exp.Round, exp.Trunc), _rounded),
    (exp.Log, _log),
    (exp.TimeToStr, _formatted),
    (tuple(_PARTS), _part),
    (exp.DayOfWeek, _day_of_week),
    (exp.DayOfYear, _day_of_year),
    (exp.Cast, _casted),
    (exp.Anonymous, _called),
    (exp.Select, _select),
)
