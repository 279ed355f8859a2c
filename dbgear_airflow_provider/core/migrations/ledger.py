"""What a ledger says of migrations, and what is to be done next."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import EditedMigrationError, MigrationError, MigrationOrderError
from ..schema import BASELINE, NO_CHECKSUM, LedgerEntry
from .folder import MigrationSet
from .script import Migration, Section, version_order

VERSION = re.compile(r"\d+(?:\.\d+)*", re.ASCII)
_PROGRESS = re.compile(rf"(?P<version>{VERSION.pattern})(?P<down> down)? #(?P<number>\d+)(?P<begun> begun)?", re.ASCII)

Order = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a script is that is not in one transaction.

    done: hashes of the statements that are done, in order. begun: that of the next one where it was sent, so that it
    may be done as well. rows: versions of the rows that say so.
    """

    version: str
    down: bool
    done: Sequence[str]
    begun: str | None
    rows: Sequence[str]

    def refuse_edited(self, migration: Migration, section: Section) -> None:
        """Raise EditedMigrationError where what was done, or may be, is not what the script says now."""
        known = [*self.done, *([] if self.begun is None else [self.begun])]
        for number, found in enumerate(known, 1):
            statement = section.statements[number - 1] if number <= len(section.statements) else None
            if statement is None or statement.hash != found:
                where = f"{migration.file}, line {statement.line}" if statement else str(migration.file)
                state = "was done" if number <= len(self.done) else "was begun and may be done"
                raise EditedMigrationError(
                    f"{where}: statement {number} of version {migration.version} {state}, and was edited since: "
                    "write it as it was",
                    version=migration.version,
                    file=str(migration.file),
                    statement=number,
                    applied=found,
                )


