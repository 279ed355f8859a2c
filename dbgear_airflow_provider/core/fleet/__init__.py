"""The fleet store: tenant state, operation history and rollouts."""

from .alerts import AlertRecord, AlertStore
from .figures import BUCKETS_S, FleetFigures, OperationTotals
from .health import HealthRecord, HealthStatus, HealthStore
from .instances import InstanceRecord
from .overview import Overview, SortKey, TenantRow
from .recorder import Recorder
from .rollouts import MemberStatus, RolloutMember, RolloutRecord, RolloutStatus, RolloutStore, StageState
from .status import FleetStatus
from .store import FingerprintRecord, FleetStore, OperationRecord, Run, ScriptRecord, VersionRecord
from .tenants import TenantRecord, TenantStore

__all__ = [
    "BUCKETS_S",
    "AlertRecord",
    "AlertStore",
    "FingerprintRecord",
    "FleetFigures",
    "FleetStatus",
    "FleetStore",
    "HealthRecord",
    "HealthStatus",
    "HealthStore",
    "InstanceRecord",
    "MemberStatus",
    "OperationRecord",
    "OperationTotals",
    "Overview",
    "Recorder",
    "RolloutMember",
    "RolloutRecord",
    "RolloutStatus",
    "RolloutStore",
    "Run",
    "ScriptRecord",
    "SortKey",
    "StageState",
    "TenantRecord",
    "TenantRow",
    "TenantStore",
    "VersionRecord",
]
