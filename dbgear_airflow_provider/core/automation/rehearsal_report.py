"""What a rehearsal came to, group by group, without a word of what tenants have in their tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import DbgearError, TenantsFailedError, TenantsRetryableError, TransientError
from ..schema import Difference, Snapshot, differences
from .drift import SAMPLES, InstanceId
from .results import failure_text
from .tables import text_table

Outcome = Literal["passed", "failed", "not rehearsed"]
_CHANGED = {"extra": "added", "missing": "dropped", "changed": "changed"}
_TOLD = 20  # changes of one group
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`")


@dataclass(frozen=True, kw_only=True)
class RehearsalGroup:
    """Instances of which one stands for all. members: ordered. versions: what they need."""

    target: str
    isolation: str
    fingerprint: str
    ledger: str | None
    versions: Sequence[str]
    members: Sequence[InstanceId]

    @property
    def first(self) -> InstanceId:
        """The one that is cloned."""
        return self.members[0]


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What the scripts did to the clone of a group's first instance.

    duration_s: of the scripts. changes: of what the clone holds. error, error_kind, transient: why it failed, or was
    not rehearsed; where, statement: file and line of the script, and its SQL, where it was one that failed.
    """

    group: RehearsalGroup
    outcome: Outcome
    duration_s: float = 0.0
    changes: Sequence[str] = ()
    error: str | None = None
    error_kind: str | None = None
    transient: bool = False
    where: str | None = None
    statement: str | None = None

    @classmethod
    def of_error(
        cls,
        group: RehearsalGroup,
        outcome: Outcome,
        error: DbgearError,
        *,
        names: Collection[str] = (),
        duration_s: float = 0.0,
    ) -> Rehearsal:
        """Return what an error came to. names: that may be told of, see `without_rows`."""
        details = error.details
        statement = details.get("statement") if "file" in details else None
        text = error.message
        if "code" in details:  # the server's words
            text = without_rows(text, {*names, *_words(str(details["statement"]))})
        where = f"{details['file']}, line {details['line']}" if {"file", "line"} <= details.keys() else None
        return cls(
            group=group,
            outcome=outcome,
            duration_s=duration_s,
            error=text,
            error_kind=error.kind,
            transient=isinstance(error, TransientError),
            where=where,
            statement=statement,
        )

    def details(self) -> dict[str, Any]:
        """Return it as JSON, with SAMPLES of the group's instances."""
        group = self.group
        return {
            "target": group.target,
            "isolation": group.isolation,
            "fingerprint": group.fingerprint,
            "ledger": group.ledger,
            "versions": list(group.versions),
            "count": len(group.members),
            "instances": [str(member) for member in group.members[:SAMPLES]],
            "rehearsed_on": str(group.first),
            "outcome": self.outcome,
            "duration_s": round(self.duration_s, 3),
            "changes": list(self.changes),
            "error": self.error,
            "error_kind": self.error_kind,
            "where": self.where,
            "statement": self.statement,
        }


@dataclass(frozen=True, kw_only=True)
class RehearsalReport:
    """What a rehearsal came to. rehearsals: by target, the largest groups first; [] where nobody needs anything."""

    rehearsals: Sequence[Rehearsal]

    def details(self) -> list[dict[str, Any]]:
        """Return it as JSON."""
        return [item.details() for item in self.rehearsals]

    def text(self) -> str:
        """Return it for a log: a line for each group, then what changed, failed, or was not rehearsed."""
        rows = [
            (
                item.group.target,
                item.group.isolation,
                str(len(item.group.members)),
                str(item.group.first),
                item.outcome,
                f"{item.duration_s:.2f}",
                ", ".join(item.group.versions),
            )
            for item in self.rehearsals
        ]
        header = ("target", "isolation", "instances", "rehearsed on", "outcome", "seconds", "versions")
        lines = [text_table(header, rows)]
        for item in self.rehearsals:
            lines += [f"{item.group.first}: {change}" for change in item.changes]
            if item.error is not None:
                lines.append(f"{item.group.first}, {item.outcome}: {item.error}")
                lines += [f"  {item.statement}"] if item.statement else []
        return "\n".join(lines)

    def refuse_failed(self) -> None:
        """Raise TenantsFailedError where a group failed; TenantsRetryableError where a retry may help one of them.

        A group that was not rehearsed has not failed.
        """
        failed = [item for item in self.rehearsals if item.outcome == "failed"]
        if failed:
            kind = TenantsRetryableError if any(item.transient for item in failed) else TenantsFailedError
            causes = [
                (item.group.first.tenant_id, f"{item.error} (stands for {len(item.group.members)} instances)")
                for item in failed
            ]
            told = failure_text(causes, len(self.rehearsals)).replace("tenants failed", "groups failed", 1)
            ids = sorted({member.tenant_id for item in failed for member in item.group.members})
            raise kind(f"rehearsal: {told}", tenant_ids=ids)


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """Return what is not as it was, in words: the first of them, and how many more there are."""
    told = [_change(item) for item in differences(before, after)]
    return [*told[:_TOLD], *([f"and {len(told) - _TOLD} more"] if len(told) > _TOLD else [])]


def _change(item: Difference) -> str:
    return f"{item.kind} {item.name}: {_CHANGED[item.change]}"


def without_rows(text: str, names: Collection[str]) -> str:
    """Return an error's text up to the first thing in quotes that is none of the names: it may be from a row."""
    for match in _QUOTED.finditer(text):
        if not set(_words(match[0])) <= set(names):
            return f"{text[: match.start()].rstrip()} ..."
    return text


def _words(text: str) -> list[str]:
    return re.findall(r"[\w$#]+", text)
