"""Mapping folders that are no list of rows, or whose YAML leaves open what is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbgear_airflow_provider.core.data import read_folder
from dbgear_airflow_provider.core.errors import DataError


def folder(path: Path, rows: str) -> Path:
    (path / "main@t.yaml").write_text("{}")
    (path / "main@t.dat").write_text(rows)
    return path


@pytest.mark.parametrize(
    ("rows", "where", "problem"),
    [
        ("- a: 1\n- {a: 1, a: 2}\n", "line 2", "the key 'a' is there twice"),
        ("- a: {1: x, '1': y}\n", "line 1", "the key '1' is there twice"),
        ("- a: {? [b] : x}\n", "line 1", "unhashable key"),
        ("- a: " + "[" * 200 + "]" * 200, "line 1", "more than 100 levels of nesting"),
        ("- a: 1\n- 2\n", "row 2 (line 2)", "not a row"),
        ("a: 1\n", "main@t.dat", "not a list of rows"),
    ],
)
def test_what_is_no_list_of_rows_is_told_with_its_line(tmp_path: Path, rows: str, where: str, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        read_folder(folder(tmp_path, rows))
    assert where in caught.value.details["where"]
    assert problem in caught.value.details["problem"]


def test_a_key_may_replace_a_merged_one_and_texts_are_as_they_are_written(tmp_path: Path) -> None:
    table = read_folder(folder(tmp_path, "- &one {a: 007, b: 1.10, c: 2026-01-31}\n- {<<: *one, c: x}\n")).tables[0]
    first, second = (row.values for row in table.rows)
    assert (first["a"].text, first["b"].text, first["c"]) == ("007", "1.10", "2026-01-31")
    assert second == {**first, "c": "x"}
