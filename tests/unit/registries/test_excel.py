"""Tenants from Excel workbooks, as people and programs write them."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.styles import Font
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.worksheet import Worksheet

from dbgear_airflow_provider.core.errors import (
    RegistryRecordError,
    SettingsError,
    SourceUnavailableError,
    UnsupportedError,
)
from dbgear_airflow_provider.core.registries import ExcelTenantProvider, Record
from dbgear_airflow_provider.core.registries.files import excel as module
from dbgear_airflow_provider.core.settings import FieldMapping
from dbgear_airflow_provider.core.tenants import TenantInfo

HEADER = [
    *("tenant_id", "customer_name", "customer_code", "region", "tier", "status", "created_at", "updated_at"),
    *("isolation_strategy", "instances", "billing_info"),
]
CREATED, UPDATED = date(2024, 1, 1), datetime(2024, 1, 1, 9, 30)
SHEET_XML = "xl/worksheets/sheet1.xml"


def row(tenant_id: Any, **cells: Any) -> list[Any]:
    written = {
        "tenant_id": tenant_id,
        "customer_name": "Acme",
        "customer_code": "acme",
        "region": "us",
        "tier": "basic",
        "status": "active",
        "created_at": CREATED,
        "updated_at": UPDATED,
        "isolation_strategy": "schema",
        **cells,
    }
    return [written.get(name) for name in HEADER]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants.xlsx"


def write(
    path: Path, *rows: list[Any], header: list[Any] = HEADER, change: Callable[[Worksheet], None] | None = None
) -> ExcelTenantProvider:
    book = openpyxl.Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    sheet.title = "Tenants"
    for cells in (header, *rows):
        sheet.append(cells)
    if change:
        change(sheet)
    book.save(path)
    return ExcelTenantProvider(path)


def rewrite(path: Path, part: str, change: Callable[[str], str]) -> None:
    """Replace the text of a part of the workbook."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part].decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


async def tenants(provider: ExcelTenantProvider) -> dict[str, TenantInfo]:
    return {tenant.tenant_id: tenant for tenant in await provider.list_tenants(limit=None)}


def folder_of(provider: ExcelTenantProvider) -> str:
    return f"{provider.source.rpartition('/')[0]}/"


def whole(provider: ExcelTenantProvider) -> bytes:
    return Path(provider.source).read_bytes()


def put(path: Path, content: bytes) -> ExcelTenantProvider:
    path.write_bytes(content)
    return ExcelTenantProvider(path)


async def rejected(provider: ExcelTenantProvider) -> list[str]:
    return [str(error).removeprefix(folder_of(provider)) for error in await provider.rejected_records()]


async def refused(provider: ExcelTenantProvider) -> str:
    with pytest.raises(RegistryRecordError) as caught:
        await provider.list_tenants()
    return str(caught.value).removeprefix(folder_of(provider))


# Cells


async def test_types_of_cells(path: Path) -> None:
    provider = write(
        path,
        row("00123", customer_name=1001.0, customer_code=1001, instances=" main, test ", billing_info='{"seats": 5}'),
        row(2.5, customer_name=True, customer_code=datetime(2024, 1, 2), region=time(9, 30)),
        row(123456789012345, created_at="2024-01-01T09:00:00+09:00", updated_at=20240101),
    )
    found = await tenants(provider)
    assert list(found) == ["00123", "123456789012345", "2.5"]
    text, fraction, number = found["00123"], found["2.5"], found["123456789012345"]
    assert (text.customer_name, text.customer_code, text.instances) == ("1001", "1001", ["main", "test"])
    assert text.billing_info == {"seats": 5}
    assert text.created_at == datetime(2024, 1, 1, tzinfo=UTC)
    assert text.updated_at == datetime(2024, 1, 1, 9, 30, tzinfo=UTC)
    assert (fraction.customer_name, fraction.customer_code, fraction.region) == (
        "TRUE",
        "2024-01-02T00:00:00",
        "09:30:00",
    )
    assert number.created_at == number.updated_at == datetime(2024, 1, 1, tzinfo=UTC)


