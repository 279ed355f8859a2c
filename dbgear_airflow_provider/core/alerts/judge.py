"""When something is told: once when a rule is broken, and once when it is kept again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from ..fleet import AlertRecord
from ..settings import AlertRule, AlertSettings
from .measures import Measured


@dataclass(frozen=True, kw_only=True)
class Alert:
    """How a rule stands. kind: it `begins` or lasts, or `ends`; `unknown` where nothing could be measured.

    to: names of the notifiers that have to be told; [] where all know.
    """

    kind: Literal["begins", "ends", "unknown"]
    record: AlertRecord
    measured: Measured | None = None
    to: Sequence[str] = ()

    def settled(self, taken: Collection[str]) -> AlertRecord | None:
        """Return what the store has to keep. taken: those of `to` that took the message; the others are told again."""
        knowing = {*self.record.told, *taken} if self.kind == "begins" else {*self.record.told} - {*taken}
        if self.kind == "ends" and not knowing:
            return None
        return replace(self.record, told=sorted(knowing))


def judge(
    settings: AlertSettings, measured: Mapping[str, Measured | None], known: Sequence[AlertRecord], now: datetime
) -> list[Alert]:
    """Return how the rules stand that are broken, or were. A pure function.

    measured: by rule; where there is none, a state lasts as it was. known: what the store has. now: aware. What the
    settings do not have any more is forgotten in silence.
    """
    before = {record.rule: record for record in known}
    alerts = []
    for rule in settings.rules:
        alert = _judged(rule, list(settings.named(rule.notify)), measured.get(rule.name), before.get(rule.name), now)
        alerts += [alert] if alert is not None else []
    return alerts


def _judged(
    rule: AlertRule, who: Sequence[str], measured: Measured | None, known: AlertRecord | None, now: datetime
) -> Alert | None:
    told = [name for name in known.told if name in who] if known is not None else []
    if measured is None:
        return None if known is None else Alert(kind="unknown", record=replace(known, told=told))
    is_broken = measured.value > rule.above
    if known is None and not is_broken:
        return None
    record = AlertRecord(
        rule=rule.name,
        severity=rule.severity,
        since=now if known is None else known.since,
        value=measured.value,
        text=_text(rule, measured),
        told=told,
    )
    if is_broken:
        to = [name for name in who if name not in told]
        return Alert(kind="begins", record=record, measured=measured, to=to)
    if not rule.told_when_over:
        record = replace(record, told=[])
    return Alert(kind="ends", record=record, measured=measured, to=record.told)


def _text(rule: AlertRule, measured: Measured) -> str:
    of = "" if measured.of is None or measured.unit.startswith("%") else f" of {measured.of}"
    return f"{rule.measure}: {measured.value:.4g}{of} {measured.unit}, the limit is {rule.above:g}"
