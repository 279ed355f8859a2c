"""A schema document as SQLAlchemy MetaData, compiled for one engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.engine import Dialect

from ..errors import DocumentError
from .columns import Target, bare_column, build_column, checked, comment, families
from .ddl import Statement
from .document import SchemaDocument, Table
from .features import features
from .indexes import add_indexes
from .ledger import OWN_TABLES
from .limits import index_too_long, row_too_long
from .objects import Kind, Namespace, ObjectKey, SchemaObject
from .partitions import partitioning
from .problems import OnUnsupported, Problems
from .relations import add_relations
from .renames import ServerNames
from .routines import build_procedures, build_triggers, build_update_times
from .views import build_views

_DIALECT: Dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
mysql.dialect()  # registers its keyword arguments


class DocumentMetaData(sa.MetaData):
    """A document's tables, in its order, and what MetaData does not know.

    others: views, functions, procedures and triggers, in the order in which to create them, after all tables.
    warnings: what the engine cannot hold and was left out. shared: schemas that hold others' objects too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.others: list[SchemaObject] = []
        self.warnings: list[str] = []
        self.shared: set[str] = set()


def build_metadata(
    document: SchemaDocument,
    places: Mapping[str, Namespace | None],
    dialect: Dialect = _DIALECT,
    *,
    on_unsupported: OnUnsupported = "error",
    prefix_bytes: Mapping[str, int] | None = None,
) -> DocumentMetaData:
    """Return the document's objects as the engine of a dialect has them.

    places: {name of a schema in the document: where it is on the server}; all names of the document.
    prefix_bytes: {prefix: length} for prefixes that stand for others of that length.
    on_unsupported: what happens with what the engine cannot hold: `error` raises one UnsupportedError for all of it,
    `warn` leaves it out and tells it in `warnings`. Raises DocumentError naming the object.
    """
    target = Target(dialect=dialect, features=features(dialect), problems=Problems(), prefix_bytes=prefix_bytes or {})
    spaces = {name: place or Namespace("") for name, place in places.items()}
    metadata, tables = DocumentMetaData(), {}
    metadata.shared = {space.schema for space in spaces.values() if space.prefix}
    for name, schema in document.schemas.items():
        built = {
            table_name: _build_table(metadata, f"{name}.{table_name}", table_name, table, spaces[name], target=target)
            for table_name, table in schema.tables.items()
        }
        tables[name] = {table_name: table for table_name, table in built.items() if table is not None}
    for name, schema in document.schemas.items():
        add_indexes(tables[name], name, schema, spaces[name], target)
    for name, schema in document.schemas.items():
        taken: set[str] = set()
        for table_name in schema.tables:
            add_relations(tables, name, table_name, document, taken, target=target)
    _add_others(metadata, document, spaces, tables, target)
    metadata.warnings = target.problems.settle(on_unsupported)
    return metadata


