"""Columns within a view's query: each found in the tables and views that the query reads, and called as it is there.

MySQL takes `userName` for `username`, an alias of the select list in HAVING, and columns that are not grouped.
PostgreSQL takes none of these, so there names are made right, aliases become what they stand for, and the rest is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp
from sqlglot.optimizer.scope import Scope, traverse_scope

from .expressions import same_name
from .families import FAMILY, family

_OF = "of"  # what a column's meta has: the name within its query of the table that it is of
_ALIASED = "aliased"  # and, of an alias alone, the expression that it stands for
Names = Mapping[str, str | None] | None  # {name: family of its type}; None where they are not known
_Outputs = list[tuple[str, str | None]]


@dataclass
class Resolved:
    """What came of it. names: of the query's own columns. missing, twice: of no table, of several, or named twice.

    ungrouped: columns that are neither grouped nor within an aggregate function. words: MySQL's own, no columns.
    unselected: what a SELECT DISTINCT goes by without selecting it.
    """

    names: Names = None
    missing: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    ungrouped: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    unselected: list[str] = field(default_factory=list)


def resolve(
    tree: exp.Query, columns: Callable[[exp.Table], Names], keys: Callable[[exp.Table], Sequence[str]]
) -> Resolved:
    """Give the columns of a query the names that they have where they are from, in place.

    columns: of a table or view of the document. keys: the columns of its primary key.
    """
    known, result = _Known(columns), Resolved()
    outputs: _Outputs | None = None
    for scope in traverse_scope(tree):
        query = _Query(scope, known, result)
        query.resolve()
        outputs = query.outputs()
        known.names[id(scope)] = result.names = None if outputs is None else _named(scope, outputs)
        if isinstance(scope.expression, exp.Select):
            result.ungrouped += _ungrouped(scope, keys)
            result.unselected += _unselected(scope.expression)
    repeated = Counter(name.lower() for name, _ in outputs or ())
    result.twice += [name for name, count in repeated.items() if count > 1]
    return result


def _named(scope: Scope, outputs: _Outputs) -> dict[str, str | None]:
    names = scope.outer_columns or [name for name, _ in outputs]
    return {name: kind for name, (_, kind) in zip(names, outputs, strict=False)}


class _Known:
    """The columns of tables, and of queries within the query once they are resolved."""

    def __init__(self, columns: Callable[[exp.Table], Names]) -> None:
        self._columns = columns
        self.names: dict[int, Names] = {}

    def sources(self, scope: Scope) -> dict[str, Names]:
        """Return what a query reads, by the names that these have in it."""
        found: dict[str, Names] = {}
        for alias, (_, source) in scope.selected_sources.items():
            found[alias] = self._columns(source) if isinstance(source, exp.Table) else self.names.get(id(source))
        parts = [scope.expression.args.get("from_"), *(scope.expression.args.get("joins") or ())]
        others = [
            part.this for part in parts if part is not None and not isinstance(part.this, exp.Table | exp.Subquery)
        ]
        return found | {f" {number}": None for number in range(len(others))}


class _Query:
    """One SELECT, or one set operation."""

    def __init__(self, scope: Scope, known: _Known, result: Resolved) -> None:
        self._scope = scope
        self._known = known
        self._result = result
        self._query = scope.expression
        self._sources = known.sources(scope)
        items = self._query.expressions if isinstance(self._query, exp.Select) else ()
        self._aliases = {item.alias: item.this for item in items if isinstance(item, exp.Alias)}

    def resolve(self) -> None:
        """Resolve its own columns, not those of queries within it."""
        if isinstance(self._query, exp.SetOperation):
            outputs = [name for name, _ in self.outputs() or ()]
            order = self._query.args.get("order")
            for column in order.find_all(exp.Column) if order is not None else ():
                _rename(column, same_name(column.name, outputs) or column.name)
            return
        for column in [node for node in self._scope.walk() if isinstance(node, exp.Column)]:
            if not isinstance(column.this, exp.Star):
                self._resolve(column)
        every = [name for names in self._sources.values() for name in names or ()]
        for part in self._merging():
            if name := same_name(part.name, every):
                part.replace(exp.to_identifier(name, quoted=True))

    def outputs(self) -> _Outputs | None:
        """Return the columns of its answer, and their families."""
        if isinstance(self._query, exp.SetOperation):
            first = self._scope.set_operation_scopes[:1]
            names = self._known.names.get(id(first[0])) if first else None
            return None if names is None else list(names.items())
        found: _Outputs = []
        merged = {part.name for part in self._merging()}
        for item in self._query.expressions if isinstance(self._query, exp.Select) else ():
            if not _is_star(item):
                found.append((_output(item), family(item)))
                continue
            for table in [item.table] if isinstance(item, exp.Column) else list(self._sources):
                names = self._sources.get(table)
                if names is None:
                    return None
                found += [(name, of) for name, of in names.items() if not (name in merged and name in dict(found))]
        return None if self._is_natural() else found

    def _merging(self) -> list[exp.Expression]:
        """Return the names of columns by which it joins, of which the answer has but one."""
        return [part for join in self._query.args.get("joins") or () for part in join.args.get("using") or ()]

    def _is_natural(self) -> bool:
        return any(join.method == "NATURAL" for join in self._query.args.get("joins") or ())

    def _resolve(self, column: exp.Column) -> None:
        clause = column.find_ancestor(exp.Group, exp.Having, exp.Order, exp.Select, exp.AggFunc, exp.Window)
        behind = isinstance(clause, exp.Group | exp.Having | exp.Order) and not column.table
        # Of one name, the alias goes before the column, but for GROUP BY.
        if behind and not isinstance(clause, exp.Group) and self._stands_for(column):
            return
        scope, sources = self._scope, self._sources
        while not self._found(column, sources):
            if scope.parent is None:
                if not (behind and self._stands_for(column)):
                    to = self._result.words if _is_word(column) else self._result.missing
                    to.append(".".join(part.name for part in column.parts))
                return
            scope = scope.parent
            sources = self._known.sources(scope)

    def _found(self, column: exp.Column, sources: dict[str, Names]) -> bool:
        """Tell whether a column is of these, or may be of one of which we do not know the columns."""
        if column.table:
            found = [column.table] if column.table in sources else []  # MySQL tells these apart by case
        else:
            found = [alias for alias, names in sources.items() if names is None or same_name(column.name, names)]
        certain = [(alias, name) for alias in found if (name := same_name(column.name, sources[alias] or ()))]
        if len(certain) > 1 and not self._merging() and not self._is_natural():
            self._result.twice.append(column.name)
        if certain:
            alias, name = certain[0]
            column.meta.update({_OF: alias, FAMILY: (sources[alias] or {})[name]})
            _rename(column, name)
        return bool(certain) or any(sources[alias] is None for alias in found)

    def _stands_for(self, column: exp.Column) -> bool:
        """Put what an alias stands for in its place, if the column is one. Alone behind GROUP BY, ORDER BY it stays."""
        alias = same_name(column.name, self._aliases)
        if alias is None:
            return False
        if isinstance(column.parent, exp.Group | exp.Ordered):
            _rename(column, alias)
            column.meta[_ALIASED] = self._aliases[alias]
        else:
            column.replace(exp.Paren(this=self._aliases[alias].copy()))
        return True


# What MySQL knows without brackets, and words before or within those of its functions, which sqlglot takes for columns.
_WORDS = {
    "UTC_DATE", "UTC_TIME", "UTC_TIMESTAMP", "LOCALTIME", "LOCALTIMESTAMP", "CURRENT_USER", "DATE", "TIME", "DATETIME",
    "TIMESTAMP", "MICROSECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR",
}  # fmt: skip


def _is_word(column: exp.Column) -> bool:
    return not column.table and not column.this.quoted and column.name.upper() in _WORDS


def _is_star(item: exp.Expression) -> bool:
    return isinstance(item, exp.Star) or (isinstance(item, exp.Column) and isinstance(item.this, exp.Star))


def _output(item: exp.Expression) -> str:
    """Return what MySQL calls a column of an answer: an expression goes by its text."""
    named = isinstance(item, exp.Alias | exp.Column | exp.Subquery) and item.alias_or_name
    return named or item.sql("mysql")


def _rename(column: exp.Column, name: str) -> None:
    if column.name != name:
        column.set("this", exp.to_identifier(name, quoted=True))


def _sign(node: exp.Expression) -> str:
    """Return an expression's text, with the table of each column."""

    def named(part: exp.Expression) -> exp.Expression:
        if isinstance(part, exp.Column):
            return exp.column(part.name, table=part.meta.get(_OF), quoted=True)
        return part

    return node.unnest().transform(named).sql("mysql")


