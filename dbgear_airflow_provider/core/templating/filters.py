"""The filters that templates have beside Jinja's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2.filters import do_indent, do_trim

from ..tenants import naming
from .binding import Fragment, JsonText


def sql_literal(text: str) -> str:
    """Return text as a literal of MySQL's SQL, the dialect of schema documents, quotes included."""
    if not isinstance(text, str):
        raise TypeError(f"sql_literal takes text, not {type(text).__name__}")
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def tojson(value: object, indent: int | None = None) -> JsonText:
    """Return a value as JSON: text inside quotes or a longer text, the value itself where it stands alone."""
    return JsonText.of(value, indent)


def indent(text: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
    """Indent lines as Jinja's `indent` does; what a macro or block has written stays text of the document."""
    if isinstance(text, Fragment):
        return text.map(lambda plain: do_indent(plain, int(width), first, blank))
    return do_indent(text, width, first, blank)


def trim(text: str, chars: str | None = None) -> str:
    """Strip white space as Jinja's `trim` does; what a macro or block has written stays text of the document."""
    if isinstance(text, Fragment) and chars is None:
        return text.map(str.strip)
    return do_trim(text, chars)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "tenant_prefix": naming.tenant_prefix,
    "db_name": naming.database_name,
    "schema_name": naming.schema_name,
    "table_name": naming.table_name,
    "safe_identifier": naming.safe_identifier,
    "sql_literal": sql_literal,
    "tojson": tojson,
    "indent": indent,
    "trim": trim,
}
