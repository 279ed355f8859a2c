"""Health: figures of instances, what is a problem, and the report of all of them."""

from .judge import Facts, Problem, judge, status_of
from .report import HealthReport, InstanceHealth

__all__ = ["Facts", "HealthReport", "InstanceHealth", "Problem", "judge", "status_of"]
