"""Tables of tenants: which columns they have, and what a row of them says of a tenant."""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import NoSuchTableError, SAWarning
from sqlalchemy.ext.asyncio import AsyncConnection

from ...errors import RegistryRecordError, SettingsError
from ...settings.mapping import FieldMapping
from ...tenants import TenantInfo
from ...tenants.fields import REQUIRED_FIELDS, Field, excerpt
from ..records import Record
from .dialects import Dialect, dialect_of
from .pushdown import Column

KINDS = {name: Field.find([name], where=name).kind for name in TenantInfo.model_fields}


@dataclass(frozen=True, slots=True)
class TableName:
    """A table, with its schema where it is not the connection's own."""

    name: str
    schema: str | None = None

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read "table" or "schema.table"."""
        schema, _, name = text.rpartition(".")
        return cls(name, schema or None)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def clause(self, *columns: sa.ColumnClause[Any]) -> sa.TableClause:
        """Return the table for statements, its names quoted."""
        schema = None if self.schema is None else sa.quoted_name(self.schema, True)
        return sa.table(sa.quoted_name(self.name, True), *columns, schema=schema)


@dataclass(frozen=True, slots=True)
class Layout:
    """A table as the database has it.

    columns: {name: type}, in the table's order. unique: the sets of columns that no two rows have the same values in.
    """

    table: TableName
    dialect: Dialect
    columns: Mapping[str, sa.types.TypeEngine[Any]]
    required: frozenset[str]
    unique: Collection[frozenset[str]]

    @classmethod
    async def read(cls, connection: AsyncConnection, table: TableName) -> Layout | None:
        """Return the layout of a table or view; None where there is none."""
        return await connection.run_sync(cls._inspect, table)

    @classmethod
    def _inspect(cls, connection: sa.Connection, table: TableName) -> Layout | None:
        inspector = sa.inspect(connection)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SAWarning)  # types that SQLAlchemy does not know: we read them as text
                columns = inspector.get_columns(table.name, table.schema)
                keys = [inspector.get_pk_constraint(table.name, table.schema)["constrained_columns"]]
                keys += [each["column_names"] for each in inspector.get_unique_constraints(table.name, table.schema)]
                indexes = inspector.get_indexes(table.name, table.schema)
        except NoSuchTableError:
            return None
        for index in indexes:
            partial = any(name.endswith("_where") for name in index.get("dialect_options", {}))
            if index["unique"] and not partial and all(index["column_names"]):
                keys.append([str(name) for name in index["column_names"]])
        return cls(
            table,
            dialect_of(connection.dialect),
            {column["name"]: column["type"] for column in columns},
            frozenset(column["name"] for column in columns if not column["nullable"]),
            {frozenset(key) for key in keys if key},
        )

    def find(self, name: str) -> str | None:
        """Return the column of that name, written in upper or lower case; None where there is none."""
        if name in self.columns:
            return name
        alike = [column for column in self.columns if column.casefold() == name.casefold()]
        return alike[0] if len(alike) == 1 else None


def column_of(name: str, kind: sa.types.TypeEngine[Any] | None = None) -> sa.ColumnClause[Any]:
    """Return a column for statements, its name quoted."""
    return sa.column(sa.quoted_name(name, True), kind)


@dataclass(frozen=True, slots=True)
class TenantColumns:
    """The columns of a table that hold the fields of tenants.

    names: {field: column}. clause: the table with them.
    """

    layout: Layout
    mapping: FieldMapping
    names: Mapping[str, str]
    clause: sa.TableClause

    @classmethod
    def of(cls, layout: Layout, mapping: FieldMapping, required: Collection[str] = REQUIRED_FIELDS) -> TenantColumns:
        """Find the columns. Raises SettingsError where one is missing that is mapped, or required without default."""
        names = {}
        for field in TenantInfo.model_fields:
            wanted = mapping.source_name(field)
            found = layout.find(wanted)
            if found is not None:
                names[field] = found
            elif field in mapping.fields or (field in required and field not in mapping.defaults):
                raise SettingsError(
                    f"no column for {field}",
                    where=f"table {layout.table}",
                    received=wanted,
                    allowed=list(layout.columns),
                )
        return cls(layout, mapping, names, layout.table.clause(*(column_of(name) for name in set(names.values()))))

    @property
    def where(self) -> str:
        """The table, as errors name it."""
        return f"table {self.layout.table}"

    @property
    def is_unique(self) -> bool:
        """Whether the database keeps two rows from having one tenant_id."""
        return frozenset([self.names["tenant_id"]]) in self.layout.unique

    @property
    def may_lack_ids(self) -> bool:
        """Whether rows without a tenant_id may exist."""
        return self.names["tenant_id"] not in self.layout.required

    def column(self, field: str) -> Column:
        """Return the column of a field."""
        name = self.names[field]
        return Column(self.clause.c[name], self.layout.columns[name])

    def comparable(self) -> dict[str, Column | None]:
        """Return the columns that the database can compare for us, None for a field that has no column."""
        return {
            field: self.column(field) if field in self.names else None
            for field in TenantInfo.model_fields
            if self.mapping.is_plain(field)
        }

    def selected(self, fields: Collection[str] | None = None) -> dict[str, sa.ColumnElement[Any]]:
        """Return {field: what is read of it}, tenant_id first."""
        dialect = self.layout.dialect
        return {
            field: (dialect.text if KINDS[field] == "text" else dialect.value)(self.column(field))
            for field in TenantInfo.model_fields
            if field in self.names and (fields is None or field in fields or field == "tenant_id")
        }

    def record(self, row: Mapping[str, Any], fields: Collection[str] | None = None) -> Record | RegistryRecordError:
        """Return what a row, {field: value read}, says of a tenant."""
        tenant_id = row["tenant_id"]
        where = f"{self.where}, " + (
            "a row without tenant_id" if tenant_id is None else f"tenant_id {excerpt(tenant_id)!r}"
        )
        values = dict(row)
        for field, read in _READERS.items():
            if isinstance(values.get(field), str):
                values[field] = read(values[field])
        if bytes in map(type, values.values()):  # SQLite keeps them in any column
            field = next(field for field, value in values.items() if isinstance(value, bytes))
            return RegistryRecordError("no text", where=f"{where}, column {field}", received=excerpt(values[field]))
        return Record(self.mapping.read(values.get, fields), where, "column")


# asyncpg writes the first and the last moment that Python knows as PostgreSQL's infinities.
_INFINITIES = {"infinity": datetime.max.replace(tzinfo=UTC), "-infinity": datetime.min.replace(tzinfo=UTC)}


def _time(text: str) -> str | datetime:
    return _INFINITIES.get(text, text)


def _object(text: str) -> str | None:
    return None if text.strip() == "null" else text


def _list(text: str) -> Any:
    """Return the list that a text holds: of JSON, else as it is, for it may be one with commas."""
    if text.lstrip()[:1] not in ("[", '"', "n", "{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


_READERS: Mapping[str, Callable[[str], Any]] = {
    field: {"time": _time, "list": _list, "object": _object}[kind] for field, kind in KINDS.items() if kind != "text"
}


def own_tables(tenants: TableName, configs: TableName | None, mapping: FieldMapping, dialect: Dialect) -> sa.MetaData:
    """Return the tables that we make ourselves."""
    metadata = sa.MetaData()
    name = mapping.source_name
    types = {
        "text": dialect.text_type,
        "time": dialect.time_type,
        "list": dialect.json_type,
        "object": dialect.json_type,
    }
    columns: list[sa.Column[Any]] = [
        sa.Column(
            sa.quoted_name(name(field), True),
            dialect.id_type if field == "tenant_id" else types[kind],
            primary_key=field == "tenant_id",
            nullable=field not in REQUIRED_FIELDS or field in mapping.defaults,
        )
        for field, kind in KINDS.items()
    ]
    sa.Table(sa.quoted_name(tenants.name, True), metadata, *columns, schema=tenants.schema)
    if configs is not None:
        sa.Table(
            sa.quoted_name(configs.name, True),
            metadata,
            sa.Column("tenant_id", dialect.id_type, primary_key=True),
            sa.Column("config", dialect.json_type, nullable=False),
            schema=configs.schema,
        )
    return metadata


def row_of(tenant: TenantInfo, columns: TenantColumns) -> dict[str, Any]:
    """Return the row that a tenant becomes, {column: value}. Raises RegistryRecordError where it has no place."""
    row: dict[str, Any] = {}
    for field in TenantInfo.model_fields:
        value = getattr(tenant, field)
        where = f"{columns.where}, tenant_id {excerpt(tenant.tenant_id)!r}, column {field}"
        word = _word(columns.mapping, field, value)
        if field in columns.names:
            column = columns.column(field)
            row[columns.names[field]] = stored(field, word, column, columns.layout.dialect, where)
        else:
            word = None
        read = columns.mapping.read({field: word}.get, [field])[field]
        if read is None:
            read = TenantInfo.model_fields[field].get_default()
        if read != value and not _reads_as(field, read, value):
            problem = "cannot be stored under the mapping" if field in columns.names else f"no column for {field}"
            raise RegistryRecordError(
                problem, where=where, received=excerpt(value), allowed=list(columns.layout.columns)
            )
    return row


def _word(mapping: FieldMapping, field: Any, value: Any) -> Any:
    """Return the source's word for our value."""
    words = [word for word, ours in mapping.values.get(field, {}).items() if ours == value]
    return words[0] if words else value


