"""What a ledger's rows say, and what is to be done next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from dbgear_airflow_provider.core.errors import EditedMigrationError, MigrationError, MigrationOrderError
from dbgear_airflow_provider.core.migrations import LedgerState, MigrationSet, digests_at, known_state
from dbgear_airflow_provider.core.schema import NO_CHECKSUM, LedgerEntry


@pytest.fixture
def scripts(tmp_path: Path) -> MigrationSet:
    for version in ("1", "2", "10"):
        text = f"-- migrate:up\nSELECT {version};\nSELECT 0;\n-- migrate:down\nSELECT -{version};\n"
        (tmp_path / f"{version}_x.sql").write_text(text)
    return MigrationSet.load(tmp_path, dialect=postgresql.dialect())  # type: ignore[no-untyped-call]


def state(scripts: MigrationSet, *rows: str, **checksums: str) -> LedgerState:
    """Return the state of rows; checksums are those of the scripts, unless others are given."""
    known = {item.version: item.checksum for item in scripts.migrations}
    return LedgerState.of(
        LedgerEntry(
            version=row,
            tenant_id="T",
            instance="main",
            checksum=checksums.get(row, NO_CHECKSUM if row.startswith("baseline") else known.get(row, "?")),
        )
        for row in rows
    )


def versions(found: Any) -> list[str]:
    return [item.version for item in found]


def test_rows_that_are_no_migrations_are_passed_over(scripts: MigrationSet) -> None:
    found = state(scripts, "provision", "data", "roles", "access", "alter 2026-01-01T00:00:00+00:00")
    assert found.is_empty
    assert found.newest is None
    assert versions(found.pending(scripts)) == ["1", "2", "10"]


def test_a_baseline_counts_for_what_is_not_newer(scripts: MigrationSet) -> None:
    found = state(scripts, "baseline 2.0")
    assert found.newest == "2.0"
    assert versions(found.pending(scripts)) == ["10"]
    assert versions(found.pending(scripts, "2")) == []


def test_versions_are_compared_as_numbers(scripts: MigrationSet) -> None:
    with pytest.raises(MigrationOrderError, match="version 2 is not applied, and older than 10"):
        state(scripts, "1", "10").pending(scripts)
    assert versions(state(scripts, "1", "10").pending(scripts, out_of_order=True)) == ["2"]


@pytest.mark.parametrize("done", [[], ["1"], ["1", "2"], ["baseline 1", "2"], ["baseline 2"]])
def test_a_state_is_known_by_its_digest(scripts: MigrationSet, done: list[str]) -> None:
    found = state(scripts, "provision", *done)
    known = known_state(scripts, found.newest, found.digest)
    assert known is not None
    assert versions(known.pending(scripts)) == versions(found.pending(scripts))
    assert known_state(scripts, found.newest, "0" * 64) is None


def test_a_digest_is_of_all_up_to_a_version_and_of_nothing_else(scripts: MigrationSet) -> None:
    at = digests_at(scripts, "2")
    assert state(scripts, "1", "2").digest in at
    assert state(scripts, "baseline 1", "2").digest in at
    for other in (["1"], ["1", "2", "10"], ["2"], ["1", "2", "10 #1"], []):
        assert state(scripts, *other).digest not in at
    assert state(scripts, "1", "2", **{"2": "edited"}).digest not in at


def test_a_half_done_script_is_gone_on_with_and_nothing_else_is_done_before(scripts: MigrationSet) -> None:
    first = scripts.migrations[0].up.statements
    found = state(scripts, "1 #1", "1 #1 begun", "1 #2 begun", **{"1 #1": first[0].hash, "1 #2 begun": first[1].hash})
    (progress,) = found.progress.values()
    assert (progress.done, progress.begun) == ([first[0].hash], first[1].hash)
    assert versions(found.pending(scripts)) == ["1", "2", "10"]
    with pytest.raises(MigrationOrderError, match="version 1 is half applied"):
        found.undoable(scripts, "0")
    with pytest.raises(EditedMigrationError, match="statement 1 of version 1 was done, and was edited"):
        state(scripts, "1 #1").pending(scripts)


def test_what_is_undone_is_newer_than_a_version_and_the_newest_first(scripts: MigrationSet) -> None:
    found = state(scripts, "1", "2", "10")
    assert versions(found.undoable(scripts, "1")) == ["10", "2"]
    assert versions(found.undoable(scripts, "0")) == ["10", "2", "1"]
    with pytest.raises(MigrationError, match="received 'x'"):
        found.undoable(scripts, "x")
    with pytest.raises(MigrationOrderError, match="older than the baseline 1"):
        state(scripts, "baseline 1", "2").undoable(scripts, "0")
    with pytest.raises(MigrationOrderError, match="version 2 is half undone"):
        state(scripts, "1", "2", "2 down #1").pending(scripts)