async def test_bad_rows_are_told_by_sheet_and_row(path: Path) -> None:
    provider = write(path, row("T1"), [], row("T2", tier="gold"), row("T1"), [*row("T3", billing_info="{}"), "x"])
    assert list(await tenants(provider)) == ["T1"]
    assert await rejected(provider) == [
        "tenants.xlsx, sheet Tenants, row 4, column tier: no such tier; received 'gold'; "
        "allowed: basic, standard, premium, enterprise",
        "tenants.xlsx, sheet Tenants, row 5, column tenant_id: sheet Tenants, row 2 has this tenant_id already; "
        "received 'T1'",
        "tenants.xlsx, sheet Tenants, row 6: 12 cells; received 'x'; allowed: 11 cells, as the header has",
    ]


def formula(path: Path, cell: str, text: str, value: str | None, kind: str = "") -> None:
    """Put a formula with its calculated value, or without one, as Excel writes them."""
    kind = f' t="{kind}"' if kind else ""
    xml = f'<c r="{cell}"{kind}><f>{text}</f>{"" if value is None else f"<v>{value}</v>"}</c>'
    rewrite(path, SHEET_XML, lambda sheet: re.sub(rf'<c r="{cell}"[^>]*?(/>|>.*?</c>)', xml, sheet))


async def test_formulas_are_their_values(path: Path) -> None:
    provider = write(path, row("T1"), row("T2", instances="x"), row("T3"), row("T4"), row("T5"))
    formula(path, "A2", "B2&amp;1", "Acme1", "str")
    formula(path, "J3", 'IF(1,"","x")', "", "str")
    formula(path, "B4", "VLOOKUP(1,A1:B2,2)", "#N/A", "e")
    formula(path, "D5", "B5&amp;1", None)
    found = await tenants(provider)
    assert list(found) == ["Acme1", "T2", "T5"]
    assert found["T2"].instances == ["main"]
    assert await rejected(provider) == [
        "tenants.xlsx, sheet Tenants, row 4, column customer_name: the cell holds an error; received '#N/A'",
        "tenants.xlsx, sheet Tenants, row 5, column region: the formula was never calculated: "
        "open the workbook in Excel and save it",
    ]


async def test_formulas_that_were_never_calculated_matter_in_our_columns_alone(path: Path) -> None:
    header = [*HEADER, "total"]
    provider = write(path, [*row("T1"), "=1+1"], [*row("=B3"), "=1+1"], header=header)
    assert list(await tenants(provider)) == ["T1"]
    (error,) = await rejected(provider)
    assert error.startswith("tenants.xlsx, sheet Tenants, row 3, column tenant_id: the formula was never calculated")


async def test_cells_merged_over_rows_stand_in_each(path: Path) -> None:
    def merge(sheet: Worksheet) -> None:
        sheet.merge_cells("D2:D4")  # region
        sheet.merge_cells("J3:K5")  # instances, and billing_info beside it

    provider = write(
        path,
        row("T1", region="asia"),
        row("T2", region=None, instances="main,test"),
        row("T3", region=None),
        row("T4"),
        change=merge,
    )
    found = await tenants(provider)
    assert [tenant.region for tenant in found.values()] == ["asia", "asia", "asia", "us"]
    assert [len(tenant.instances) for tenant in found.values()] == [1, 2, 2, 2]
    assert all(tenant.billing_info is None for tenant in found.values())


async def test_a_merged_cell_makes_no_tenants_of_empty_rows(path: Path) -> None:
    provider = write(path, row("T1"), change=lambda sheet: sheet.merge_cells("D2:D9"))
    assert list(await tenants(provider)) == ["T1"]
    assert await rejected(provider) == []


