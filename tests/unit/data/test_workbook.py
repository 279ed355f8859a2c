"""Initial data from sheets of Excel workbooks, and what is told of bad ones."""

from __future__ import annotations

import os
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml

from dbgear_airflow_provider.core.data import read_folder
from dbgear_airflow_provider.core.errors import DataError
from dbgear_airflow_provider.core.registries.files.excel import LIMIT_BYTES

HEADER = ["code", "名前", "limits.users", "limits.段階"]


def write(folder: Path, *rows: list[Any], sheet: str = "plans", book: str = "main@plans.xlsx", **model: Any) -> Path:
    workbook = openpyxl.Workbook()
    workbook.create_sheet("others")
    active = workbook.active
    assert active is not None
    active.title = sheet
    for row in rows:
        active.append(row)
    workbook.save(folder / book)
    (folder / "main@plans.yaml").write_text(yaml.safe_dump({"dataType": "xlsx", **model}, allow_unicode=True))
    return folder


def values(folder: Path) -> list[dict[str, Any]]:
    (table,) = read_folder(folder).tables
    return [dict(row.values) for row in table.rows]


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_folder(folder)
    return str(caught.value)


def test_cells_keep_their_types(tmp_path: Path) -> None:
    cells = [7, 7.0, 0.5, True, " 007 ", date(2026, 1, 31), datetime(2026, 1, 31, 9, 30), time(9, 30), "NULL", None]
    found = values(write(tmp_path, [f"c{number}" for number in range(len(cells))], cells))
    day = datetime(2026, 1, 31)
    wanted = [7, 7, 0.5, True, " 007 ", day, datetime(2026, 1, 31, 9, 30), time(9, 30), None]
    assert found == [{f"c{number}": value for number, value in enumerate(wanted)}]
    assert [type(value) for value in found[0].values()] == [type(value) for value in wanted]


def test_a_column_of_a_mapping_and_rows_that_are_empty(tmp_path: Path) -> None:
    rows = (["free", "無料", 0, None], [None] * 4, ["pro", None, 5, "上"], [None, "", None, None])
    assert values(write(tmp_path, HEADER, *rows)) == [
        {"code": "free", "名前": "無料", "limits": {"users": 0}},
        {"code": "pro", "limits": {"users": 5, "段階": "上"}},
    ]


def test_book_sheet_and_rows_are_named_by_the_data_model(tmp_path: Path) -> None:
    rows = (["a title"], ["code"], ["an explanation"], ["free"])
    args = {"sheet_name": "料金", "header_row": 2, "start_row": 4}
    write(tmp_path, *rows, sheet="料金", book="data.xlsm", dataPath="data.xlsm", dataArgs=args)
    assert values(tmp_path) == [{"code": "free"}]
    (table,) = read_folder(tmp_path).tables
    assert table.rows[0].where == "data.xlsm, sheet 料金, row 4"


def test_a_changed_workbook_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, ["code"], ["free"])
    assert values(tmp_path) == [{"code": "free"}]
    write(tmp_path, ["code"], ["free"], ["$tenant_id"])
    os.utime(tmp_path / "main@plans.xlsx", ns=(1, 1))
    assert values(tmp_path) == [{"code": "free"}, {"code": "$tenant_id"}]
    assert read_folder(tmp_path).varies


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([["code", "code"], ["a", "b"]], "row 1: two columns of one name; received 'code'"),
        ([["code"], ["a", "b"]], "row 2, column 2: a cell below no column's name; received 'b'"),
        ([["code", "limits", "limits.users"], ["a", "b", 1]], "row 2, column limits.users: a value and keys within it"),
        ([["code", "limits.users", "limits"], ["a", 1, "b"]], "row 2, column limits: a value and keys within it"),
        ([["code", "price"], ["a", 1], ["b", "#N/A"]], "row 3, column price: the cell holds an error; received '#N/A'"),
        ([["code", "price"], ["a", "=1+1"]], "row 2, column price: the formula was never calculated"),
        ([[None], ["a"]], "row 2, column 1: a cell below no column's name; received 'a'"),
        ([], "no header"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, rows: list[list[Any]], told: str) -> None:
    assert f"main@plans.xlsx, sheet plans{',' if told.startswith('row') else ':'} {told}" in refused(
        write(tmp_path, *rows)
    )


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"dataPath": "nobody.xlsx"}, "the workbook is not there; received 'nobody.xlsx'; allowed: main@plans.xlsx"),
        ({"dataPath": "../main@plans.xlsx"}, "the workbook is not there"),
        ({"dataArgs": {"sheet_name": "x"}}, "main@plans.xlsx: no such sheet; received 'x'; allowed: plans, others"),
        ({"dataArgs": {"header_row": 0}}, "main@plans.yaml, data_args, header_row"),
        ({"dataArgs": {"header_row": 3, "start_row": 3}}, "start_row: no such first row; received 3"),
    ],
)
def test_a_bad_data_model_is_told(tmp_path: Path, model: dict[str, Any], told: str) -> None:
    assert told in refused(write(tmp_path, ["code"], ["a"], **model))


def test_what_is_no_workbook_is_told(tmp_path: Path) -> None:
    write(tmp_path, ["code"])
    (tmp_path / "main@plans.xlsx").write_bytes(b"PK\3\4 no")
    assert refused(tmp_path).startswith("main@plans.xlsx: no workbook that can be read")
    (tmp_path / "main@plans.xlsx").unlink()
    (tmp_path / "main@plans.xlsx").mkdir()
    assert "Is a directory" in refused(tmp_path)
    (tmp_path / "main@plans.xlsx").rmdir()
    os.mkfifo(tmp_path / "main@plans.xlsx")
    assert "no regular file" in refused(tmp_path)
    (tmp_path / "main@plans.xlsx").unlink()
    with (tmp_path / "main@plans.xlsx").open("wb") as file:
        file.truncate(LIMIT_BYTES + 1)
    assert "the file is too large" in refused(tmp_path)
