"""Tenant queries as text: sqlglot parses them, and a white list of its nodes becomes a predicate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sqlglot import Parser, Token, Tokenizer, TokenType, exp
from sqlglot.errors import ParseError, TokenError

from ..errors import QueryError
from .fields import Field, Scalar, excerpt
from .predicates import (
    And,
    Comparison,
    Constant,
    Contains,
    IsNull,
    Like,
    Not,
    Operator,
    Or,
    Predicate,
    equal_to_any,
)

MAX_QUERY_CHARS = 200_000  # an IN list of 10,000 tenant ids fits
MAX_DEPTH = 20  # sqlglot takes about 20 Python frames for each pair of parentheses, of 1,000 that there are

_LANGUAGE = "field = 'text', !=, <, <=, >, >=, IN, LIKE, BETWEEN, IS NULL, AND, OR, NOT, parentheses, TRUE, FALSE"
# As written, and with the literal on the left.
_COMPARISONS: dict[type[exp.Expr], tuple[Operator, Operator]] = {
    exp.EQ: ("=", "="),
    exp.NEQ: ("!=", "!="),
    exp.LT: ("<", ">"),
    exp.LTE: ("<=", ">="),
    exp.GT: (">", "<"),
    exp.GTE: (">=", "<="),
}


def parse_predicate(text: str) -> Predicate:
    """Return what a query means. Raises QueryError for anything outside the language of `TenantQuery`."""
    if len(text) > MAX_QUERY_CHARS:
        raise QueryError(f"longer than {MAX_QUERY_CHARS} characters", where="query", received=len(text))
    try:
        return _Reader(text).predicate(_parse(text))
    except RecursionError:  # a chain of operators that the language does not have
        raise _too_deep("query") from None


def _parse(text: str) -> exp.Expr:
    try:
        tokens = Tokenizer().tokenize(text)
        _check_tokens(text, tokens)
        expressions = Parser().parse_into(exp.Condition, tokens, text)
    except TokenError:
        raise QueryError("a quote or a comment is not closed", where="query", received=excerpt(text)) from None
    except ParseError as error:
        at = error.errors[0]
        column = max(1, at["col"] - len(at["highlight"]) + 1)
        raise _not_understood(
            at["highlight"] + at["end_context"], f"query, {_line(at['line'])}column {column}"
        ) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # sqlglot trips over some texts, such as "1.5e".
        raise _not_understood(text, "query") from None
    if len(expressions) != 1:
        raise QueryError("more than one statement", where="query", received=excerpt(text), allowed="one condition")
    if expressions[0] is None:
        raise QueryError("empty", where="query", received=excerpt(text), allowed=_LANGUAGE)
    return expressions[0]


def _check_tokens(text: str, tokens: Sequence[Token]) -> None:
    """Refuse comments, which sqlglot would drop, and nesting deeper than Python's stack."""
    parentheses = negations = 0
    for token in tokens:
        if token.comments:
            raise QueryError("comments are not allowed", where=_place(text, token.start), received=token.comments[0])
        parentheses += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        negations = negations + 1 if token.token_type == TokenType.NOT else 0
        if parentheses + negations > MAX_DEPTH:
            raise _too_deep(_place(text, token.start))


