"""Schema documents compiled once for all tenants that share them.

Thousands of tenants have one document but for the names of their schemas and a few texts, such as the default of a
column `tenant_id`. Building and compiling it anew costs several times what the server takes to execute it. So a
document is compiled with placeholders for just these, kept, and filled for each tenant: schema names as the engine
quotes them, texts as SQL literals that have gone through the same check as every other default.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import String
from sqlalchemy.engine import Dialect

from ..errors import DbgearError, DocumentError
from ..tenants import naming
from .document import SchemaDocument
from .expressions import default_value, literals
from .features import features
from .ledger import LEDGER, ledger_table
from .metadata import build_metadata
from .objects import Namespace, ObjectKey, schema_objects
from .problems import OnUnsupported
from .references import with_schemas
from .snapshot import SnapshotKey

# Stands in no document: it is drawn anew in every process.
_MARK = f"dbgear_{uuid4().hex}_"
# What translates a view's text puts all names into quotes.
_PLACEHOLDER = re.compile(rf"'{_MARK}text_(\d+)'|[\"`]?{_MARK}schema_(\d+)[\"`]?|{_MARK}Prefix_(\d+)_")
_KINDS = ("text", "schema", "prefix")
_DEFAULTS = ("defaultValue", "default_value")
_TARGETS = ("schemaName", "schema_name")
_SQL = ("selectStatement", "select_statement", "body", "condition")
_NODES = (dict, list)
_ANY_LENGTH = 1000


@dataclass(frozen=True, kw_only=True)
class PreparedObject:
    """An object of one tenant and the exact SQL that creates it, without semicolons at the ends."""

    key: ObjectKey
    statements: Sequence[str]


# A statement cut at its placeholders: text, placeholder, text, placeholder, ..., text.
_Cut = tuple[str, ...]


@dataclass(frozen=True)
class _Template:
    kind: Any
    schema: int
    name: _Cut
    statements: tuple[_Cut, ...]


@dataclass(frozen=True)
class PreparedDocument:
    """A document as it is compiled for one tenant.

    warnings: what the engine cannot hold and was left out. texts: the defaults of columns that are the tenant's own,
    {column: text}.
    tables: {(place of the schema in the document, name of the table): the table, in a schema of that place}. They are
    shared by tenants.
    """

    warnings: list[str]
    texts: Mapping[SnapshotKey, str]
    tables: Mapping[tuple[int, str], sa.Table]
    _templates: Sequence[_Template]
    _places: Sequence[Namespace]
    _texts: Sequence[str]
    _dialect: Dialect
    _written: str
    _lengths: tuple[int, ...]

    @cached_property
    def shape(self) -> str:
        """Return what is the same for documents that differ in names, in texts and in prefixes of one length only."""
        return hashlib.sha256(f"{self._lengths} {self._written}".encode()).hexdigest()

    @cached_property
    def keys(self) -> list[ObjectKey]:
        """Return what the document holds, the ledger included, in the order in which to create it."""
        prefixes = {f"prefix {index}": place.prefix for index, place in enumerate(self._places)}
        return [
            ObjectKey(kind=item.kind, schema=schema, name=_joined(item.name, prefixes) or schema)
            for item in self._templates
            for schema in (self._places[item.schema].schema,)
        ]

    def missing(self, existing: set[ObjectKey]) -> list[PreparedObject]:
        """Return the objects that are not among the existing ones, in the order in which to create them."""
        preparer = self._dialect.identifier_preparer
        schemas = [preparer.quote(place.schema) for place in self._places]
        # Names with a prefix are always in quotes.
        prefixes = [preparer.quote_identifier(place.prefix)[1:-1] for place in self._places]
        values = _values(schemas, [_literal(text, self._dialect) for text in self._texts], prefixes)
        return [
            PreparedObject(key=key, statements=[_joined(cut, values) for cut in item.statements])
            for key, item in zip(self.keys, self._templates, strict=True)
            if key not in existing
        ]


def prepare(
    tree: Mapping[str, Any],
    places: Mapping[str, Namespace],
    dialect: Dialect,
    *,
    where: str,
    on_unsupported: OnUnsupported = "error",
) -> PreparedDocument:
    """Return a rendered document, and the tenant's ledger in its first schema, compiled for an engine.

    places: {schema of the document: where it is on the server}, in the order of the document; all names of it.
    on_unsupported: as for `build_metadata`. Raises DocumentError or UnsupportedError that names the object.
    """
    texts: list[str] = []
    order = {name: index for index, name in enumerate(places)}
    shape = {"schemas": {_schema(index): tree["schemas"][name] for name, index in order.items()}}
    try:
        shape = {**tree, **_without_tenant(shape, order, texts)}
        written = json.dumps(shape, default=str)
    except RecursionError:
        raise DocumentError("nested too deeply", where=where) from None
    # Of the prefixes only the lengths matter for what the names become.
    lengths = tuple(len(place.prefix.encode()) for place in places.values())
    try:
        templates, warnings, columns, tables = _compile(written, dialect, where, on_unsupported, lengths)
    except DbgearError as error:
        raise _told(error, list(places), texts) from None
    # Checked here, not when filled: a bad text is an error before anything is created.
    for text in texts:
        _literal(text, dialect)
    told = [_filled(text, list(places), texts) for text in warnings]
    own = {column: _plain(texts[index]) for column, index in columns}
    spaces = list(places.values())
    prepared = PreparedDocument(told, own, tables, templates, spaces, texts, dialect, written, lengths)
    if len(places) > 1 and any(lengths):
        _refuse_clashes(prepared, where)
    return prepared


def _refuse_clashes(prepared: PreparedDocument, where: str) -> None:
    """Raise DocumentError where objects of two schemas would have one name in the schema that they share."""
    seen: set[tuple[str, str, str]] = set()
    for key in prepared.keys:
        kind, name = "table" if key.kind in {"view", "index"} else key.kind, key.name
        if key.kind == "foreign key" and features(prepared._dialect).constraint_names == "of the schema":
            name = name.partition(".")[2]
        if (kind, key.schema, name) in seen:
            allowed = "names of tables that do not begin with another schema's name"
            raise DocumentError(f"two objects of kind {kind} get one name", where=where, received=name, allowed=allowed)
        seen.add((kind, key.schema, name))


def _cut(sql: str) -> _Cut:
    """Return a statement cut at its placeholders. Done once a document, for looking for them takes its time."""
    cut: list[str] = []
    # The pattern's groups are in the split too, of which one is there.
    for number, part in enumerate(_PLACEHOLDER.split(sql)):
        kind = number % (len(_KINDS) + 1)
        if not kind:
            cut.append(part)
        elif part is not None:
            cut.append(f"{_KINDS[kind - 1]} {part}")
    return tuple(cut)


def _joined(cut: _Cut, values: Mapping[str, str]) -> str:
    if len(cut) == 1:
        return cut[0]
    parts = list(cut)
    parts[1::2] = [values[placeholder] for placeholder in cut[1::2]]
    return "".join(parts)


def _values(schemas: Sequence[str], texts: Sequence[str], prefixes: Sequence[str]) -> dict[str, str]:
    """Return what stands for placeholders, as `_cut` names them."""
    return {
        **{f"schema {index}": schema for index, schema in enumerate(schemas)},
        **{f"text {index}": text for index, text in enumerate(texts)},
        **{f"prefix {index}": prefix for index, prefix in enumerate(prefixes)},
    }


def _filled(told: str, names: Sequence[str], texts: Sequence[str]) -> str:
    """Return a text for people with the document's own names and texts in it."""
    return _joined(_cut(told), _values(names, texts, [""] * len(names)))


