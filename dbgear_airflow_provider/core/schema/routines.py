"""Procedures, functions and triggers of a document, each one statement.

Bodies are in MySQL's language. They reach the server as they are, but for names of schemas and of what has a prefix,
and for reserved words that are columns, which get quotes: what runs in them is the template's own code, and no other
parser reads all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from ..errors import DocumentError
from .columns import Target, checked, comment
from .ddl import Statement, literal, quoted
from .document import Parameter, Procedure, Schema, Trigger
from .references import tokens, with_quotes
from .renames import ServerNames
from .types import ALLOWED, parse_type


@dataclass(frozen=True, kw_only=True)
class BuiltRoutine:
    """A procedure, function or trigger and the statement that creates it."""

    kind: Literal["function", "procedure", "trigger"]
    schema: str
    name: str
    ddl: tuple[Statement, ...]


def build_procedures(schema_name: str, schema: Schema, names: ServerNames, target: Target) -> list[BuiltRoutine]:
    """Return a schema's procedures and functions. Raises DocumentError."""
    built = []
    for name, procedure in schema.procedures.items():
        where = f"{schema_name}.{name}"
        kind: Literal["function", "procedure"] = "function" if procedure.return_type else "procedure"
        checked(name, where)
        types = [_type(item.data_type, f"{where}.{item.parameter_name}", target) for item in procedure.parameters]
        returns = _type(procedure.return_type, where, target) if procedure.return_type else ""
        if not target.features.routines:
            target.problems.add(where, f"{target.features.title} does not run a {kind} in MySQL's language")
            continue
        given = [
            _parameter(item, text, kind, where, target) for item, text in zip(procedure.parameters, types, strict=True)
        ]
        head = f"CREATE {kind.upper()} {target.quoted(names.places[schema_name], name)}({', '.join(given)})"
        lines = [head + (f" RETURNS {returns}" if returns else ""), *_traits(name, procedure, target)]
        statement = Statement("\n".join([*lines, _body(procedure.body, schema_name, names, where)]))
        built.append(BuiltRoutine(kind=kind, schema=schema_name, name=name, ddl=(statement,)))
    return built


def _type(text: str, where: str, target: Target) -> str:
    try:
        kind, _ = parse_type(text)
        return (
            str(kind.dialect_impl(target.dialect).compile(dialect=target.dialect)) if target.features.routines else ""
        )
    except ValueError as error:
        raise DocumentError(str(error), where=where, received=text, allowed=ALLOWED) from None


def _parameter(item: Parameter, text: str, kind: str, where: str, target: Target) -> str:
    if item.default_value is not None:
        # https://dev.mysql.com/doc/refman/8.4/en/create-procedure.html has none; MariaDB does from 11.8 on alone.
        problem = f"{target.features.title} has no default values of parameters"
        target.problems.add(f"{where}.{item.parameter_name}", problem)
    name = quoted(target.dialect, checked(item.parameter_name, where))
    return f"{name} {text}" if kind == "function" else f"{item.parameter_type} {name} {text}"


def _traits(name: str, procedure: Procedure, target: Target) -> list[str]:
    # One of these must be said of a function where the server keeps a binary log:
    # https://dev.mysql.com/doc/refman/8.4/en/stored-programs-logging.html
    data = "READS SQL DATA" if procedure.reads_sql_data else "CONTAINS SQL"
    traits = [
        "DETERMINISTIC" if procedure.deterministic else "NOT DETERMINISTIC",
        "MODIFIES SQL DATA" if procedure.modifies_sql_data else data,
        f"SQL SECURITY {procedure.security_type}",
    ]
    told = comment(procedure.display_name, name)
    return [*traits, f"COMMENT {literal(told, target.dialect)}"] if told else traits


