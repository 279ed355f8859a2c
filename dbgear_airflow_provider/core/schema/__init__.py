"""Schema documents: DBGear's `schema.yaml` to SQLAlchemy MetaData to DDL."""

from .alter import Alteration, PlannedStatement, alterations
from .document import SchemaDocument
from .ledger import (
    BASELINE,
    DATA,
    LEDGER,
    NO_CHECKSUM,
    OWN_TABLES,
    PROVISIONED,
    WITHHELD,
    LedgerEntry,
    delete_statement,
    insert_statement,
    ledger_name,
    ledger_table,
)
from .metadata import DocumentMetaData, build_metadata
from .objects import Namespace, ObjectKey, SchemaObject, checksum, outermost, schema_objects
from .prepared import PreparedDocument, PreparedObject, prepare, schema_names
from .problems import OnUnsupported
from .snapshot import Difference, Snapshot, SnapshotKey, differences

__all__ = [
    "BASELINE",
    "DATA",
    "LEDGER",
    "NO_CHECKSUM",
    "OWN_TABLES",
    "PROVISIONED",
    "WITHHELD",
    "Alteration",
    "Difference",
    "DocumentMetaData",
    "LedgerEntry",
    "Namespace",
    "ObjectKey",
    "OnUnsupported",
    "PlannedStatement",
    "PreparedDocument",
    "PreparedObject",
    "SchemaDocument",
    "SchemaObject",
    "Snapshot",
    "SnapshotKey",
    "alterations",
    "build_metadata",
    "checksum",
    "delete_statement",
    "differences",
    "insert_statement",
    "ledger_name",
    "ledger_table",
    "outermost",
    "prepare",
    "schema_names",
    "schema_objects",
]
