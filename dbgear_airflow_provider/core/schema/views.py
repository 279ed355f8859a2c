"""Views of a document: checked, put in order, qualified, and translated where the engine has another dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import sqlalchemy as sa
import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError, UnsupportedError
from sqlglot.optimizer.scope import Scope, traverse_scope

from ..errors import DocumentError
from .columns import Target, checked, comment
from .ddl import Statement, literal, quoted
from .document import SchemaDocument, View
from .functions import unknown_functions
from .objects import Namespace
from .references import comments, replace, tokens
from .translation import translated
from .view_columns import Names, Resolved, resolve

Name = tuple[str, str]
Places = Mapping[str, Namespace]
Tables = Mapping[str, Mapping[str, sa.Table]]
# Other people's data, files, waiting, and what is of a session and not of the data.
_REFUSED = (
    exp.Into, exp.Lock, exp.Parameter, exp.SessionParameter, exp.Placeholder, exp.DML, exp.DDL, exp.Command, exp.Set,
)  # fmt: skip
_REFUSED_FUNCTIONS = {
    "LOAD_FILE", "SLEEP", "BENCHMARK", "GET_LOCK", "RELEASE_LOCK", "RELEASE_ALL_LOCKS", "IS_FREE_LOCK", "IS_USED_LOCK",
    "MASTER_POS_WAIT", "SOURCE_POS_WAIT",
}  # fmt: skip
_ARROWS = {sqlglot.TokenType.ARROW, sqlglot.TokenType.DARROW}
_NOWHERE = Namespace("")
_DUAL = "dual"  # MySQL's name for no table
_SOURCE = "source"  # what a table's meta has: which one of the document it is


@dataclass(frozen=True, kw_only=True)
class BuiltView:
    """A view and the statements that create it."""

    name: Name
    ddl: tuple[Statement, ...]


@dataclass(frozen=True)
class _Read:
    """A view's text as it was read. sources: what it reads, each with the node that names it."""

    tree: exp.Query
    sources: list[tuple[exp.Table, Name]]
    mistake: DocumentError | None


@dataclass(frozen=True)
class _Context:
    document: SchemaDocument
    places: Places
    tables: Tables
    target: Target


