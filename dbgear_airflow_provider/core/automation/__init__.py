"""Bulk operations on tenants."""

from .engine import TenantAutomationEngine
from .report import RunReport, build_report
from .results import OperationResult, OperationStatus, raise_for_failures
from .selection import Selection, cut_batches, select_tenants

__all__ = [
    "OperationResult",
    "OperationStatus",
    "RunReport",
    "Selection",
    "TenantAutomationEngine",
    "build_report",
    "cut_batches",
    "raise_for_failures",
    "select_tenants",
]
