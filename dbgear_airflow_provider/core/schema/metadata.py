"""A schema document as SQLAlchemy MetaData."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.mysql import dialect as _any_dialect  # noqa: F401  registers dialect keyword arguments

from ..errors import DocumentError, UnsupportedError
from ..tenants import naming
from .document import Column, Index, Relation, Schema, SchemaDocument, Table
from .expressions import DEFAULTS, SqlText, default_value, expression
from .ledger import LEDGER
from .types import ALLOWED, parse_type

_RULES = ("RESTRICT", "CASCADE", "SET NULL", "NO ACTION", "SET DEFAULT")


def build_metadata(document: SchemaDocument, places: Mapping[str, str | None]) -> sa.MetaData:
    """Return the document's tables, in its order, with their indexes and foreign keys.

    places: {name of a schema in the document: name of the schema on the server}; all names of the document.
    Raises DocumentError or UnsupportedError naming the object.
    """
    metadata = sa.MetaData()
    for name, schema in document.schemas.items():
        _refuse_unsupported(name, schema)
        for table_name, table in schema.tables.items():
            _add_table(metadata, f"{name}.{table_name}", table_name, table, places[name])
    for name, schema in document.schemas.items():
        _add_indexes(metadata, name, schema, places[name])
        for table_name, table in schema.tables.items():
            _add_relations(metadata, name, table_name, table, places)
    return metadata


def _refuse_unsupported(name: str, schema: Schema) -> None:
    for kind in ("views", "triggers", "procedures"):
        for object_name in getattr(schema, kind):
            raise UnsupportedError(f"{name}.{object_name}: {kind} are not created by this version yet")


def _add_table(metadata: sa.MetaData, where: str, name: str, table: Table, place: str | None) -> None:
    names = [column.column_name for column in table.columns]
    if repeated := [key for key, count in Counter(names).items() if count > 1]:
        raise DocumentError("a column is there twice", where=where, received=repeated[0], allowed="each once")
    if name == LEDGER:
        raise DocumentError("DBGear's own table has that name", where=where, received=name, allowed="any other")
    columns = [_column(column, f"{where}.{column.column_name}", names) for column in table.columns]
    key = [column for column in table.columns if column.primary_key is not None]
    key.sort(key=lambda column: column.primary_key or 0)  # stable: equal ordinals keep the order of the columns
    constraints = [sa.PrimaryKeyConstraint(*(column.column_name for column in key))] if key else []
    sa.Table(
        _checked(name, where),
        metadata,
        *columns,
        *constraints,
        schema=place,
        comment=_comment(table.display_name, name),
    )


def _column(column: Column, where: str, names: Sequence[str]) -> sa.Column[object]:
    items = tuple(item.value for item in column.column_type.items or ())
    text = column.column_type.column_type
    try:
        kind, auto_increment = parse_type(text, items)
    except ValueError as error:
        raise DocumentError(str(error), where=where, received=text, allowed=ALLOWED) from None
    auto_increment = auto_increment or column.auto_increment
    if auto_increment and not isinstance(kind, sa.Integer):
        raise DocumentError("no type to count up", where=where, received=text, allowed="an integer type")
    if column.expression is not None and (auto_increment or column.default_value is not None):
        problem = "a generated column has no default and counts nothing up"
        received = column.default_value or "autoIncrement"
        raise DocumentError(problem, where=where, received=received, allowed="expression alone")
    is_key = column.primary_key is not None
    arguments: list[sa.schema.SchemaItem] = []
    if auto_increment:
        arguments.append(sa.Identity())
    if column.expression is not None:
        arguments.append(sa.Computed(_condition(column.expression, names, where), persisted=True))
    default = None
    if column.default_value is not None and not auto_increment:
        default = _sql(lambda text: default_value(text, kind), column.default_value, where, DEFAULTS)
    return sa.Column(
        _checked(column.column_name, where),
        kind,
        *arguments,
        # A column says whether it is nullable; where it does not, it is, unless it is part of the key.
        nullable=(not is_key if column.nullable is None else column.nullable) and not is_key,
        autoincrement=auto_increment,
        server_default=default,
        comment=_comment(column.display_name, column.column_name),
    )


def _condition(text: str, names: Sequence[str], where: str) -> SqlText:
    allowed = f"one expression over the columns {', '.join(names)}"
    return _sql(lambda text: expression(text, names), text, where, allowed)


def _sql(parse: Callable[[str], SqlText], text: str, where: str, allowed: Sequence[str] | str) -> SqlText:
    try:
        return parse(text)
    except ValueError as error:
        raise DocumentError(str(error), where=where, received=text, allowed=allowed) from None


def _checked(name: str, where: str) -> str:
    if len(name.encode()) > naming.MAX_NAME_BYTES or "\0" in name or not name.strip():
        allowed = f"1 to {naming.MAX_NAME_BYTES} bytes of text"
        raise DocumentError("not a name", where=where, received=name, allowed=allowed)
    return name


def _comment(display_name: str | None, name: str) -> str | None:
    return display_name if display_name and display_name != name else None


def _add_indexes(metadata: sa.MetaData, schema_name: str, schema: Schema, place: str | None) -> None:
    # MySQL names indexes per table, PostgreSQL per schema and together with tables. So each gets its table's name
    # before it, always: the name on the server must not depend on what other tables of the document have.
    taken = {LEDGER, *schema.tables, *(f"{name}_pkey" for name in (LEDGER, *schema.tables))}
    for table_name, table in schema.tables.items():
        target = metadata.tables[_key(place, table_name)]
        for index in table.indexes:
            where = f"{schema_name}.{table_name}.{index.index_name}"
            name = naming.shorten(f"{table_name}_{index.index_name}")
            if name in taken:
                raise DocumentError("the index's name on the server is taken", where=where, received=name)
            taken.add(name)
            _add_index(target, name, index, where)


def _add_index(table: sa.Table, name: str, index: Index, where: str) -> None:
    method = index.index_type.upper()
    if method not in {"BTREE", "HASH"}:
        raise UnsupportedError(f"{where}: {index.index_type} indexes are not created by this version yet")
    columns = [_index_column(table, entry, where) for entry in index.columns]
    included = [_existing(table, column, where).name for column in index.include_columns or ()]
    condition = None
    if index.partial_condition is not None:
        condition = _condition(index.partial_condition, table.c.keys(), where)
    sa.Index(
        name,
        *columns,
        unique=index.unique,
        postgresql_using="hash" if method == "HASH" else None,
        postgresql_where=condition,
        postgresql_include=included,
        postgresql_with=index.storage_parameters or {},
        postgresql_tablespace=index.tablespace,
    )


def _index_column(table: sa.Table, entry: str, where: str) -> sa.ColumnElement[object]:
    if entry in table.c:
        return table.c[entry]
    name, _, order = entry.strip().rpartition(" ")
    if order.upper() not in {"ASC", "DESC"}:
        name, order = entry, ""
    column = _existing(table, name.strip().strip("`"), where)
    return column.desc() if order.upper() == "DESC" else column


def _existing(table: sa.Table, name: str, where: str) -> sa.Column[object]:
    if name not in table.c:
        raise DocumentError("no such column", where=where, received=name, allowed=list(table.c.keys()))
    return table.c[name]


def _add_relations(
    metadata: sa.MetaData, schema_name: str, table_name: str, table: Table, places: Mapping[str, str | None]
) -> None:
    source = metadata.tables[_key(places[schema_name], table_name)]
    taken: set[str] = set()
    for relation in table.relations:
        name = relation.constraint_name or f"fk_{table_name}_{relation.target.table_name}"
        if name in taken:  # documents do hold two relations of one name; their columns tell them apart
            name = f"{name}_{'_'.join(bind.source_column for bind in relation.bind_columns)}"
        where = f"{schema_name}.{table_name}.{name}"
        if name in taken:
            raise DocumentError("a relation is there twice", where=where, received=name, allowed="each once")
        taken.add(name)
        target = _target(metadata, schema_name, relation, places, where)
        source.append_constraint(_foreign_key(source, target, naming.shorten(name), relation, where))


def _target(
    metadata: sa.MetaData, schema_name: str, relation: Relation, places: Mapping[str, str | None], where: str
) -> sa.Table:
    target_schema = relation.target.schema_name or schema_name
    if target_schema not in places:
        raise DocumentError("no such schema", where=where, received=target_schema, allowed=list(places))
    key = _key(places[target_schema], relation.target.table_name)
    if key not in metadata.tables:
        tables = [table.name for table in metadata.tables.values() if table.schema == places[target_schema]]
        raise DocumentError("no such table", where=where, received=relation.target.table_name, allowed=tables)
    return metadata.tables[key]


def _foreign_key(
    source: sa.Table, target: sa.Table, name: str, relation: Relation, where: str
) -> sa.ForeignKeyConstraint:
    for rule in (relation.on_delete, relation.on_update):
        if rule.upper() not in _RULES:
            raise DocumentError("no such rule", where=where, received=rule, allowed=_RULES)
    return sa.ForeignKeyConstraint(
        [_existing(source, bind.source_column, where) for bind in relation.bind_columns],
        [_existing(target, bind.target_column, where) for bind in relation.bind_columns],
        name=name,
        ondelete=relation.on_delete.upper(),
        onupdate=relation.on_update.upper(),
        deferrable=relation.deferrable or None,
        initially="DEFERRED" if relation.initially_deferred else None,
        match=relation.match_type,
    )


def _key(place: str | None, table_name: str) -> str:
    return f"{place}.{table_name}" if place else table_name
