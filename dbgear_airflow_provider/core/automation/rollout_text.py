"""A rollout as text: for a log, and for the person who is asked whether it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..rollout import Estimate, RolloutReport, StageReport, TenantGroup
from ..rollout.report import counted, span_text
from .results import NAMED
from .tables import text_table

_STATUSES = ("changed", "unchanged", "failed", "pending", "undone")
_HEADER = ("stage", "tenants", "instances", *_STATUSES, "may fail", "longest")


def rollout_table(report: RolloutReport) -> str:
    """Return how a rollout stands as a table for a log, with the time left and the first failures."""
    lines = [f"rollout {report.record.id} to version {report.record.version} is {report.record.status}"]
    lines.append(text_table(_HEADER, map(_row, report.stages)))
    if report.record.status == "running":
        lines.append(estimate_text(report.estimate))
    lines += [_group(group) for group in report.failures]
    lines += [f"left out, {group.kind}: {len(group.tenant_ids)} tenants" for group in report.left_out]
    return "\n".join(lines)


def rollout_markdown(report: RolloutReport, stage: int, scripts: Sequence[Mapping[str, Any]]) -> str:
    """Return what a person has to know who decides whether a rollout goes on after a stage. scripts: of the plan."""
    this, following = report.stages[stage], report.stages[stage + 1 :]
    tenants = sum(item.tenants for item in following)
    lines = [
        f"**{this.stage.name}** is done. To come: {counted(tenants, 'tenant')} in {counted(len(following), 'stage')}. "
        f"{estimate_text(report.estimate).capitalize()}.",
        "",
        f"Rollout `{report.record.id}` to version **{report.record.version}**, for `{report.record.query}`:",
        "",
    ]
    for item in scripts:
        told = "can be undone" if item["undoable"] else "**cannot be undone**"
        lines.append(f"- `{item['file']}`: {counted(item['statements'], 'statement')}, {told}")
    lines += ["", f"| {' | '.join(_HEADER)} |", f"|{' --- |' * len(_HEADER)}"]
    lines += [f"| {' | '.join(map(_escaped, _row(item)))} |" for item in report.stages]
    if report.failures:
        lines += ["", "Failed so far:", "", *(f"- {_escaped(_group(group))}" for group in report.failures)]
    undoable = all(item["undoable"] for item in scripts)
    lines += ["", "Reject stops the rollout" + ("; what is done can be undone." if undoable else ".")]
    return "\n".join(lines)


def estimate_text(estimate: Estimate) -> str:
    """Return the time left in words."""
    if not estimate.left:
        return "nothing is left"
    told = f"{counted(estimate.left, 'instance')} left"
    if estimate.left_s is None:
        return told
    bounds = f"at least {span_text(estimate.low_s)}"
    if estimate.high_s is not None:
        bounds = f"{span_text(estimate.low_s)} to {span_text(estimate.high_s)}"
    return f"{told}, about {span_text(estimate.left_s)} ({bounds})"


def _row(stage: StageReport) -> tuple[str, ...]:
    counts = [str(stage.counts[name]) for name in _STATUSES]
    instances = str(sum(stage.counts.values()))
    return stage.stage.name, str(stage.tenants), instances, *counts, str(stage.allowed), span_text(stage.longest_s)


def _group(group: TenantGroup) -> str:
    named = ", ".join(group.tenant_ids[:NAMED])
    more = f" and {len(group.tenant_ids) - NAMED} more" if len(group.tenant_ids) > NAMED else ""
    return f"failed, {group.kind}: {named}{more}; {' '.join(group.example.split())}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
