"""The settings of a project, `project.yaml`."""

from .access import AccessSettings, SinkSettings
from .alerts import AlertRule, AlertSettings, NotifierSettings
from .health import HealthSettings, Limits, SqlCheck, Thresholds
from .loader import check_section, load_project
from .mapping import FieldMapping, FieldName
from .project import (
    AutomationSettings,
    MultiTenantSettings,
    PlacementRule,
    ProjectSettings,
    ScalingSettings,
    SchemaTemplate,
    SlotBounds,
    TargetSettings,
    TemplateSettings,
)
from .registries import (
    ApiRegistrySettings,
    CacheSettings,
    CsvRegistrySettings,
    DatabaseRegistrySettings,
    DbgearRegistrySettings,
    ExcelRegistrySettings,
    GraphqlSettings,
    RegistryConfig,
    RegistrySettings,
    SourceSettings,
    SyncSettings,
)
from .rollout import (
    DAYS,
    BudgetSettings,
    MaintenanceSettings,
    RolloutSettings,
    StageSettings,
    WindowSettings,
)

__all__ = [
    "DAYS",
    "AccessSettings",
    "AlertRule",
    "AlertSettings",
    "ApiRegistrySettings",
    "AutomationSettings",
    "BudgetSettings",
    "CacheSettings",
    "CsvRegistrySettings",
    "DatabaseRegistrySettings",
    "DbgearRegistrySettings",
    "ExcelRegistrySettings",
    "FieldMapping",
    "FieldName",
    "GraphqlSettings",
    "HealthSettings",
    "Limits",
    "MaintenanceSettings",
    "MultiTenantSettings",
    "NotifierSettings",
    "PlacementRule",
    "ProjectSettings",
    "RegistryConfig",
    "RegistrySettings",
    "RolloutSettings",
    "ScalingSettings",
    "SchemaTemplate",
    "SinkSettings",
    "SlotBounds",
    "SourceSettings",
    "SqlCheck",
    "StageSettings",
    "SyncSettings",
    "TargetSettings",
    "TemplateSettings",
    "Thresholds",
    "WindowSettings",
    "check_section",
    "load_project",
]
