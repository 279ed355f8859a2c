"""Rollouts: a change reaches a fleet in stages, with a gate between them."""

from .budget import ErrorBudget, TenantGroup, allowed_failures, grouped
from .estimate import Estimate, estimate
from .gate import HealthCheck, Verdict, check_gate, verdict
from .report import RolloutReport, StageReport, build_report
from .stages import Cut, LeftOut, Stage, cut, held_back
from .windows import changes_at, is_open, windows_of

__all__ = [
    "Cut",
    "ErrorBudget",
    "Estimate",
    "HealthCheck",
    "LeftOut",
    "RolloutReport",
    "Stage",
    "StageReport",
    "TenantGroup",
    "Verdict",
    "allowed_failures",
    "build_report",
    "changes_at",
    "check_gate",
    "cut",
    "estimate",
    "grouped",
    "held_back",
    "is_open",
    "verdict",
    "windows_of",
]
