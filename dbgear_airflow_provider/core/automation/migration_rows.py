"""What the ledger is told while a script runs: a statement was sent, it is done, the script is applied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.engine import Dialect

from ..migrations import LedgerState, Migration, Names, Section, Statement, step_version
from ..schema import LedgerEntry, delete_statement, insert_statement
from .instance import Instance


@dataclass(frozen=True, kw_only=True)
class Step:
    """One statement of a script, and the ledger's SQL before it, behind it, and where the server refuses it.

    again: an earlier attempt has sent it.
    """

    statement: Statement
    sql: str
    before: Sequence[str]
    after: Sequence[str]
    failed: Sequence[str]
    again: bool
    is_last: bool


class MigrationRows:
    """The SQL that keeps an instance's ledger. down: whether scripts are undone."""

    def __init__(self, instance: Instance, dialect: Dialect, names: Names, *, down: bool) -> None:
        self._instance = instance
        self._dialect = dialect
        self._names = names
        self._down = down

    def section(self, migration: Migration) -> Section:
        """Return the part of a script that is carried out."""
        section = migration.down if self._down else migration.up
        assert section is not None  # noqa: S101 - `undoable` refuses those
        return section

    def entry(self, version: str, checksum: str) -> LedgerEntry:
        """Return a row of the instance's."""
        owner = self._instance
        return LedgerEntry(version=version, tenant_id=owner.tenant_id, instance=owner.name, checksum=checksum)

    def steps(self, migration: Migration, state: LedgerState) -> Iterator[Step]:
        """Yield what is left of a script."""
        statements, progress = self.section(migration).statements, state.progress.get(migration.order)
        done = len(progress.done) if progress else 0
        begun = progress is not None and progress.begun is not None
        for number, statement in enumerate(statements[done:], done + 1):
            is_first, is_last = number == done + 1, number == len(statements)
            yield Step(
                statement=statement,
                sql=statement.sql(self._names),
                before=self._insert(migration, [(number, True)]) if is_first and not begun else [],
                after=self.end(migration, steps=True) if is_last else self._noted(migration, number),
                failed=self._forget(migration, number),
                again=is_first and begun,
                is_last=is_last,
            )

    def end(self, migration: Migration, *, steps: bool = False) -> list[str]:
        """Return what says that a script is applied, or is not any more. steps: there are rows of its statements."""
        space = self._instance.place.namespace
        count = len(self.section(migration).statements) if steps else 0
        rows = [self._row(migration, n, begun) for n in range(1, count + 1) for begun in (False, True)]
        if self._down:
            return [delete_statement([*rows, migration.version], space, self._dialect)]
        removed = [delete_statement(rows, space, self._dialect)] if rows else []
        return [*removed, insert_statement([self.entry(migration.version, migration.checksum)], space, self._dialect)]

    def _row(self, migration: Migration, number: int, begun: bool) -> str:
        return step_version(migration.version, number, down=self._down, begun=begun)

    def _insert(self, migration: Migration, steps: Sequence[tuple[int, bool]]) -> list[str]:
        statements = self.section(migration).statements
        rows = [self.entry(self._row(migration, n, begun), statements[n - 1].hash) for n, begun in steps]
        return [insert_statement(rows, self._instance.place.namespace, self._dialect)]

    def _noted(self, migration: Migration, number: int) -> list[str]:
        """Return what says that a statement is done and the next one is sent."""
        return self._insert(migration, [(number, False), (number + 1, True)])

    def _forget(self, migration: Migration, number: int) -> list[str]:
        row = self._row(migration, number, True)
        return [delete_statement([row], self._instance.place.namespace, self._dialect)]