def _ungrouped(scope: Scope, keys: Callable[[exp.Table], Sequence[str]]) -> Iterator[str]:
    """Yield columns of a query that groups which are neither grouped, nor aggregated, nor depend on a grouped key."""
    query = scope.expression
    items = [item.unalias() for item in query.expressions]
    group = query.args.get("group")
    parts = [*items, *(query.args[name] for name in ("having", "order") if query.args.get(name))]
    if group is None and not any(_aggregates(part) for part in parts):
        return
    by = []
    for part in group.expressions if group is not None else ():
        at = int(part.name) - 1 if isinstance(part, exp.Literal) and part.name.isdecimal() else None
        by.append(items[at] if at is not None and at < len(items) else part.meta.get(_ALIASED, part))
    signs = {_sign(part) for part in by}
    whole = {
        alias
        for alias, table in scope.sources.items()
        if isinstance(table, exp.Table)
        and (key := keys(table))
        and all(_sign(exp.column(name, table=alias)) in signs or _grouped(by, alias, name) for name in key)
    }
    for part in parts:
        yield from dict.fromkeys(_loose(part, signs, {alias for alias in scope.sources if alias not in whole}))


def _unselected(query: exp.Select) -> Iterator[str]:
    order = query.args.get("order")
    if not query.args.get("distinct") or order is None or any(map(_is_star, query.expressions)):
        return
    signs = {_sign(item.unalias()) for item in query.expressions}
    for part in order.expressions:
        if _ALIASED not in part.this.meta and not isinstance(part.this, exp.Literal) and _sign(part.this) not in signs:
            yield part.this.sql("mysql")


def _grouped(by: Sequence[exp.Expression], alias: str, name: str) -> bool:
    return any(isinstance(part, exp.Column) and (part.meta.get(_OF), part.name) == (alias, name) for part in by)


def _aggregates(node: exp.Expression) -> bool:
    return any(
        isinstance(part, exp.AggFunc) and not isinstance(part.parent, exp.Window)
        for part in node.walk(prune=lambda part: isinstance(part, exp.Query))
    )


def _loose(node: exp.Expression, signs: set[str], aliases: set[str]) -> Iterator[str]:
    if _ALIASED in node.meta or isinstance(node, exp.Query) or _sign(node) in signs:
        return
    if isinstance(node, exp.AggFunc) and not isinstance(node.parent, exp.Window):
        return
    if isinstance(node, exp.Column):
        if node.meta.get(_OF) in aliases:
            yield node.name
        return
    for part in node.iter_expressions():
        yield from _loose(part, signs, aliases)
