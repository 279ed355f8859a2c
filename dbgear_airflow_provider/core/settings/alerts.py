"""Who is told what about the fleet: the section `alerts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from ..errors import SettingsError
from .section import SAFE_NAME, NonEmpty, Section

Name = Annotated[str, Field(pattern=SAFE_NAME, max_length=64)]
Measure = Literal[
    "tenants_unreachable",
    "tenants_critical",
    "tenants_warning",
    "health_age_hours",
    "tenants_failed",
    "failed_percent",
    "rollouts_stopped",
]


class NotifierSettings(Section):
    """A notifier of Airflow. class: its dotted path; arguments: of its constructor.

    In those that it renders, `dbgear.subject`, `dbgear.text` and `dbgear.html` stand for the message.
    """

    class_: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")] = Field(alias="class")
    arguments: dict[NonEmpty, Any] = {}


class AlertRule(Section):
    """Something is told once when `measure` goes above `above`, and once when it is back.

    within: minutes that are looked back on, for measures of operations and rollouts. notify: names of notifiers; None:
    all. told_when_over: whether the end is told too.
    """

    name: Name
    measure: Measure
    above: Annotated[float, Field(ge=0)] = 0
    within: Annotated[float, Field(gt=0)] = 60
    severity: Literal["warning", "critical"] = "critical"
    notify: Annotated[list[Name], Field(min_length=1)] | None = None
    told_when_over: bool = True


class AlertSettings(Section):
    """Notifiers, and what they are told. late_after: {DAG: minutes from its queueing after which a run is late}."""

    notifiers: dict[Name, NotifierSettings] = {}
    rules: list[AlertRule] = []
    late_after: dict[NonEmpty, Annotated[float, Field(gt=0)]] = {}

    @field_validator("rules")
    @classmethod
    def _by_notifiers(cls, rules: list[AlertRule], info: Any) -> list[AlertRule]:
        notifiers = info.data.get("notifiers")
        seen: set[str] = set()
        for index, rule in enumerate(rules):
            if rule.name in seen:
                raise PydanticCustomError("rule", "each rule has a name of its own", {"field": (str(index), "name")})
            seen.add(rule.name)
            for place, name in enumerate(rule.notify or ()):
                if notifiers is not None and name not in notifiers:
                    told = {"field": (str(index), "notify", str(place)), "allowed": list(notifiers)}
                    raise PydanticCustomError("notifier", "no such notifier", told)
        return rules

    def named(self, names: Sequence[str] | None) -> dict[str, NotifierSettings]:
        """Return the notifiers of these names, {name: notifier}; None: all. Raises SettingsError."""
        if unknown := sorted({*(names or ())} - {*self.notifiers}):
            where = "multi_tenant.alerts.notifiers"
            raise SettingsError("no such notifier", where=where, received=unknown[0], allowed=list(self.notifiers))
        return {name: self.notifiers[name] for name in (self.notifiers if names is None else names)}