def _body(text: str, schema_name: str, names: ServerNames, where: str) -> str:
    try:
        found = tokens(text)
    except ValueError as error:
        raise DocumentError(str(error), where=where, received=text, allowed="a statement, or BEGIN ... END") from None
    if not found:
        raise DocumentError("nothing in it", where=where, received=text, allowed="a statement, or BEGIN ... END")
    schema = names.document.schemas[schema_name]
    columns = {column.column_name.lower() for table in schema.tables.values() for column in table.columns}
    reserved = columns & names.target.dialect.identifier_preparer.reserved_words
    return with_quotes(names.renamed(text, schema_name), reserved).strip().rstrip(";")


def build_triggers(
    schema_name: str, schema: Schema, names: ServerNames, left_out: set[tuple[str, str]], target: Target
) -> list[BuiltRoutine]:
    """Return a schema's triggers. left_out: tables that are not there. Raises DocumentError."""
    built = []
    for name, trigger in schema.triggers.items():
        where = f"{schema_name}.{name}"
        checked(name, where)
        if trigger.table_name not in schema.tables:
            raise DocumentError("no such table", where=where, received=trigger.table_name, allowed=list(schema.tables))
        if not target.features.routines:
            target.problems.add(where, f"{target.features.title} does not run a trigger in MySQL's language")
        elif (schema_name, trigger.table_name) in left_out:
            target.problems.add(where, f"{trigger.table_name} is left out")
        else:
            sql = _trigger(name, trigger, schema_name, names, target=target)
            built.append(BuiltRoutine(kind="trigger", schema=schema_name, name=name, ddl=(Statement(sql),)))
    return built


def _trigger(name: str, trigger: Trigger, schema_name: str, names: ServerNames, *, target: Target) -> str:
    place, where = names.places[schema_name], f"{schema_name}.{name}"
    body = _body(trigger.body, schema_name, names, where)
    if trigger.condition:
        body = f"IF {_body(trigger.condition, schema_name, names, where)} THEN\n{body}\n;\nEND IF"
    return (
        f"CREATE TRIGGER {target.quoted(place, name)} {trigger.timing} {trigger.event} "
        f"ON {target.quoted(place, trigger.table_name)} FOR EACH ROW\n{body}"
    )


def build_update_times(schema_name: str, table: sa.Table, target: Target) -> list[BuiltRoutine]:
    """Return what does MySQL's ON UPDATE CURRENT_TIMESTAMP where a column cannot say it: a function and a trigger.

    The column gets the time when another one changes, unless the statement sets it itself:
    https://dev.mysql.com/doc/refman/8.4/en/timestamp-initialization.html
    """
    columns = [column for column in table.c if column.info.get("on_update")]
    if not columns:
        return []
    # What generated columns hold is not known before the row is there.
    own = [quoted(target.dialect, column.name) for column in table.c if column.computed is None]
    rows = [", ".join(f"{row}.{name}" for name in own) for row in ("NEW", "OLD")]
    lines = [f"IF ROW({rows[0]}) IS DISTINCT FROM ROW({rows[1]}) THEN"]
    for column in columns:
        name = quoted(target.dialect, column.name)
        lines.append(f"IF NEW.{name} IS NOT DISTINCT FROM OLD.{name} THEN NEW.{name} := pg_catalog.now(); END IF;")
    body = "\n".join(["BEGIN", *lines, "END IF;", "RETURN NEW;", "END"])
    place, name = table.info["namespace"], target.shorten(f"{table.info['name']}_on_update")
    function = target.quoted(place, name)
    make = f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS {literal(body, target.dialect)}"
    call = (
        f"CREATE TRIGGER {quoted(target.dialect, target.named(place, name))} BEFORE UPDATE ON "
        f"{quoted(target.dialect, table.schema, table.name)} FOR EACH ROW EXECUTE FUNCTION {function}()"
    )
    return [
        BuiltRoutine(kind="function", schema=schema_name, name=name, ddl=(Statement(make),)),
        BuiltRoutine(kind="trigger", schema=schema_name, name=name, ddl=(Statement(call),)),
    ]