def _told(error: DbgearError, names: Sequence[str], texts: Sequence[str]) -> DbgearError:
    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return _filled(value, names, texts)
        return [fill(item) for item in value] if isinstance(value, list | tuple) else value

    rebuild, (kind, message, details), *_ = error.__reduce__()
    told: DbgearError = rebuild(kind, fill(message), {key: fill(value) for key, value in details.items()})
    return told


def schema_names(tree: Mapping[str, Any], *, where: str) -> list[str]:
    """Return the names of a document's schemas, in its order. Raises DocumentError where it has none."""
    schemas = tree.get("schemas")
    if not isinstance(schemas, Mapping) or not schemas:
        raise DocumentError("no schemas in it", where=where, allowed="schemas: {<name>: {tables: ...}}")
    return [str(name) for name in schemas]


def _schema(index: int) -> str:
    return f"{_MARK}schema_{index}"


def _without_tenant(node: Any, order: Mapping[str, int], texts: list[str]) -> Any:
    """Return the tree with placeholders for what differs from tenant to tenant; collect the texts taken out."""
    # The hot path of every tenant: a rendered document is made of dict and list, and most of it is leaves.
    if type(node) is list:
        return [_without_tenant(item, order, texts) if type(item) in _NODES else item for item in node]
    if type(node) is not dict:
        return node
    result = {}
    for key, value in node.items():
        if type(value) in _NODES:
            result[key] = _without_tenant(value, order, texts)
        # MySQL's booleans have quoted defaults too, which become TRUE and FALSE: those stay.
        # So does what has more behind the quotes, an ON UPDATE.
        elif (
            key in _DEFAULTS
            and isinstance(value, str)
            and value.startswith("'")
            and value.rstrip().endswith("'")
            and value not in {"'0'", "'1'"}
        ):
            texts.append(value)
            result[key] = f"'{_MARK}text_{len(texts) - 1}'"
        elif key in _TARGETS and value in order:
            result[key] = _schema(order[value])
        elif key in _SQL and isinstance(value, str):
            result[key] = _without_schemas(value, tuple(order))
        else:
            result[key] = value
    return result


