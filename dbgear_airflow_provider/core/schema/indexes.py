"""Indexes of a document as SQLAlchemy's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement, UnaryExpression

from ..errors import DocumentError
from .columns import Target, condition, existing
from .document import Index, Schema
from .expressions import SqlText, unstable
from .ledger import OWN_TABLES
from .limits import index_too_long
from .objects import Namespace

_ENTRY = re.compile(
    r"(?P<name>.*?)\s*(?:\(\s*(?P<length>[0-9]{1,5})\s*\))?\s*(?P<order>\s(?:ASC|DESC))?", re.IGNORECASE | re.DOTALL
)
_CUT = (sa.String, sa.BINARY, sa.VARBINARY, sa.LargeBinary, mysql.TINYBLOB, mysql.MEDIUMBLOB, mysql.LONGBLOB)
# Half of a page of an index of PostgreSQL's, less what goes before; a character may have four bytes.
_INDEX_CHARS = 2_704 // 4


class _Beginning(ColumnElement[Any]):
    """The first characters of a column, as MySQL writes them in an index."""

    inherit_cache = False

    def __init__(self, column: sa.Column[object], length: int) -> None:
        self.column = column
        self.length = length
        self.type = column.type

    def get_children(self, **_: Any) -> Iterable[Any]:
        """Return the column, by which the index finds its table."""
        return [self.column]


@compiles(_Beginning)
def _compile_beginning(element: _Beginning, compiler: Any, **kw: Any) -> str:
    return f"{compiler.process(element.column, **kw)}({element.length})"


def add_indexes(
    tables: dict[str, sa.Table], schema_name: str, schema: Schema, place: Namespace, target: Target
) -> None:
    """Add a schema's indexes to its tables, {name: table}. `info["key"]` of each is its name in the catalog's list."""
    # MySQL names indexes per table, PostgreSQL per schema and together with tables. There each gets its table's name
    # before it, always: the name on the server must not depend on what other tables of the document have.
    prefixed = target.features.index_names == "of the schema"
    named = [name for table in (*OWN_TABLES, *schema.tables) for name in (table, f"{table}_pkey")]
    taken = {target.named(place, name) for name in named} if prefixed else set()
    for table_name, table in schema.tables.items():
        if table_name not in tables:
            continue
        if not prefixed:
            taken = {"primary"}
        for index in table.indexes:
            where = f"{schema_name}.{table_name}.{index.index_name}"
            long = f"{table_name}_{index.index_name}"
            name = target.named(place, long) if prefixed else target.shorten(index.index_name)
            # Where names are of the table, they are alike whatever their case.
            folded = name if prefixed else name.lower()
            if folded in taken:
                raise DocumentError("the index's name on the server is taken", where=where, received=name)
            taken.add(folded)
            key = name if prefixed else f"{tables[table_name].name}.{name}"
            _add_index(tables[table_name], name, key, index, where=where, target=target)


def _add_index(table: sa.Table, name: str, key: str, index: Index, *, where: str, target: Target) -> None:
    features, method = target.features, index.index_type.upper()
    if method not in features.index_methods:
        return target.problems.add(where, f"{features.title} has no {index.index_type} indexes")
    parts = [_part(table, entry, method, unique=index.unique, where=where, target=target) for entry in index.columns]
    included = [entry for entry in index.include_columns or () if existing(table, entry, where) is not None]
    if len(included) < len(index.include_columns or ()):
        target.problems.add(where, "a column that it includes is left out")
    where_text = None
    if index.partial_condition is not None:
        where_text = condition(index.partial_condition, _families(table), where)
    if why := _refused(table, index, parts, where_text, target):
        return target.problems.add(where, why)
    if any(part is None for part in parts):
        return target.problems.add(where, "one of its columns is left out, or cannot be in an index there")
    columns = [part for part in parts if part is not None]
    if method in {"BTREE", "HASH"} and (why := _too_long(table, index, columns, target)):
        return target.problems.add(where, why)
    ordered = any(isinstance(part, UnaryExpression) for part in columns)
    if method == "HASH" and features.hash_plain and (len(columns) > 1 or ordered or index.unique):
        why = f"a HASH index of {features.title} is of one column, without DESC and not unique"
        return target.problems.add(where, why)
    if index.include_columns and not features.index_extras:
        target.problems.add(where, f"{features.title} has no INCLUDE in indexes")
    options: dict[str, object] = {}
    if features.index_extras:
        options = {
            "using": None if method == "BTREE" else "gin" if method == "FULLTEXT" else method.lower(),
            "where": where_text,
            "include": included or None,
            "with": index.storage_parameters,
            "tablespace": index.tablespace,
        }
        if method == "FULLTEXT":
            columns = [_document(columns)]
    elif method in {"FULLTEXT", "SPATIAL"}:
        options = {"prefix": method}
    elif method != "BTREE":
        options = {"using": method.lower()}
    unique = index.unique and method not in {"FULLTEXT", "SPATIAL"}
    sa.Index(name, *columns, unique=unique, info={"key": key}, **target.option(**options))
    return None


def _too_long(table: sa.Table, index: Index, columns: Sequence[sa.ColumnElement[Any]], target: Target) -> str | None:
    whole = [part.element if isinstance(part, UnaryExpression) else part for part in columns]
    parts = [
        (part.column, part.length) if isinstance(part, _Beginning) else (part, None)
        for part in whole
        if isinstance(part, sa.Column | _Beginning)
    ]
    return index_too_long(parts, table.info["options"], target, kind="unique" if index.unique else "plain")


def _families(table: sa.Table) -> dict[str, str | None]:
    return {name: kind for name, kind in table.info["families"].items() if name in table.c}


def _refused(
    table: sa.Table,
    index: Index,
    parts: Sequence[sa.ColumnElement[Any] | None],
    where_text: SqlText | None,
    target: Target,
) -> str | None:
    """Return why the engine has no such index, though it has its kind."""
    features = target.features
    if where_text is not None and not features.partial_indexes:
        return f"{features.title} has no partial indexes"
    if where_text is not None and features.immutable and (moving := unstable(where_text)):
        return f"{features.title} has no index with {', '.join(moving)} in its condition"
    # https://dev.mysql.com/doc/refman/8.4/en/partitioning-limitations-partitioning-keys-unique-keys.html, and
    # https://www.postgresql.org/docs/current/ddl-partitioning.html#DDL-PARTITIONING-DECLARATIVE-LIMITATIONS
    whole = [part.element if isinstance(part, UnaryExpression) else part for part in parts]
    names = {part.name for part in whole if isinstance(part, sa.Column)}
    if changing := [name for name in names if table.c[name].info["moving"]]:
        return f"{features.title} has no index over {', '.join(changing)}, which changes with time"
    if index.unique and (absent := [name for name in table.info["partitioned_by"] if name not in names]):
        return f"a unique index of a partitioned table needs all columns that partition it, {', '.join(absent)}"
    return None


def _document(columns: list[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
    # Immutable only with the configuration named: https://www.postgresql.org/docs/current/textsearch-tables.html
    text: sa.ColumnElement[Any] = sa.func.coalesce(columns[0], sa.text("''"))
    for column in columns[1:]:
        text = text.op("||")(sa.text("' '")).op("||")(sa.func.coalesce(column, sa.text("''")))
    return sa.func.to_tsvector(sa.text("'simple'"), text)


def _part(
    table: sa.Table, entry: str, method: str, *, unique: bool, where: str, target: Target
) -> sa.ColumnElement[Any] | None:
    """Return one part of an index: a column or the beginning of one; None where it cannot be in an index."""
    name, length, order = entry, None, ""
    if entry not in table.c and entry not in table.info["left_out"]:
        match = _ENTRY.fullmatch(entry.strip())
        assert match is not None  # noqa: S101 - the name may be anything
        name, length, order = match["name"].strip("`"), match["length"], (match["order"] or "").strip().upper()
    try:
        column = existing(table, name, where)
    except DocumentError as error:
        raise DocumentError(
            "no such column", where=where, received=_unknown(entry), allowed=error.details["allowed"]
        ) from None
    if column is None:
        return None
    part: sa.ColumnElement[Any] = column
    if method in {"FULLTEXT", "SPATIAL"}:
        return column
    impl = column.type.dialect_impl(target.dialect)
    if length:
        part = _beginning(column, int(length), unique=unique, where=where, target=target)
    elif target.features.index_lengths and isinstance(impl, sa.JSON):
        return None
    return part.desc() if order == "DESC" else part


def _beginning(
    column: sa.Column[object], length: int, *, unique: bool, where: str, target: Target
) -> sa.ColumnElement[Any]:
    impl = column.type.dialect_impl(target.dialect)
    if not length or not isinstance(impl, _CUT) or isinstance(impl, sa.Enum | mysql.SET):
        allowed = "a length of 1 or more, of a column of text or bytes"
        raise DocumentError("no beginning of it", where=where, received=f"{column.name}({length})", allowed=allowed)
    most = getattr(impl, "length", None)
    if most is not None and length >= most:
        return column
    if target.features.index_lengths:
        return _Beginning(column, length)
    # A whole column would let a unique index take what has the same beginning, and of one without an end not all fits.
    if unique or most is None or most > _INDEX_CHARS:
        return sa.func.substr(column, sa.literal_column("1"), sa.literal_column(str(length)))
    return column


def _unknown(entry: str) -> str:
    return entry.strip().strip("`")
