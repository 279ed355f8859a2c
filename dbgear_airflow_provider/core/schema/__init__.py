"""Schema documents: DBGear's `schema.yaml` to SQLAlchemy MetaData to DDL."""

from .document import SchemaDocument
from .ledger import LEDGER, PROVISIONED, ledger_table
from .metadata import build_metadata
from .objects import ObjectKey, SchemaObject, checksum, schema_objects
from .prepared import PreparedDocument, PreparedObject, prepare, schema_names

__all__ = [
    "LEDGER",
    "PROVISIONED",
    "ObjectKey",
    "PreparedDocument",
    "PreparedObject",
    "SchemaDocument",
    "SchemaObject",
    "build_metadata",
    "checksum",
    "ledger_table",
    "prepare",
    "schema_names",
    "schema_objects",
]