@dataclass(frozen=True, kw_only=True)
class LedgerState:
    """What the ledger of an instance says of migrations.

    applied: {order of the version: its row}. baseline: up to which all count as applied. progress: of the scripts that
    are half done, by order.
    """

    applied: Mapping[Order, LedgerEntry] = field(default_factory=dict)
    baseline: LedgerEntry | None = None
    progress: Mapping[Order, Progress] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Iterable[LedgerEntry]) -> LedgerState:
        """Read the rows of a ledger; those that are not about migrations are passed over."""
        applied, baselines, steps = dict[Order, LedgerEntry](), list[LedgerEntry](), dict[Order, list[re.Match[str]]]()
        checksums: dict[str, str] = {}
        for entry in entries:
            checksums[entry.version] = entry.checksum
            if VERSION.fullmatch(entry.version):
                applied[version_order(entry.version)] = entry
            elif VERSION.fullmatch(entry.version.removeprefix(BASELINE)):
                baselines.append(entry)
            elif match := _PROGRESS.fullmatch(entry.version):
                steps.setdefault(version_order(match["version"]), []).append(match)
        return cls(
            applied=applied,
            baseline=max(baselines, key=_baseline_order, default=None),
            progress={order: _progress(found, checksums) for order, found in steps.items()},
        )

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing of migrations."""
        return not self.applied and self.baseline is None and not self.progress

    @property
    def newest(self) -> str | None:
        """The newest version that is applied, or counts so."""
        versions = {order: entry.version for order, entry in self.applied.items()}
        if self.baseline is not None:
            versions.setdefault(_baseline_order(self.baseline), self.baseline.version.removeprefix(BASELINE))
        return versions[max(versions)] if versions else None

    @cached_property
    def digest(self) -> str:
        """sha256 of what is applied, in hex: the same in all instances that are at the same."""
        entries = [*self.applied.values(), *([self.baseline] if self.baseline else [])]
        lines = sorted(f"{entry.version} {entry.checksum}" for entry in entries)
        lines += sorted(row for progress in self.progress.values() for row in progress.rows)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def pending(
        self, migrations: MigrationSet, to: str | None = None, *, out_of_order: bool = False
    ) -> list[Migration]:
        """Return the migrations up to a version that are not applied, in order; a half-done one is among them.

        Raises EditedMigrationError and MigrationOrderError where ledger and scripts do not go together, MigrationError
        for a version that the scripts do not have.
        """
        wanted = migrations.upto(to).migrations
        self._refuse_unknown(migrations)
        self._refuse_edited(migrations)
        newest = self._newest_order
        pending = [item for item in wanted if not self._counts(item.order)]
        for progress in self.progress.values():
            if progress.down:
                raise _half_done(progress, "undone", "undo it to its end")
        for item in pending:
            if newest is not None and item.order < newest and not out_of_order and item.order not in self.progress:
                raise MigrationOrderError(
                    f"{item.file}: version {item.version} is not applied, and older than {self.newest}, which is: "
                    "give it a newer version, or allow out_of_order",
                    version=item.version,
                    file=str(item.file),
                )
            if item.order in self.progress:
                self.progress[item.order].refuse_edited(item, item.up)
        first = pending[0].order if pending else None
        for order, progress in self.progress.items():
            if first is not None and order > first and not out_of_order:
                raise _half_done(progress, "applied", f"apply it to its end before {pending[0].version}")
            if migrations.is_file and first is not None and order != first:
                raise _half_done(progress, "applied", f"apply it to its end before {pending[0].version}")
        return pending

    def undoable(self, migrations: MigrationSet, to: str) -> list[Migration]:
        """Return the applied migrations that are newer than a version, the newest first; to "0": all of them.

        Raises MigrationOrderError, EditedMigrationError, and MigrationError for one that has no `migrate:down`.
        """
        try:
            last = version_order(to.removeprefix("v"))
        except ValueError:
            raise MigrationError("no version", where="to", received=to, allowed="a version, or 0") from None
        for progress in self.progress.values():
            if not progress.down:
                raise _half_done(progress, "applied", "apply it to its end")
        if self.baseline is not None and last < _baseline_order(self.baseline):
            raise MigrationOrderError(
                f"version {to} is older than the {self.baseline.version}: what was before it cannot be undone",
                version=to,
            )
        self._refuse_unknown(migrations)
        self._refuse_edited(migrations)
        there = {item.order: item for item in migrations.migrations}
        found = []
        for order in sorted(self.applied, reverse=True):
            if order <= last or order not in there:
                continue
            item = there[order]
            if item.down is None:
                raise MigrationError(
                    f"version {item.version} cannot be undone", where=str(item.file), allowed="-- migrate:down"
                )
            if order in self.progress:
                self.progress[order].refuse_edited(item, item.down)
            found.append(item)
        return found

    @property
    def _newest_order(self) -> Order | None:
        orders = [*self.applied, *([_baseline_order(self.baseline)] if self.baseline else [])]
        return max(orders, default=None)

    def _counts(self, order: Order) -> bool:
        return order in self.applied or (self.baseline is not None and order <= _baseline_order(self.baseline))

    def _refuse_unknown(self, migrations: MigrationSet) -> None:
        if migrations.is_file:
            return
        known = {item.order for item in migrations.migrations}
        for order, entry in [*self.applied.items(), *((order, None) for order in self.progress)]:
            # What was before the baseline may be gone from the folder: others begin there.
            old = self.baseline is not None and order <= _baseline_order(self.baseline)
            if order not in known and not old:
                version = entry.version if entry else self.progress[order].version
                raise MigrationOrderError(
                    f"{migrations.path}: the ledger has version {version}, and there is no script of it",
                    version=version,
                    file=str(migrations.path),
                )

    def _refuse_edited(self, migrations: MigrationSet) -> None:
        for item in migrations.migrations:
            entry = self.applied.get(item.order)
            if entry is not None and entry.checksum not in (item.checksum, NO_CHECKSUM):
                raise EditedMigrationError(
                    f"{item.file}: version {item.version} was edited after it was applied: its checksum is "
                    f"{item.checksum}, that of what was applied {entry.checksum}",
                    version=item.version,
                    file=str(item.file),
                    applied=entry.checksum,
                )


def digests_at(migrations: MigrationSet, to: str | None) -> set[str]:
    """Return the digests of ledgers that have all migrations up to a version: without a baseline, or with one."""
    return {state.digest for state in _states_at(migrations, to)}


def known_state(migrations: MigrationSet, version: str | None, digest: str) -> LedgerState | None:
    """Return the state that has such a digest and that newest version; None where the scripts do not tell it."""
    if version is None:
        return LedgerState() if LedgerState().digest == digest else None
    if version_order(version) not in {item.order for item in migrations.migrations}:
        return None
    return next((state for state in _states_at(migrations, version) if state.digest == digest), None)


def _states_at(migrations: MigrationSet, to: str | None) -> Iterator[LedgerState]:
    items = migrations.upto(to).migrations
    entries = [LedgerEntry(version=item.version, tenant_id="", instance="", checksum=item.checksum) for item in items]
    yield LedgerState.of(entries)
    for number, item in enumerate(items, 1):
        base = LedgerEntry(version=f"{BASELINE}{item.version}", tenant_id="", instance="", checksum=NO_CHECKSUM)
        yield LedgerState.of([base, *entries[number:]])


def step_version(version: str, number: int, *, down: bool, begun: bool) -> str:
    """Return the version of the row that tells of one statement of a script."""
    return f"{version}{' down' if down else ''} #{number}{' begun' if begun else ''}"


def _baseline_order(entry: LedgerEntry) -> Order:
    return version_order(entry.version.removeprefix(BASELINE))


def _progress(steps: Sequence[re.Match[str]], checksums: Mapping[str, str]) -> Progress:
    done = {int(step["number"]): checksums[step[0]] for step in steps if not step["begun"]}
    begun = {int(step["number"]): checksums[step[0]] for step in steps if step["begun"]}
    count = 0
    while count + 1 in done:
        count += 1
    return Progress(
        version=steps[0]["version"],
        down=any(step["down"] for step in steps),
        done=[done[number] for number in range(1, count + 1)],
        begun=begun.get(count + 1),
        rows=[step[0] for step in steps],
    )


def _half_done(progress: Progress, how: str, what: str) -> MigrationOrderError:
    return MigrationOrderError(f"version {progress.version} is half {how}: {what}", version=progress.version)