async def test_hidden_rows_styles_and_rules_do_not_matter(path: Path) -> None:
    def decorate(sheet: Worksheet) -> None:
        sheet.row_dimensions[2].hidden = True
        sheet.column_dimensions["B"].hidden = True
        sheet["A2"].font = Font(bold=True)
        sheet.add_data_validation(DataValidation(type="list", formula1='"basic,premium"'))
        sheet.auto_filter.ref = "A1:I3"
        for number in range(100, 200):
            sheet.cell(number, 300).font = Font(bold=True)  # cells that hold nothing

    provider = write(path, row("T1"), row("T2"), change=decorate)
    rewrite(
        path,
        SHEET_XML,
        lambda xml: (
            xml.replace("</worksheet>", '<extLst><ext uri="{CCE6A557-97BC-4b89-ADB6-D9C93CAAB3DF}"/></extLst>')
            + "</worksheet>"
        ),
    )
    assert list(await tenants(provider)) == ["T1", "T2"]  # and no warning of openpyxl, which would be an error here
    assert await rejected(provider) == []


async def test_dates_that_are_none(path: Path) -> None:
    provider = write(path, row("T1", created_at=date(2024, 1, 1)))
    rewrite(path, SHEET_XML, lambda xml: re.sub(r'(<c r="G2"[^>]*><v>)[^<]*', r"\g<1>99999999", xml))
    assert await rejected(provider) == [
        "tenants.xlsx, sheet Tenants, row 2, column created_at: the cell holds an error; received '#VALUE!'"
    ]


# Sheets


async def test_sheet_and_header_row(path: Path) -> None:
    book = openpyxl.Workbook()
    first = book.active
    assert isinstance(first, Worksheet)
    first.append(HEADER)
    second = book.create_sheet("顧客一覧")
    second.append(["List of customers"])
    second.merge_cells("A1:F1")
    second.append([])
    second.append(HEADER)
    second.append(row("T1", tier="gold"))
    second.append(row("T2"))
    second.sheet_state = "hidden"
    book.save(path)
    assert await ExcelTenantProvider(path).get_tenant_count() == 0
    provider = ExcelTenantProvider(path, "顧客一覧", 3)
    assert list(await tenants(provider)) == ["T2"]
    assert (await rejected(provider))[0].startswith("tenants.xlsx, sheet 顧客一覧, row 4, column tier")
    assert "missing columns" in await refused(ExcelTenantProvider(path, "顧客一覧"))
    assert await refused(ExcelTenantProvider(path, "Customers")) == (
        "tenants.xlsx: no such sheet; received 'Customers'; allowed: Sheet, 顧客一覧"
    )
    with pytest.raises(SettingsError, match="header_row: no such row; received 0"):
        ExcelTenantProvider(path, header_row=0)


async def test_an_empty_sheet(path: Path) -> None:
    assert (await refused(write(path, header=[]))).startswith("tenants.xlsx, sheet Tenants: no header; allowed:")


async def test_other_columns_and_words(path: Path) -> None:
    mapping = FieldMapping.model_validate(
        {
            "fields": {"tenant_id": "No.", "status": "Open"},
            "values": {"status": {"TRUE": "active", "FALSE": "inactive"}},
        }
    )
    names = {"tenant_id": "No.", "status": "Open"}
    write(path, row(1001.0, status=True), row(1002, status=False), header=[names.get(name, name) for name in HEADER])
    found = await tenants(ExcelTenantProvider(path, mapping=mapping))
    assert {tenant_id: tenant.status for tenant_id, tenant in found.items()} == {"1001": "active", "1002": "inactive"}


async def test_records_for_a_sync(path: Path) -> None:
    provider = write(path, row("T2", tier="gold"), row("T1"))
    records = [record async for record in provider.records(["tier"])]
    assert [dict(record.fields) for record in records if isinstance(record, Record)] == [
        {"tenant_id": "T2", "tier": "gold"},
        {"tenant_id": "T1", "tier": "basic"},
    ]


async def test_settings_of_a_tenant(path: Path, tmp_path: Path) -> None:
    write(path, row("T1"))
    (tmp_path / "T1.yaml").write_text("locale: ja_JP")
    assert await ExcelTenantProvider(str(path), config_dir=tmp_path).get_tenant_config("T1") == {"locale": "ja_JP"}


