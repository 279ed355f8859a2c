"""The project file, `project.yaml`: what is configured for a fleet, in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ..errors import SettingsError
from ..tenants import TenantInfo
from .access import AccessSettings
from .alerts import AlertSettings
from .health import HealthSettings
from .registries import CacheSettings, RegistrySettings, SourceSettings, SyncSettings
from .rollout import RolloutSettings
from .section import SAFE_NAME, NonEmpty, Section
from .selection import Selection


class TargetSettings(Section):
    """A server that holds tenants. connection_id names the Airflow connection with its address and password.

    max_connections: sessions that one worker process opens on this server at the most.
    shared_schema: in which tenants of isolation `table` live; None: `public` on PostgreSQL, the connection's database
    where schemas are databases.
    """

    connection_id: NonEmpty
    shared_schema: NonEmpty | None = None
    max_connections: Annotated[int, Field(ge=1, le=1000)] = 8


class PlacementRule(Selection):
    """Tenants that match `query` live on `target`; without a query, all that no earlier rule took."""

    target: str


class SchemaTemplate(Selection):
    """A schema template and the tenants that it is for.

    initial_data: the DBGear mapping folder whose rows these tenants get; absolute once loaded. delete_rows: rows that
    are not in the files of a table with `sync_mode: replace` are deleted. version: up to which migration what it makes
    has all of them; None: none.
    """

    name: str
    file: NonEmpty
    initial_data: Path | None = None
    delete_rows: bool = False
    version: Annotated[str, Field(pattern=r"^v?\d+(\.\d+)*$", max_length=200)] | None = None


class TemplateSettings(Section):
    """Templates. base_dir is absolute once loaded; None means the templates shipped with the provider.

    on_unsupported: what happens with what an engine cannot hold of a document: `error` fails the tenant, `warn`
    leaves it out.
    """

    base_dir: Path | None = None
    environment: str = "environment.j2"
    on_unsupported: Literal["error", "warn"] = "error"
    schema_templates: Annotated[list[SchemaTemplate], Field(min_length=1)] = [
        SchemaTemplate(name="schema", file="schema.j2")
    ]


class AutomationSettings(Section):
    """Limits of bulk operations.

    max_parallel_operations: tenants that one process works on at once, at the most.
    operation_timeout: seconds for one tenant, retries included.
    retry_attempts: tries of one tenant on transient errors, the first included.
    max_mapped_tasks: batches that one DAG run is cut into, at the most.
    tenants_in_flight: tenants that one batch task works on at once, and the pool slots that it takes.
    """

    max_parallel_operations: Annotated[int, Field(ge=1, le=1000)] = 20
    operation_timeout: Annotated[float, Field(gt=0)] = 300
    retry_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    max_mapped_tasks: Annotated[int, Field(ge=1, le=1000)] = 100
    tenants_in_flight: Annotated[int, Field(ge=1, le=100)] = 2


class SlotBounds(Section):
    """Between how many slots a target's pool is kept, by its load."""

    min_slots: Annotated[int, Field(ge=1, le=1000)]
    max_slots: Annotated[int, Field(ge=1, le=1000)]

    @model_validator(mode="after")
    def _in_order(self) -> SlotBounds:
        if self.max_slots < self.min_slots:
            told = {"field": ("max_slots",), "allowed": f"{self.min_slots} or more"}
            raise PydanticCustomError("slots", "below min_slots", told)
        return self


class ScalingSettings(Section):
    """Pools that follow the load. connection_id: Airflow connection of Airflow's own API.

    window: minutes of operations that are looked back on. suffering: percent of a target's operations in the window
    that may fail for the server's sake before its pool gets smaller.
    """

    connection_id: NonEmpty
    targets: Annotated[dict[str, SlotBounds], Field(min_length=1)]
    window: Annotated[float, Field(gt=0)] = 10
    suffering: Annotated[float, Field(ge=0, le=100)] = 5


