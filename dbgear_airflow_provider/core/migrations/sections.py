"""The comments of a script that mean something: `-- migrate:up`, `-- migrate:down` and `-- dbgear:allow`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .grammar import Scan, Source

_MARKER = re.compile(r"--\s*migrate:(?P<side>\S*)(?P<options>[^\n]*)")
_ALLOW = re.compile(r"(?:--|#)\s*dbgear:allow\b(?P<rest>[^\n]*)")
_RULES = re.compile(r"\s*(?P<rules>[\w-]+(?:\s*,\s*[\w-]+)*)\s*:\s*(?P<reason>\S.*)")
_OPTIONS: Mapping[str, bool] = {"": True, "transaction:true": True, "transaction:false": False}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What stands behind a marker, from `start` to before `end`."""

    side: str
    transaction: bool
    marker: int
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Allow:
    """A lint rule that a script overrides, and why. line: in the file."""

    rule: str
    reason: str
    line: int


def parts(source: Source, scanned: Scan) -> Mapping[str, Part]:
    """Return {"up" or "down": its part}; without markers the whole text is `up`. Raises MigrationError."""
    markers = list(_markers(source, scanned))
    if not markers:
        whole = Part(side="up", transaction=True, marker=0, start=0, end=len(source.text))
        return {"up": whole}
    before = [token for token in scanned.tokens if token.start < markers[0].marker]
    if before:
        raise source.error(before[0].start, "a statement before the first marker", "comments alone")
    found: dict[str, Part] = {}
    for marker in markers:
        if marker.side in found or (marker.side == "down" and "up" not in found):
            problem = f"a second migrate:{marker.side}" if marker.side in found else "migrate:down before migrate:up"
            raise source.error(marker.marker, problem, "one -- migrate:up, and behind it at most one -- migrate:down")
        found[marker.side] = marker
    return found


def _markers(source: Source, scanned: Scan) -> Iterator[Part]:
    found = []
    for start, end in scanned.comments:
        match = _MARKER.fullmatch(source.text, start, end)
        if match and not source.text[:start].rpartition("\n")[2].strip():
            found.append(match)
    for number, match in enumerate(found):
        options = match["options"].strip()
        if match["side"] not in ("up", "down") or options not in _OPTIONS:
            allowed = ["-- migrate:up", "-- migrate:down", "transaction:false behind either"]
            raise source.error(match.start(), "no such marker", allowed, match[0])
        end = found[number + 1].start() if number + 1 < len(found) else len(source.text)
        transaction = _OPTIONS[options]
        yield Part(side=match["side"], transaction=transaction, marker=match.start(), start=match.end(), end=end)


def allows(source: Source, comments: Sequence[tuple[int, int]]) -> list[Allow]:
    """Return what comments allow. Raises MigrationError where one names no rule or gives no reason."""
    found = []
    for start, end in comments:
        match = _ALLOW.fullmatch(source.text, start, end)
        if match is None:
            continue
        given = _RULES.fullmatch(match["rest"].rstrip())
        if given is None:
            allowed = "-- dbgear:allow <rule>[, <rule>]: <reason>"
            raise source.error(start, "no rule, or no reason for it", allowed, match[0])
        line, rules = source.line_of(start), re.split(r"\s*,\s*", given["rules"])
        found += [Allow(rule=rule, reason=given["reason"], line=line) for rule in rules]
    return found
