"""The fleet store: tenant state and operation history."""

from .store import FleetStore, OperationRecord, Recorder, Run

__all__ = ["FleetStore", "OperationRecord", "Recorder", "Run"]
