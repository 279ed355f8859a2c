"""Initial data: the rows of a DBGear mapping folder, `<schema>@<table>.dat`, for a tenant's tables."""

from .folder import DataFolder, Row, TableData, read_folder
from .models import DataModel, SyncMode
from .rendering import RenderedData, RenderedRow, RenderedTable, render
from .statements import TableScript, existing_queries, script
from .variables import Variables

__all__ = [
    "DataFolder",
    "DataModel",
    "RenderedData",
    "RenderedRow",
    "RenderedTable",
    "Row",
    "SyncMode",
    "TableData",
    "TableScript",
    "Variables",
    "existing_queries",
    "read_folder",
    "render",
    "script",
]