def _reads_as(field: str, read: Any, value: Any) -> bool:
    """Tell whether a default, as the project file writes it, is the value."""
    if read is None:
        return False
    try:
        return bool(Record({"tenant_id": "x", field: read}, "").known()[field] == value)
    except RegistryRecordError:
        return False


def stored(field: str, value: Any, column: Column, dialect: Dialect, where: str, *, is_secret: bool = False) -> Any:
    """Return a field's value as its column takes it. Raises RegistryRecordError, without the value where it is secret.

    where: the value's place, as errors name it.
    """

    def refused(problem: str, allowed: str | None = None) -> RegistryRecordError:
        received = None if is_secret else excerpt(value)
        return RegistryRecordError(problem, where=where, received=received, allowed=allowed)

    kind = column.type
    if value is None:
        return None
    if field == "tenant_id" and "\0" in value:
        raise refused("a NUL")
    match KINDS[field]:
        case "time":
            return _stored_time(value, column, dialect, refused)
        case "list":
            if isinstance(kind, sa.ARRAY | sa.JSON):
                return value
            text = ",".join(value)
            # What MariaDB calls JSON is a LONGTEXT that must hold JSON.
            is_json = type(kind).__name__ == "LONGTEXT" or _list(text) != text
            is_json = is_json or [item.strip() for item in text.split(",")] != value
            value = _json(value, refused) if is_json else text
        case "object":
            text = _json(value, refused)
            if isinstance(kind, sa.JSON):
                _check_text(text, refused)
                return value
            value = text
    return _stored_text(value, kind, dialect, refused)