async def test_reads_again_what_has_changed(path: Path) -> None:
    provider = write(path, row("T1"))
    assert list(await tenants(provider)) == ["T1"]
    write(path, row("T1"), row("T2"))
    assert list(await tenants(provider)) == ["T1", "T2"]


# Files that are no workbook, or a hostile one


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no workbook that can be read: BadZipFile"),
        (b"tenant_id,customer_name\n", "no workbook that can be read: BadZipFile"),
        (OLE + b"\0" * 600 + "Workbook".encode("utf-16-le"), "a workbook of the old format .xls"),
        (OLE + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"), "the workbook has a password"),
    ],
)
async def test_files_that_are_no_workbook(path: Path, content: bytes, problem: str) -> None:
    told = await refused(put(path, content))
    assert told.startswith(f"tenants.xlsx: {problem}; allowed: an Excel workbook, .xlsx")


async def test_other_zip_files(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
    assert (await refused(ExcelTenantProvider(path))).startswith("tenants.xlsx: no workbook that can be read: KeyError")


async def test_a_workbook_that_is_cut_off(path: Path) -> None:
    content = whole(write(path, *(row(f"T{number}") for number in range(50))))
    assert "no workbook that can be read" in await refused(put(path, content[:-200]))


async def test_a_sheet_that_breaks_off(path: Path) -> None:
    provider = write(path, row("T1"), row("T2"))
    rewrite(path, SHEET_XML, lambda xml: xml[: xml.index('<c r="B3"')])
    assert (await refused(provider)).startswith(
        "tenants.xlsx, sheet Tenants, row 3: no workbook that can be read: ParseError"
    )


async def test_entities_do_not_multiply(path: Path) -> None:
    provider = write(path, row("T1"))
    entities = "".join(
        f'<!ENTITY e{number} "{f"&e{number - 1};" * 10 if number else "x" * 100}">' for number in range(12)
    )
    rewrite(
        path,
        SHEET_XML,
        lambda xml: (
            f"<!DOCTYPE worksheet [{entities}]>" + xml.replace("<sheetData>", "<sheetPr>&e11;</sheetPr><sheetData>")
        ),
    )
    assert "no workbook that can be read" in await refused(provider)


async def test_zip_bombs(path: Path) -> None:
    provider = write(path, row("T1"))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        zeros = b"\0" * 2**24
        for number in range(17):
            archive.writestr(f"xl/media/{number}.bin", zeros)
    assert len(whole(provider)) < 4_000_000
    told = await refused(provider)
    assert told.startswith("tenants.xlsx: the workbook is too large; received '2")
    assert told.endswith("bytes unpacked'; allowed: 268435456 bytes")


async def test_sheets_without_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = write(path, row("T1"), [], row("T2"))
    rewrite(path, SHEET_XML, lambda xml: xml.replace('<dimension ref="A1:K4"', '<dimension ref="A1:XFD1048576"'))
    assert list(await tenants(provider)) == ["T1", "T2"]
    rewrite(
        path, SHEET_XML, lambda xml: re.sub(r'r="([A-K])4"', r'r="\g<1>99999999"', xml).replace('r="4"', 'r="99999999"')
    )
    assert "the sheet is too large" in await refused(ExcelTenantProvider(path))
    monkeypatch.setattr(module, "MAX_CELLS", 50)
    provider = write(path, *(row(f"T{number}") for number in range(9)))
    assert "the sheet is too large; allowed: 1048576 rows, 50 cells" in await refused(provider)


async def test_no_file(path: Path) -> None:
    with pytest.raises(SourceUnavailableError, match="No such file or directory"):
        await ExcelTenantProvider(path).list_tenants()


async def test_without_openpyxl(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = write(path, row("T1"))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'airflow-provider-dbgear\[excel\]'"):
        await provider.list_tenants()


async def test_3_000_rows_with_formulas(path: Path) -> None:
    provider = write(path, *(row(f"T{number:04}", instances="=1") for number in range(3000)))
    assert len(await rejected(provider)) == 3000
