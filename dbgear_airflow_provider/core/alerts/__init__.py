"""Alerts: what is measured of the fleet, when it is told, and in which words."""

from .judge import Alert, judge
from .measures import Measured, measure
from .message import AlertMessage, failure_message, late_message, message_of

__all__ = ["Alert", "AlertMessage", "Measured", "failure_message", "judge", "late_message", "measure", "message_of"]
