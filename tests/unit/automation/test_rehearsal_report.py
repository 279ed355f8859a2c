"""What a rehearsal's report tells, and what of a server's words it keeps to itself."""

from __future__ import annotations

import pytest

from dbgear_airflow_provider.core.automation.rehearsal_report import changes, without_rows
from dbgear_airflow_provider.core.schema import Snapshot, SnapshotKey

NAMES = {"users", "email", "uq_email"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('column "email" of relation "users" contains null values', None),
        ('could not create unique index "uq_email"', None),
        ('invalid input syntax for type integer: "a@b.example"', "invalid input syntax for type integer: ..."),
        ("Duplicate entry 'a@b.example' for key 'uq_email'", "Duplicate entry ..."),
        ("Duplicate entry 'O'Brien' for key 'uq_email'", "Duplicate entry ..."),
        ("Incorrect integer value: 'abc' for column `x`.`users`.`email` at row 1", "Incorrect integer value: ..."),
        ("Data too long for column 'email' at row 1", None),
    ],
)
def test_what_a_row_may_hold_is_left_out(text: str, told: str | None) -> None:
    assert without_rows(text, NAMES) == (told or text)


def test_changes_are_told_in_words_and_not_without_end() -> None:
    def columns(count: int, definition: str = "{}") -> Snapshot:
        table = {SnapshotKey("table", 0, "users"): "{}"}
        return Snapshot(table | {SnapshotKey("column", 0, f"c{n:02}", "users"): definition for n in range(count)})

    assert changes(columns(2), columns(1, '{"type":"int"}')) == [
        "column users.c00: changed",
        "column users.c01: dropped",
    ]
    told = changes(columns(0), columns(30))
    assert (len(told), told[0], told[-1]) == (21, "column users.c00: added", "and 10 more")