def build_views(
    document: SchemaDocument, places: Places, tables: Tables, left_out: set[Name], target: Target
) -> list[BuiltView]:
    """Return the views of all schemas, each after those that it reads.

    left_out: tables that are not there on this engine; views that are not come to it.
    """
    views = {(schema, name): view for schema, of in document.schemas.items() for name, view in of.views.items()}
    for schema, view_name in views:
        where = f"{schema}.{view_name}"
        if checked(view_name, where) in document.schemas[schema].tables:
            raise DocumentError("a table has that name", where=where, received=view_name, allowed="any other")
    known = {*views, *((schema, name) for schema, of in document.schemas.items() for name in of.tables)}
    read = {name: _read(view, name, known, places) for name, view in views.items()}
    graph = {name: {source for _, source in reading.sources if source in views} for name, reading in read.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        first, *others = [".".join(name) for name in error.args[1]]
        raise DocumentError("views read each other", where=first, received=" <- ".join([first, *others])) from None
    context, built = _Context(document, places, tables, target), []
    outputs: dict[Name, Names] = {}
    for name in order:
        where, reading = ".".join(name), read[name]
        if reading.mistake is not None:
            target.problems.blame(reading.mistake)
        elif missing := _missing(reading, left_out, tables):
            target.problems.add(where, f"it reads {', '.join(missing)}, which is left out")
        else:
            try:
                sql, outputs[name] = _said(views[name], reading, outputs, where, context)
            except RecursionError:
                raise DocumentError("nested too deeply", where=where) from None
            if sql is not None:
                built.append(BuiltView(name=name, ddl=_create(views[name], sql, places[name[0]], name[1], target)))
                continue
        left_out.add(name)
    return built


def _said(
    view: View, reading: _Read, outputs: Mapping[Name, Names], where: str, context: _Context
) -> tuple[str | None, Names]:
    """Return a view's query in the engine's dialect, None where it cannot be said in it; and what its columns are."""
    tree = reading.tree.copy()
    resolved = _resolved(tree, context.tables, outputs)
    if not _is_right(resolved, where, context.target):
        return None, resolved.names
    return _select(view, reading, tree, where, context), resolved.names


def _resolved(tree: exp.Query, tables: Tables, known: Mapping[Name, Names]) -> Resolved:
    def table(node: exp.Table) -> sa.Table | None:
        schema, name = node.meta.get(_SOURCE, ("", ""))
        return tables.get(schema, {}).get(name)

    def columns(node: exp.Table) -> Names:
        if _SOURCE not in node.meta:
            return {} if node.name.lower() == _DUAL else None
        of = table(node)
        if of is None:
            return known.get(node.meta[_SOURCE])
        return {column.name: of.info["families"][column.name] for column in of.c}

    def key(node: exp.Table) -> list[str]:
        of = table(node)
        return [] if of is None else [column.name for column in of.primary_key]

    return resolve(tree, columns, key)


def _is_right(resolved: Resolved, where: str, target: Target) -> bool:
    """Tell whether the engine takes the columns of a view; note why not."""
    if resolved.missing:
        target.problems.blame(DocumentError("no such column", where=where, received=resolved.missing[0]))
    elif resolved.twice:
        allowed = "each of one table, and named once"
        target.problems.blame(
            DocumentError("a column is there twice", where=where, received=resolved.twice[0], allowed=allowed)
        )
    elif target.features.translated and (why := _refused_columns(resolved)):
        target.problems.add(where, f"{target.features.title} {why}")
    else:
        return True
    return False


def _refused_columns(resolved: Resolved) -> str | None:
    if resolved.words:
        return f"has no {', '.join(resolved.words)}"
    if resolved.ungrouped:
        return f"wants {', '.join(dict.fromkeys(resolved.ungrouped))} in GROUP BY or an aggregate function"
    if resolved.unselected:
        return f"orders a SELECT DISTINCT by what it selects, not by {', '.join(resolved.unselected)}"
    return None


def _missing(reading: _Read, left_out: set[Name], tables: Tables) -> list[str]:
    """Return the views and columns that a view reads and that are not there on this engine."""
    missing = {".".join(source) for _, source in reading.sources if source in left_out}
    named = {column.name.lower() for column in reading.tree.find_all(exp.Column)}
    for _, (schema, name) in reading.sources:
        gone = tables[schema][name].info["left_out"] if name in tables[schema] else set()
        missing |= {f"{schema}.{name}.{column}" for column in gone if column.lower() in named}
    return sorted(missing)


def _read(view: View, name: Name, known: set[Name], places: Places) -> _Read:
    where, text = ".".join(name), view.select_statement
    allowed = "one SELECT over tables and views of the document"

    def refused(problem: str, received: str = text) -> DocumentError:
        return DocumentError(problem, where=where, received=received, allowed=allowed)

    try:
        tokens(text)
        trees = [tree for tree in sqlglot.parse(text, dialect="mysql") if tree is not None]
        scopes = traverse_scope(trees[0]) if trees else []
    except (SqlglotError, ValueError, RecursionError) as error:
        raise refused("no SQL query" if isinstance(error, SqlglotError) else str(error)) from None
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise refused("not one query")
    tree = trees[0]
    for node in tree.walk():
        if isinstance(node, _REFUSED):
            raise refused(f"{node.key.upper()} is not allowed in it")
        if isinstance(node, exp.Func) and _function(node) in _REFUSED_FUNCTIONS:
            raise refused(f"{_function(node)} is not allowed in it")
    found, mistake = [], None
    for table in _tables(tree, scopes):
        if not isinstance(table.this, exp.Identifier):
            continue  # JSON_TABLE
        of = (table.db or name[0], table.name)
        if table.name.lower() == _DUAL and not table.db and of not in known:
            continue
        if table.catalog or of not in known:
            mistake = refused("no such table or view", ".".join(part for part in (table.catalog, *of) if part))
        else:
            table.meta[_SOURCE] = of
            found.append((table, of))
    return _Read(tree, found, mistake)


def _tables(tree: exp.Query, scopes: list[Scope]) -> list[exp.Table]:
    """Return the tables and views that a query reads, without what it names itself in WITH."""
    found = [source for scope in scopes for source in scope.sources.values() if isinstance(source, exp.Table)]
    # What no scope knows must not be overlooked.
    named = {part.alias for part in tree.find_all(exp.CTE)}
    found += [table for table in tree.find_all(exp.Table) if table.db or table.name not in named]
    return list({id(table): table for table in found}.values())


def _function(node: exp.Func) -> str:
    return node.name.upper() if isinstance(node, exp.Anonymous) else node.sql_name()


def _select(view: View, reading: _Read, tree: exp.Query, where: str, context: _Context) -> str | None:
    """Return the query in the engine's dialect; None where it cannot be said in it.

    tree: the query with the columns that it means; it is changed.
    """
    target = context.target
    if not target.features.json_arrows and any(token.token_type in _ARROWS for token in tokens(view.select_statement)):
        target.problems.add(where, f"{target.features.title} has no -> and ->>, but JSON_EXTRACT")
        return None
    if not target.features.translated:
        return _in_place(view.select_statement, reading, context)
    for table in [table for table in tree.find_all(exp.Table) if _SOURCE in table.meta]:
        schema, _ = table.meta[_SOURCE]
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        place = context.places[schema]
        table.set("this", exp.to_identifier(target.named(place, table.name), quoted=True))
        table.set("db", exp.to_identifier(place.schema, quoted=True) if place.schema else None)
    for column in tree.find_all(exp.Column):
        column.set("db", None)  # every table has its own name for an alias
    for table in list(tree.find_all(exp.Table)):
        if table.name.lower() == _DUAL and not table.db and isinstance(table.parent, exp.From):
            table.parent.pop()
    try:
        sql = translated(tree).sql(
            dialect=target.features.grammar, identify=True, comments=False, unsupported_level=ErrorLevel.RAISE
        )
        strange = unknown_functions(sql)
    except (UnsupportedError, SqlglotError) as error:
        target.problems.add(where, f"it cannot be said on {target.features.title}: {error}")
        return None
    if strange:
        written = ", ".join(_as_written(reading.tree, strange, target))
        target.problems.add(where, f"{target.features.title} has no function {written}")
        return None
    return str(sql)


def _as_written(tree: exp.Query, strange: list[str], target: Target) -> list[str]:
    """Return the names that functions have in the document, of names that they get in translation."""
    names = set(strange)
    for call in tree.find_all(exp.Func):
        translated, written = (
            call.sql(dialect).split("(")[0].upper() for dialect in (target.features.grammar, "mysql")
        )
        if translated in strange and written != translated:
            names = names - {translated} | {written}
    return sorted(names)


def _in_place(text: str, reading: _Read, context: _Context) -> str:
    """Return the text with its tables qualified and all else as it was written."""
    target, places = context.target, context.places
    edits = dict.fromkeys(comments(text), " ")
    for table, (schema, name) in reading.sources:
        at = table.this.meta
        start = (table.args["db"] if table.db else table.this).meta["start"]
        alias = "" if table.alias else f" AS {quoted(target.dialect, name)}"
        edits[start, at["end"]] = target.quoted(places[schema], name) + alias
    for column in reading.tree.find_all(exp.Column):
        if column.args.get("db"):
            edits[column.args["db"].meta["start"], column.args["table"].meta["start"] - 1] = ""
    own = {
        name: schema
        for schema, of in context.document.schemas.items()
        for name, routine in of.procedures.items()
        if routine.return_type
    }
    for call in reading.tree.find_all(exp.Anonymous):
        # A function without a schema is looked for in the session's own.
        if call.name in own and not isinstance(call.parent, exp.Dot):
            at = call.meta
            edits[at["start"], at["end"]] = target.quoted(places[own[call.name]], call.name)
        elif isinstance(call.parent, exp.Dot) and places.get(call.parent.this.name, _NOWHERE).prefix:
            schema, at = call.parent.this.name, call.meta
            if call.name in context.document.schemas[schema].procedures:
                edits[call.parent.this.meta["start"], at["end"]] = target.quoted(places[schema], call.name)
    return replace(text, edits).strip().rstrip(";")


def _create(view: View, sql: str, place: Namespace, name: str, target: Target) -> tuple[Statement, ...]:
    where = target.quoted(place, name)
    if not target.features.translated:
        # With the rights of whoever reads it: no account of ours needs to stay for the view to work.
        return (Statement(f"CREATE SQL SECURITY INVOKER VIEW {where} AS {sql}"),)
    create = Statement(f"CREATE VIEW {where} AS {sql}")
    told = comment(view.display_name, name)
    if not told:
        return (create,)
    return create, Statement(f"COMMENT ON VIEW {where} IS {literal(told, target.dialect)}")
