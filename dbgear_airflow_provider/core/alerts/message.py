"""What an alert says, in the forms that notifiers take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from .judge import Alert

_MAX_CHARS = 300  # of one tenant's error
_MAX_LINES = 20


@dataclass(frozen=True, kw_only=True)
class AlertMessage:
    """A message. subject: one line; lines: what stands below it, without secrets. link: of a page that tells more."""

    subject: str
    lines: Sequence[str]
    severity: str
    link: str | None = None

    @property
    def text(self) -> str:
        """The whole of it as plain text."""
        return "\n".join([self.subject, *self.lines, *([self.link] if self.link else [])])

    @property
    def html(self) -> str:
        """The whole of it as HTML, without a document around it."""
        link = f'<p><a href="{escape(self.link)}">{escape(self.link)}</a></p>' if self.link else ""
        items = "".join(f"<li>{escape(line)}</li>" for line in self.lines)
        return f"<p><strong>{escape(self.subject)}</strong></p><ul>{items}</ul>{link}"

    def variables(self) -> dict[str, str]:
        """Return what a notifier's templates see as `dbgear`."""
        return {"subject": self.subject, "text": self.text, "html": self.html, "severity": self.severity}


def message_of(alert: Alert, project: str, now: datetime, link: str | None = None) -> AlertMessage:
    """Return what is told of a rule: its figure, since when, and the first tenants. now: aware."""
    record, measured = alert.record, alert.measured
    word = record.severity.upper() if alert.kind == "begins" else "OVER"
    lines = [record.text, f"since {record.since:%Y-%m-%d %H:%M} UTC"]
    if alert.kind == "ends":
        lines[-1] = f"it lasted {_span(now - record.since)}"
    elif measured is not None:
        lines += [shortened(example) for example in measured.examples]
        left = round(measured.value) - len(measured.examples)
        lines += (
            [f"and {left} more"] if measured.examples and left > 0 and measured.unit in {"tenants", "rollouts"} else []
        )
    return AlertMessage(subject=f"[{project}] {word}: {record.rule}", lines=lines, severity=record.severity, link=link)


def late_message(project: str, dag_id: str, run_id: str, minutes: float, link: str | None = None) -> AlertMessage:
    """Return what is told of a run that has not ended in time."""
    lines = [f"run {run_id} has not ended {minutes:g} minutes after it was queued"]
    return AlertMessage(subject=f"[{project}] LATE: {dag_id}", lines=lines, severity="warning", link=link)


def failure_message(project: str, *, where: str, error: str, link: str | None = None) -> AlertMessage:
    """Return what is told of a task that has failed. error: its first lines are told."""
    lines = [shortened(line) for line in error.splitlines() if line.strip()]
    return AlertMessage(
        subject=f"[{project}] FAILED: {where}", lines=lines[:_MAX_LINES], severity="critical", link=link
    )


def shortened(text: str) -> str:
    """Return a text in one line of bounded length."""
    text = " ".join(text.split())
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"


def _span(span: object) -> str:
    return str(span).split(".", maxsplit=1)[0]