@lru_cache(maxsize=4096)
def _without_schemas(text: str, names: tuple[str, ...]) -> str:
    return with_schemas(text, {name: _schema(index) for index, name in enumerate(names)})


@lru_cache(maxsize=32)
def _with_room(dialect: Dialect) -> Dialect:
    """Return a dialect that takes longer names: a placeholder may be longer than what it stands for."""
    made = copy(dialect)
    for limit in ("max_identifier_length", "max_index_name_length", "max_constraint_name_length"):
        setattr(made, limit, _ANY_LENGTH)
    made.identifier_preparer = type(dialect.identifier_preparer)(made)
    return made


_Compiled = tuple[
    tuple[_Template, ...], tuple[str, ...], tuple[tuple[SnapshotKey, int], ...], Mapping[tuple[int, str], sa.Table]
]


@lru_cache(maxsize=256)
def _compile(
    shape: str, dialect: Dialect, where: str, on_unsupported: OnUnsupported, lengths: tuple[int, ...]
) -> _Compiled:
    document = SchemaDocument.load(json.loads(shape), where=where)
    names = list(document.schemas)
    if any(lengths):
        dialect = _with_room(dialect)
    # An upper-case letter in it, so that it always comes out in quotes.
    prefixes = {f"{_MARK}Prefix_{index}_": length for index, length in enumerate(lengths) if length}
    places = {
        name: Namespace(name, f"{_MARK}Prefix_{index}_" if lengths[index] else "") for index, name in enumerate(names)
    }
    metadata = build_metadata(document, places, dialect, on_unsupported=on_unsupported, prefix_bytes=prefixes)
    tables = {(names.index(str(table.schema)), table.info["name"]): table for table in metadata.tables.values()}
    main = places[names[0]]
    ledger_table(metadata, names[0], naming.prefixed(main.prefix, LEDGER, prefix_bytes=lengths[0]))

    def templates() -> Iterator[_Template]:
        for item in schema_objects(metadata):
            name = _cut("" if item.key.kind == "schema" else item.key.name)
            cuts = tuple(map(_cut, item.statements(dialect)))
            yield _Template(item.key.kind, names.index(item.key.schema), name, cuts)

    columns = [
        (SnapshotKey("column", index, column.column_name, table_name), int(match[1]))
        for index, schema in enumerate(document.schemas.values())
        for table_name, table in schema.tables.items()
        for column in table.columns
        if (match := _PLACEHOLDER.fullmatch(column.default_value or ""))
    ]
    return tuple(templates()), tuple(metadata.warnings), tuple(columns), tables


@lru_cache(maxsize=4096)
def _literal(text: str, dialect: Dialect) -> str:
    try:
        return str(default_value(text, String()).compile(dialect=dialect))
    except ValueError as error:
        raise DocumentError(str(error), where="default value", received=text) from None


@lru_cache(maxsize=4096)
def _plain(text: str) -> str:
    """Return what stands between the quotes of a text. One that is more than that stays as it is."""
    try:
        return "".join(literals(text))
    except ValueError:
        return text