class MonitoringSettings(Section):
    """What is told about the fleet, and where."""

    enabled: bool = True
    metrics_endpoint: str = "/metrics"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class MultiTenantSettings(Section):
    """The section `multi_tenant`."""

    enabled: bool = True
    scale: str = "standard"
    tenant_registry: RegistrySettings
    cache: CacheSettings = CacheSettings()
    sources: dict[Annotated[str, Field(pattern=SAFE_NAME)], SourceSettings] = {}
    sync: SyncSettings = SyncSettings()
    targets: Annotated[dict[Annotated[str, Field(pattern=SAFE_NAME)], TargetSettings], Field(min_length=1)]
    placement: list[PlacementRule] = []
    templates: TemplateSettings = TemplateSettings()
    access: AccessSettings = AccessSettings()
    automation: AutomationSettings = AutomationSettings()
    rollout: RolloutSettings = RolloutSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    health: HealthSettings = HealthSettings()
    alerts: AlertSettings = AlertSettings()
    scaling: ScalingSettings | None = None

    @field_validator("sync")
    @classmethod
    def _of_sources(cls, sync: SyncSettings, info: Any) -> SyncSettings:
        sources = info.data.get("sources")
        if sources is None:  # they are wrong themselves, and that is told
            return sync
        for index, name in enumerate(sync.sources or ()):
            if name not in sources:
                told = {"field": ("sources", str(index)), "allowed": list(sources)}
                raise PydanticCustomError("source", "no such source", told)
        for field, names in sync.precedence.items():
            knowing = [name for name in sync.sources or sources if sources[name].may_know(field)]
            for index, name in enumerate(names):
                if name not in knowing:
                    told = {"field": ("precedence", field, str(index)), "allowed": knowing}
                    raise PydanticCustomError("source", "no source of the sync that knows this field", told)
        return sync

    @field_validator("placement")
    @classmethod
    def _placed_on_targets(cls, rules: list[PlacementRule], info: Any) -> list[PlacementRule]:
        targets = info.data.get("targets", {})
        for index, rule in enumerate(rules):
            if targets and rule.target not in targets:
                told = {"field": (str(index), "target"), "allowed": list(targets)}
                raise PydanticCustomError("target", "no such target", told)
        return rules

    @field_validator("scaling")
    @classmethod
    def _scaled_with_room_for_a_task(cls, scaling: ScalingSettings | None, info: Any) -> ScalingSettings | None:
        targets, automation = info.data.get("targets"), info.data.get("automation")
        for name, bounds in (scaling.targets if scaling is not None else {}).items():
            if targets and name not in targets:
                raise PydanticCustomError(
                    "target", "no such target", {"field": ("targets", name), "allowed": list(targets)}
                )
            if automation and bounds.min_slots < automation.tenants_in_flight:
                told = {"field": ("targets", name, "min_slots"), "allowed": f"{automation.tenants_in_flight} or more"}
                raise PydanticCustomError("slots", "one task takes more: tenants_in_flight", told)
        return scaling

    def synced_sources(self) -> dict[str, SourceSettings]:
        """Return the sources that make up the registry: {name: source}, the first one before the others."""
        return {name: self.sources[name] for name in self.sync.sources or self.sources}

    def target(self, name: str) -> TargetSettings:
        """Return the settings of a target. Raises SettingsError where there is none of that name."""
        if name not in self.targets:
            raise SettingsError(
                "no such target", where="multi_tenant.targets", received=name, allowed=list(self.targets)
            )
        return self.targets[name]

    def target_of(self, tenant: TenantInfo) -> str:
        """Return the name of the tenant's target: the first rule that matches, else the only target there is.

        Raises SettingsError where several targets exist and no rule matches.
        """
        for rule in self.placement:
            if rule.selects(tenant):
                return rule.target
        if len(self.targets) == 1:
            return next(iter(self.targets))
        raise SettingsError(
            "no placement rule matches the tenant",
            where="multi_tenant.placement",
            received=tenant.tenant_id,
            allowed="a last rule without a query takes every tenant that is left",
        )

    def schema_template_of(self, tenant: TenantInfo) -> SchemaTemplate:
        """Return the first schema template whose query matches. Raises SettingsError where none does."""
        for template in self.templates.schema_templates:
            if template.selects(tenant):
                return template
        raise SettingsError(
            "no schema template matches the tenant",
            where="multi_tenant.templates.schema_templates",
            received=tenant.tenant_id,
            allowed="a last template without a query takes every tenant that is left",
        )


class ProjectSettings(BaseModel):
    """A whole project.yaml. Keys of DBGear that are not ours are ignored, as DBGear does."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    project_name: str = "dbgear"
    description: str = ""
    multi_tenant: MultiTenantSettings
