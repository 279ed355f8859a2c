"""Bulk operations on tenants."""

from .drift import DriftReport
from .engine import TenantAutomationEngine
from .rebuild import RebuildReport, rebuild_state
from .rehearsal_report import RehearsalReport
from .rendered import rendered_file
from .report import RunReport, build_report
from .results import OperationResult, OperationStatus, failure_text, raise_for_failures
from .rollout_course import begin_rollout, end_rollout
from .rollout_plan import RolloutPlan, RolloutRequest, plan_rollout, rehearse_rollout
from .rollout_stage import RolloutWork
from .rollout_text import estimate_text, rollout_markdown, rollout_table
from .selection import Selection, cut_batches, select_tenants
from .sync import Change, SyncPlan, apply_sync, last_reads, plan_sync
from .tables import text_table

__all__ = [
    "Change",
    "DriftReport",
    "OperationResult",
    "OperationStatus",
    "RebuildReport",
    "RehearsalReport",
    "RolloutPlan",
    "RolloutRequest",
    "RolloutWork",
    "RunReport",
    "Selection",
    "SyncPlan",
    "TenantAutomationEngine",
    "apply_sync",
    "begin_rollout",
    "build_report",
    "cut_batches",
    "end_rollout",
    "estimate_text",
    "failure_text",
    "last_reads",
    "plan_rollout",
    "plan_sync",
    "raise_for_failures",
    "rebuild_state",
    "rehearse_rollout",
    "rendered_file",
    "rollout_markdown",
    "rollout_table",
    "select_tenants",
    "text_table",
]
