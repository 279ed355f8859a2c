"""The registry as its sources say: read, put together, compared, guarded, written."""

from .changes import Change
from .merge import Source
from .operation import apply_sync, last_reads, plan_sync
from .plan import COLUMNS, SourceCounts, SyncPlan
from .queries import id_queries

__all__ = [
    "COLUMNS",
    "Change",
    "Source",
    "SourceCounts",
    "SyncPlan",
    "apply_sync",
    "id_queries",
    "last_reads",
    "plan_sync",
]
