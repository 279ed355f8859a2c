"""The schema document of DBGear, `schemas.<name>.tables...`, as frozen models.

Both dialects load: DBGear's own (camelCase, `displayName`, column types as objects) and the older one of the
multi-tenant design (snake_case, `column_type: "INT AUTO_INCREMENT"`, `primary_key: true`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from ..errors import DocumentError

log = logging.getLogger(__name__)

# No server stores the character NUL.
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
# The keys that name an object in a list.
_NAMES = ("columnName", "column_name", "indexName", "index_name", "constraintName", "constraint_name")


def _from_number(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _sql_from_plain(value: Any) -> Any:
    return str(value).upper() if isinstance(value, bool) else _from_number(value)


# Raw SQL in MySQL's dialect. YAML reads 0 and TRUE as a number and a boolean.
Sql = Annotated[Text, BeforeValidator(_sql_from_plain)]


_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]+$")]


def _upper(value: Any) -> Any:
    return value.strip().upper() if isinstance(value, str) else value


class _Object(BaseModel):
    # Keys that are not ours are ignored, as DBGear does, but told: see SchemaDocument.unknown_keys.
    model_config = ConfigDict(
        frozen=True, extra="allow", populate_by_name=True, alias_generator=AliasGenerator(alias=to_camel)
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, value: Any) -> Any:
        # A key with nothing behind it, as a template's loop leaves one, is a key that is not there.
        if not isinstance(value, dict) or None not in value.values():
            return value
        optional = {
            key for name, field in cls.model_fields.items() if not field.is_required() for key in (name, to_camel(name))
        }
        return {key: item for key, item in value.items() if item is not None or key not in optional}


class Item(_Object):
    """A value of an ENUM or SET."""

    value: Annotated[Text, BeforeValidator(_from_number)]
    caption: Any = None
    description: Any = None


class ColumnType(_Object):
    """A column's type. column_type is the whole MySQL text (`DECIMAL(10,2) UNSIGNED`), items of an ENUM or SET."""

    column_type: Text
    base_type: str | None = None
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    items: list[Item] | None = None
    json_schema: Any = None


class Column(_Object):
    """A column. primary_key is its place in the key, counted from 0 or 1; None where it is not part of it.

    default_value and expression are raw SQL text in MySQL's dialect; an expression makes a generated column.
    """

    column_name: Text
    display_name: Text | None = None
    column_type: ColumnType
    nullable: bool | None = None
    primary_key: int | None = None
    default_value: Sql | None = None
    expression: Sql | None = None
    stored: bool = False
    auto_increment: bool = False
    charset: str | None = None
    collation: str | None = None
    notes: Any = None

    @field_validator("column_type", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"columnType": value} if isinstance(value, str) else value

    @field_validator("primary_key", mode="before")
    @classmethod
    def _from_flag(cls, value: Any) -> Any:
        # The older dialect has a flag; its key is in the order of the columns.
        return (0 if value else None) if isinstance(value, bool) else value


class Index(_Object):
    """An index. An entry of columns may end in ` DESC`. partial_condition is raw SQL in MySQL's dialect."""

    index_name: Text
    columns: Annotated[list[Text], Field(min_length=1)]
    index_type: str = "BTREE"
    unique: bool = False
    partial_condition: Sql | None = None
    include_columns: list[Text] | None = None
    # What is put into DDL as it stands holds nothing that could end a statement.
    storage_parameters: dict[Annotated[str, Field(pattern=r"^[a-z_]+$")], bool | int | float | _Word] | None = None
    tablespace: Text | None = None
    display_name: str | None = None
    notes: Any = None


class RelationTarget(_Object):
    """The table that a foreign key points to. Without a schema, one of the same schema."""

    schema_name: Text | None = None
    table_name: Text


class BindColumn(_Object):
    """One pair of columns of a foreign key."""

    source_column: str
    target_column: str


class Relation(_Object):
    """A foreign key."""

    target: RelationTarget
    bind_columns: Annotated[list[BindColumn], Field(min_length=1)]
    constraint_name: Text | None = None
    on_delete: str = "RESTRICT"
    on_update: str = "RESTRICT"
    deferrable: bool = False
    initially_deferred: bool = False
    match_type: Annotated[Literal["FULL", "SIMPLE"] | None, BeforeValidator(_upper)] = None
    relationship_type: str | None = None
    cardinarity_source: Any = None
    cardinarity_target: Any = None
    description: Any = None


class MySQLOptions(_Object):
    """What MySQL is told of a table beside its columns.

    partition_by: RANGE, LIST, HASH or KEY, with LINEAR before or COLUMNS behind. partition_expression: what goes by,
    and behind it for RANGE and LIST the partitions: `YEAR(at) (PARTITION p0 VALUES LESS THAN (2026), ...)`.
    """

    engine: _Word | None = None
    charset: _Word | None = None
    collation: _Word | None = None
    auto_increment: Annotated[int, Field(ge=0)] | None = None
    row_format: _Word | None = None
    partition_by: Annotated[str, BeforeValidator(_upper)] | None = None
    partition_expression: Sql | None = None
    partition_count: Annotated[int, Field(ge=1, le=1024)] | None = None


