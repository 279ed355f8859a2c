"""The fleet store: tenant state, operation history and rollouts."""

from .alerts import AlertRecord, AlertStore
from .health import HealthRecord, HealthStatus, HealthStore
from .instances import InstanceRecord
from .recorder import Recorder
from .rollouts import MemberStatus, RolloutMember, RolloutRecord, RolloutStatus, RolloutStore, StageState
from .status import FleetStatus
from .store import FingerprintRecord, FleetStore, OperationRecord, Run, ScriptRecord, VersionRecord

__all__ = [
    "AlertRecord",
    "AlertStore",
    "FingerprintRecord",
    "FleetStatus",
    "FleetStore",
    "HealthRecord",
    "HealthStatus",
    "HealthStore",
    "InstanceRecord",
    "MemberStatus",
    "OperationRecord",
    "Recorder",
    "RolloutMember",
    "RolloutRecord",
    "RolloutStatus",
    "RolloutStore",
    "Run",
    "ScriptRecord",
    "StageState",
    "VersionRecord",
]
