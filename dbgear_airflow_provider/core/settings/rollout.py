"""How a change reaches the fleet: the section `rollout`, and the windows in which tenants may be touched."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ..tenants import TenantInfo
from .section import NonEmpty, Section
from .selection import Query, Selection, parsed

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)


_CLOCK = r"^([01]\d|2[0-3]):[0-5]\d$"


def _known_zone(value: str) -> str:
    try:
        _zone(value)
    except (KeyError, OSError, ValueError):
        told = {"allowed": "a name of the IANA time zone database, such as Asia/Tokyo"}
        raise PydanticCustomError("timezone", "no such time zone", told) from None
    return value


@lru_cache(maxsize=512)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


class WindowSettings(Section):
    """When a tenant may be touched, by the clock on the wall in `timezone`.

    days: on which it begins. to: not in it any more; where it is not after `from`, it is on the next day.
    """

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = DAYS
    from_: Annotated[str, Field(pattern=_CLOCK)] = Field(alias="from")
    to: Annotated[str, Field(pattern=_CLOCK)]
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"

    @field_validator("from_", "to", mode="before")
    @classmethod
    def _quoted(cls, value: Any) -> Any:
        if not isinstance(value, str):  # YAML reads 22:00 without quotes as the number 1320
            told = {"allowed": 'HH:MM in quotes, such as "22:00"'}
            raise PydanticCustomError("clock", "no time of day", told)
        return value

    @field_validator("days")
    @classmethod
    def _each_once(cls, value: tuple[Day, ...]) -> tuple[Day, ...]:
        if len(set(value)) != len(value):
            raise ValueError("each day may be named once")
        return value

    @cached_property
    def begins(self) -> time:
        """The time of day from which it is open."""
        return time.fromisoformat(self.from_)

    @cached_property
    def ends(self) -> time:
        """The time of day from which it is closed."""
        return time.fromisoformat(self.to)

    @property
    def zone(self) -> ZoneInfo:
        """Whose wall it is."""
        return _zone(self.timezone)


class MaintenanceSettings(Section):
    """What a tenant's own settings say of its windows: one or a list of them. None: it says nothing."""

    maintenance: list[WindowSettings] | None = None

    @field_validator("maintenance", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, Mapping) else value


class BudgetSettings(Section):
    """How many of a stage's tenants may fail: a number, or percent of them, rounded down."""

    count: Annotated[int, Field(ge=0)] | None = None
    percent: Annotated[float, Field(ge=0, le=100)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> BudgetSettings:
        if (self.count is None) == (self.percent is None):
            raise PydanticCustomError("budget", "one of the two is needed", {"allowed": ["count", "percent"]})
        return self


class StageSettings(Selection):
    """A stage: of the tenants that match `query` and are in no earlier stage, some or all.

    count: so many, or so many of each value of `per`. percent: of all the tenants of the rollout that match `query`,
    rounded up; neither: all that are left. instances: only these of a tenant; None: all.
    budget: None: no failure in the first stage, 5 % in others. soak: seconds between the last tenant and the next
    stage. approval: a person has to say go. health: what was migrated is checked before the next stage.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    count: Annotated[int, Field(ge=1)] | None = None
    per: Literal["tier", "region", "target"] | None = None
    percent: Annotated[float, Field(gt=0, le=100)] | None = None
    instances: Annotated[list[NonEmpty], Field(min_length=1)] | None = None
    budget: BudgetSettings | None = None
    soak: Annotated[float, Field(ge=0)] = 0
    approval: bool = False
    health: bool = True

    @model_validator(mode="after")
    def _one_measure(self) -> StageSettings:
        if self.count is not None and self.percent is not None:
            told = {"field": ("percent",), "allowed": "count or percent, not both"}
            raise PydanticCustomError("stage", "a stage has one measure", told)
        if self.per is not None and self.count is None:
            told = {"field": ("per",), "allowed": "count: so many of each"}
            raise PydanticCustomError("stage", "of no use without a count", told)
        return self

    @property
    def takes_all(self) -> bool:
        """Whether no later stage can have anybody."""
        return self.query is None and self.count is None and self.percent is None and self.instances is None


class RolloutSettings(Section):
    """How migrations are rolled out.

    migrations: the folder of the scripts, absolute once loaded. promotion: names of instances in their order: one of
    a tenant waits until those before it are done in an earlier stage. exclude: tenants that no rollout touches.
    windows: when tenants may be touched whose own settings have no `maintenance`; empty: always.
    """

    migrations: Path | None = None
    stages: Annotated[list[StageSettings], Field(min_length=1)] = [
        StageSettings(name="canary", count=1, per="tier"),
        StageSettings(name="ten percent", percent=10),
        StageSettings(name="rest"),
    ]
    promotion: list[NonEmpty] = []
    exclude: Query | None = None
    windows: list[WindowSettings] = []

    @field_validator("stages")
    @classmethod
    def _may_have_somebody(cls, stages: list[StageSettings]) -> list[StageSettings]:
        names: set[str] = set()
        percent = 0.0
        for index, stage in enumerate(stages):
            if stage.name in names:
                told: dict[str, Any] = {"field": (str(index), "name"), "allowed": "a name of its own for each stage"}
                raise PydanticCustomError("stage", "the name is there twice", told)
            names.add(stage.name)
            if index and stages[index - 1].takes_all:
                told = {"field": (str(index),), "allowed": "query, count, percent or instances in the one before it"}
                raise PydanticCustomError("stage", "the stage before it takes all that are left", told)
            if stage.percent is not None and stage.query is None and stage.instances is None:
                if percent + stage.percent > 100:  # noqa: PLR2004 - percent
                    told = {"field": (str(index), "percent"), "allowed": f"up to {100 - percent:g}, or leave it out"}
                    raise PydanticCustomError("stage", "percents are of all tenants and add up to more than 100", told)
                percent += stage.percent
        return stages

    @field_validator("promotion")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("each instance may be named once")
        return value

    def excludes(self, tenant: TenantInfo) -> bool:
        """Tell whether no rollout may touch the tenant."""
        return self.exclude is not None and parsed(self.exclude).matches(tenant)