class Table(_Object):
    """A table."""

    display_name: Text | None = None
    columns: Annotated[list[Column], Field(min_length=1)]
    indexes: list[Index] = []
    relations: list[Relation] = []
    mysql_options: MySQLOptions = MySQLOptions()
    notes: Any = None
    categories: list[str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_fields(cls, value: Any) -> Any:
        # DBGear's first documents call columns fields, and each names what it refers to.
        if not isinstance(value, dict) or not isinstance(value.get("fields"), list) or "columns" in value:
            return value
        table = {key: item for key, item in value.items() if key != "fields"}
        fields = [dict(field) if isinstance(field, dict) else field for field in value["fields"]]
        targets = [(field, field.pop("foreign_key", None)) for field in fields if isinstance(field, dict)]
        found = [_reference(field.get("column_name"), target) for field, target in targets if target is not None]
        given = table.get("relations") or []
        return {**table, "columns": fields, "relations": [*given, *found] if isinstance(given, list) else given}


def _reference(column: Any, target: Any) -> dict[str, Any]:
    """Return the relation of a column that refers to `table.column`."""
    table, _, name = str(target).rpartition(".")
    bind = {"source_column": column, "target_column": name}
    return {"target": {"table_name": table}, "bind_columns": [bind]}


class View(_Object):
    """A view. select_statement is one query in MySQL's dialect; names without a schema are of the view's own."""

    display_name: Text | None = None
    select_statement: Text
    notes: Any = None


class Trigger(_Object):
    """A trigger. body is one statement in MySQL's language, or BEGIN ... END; condition, an expression, guards it."""

    display_name: Text | None = None
    table_name: Text
    timing: Annotated[Literal["BEFORE", "AFTER"], BeforeValidator(_upper)]
    event: Annotated[Literal["INSERT", "UPDATE", "DELETE"], BeforeValidator(_upper)]
    body: Text
    condition: Text | None = None
    notes: Any = None


class Parameter(_Object):
    """A parameter of a procedure or function."""

    parameter_name: Text
    parameter_type: Annotated[Literal["IN", "OUT", "INOUT"], BeforeValidator(_upper)] = "IN"
    data_type: Text
    default_value: Sql | None = None


class Procedure(_Object):
    """A procedure; with return_type, a function. body is in MySQL's language."""

    display_name: Text | None = None
    body: Text
    parameters: list[Parameter] = []
    return_type: Text | None = None
    deterministic: bool = False
    reads_sql_data: bool = True
    modifies_sql_data: bool = False
    security_type: Annotated[Literal["DEFINER", "INVOKER"], BeforeValidator(_upper)] = "DEFINER"
    notes: Any = None


class Schema(_Object):
    """One schema: its objects by name, in the order of the document."""

    tables: dict[Text, Table] = {}
    views: dict[Text, View] = {}
    triggers: dict[Text, Trigger] = {}
    procedures: dict[Text, Procedure] = {}
    notes: Any = None


class SchemaDocument(_Object):
    """A whole schema document."""

    schemas: Annotated[dict[str, Schema], Field(min_length=1)]
    notes: Any = None
    registry: Any = None

    @classmethod
    def load(cls, tree: Mapping[str, Any], *, where: str) -> SchemaDocument:
        """Validate a document. `where` names it in errors. Raises DocumentError that names the object and key."""
        try:
            document = cls.model_validate(tree)
        except ValidationError as error:
            item = error.errors(include_url=False)[0]
            received = item["input"] if isinstance(item["input"], str | int | float) else None
            place = f"{where}, {_path(tree, item['loc'])}"
            raise DocumentError(item["msg"], where=place, received=received) from None
        for kind, path in document.unknown_keys():
            # Thousands of tenants share a template: its mistake is told once per process.
            key = (where, kind, path.rpartition(".")[2])
            if key not in _told:
                _told.add(key)
                log.warning("%s: unknown key %s is ignored", where, path)
        return document

    def unknown_keys(self) -> Iterator[tuple[str, str]]:
        """Yield (kind of object, dotted path) of each key that the format does not have."""
        yield from _unknown(self, "")


_told: set[tuple[str, str, str]] = set()


def _path(tree: Any, location: tuple[int | str, ...]) -> str:
    """Return the dotted path of a place in a document, the objects of a list by their names."""
    parts = []
    for part in location:
        with suppress(LookupError, TypeError):  # what is missing has a place as well
            tree = tree[part]
        names = [tree[key] for key in _NAMES if isinstance(tree, dict) and key in tree]
        parts.append(str(names[0] if names and isinstance(part, int) else part))
    return ".".join(parts)


def _unknown(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, _Object):
        for key in node.model_extra or ():
            yield type(node).__name__, f"{path}{key}"
        for name in node.model_fields_set:
            yield from _unknown(getattr(node, name, None), f"{path}{name}.")
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _unknown(value, f"{path}{key}.")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _unknown(value, f"{path}{index}.")