def _check_text(value: str, refused: Any) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise refused("half a character") from None


def _stored_text(value: str, kind: Any, dialect: Dialect, refused: Any) -> Any:
    _check_text(value, refused)
    if isinstance(kind, sa.Integer | sa.Uuid):
        try:
            typed: Any = int(value) if isinstance(kind, sa.Integer) else uuid.UUID(value)
        except ValueError:
            typed = None
        if str(typed) != value:
            raise refused("no value of the column's type", f"text of {type(kind).__name__}")
        return typed
    length = getattr(kind, "length", None)
    if dialect.limits_text and isinstance(length, int) and len(value) > length and not isinstance(kind, sa.Enum):
        raise refused(f"{len(value)} characters", f"{length} characters, as the column holds")
    return value


def _stored_time(value: datetime, column: Column, dialect: Dialect, refused: Any) -> Any:
    kind = column.type
    stored = dialect.bound_time(value, kind)
    if isinstance(kind, sa.Date) and not isinstance(stored, str):
        if stored.time() != datetime.min.time():
            raise refused("a time of day", "midnight UTC, as the column holds a date")
        return date(stored.year, stored.month, stored.day)
    if isinstance(kind, sa.String) and not isinstance(stored, str):
        return value.isoformat()
    # MySQL cuts what has no place, PostgreSQL rounds it. None: MySQL keeps no fraction, PostgreSQL all of it.
    digits = (kind.fsp or 0) if hasattr(kind, "fsp") else getattr(kind, "precision", None)
    if isinstance(kind, sa.DateTime) and digits is not None and value.microsecond % 10 ** (6 - digits):
        raise refused("a fraction of a second", f"{digits} digits, as the column holds")
    return stored


def _json(value: Any, refused: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise refused(f"no JSON: {error}") from None
