"""Statements that are written for one engine already."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.types import String


class Statement(ExecutableDDLElement):
    """One statement as it is."""

    def __init__(self, sql: str) -> None:
        self.sql = sql


@compiles(Statement)
def _compile_statement(element: Statement, _: Any, **__: Any) -> str:
    return element.sql


def quoted(dialect: Dialect, *names: str | None) -> str:
    """Return a name with what it stands in before it, as the engine writes it."""
    quote = dialect.identifier_preparer.quote
    return ".".join(quote(name) for name in names if name)


def literal(text: str, dialect: Dialect) -> str:
    """Return a text as the engine writes it in quotes."""
    return literals(dialect)(text)


@lru_cache(maxsize=32)
def literals(dialect: Dialect) -> Callable[[str], str]:
    """Return what writes texts in quotes. Making it takes longer than using it, and dialects are few."""
    # A type's own literal_processor leaves MySQL's backslashes as they are.
    compiler, kind = dialect.statement_compiler(dialect, None), String()
    return lambda text: str(compiler.render_literal_value(text, kind))


class Secret(str):
    """A statement with a secret: as a text it has `***` instead. Only what executes it asks for `sql`."""

    sql: str

    def __new__(cls, shown: str, sql: str) -> Secret:
        """Make it of what may be seen and of what is executed."""
        made = super().__new__(cls, shown)
        made.sql = sql
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


def executed(statement: str) -> str:
    """Return what the server gets of a statement."""
    return statement.sql if isinstance(statement, Secret) else statement