class _Reader:
    """Turns sqlglot's nodes into predicates; `text` is what they were parsed from."""

    def __init__(self, text: str) -> None:
        self.text = text

    def predicate(self, node: exp.Expr) -> Predicate:
        """Return what a condition means."""
        match node:
            case exp.Paren():
                return self.predicate(node.this)
            case exp.And():
                return And(tuple(self.predicate(term) for term in node.flatten()))
            case exp.Or():
                return Or(tuple(self.predicate(term) for term in node.flatten()))
            case exp.Not():
                return Not(self.predicate(node.this))
            case exp.Boolean():
                return Constant(bool(node.this))
        return self.test(node)

    def test(self, node: exp.Expr) -> Predicate:
        """Return what a condition on one field means."""
        match node:
            case _ if type(node) in _COMPARISONS:
                return self.comparison(self.only(node, "this", "expression"))
            case exp.Like():
                return self.like(self.only(node, "this", "expression", "negate"))
            case exp.In():
                return self.membership(node)
            case exp.Between():
                return self.between(self.only(node, "this", "low", "high"))
            case exp.Is():
                return self.is_null(self.only(node, "this", "expression"))
        raise self.refusal(node)

    def comparison(self, node: exp.Expr) -> Predicate:
        left, right = node.this.unnest(), node.expression.unnest()
        operator, mirrored = _COMPARISONS[type(node)]
        if _is_name(right) and not _is_name(left):
            left, right, operator = right, left, mirrored
        field = self.field(left)
        compared = field.equal_to if operator in ("=", "!=") else field.comparable
        return Comparison(field, operator, compared(self.literal(right), where=self.place(right)))

    def between(self, node: exp.Expr) -> Predicate:
        field = self.field(node.this)
        low, high = (
            field.comparable(self.literal(bound), where=self.place(bound))
            for bound in (node.args["low"], node.args["high"])
        )
        return And((Comparison(field, ">=", low), Comparison(field, "<=", high)))

    def membership(self, node: exp.Expr) -> Predicate:
        if node.args.get("field"):
            field = self.field(self.only(node, "this", "field").args["field"])
            return Contains(field, field.item(self.literal(node.this), where=self.place(node)))
        values = [self.literal(value) for value in self.only(node, "this", "expressions").expressions]
        field = self.field(node.this)
        if not values:
            raise self.refusal(node, "an empty list", "at least one value")
        return equal_to_any(field, values, where=self.place(node))

    def like(self, node: exp.Expr) -> Predicate:
        field = self.field(node.this)
        pattern = self.literal(node.expression)
        if field.kind not in ("text", "json") or not isinstance(pattern, str):
            raise self.refusal(node, "LIKE compares text", "text field LIKE 'pattern'")
        like = Like(field, pattern)
        # sqlglot tells NOT LIKE by a flag or by a Not node, depending on its version.
        return Not(like) if node.args.get("negate") else like

    def is_null(self, node: exp.Expr) -> Predicate:
        if not isinstance(node.expression, exp.Null):
            raise self.refusal(node, "IS takes no other value", "IS NULL, IS NOT NULL")
        return IsNull(self.field(node.this))

    def field(self, node: exp.Expr) -> Field:
        """Return the field that a node names."""
        node = node.unnest()
        parts = node.parts if isinstance(node, exp.Column | exp.Dot) else []
        if not parts or not all(isinstance(part, exp.Identifier) for part in parts):
            raise self.refusal(node, "a field was expected")
        return Field.find([part.name for part in parts], where=self.place(node))

    def literal(self, node: exp.Expr) -> Scalar:
        """Return the value that a node writes."""
        node = node.unnest()
        match node:
            case exp.Literal() if node.is_string:
                return str(node.this)
            case exp.Literal():
                return self.number(node, str(node.this))
            case exp.Neg() if isinstance(node.this, exp.Literal) and not node.this.is_string:
                return self.number(node, f"-{node.this.this}")
            case exp.Boolean():
                return bool(node.this)
            case exp.Null():
                raise self.refusal(node, "NULL equals nothing", "IS NULL, IS NOT NULL")
            case exp.Column() if isinstance(node.this, exp.Identifier) and node.this.args.get("quoted"):
                raise self.refusal(node, "double quotes name a field", "text in single quotes")
        raise self.refusal(node, "a value was expected", "text in single quotes, a number, TRUE or FALSE")

    def number(self, node: exp.Expr, digits: str) -> int | float:
        try:
            number = float(digits) if set(digits) & set(".eE") else int(digits)
        except ValueError:  # "1.5e", or more digits than Python reads
            number = math.nan
        if not math.isfinite(number):
            raise self.refusal(node, "not a number in range", "a number")
        return number

    def only(self, node: exp.Expr, *names: str) -> exp.Expr:
        """Return the node, which may have no other arguments: an ignored one would change the answer."""
        if any(value for name, value in node.args.items() if name not in names):
            raise self.refusal(node)
        return node

    def refusal(
        self, node: exp.Expr, problem: str = "not part of the query language", allowed: str = _LANGUAGE
    ) -> QueryError:
        return QueryError(problem, where=self.place(node), received=excerpt(node.sql()), allowed=allowed)

    def place(self, node: exp.Expr) -> str:
        """Return where a node's first word stands; where it has none, the one of the node around it."""
        around: exp.Expr | None = node
        while around is not None:
            starts = [word.meta["start"] for word in around.walk() if "start" in word.meta]
            if starts:
                return _place(self.text, min(starts))
            around = around.parent
        return "query"


def _is_name(node: exp.Expr) -> bool:
    return isinstance(node, exp.Column | exp.Dot)


def _place(text: str, start: int) -> str:
    return f"query, {_line(text.count(chr(10), 0, start) + 1)}column {start - text.rfind(chr(10), 0, start)}"


def _line(number: int) -> str:
    return f"line {number}, " if number > 1 else ""


def _not_understood(received: str, where: str) -> QueryError:
    return QueryError("not understood", where=where, received=excerpt(received), allowed=_LANGUAGE)


def _too_deep(where: str) -> QueryError:
    return QueryError("nested too deeply", where=where, allowed=f"{MAX_DEPTH} levels of parentheses and NOT")