def _build_table(
    metadata: sa.MetaData, where: str, name: str, table: Table, place: Namespace, *, target: Target
) -> sa.Table | None:
    names = [column.column_name for column in table.columns]
    if repeated := [key for key, count in Counter(names).items() if count > 1]:
        raise DocumentError("a column is there twice", where=where, received=repeated[0], allowed="each once")
    if target.features.alike_names and (
        repeated := [key for key, count in Counter(map(str.lower, names)).items() if count > 1]
    ):
        problem = f"names of columns are alike whatever their case on {target.features.title}"
        raise DocumentError(problem, where=where, received=repeated[0], allowed="each once")
    # With a prefix it would look like that of a tenant whose prefix goes on so.
    if name in OWN_TABLES or (place.prefix and name.endswith(tuple(f"_{own}" for own in OWN_TABLES))):
        raise DocumentError("DBGear's own table has that name", where=where, received=name, allowed="any other")
    kinds = families(table.columns, where, target)
    in_key = [column for column in table.columns if column.primary_key is not None]
    first = min(in_key, key=lambda column: column.primary_key or 0, default=None)
    types = [column for item in table.columns if (column := bare_column(item, where, target)) is not None]
    if why := row_too_long(types, table.mysql_options, target):
        target.problems.add(where, why)
        return None
    key_parts = [(column, None) for column in types if column.primary_key]
    if key_parts and (why := index_too_long(key_parts, table.mysql_options, target, kind="primary")):
        target.problems.add(where, f"its primary key: {why}")
        in_key, first = [], None
    built = [
        build_column(item, f"{where}.{item.column_name}", kinds, target, leads=item is first) for item in table.columns
    ]
    columns = [column for column in built if column is not None]
    there = {column.name for column in columns}
    key = [column for column in in_key if column.column_name in there]
    key.sort(key=lambda column: column.primary_key or 0)  # stable: equal ordinals keep the order of the columns
    constraints = [sa.PrimaryKeyConstraint(*(column.column_name for column in key))] if key else []
    made: sa.Table = sa.Table(
        target.named(place, checked(name, where)),
        metadata,
        *columns,
        *constraints,
        schema=place.schema or None,
        comment=comment(table.display_name, name),
        info={
            "name": name,
            "namespace": place,
            "left_out": set(names) - there,
            "families": kinds,
            "options": table.mysql_options,
            "partitioned": False,
            "partitioned_by": [],
            "children": [],
        },
        **_options(table, target),
    )
    _partition(made, table, names, where, target)
    return made


def _options(table: Table, target: Target) -> dict[str, Any]:
    if not target.features.options:
        return {}
    options = table.mysql_options
    return target.option(
        engine=options.engine,
        default_charset=options.charset,
        collate=options.collation,
        auto_increment=None if options.auto_increment is None else str(options.auto_increment),
        row_format=options.row_format,
    )


def _partition(made: sa.Table, table: Table, names: list[str], where: str, target: Target) -> None:
    parts = partitioning(table.mysql_options, names, where, target)
    if parts is None:
        return
    by = parts.columns if parts.columns is not None else parts.named
    key = [column.name for column in made.primary_key]
    if key and (absent := [column for column in by if column not in key]):
        target.problems.add(where, f"the key of a partitioned table needs {', '.join(absent)}, which partitions it")
        return
    made.info.update(partitioned=True, partitioned_by=by)
    if target.features.options:
        made.kwargs.update(parts.options(target))
    elif not parts.columns:
        why = f"{target.features.title} partitions a table with a key by its columns alone, not by {parts.expression}"
        target.problems.add(where, why if parts.expression else "partitions by no column")
        made.info.update(partitioned=False, partitioned_by=[])
    else:
        made.kwargs.update(parts.options_of_columns(target))
        made.info["children"] = parts.children(made.info["namespace"], made.info["name"], target)


def _add_others(
    metadata: DocumentMetaData,
    document: SchemaDocument,
    places: Mapping[str, Namespace],
    tables: Mapping[str, Mapping[str, sa.Table]],
    target: Target,
) -> None:
    def add(kind: Kind, schema: str, name: str, ddl: tuple[Statement, ...]) -> None:
        key = ObjectKey(kind=kind, schema=places[schema].schema, name=target.named(places[schema], name))
        metadata.others.append(SchemaObject(key=key, ddl=ddl))

    left_out = {
        (name, gone) for name, schema in document.schemas.items() for gone in schema.tables.keys() - tables[name]
    }
    names = ServerNames(document, places, target)
    for name, schema in document.schemas.items():
        # Views may call functions; nothing else is looked for before it runs.
        for routine in build_procedures(name, schema, names, target):
            add(routine.kind, name, routine.name, routine.ddl)
    for view in build_views(document, places, tables, left_out, target):
        add("view", *view.name, view.ddl)
    for name, schema in document.schemas.items():
        triggers = build_triggers(name, schema, names, left_out, target)
        for table in tables[name].values():
            triggers += build_update_times(name, table, target)
        for routine in triggers:
            add(routine.kind, name, routine.name, routine.ddl)
