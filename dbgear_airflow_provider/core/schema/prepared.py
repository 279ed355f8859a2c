"""Schema documents compiled once for all tenants that share them.

Thousands of tenants have one document but for the names of their schemas and a few texts, such as the default of a
column `tenant_id`. Building and compiling it anew costs several times what the server takes to execute it. So a
document is compiled with placeholders for just these, kept, and filled for each tenant: schema names as the engine
quotes them, texts as SQL literals that have gone through the same check as every other default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import uuid4

from sqlalchemy import String
from sqlalchemy.engine import Dialect

from ..errors import DocumentError
from .document import SchemaDocument
from .expressions import default_value
from .ledger import ledger_table
from .metadata import build_metadata
from .objects import ObjectKey, schema_objects

# Stands in no document: it is drawn anew in every process.
_MARK = f"dbgear_{uuid4().hex}_"
_PLACEHOLDER = re.compile(rf"'{_MARK}text_(\d+)'|{_MARK}schema_(\d+)")
_DEFAULTS = ("defaultValue", "default_value")
_TARGETS = ("schemaName", "schema_name")


@dataclass(frozen=True, kw_only=True)
class PreparedObject:
    """An object of one tenant and the exact SQL that creates it, without semicolons at the ends."""

    key: ObjectKey
    statements: Sequence[str]


@dataclass(frozen=True)
class _Template:
    kind: Any
    schema: int
    name: str
    statements: tuple[str, ...]


@dataclass(frozen=True)
class PreparedDocument:
    """A document as it is compiled for one tenant."""

    _templates: Sequence[_Template]
    _schemas: Sequence[str]
    _texts: Sequence[str]
    _dialect: Dialect

    @property
    def keys(self) -> list[ObjectKey]:
        """Return what the document holds: schemas, tables (with the ledger), indexes, foreign keys, in order."""
        return [
            ObjectKey(kind=item.kind, schema=schema, name=item.name or schema)
            for item in self._templates
            for schema in (self._schemas[item.schema],)
        ]

    def missing(self, existing: set[ObjectKey]) -> list[PreparedObject]:
        """Return the objects that are not among the existing ones, in the order in which to create them."""
        quote = self._dialect.identifier_preparer.quote
        schemas = [quote(schema) for schema in self._schemas]
        texts = [_literal(text, self._dialect) for text in self._texts]

        def fill(match: re.Match[str]) -> str:
            text, schema = match.groups()
            return schemas[int(schema)] if text is None else texts[int(text)]

        return [
            PreparedObject(key=key, statements=[_PLACEHOLDER.sub(fill, sql) for sql in item.statements])
            for key, item in zip(self.keys, self._templates, strict=True)
            if key not in existing
        ]


def prepare(tree: Mapping[str, Any], places: Mapping[str, str], dialect: Dialect, *, where: str) -> PreparedDocument:
    """Return a rendered document, and the tenant's ledger in its first schema, compiled for an engine.

    places: {schema of the document: schema on the server}, in the order of the document; all names of it.
    Raises DocumentError or UnsupportedError that names the object.
    """
    texts: list[str] = []
    order = {name: index for index, name in enumerate(places)}
    shape = {"schemas": {_schema(index): tree["schemas"][name] for name, index in order.items()}}
    shape = {**tree, **_without_tenant(shape, order, texts)}
    templates = _compile(json.dumps(shape, default=str), dialect, where)
    # Checked here, not when filled: a bad text is an error before anything is created.
    for text in texts:
        _literal(text, dialect)
    return PreparedDocument(templates, list(places.values()), texts, dialect)


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
    if isinstance(node, list):
        return [_without_tenant(item, order, texts) for item in node]
    if not isinstance(node, Mapping):
        return node
    result = {}
    for key, value in node.items():
        # MySQL's booleans have quoted defaults too, which become TRUE and FALSE: those stay.
        if key in _DEFAULTS and isinstance(value, str) and value.startswith("'") and value not in {"'0'", "'1'"}:
            texts.append(value)
            value = f"'{_MARK}text_{len(texts) - 1}'"  # noqa: PLW2901
        elif key in _TARGETS and value in order:
            value = _schema(order[value])  # noqa: PLW2901
        else:
            value = _without_tenant(value, order, texts)  # noqa: PLW2901
        result[key] = value
    return result


@lru_cache(maxsize=256)
def _compile(shape: str, dialect: Dialect, where: str) -> tuple[_Template, ...]:
    document = SchemaDocument.load(json.loads(shape), where=where)
    names = list(document.schemas)
    metadata = build_metadata(document, {name: name for name in names})
    ledger_table(metadata, names[0])

    def templates() -> Iterator[_Template]:
        for item in schema_objects(metadata):
            name = "" if item.key.kind == "schema" else item.key.name
            yield _Template(item.key.kind, names.index(item.key.schema), name, tuple(item.statements(dialect)))

    return tuple(templates())


@lru_cache(maxsize=4096)
def _literal(text: str, dialect: Dialect) -> str:
    try:
        return str(default_value(text, String()).compile(dialect=dialect))
    except ValueError as error:
        raise DocumentError(str(error), where="default value", received=text) from None
