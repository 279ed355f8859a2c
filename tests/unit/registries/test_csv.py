from __future__ import annotations

import asyncio
import csv
import io
import logging
import os
import threading
from pathlib import Path

import pytest

from dbgear_airflow_provider.core.errors import (
    QueryError,
    RegistryRecordError,
    SourceUnavailableError,
    TenantNotFoundError,
)
from dbgear_airflow_provider.core.registries import CSVTenantProvider
from dbgear_airflow_provider.core.tenants import TenantInfo

HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy"


def row(tenant_id: str, name: str = "Acme", tier: str = "basic", more: str = "") -> str:
    cells = io.StringIO()
    csv.writer(cells, lineterminator="\n").writerow([tenant_id, name, tenant_id.lower(), "us", tier])
    return f"{cells.getvalue().rstrip()},active,2024-01-01,2024-01-01T09:00:00+09:00,schema{more}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenants.csv"


def write(path: Path, *lines: str, header: str = HEADER) -> CSVTenantProvider:
    return write_bytes(path, "\n".join([header, *lines, ""]).encode())


def write_bytes(path: Path, content: bytes) -> CSVTenantProvider:
    path.write_bytes(content)
    return CSVTenantProvider(path)


def delete(path: Path) -> None:
    path.unlink()


def replace_alike(path: Path, *lines: str) -> None:
    """Replace the file by another of the same size and modification time."""
    before = path.stat()
    other = path.with_suffix(".new")
    write(other, *lines)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert path.stat().st_size == before.st_size


async def tenants(provider: CSVTenantProvider) -> dict[str, TenantInfo]:
    return {tenant.tenant_id: tenant for tenant in await provider.list_tenants(limit=None)}


async def rejected(provider: CSVTenantProvider) -> list[str]:
    """Return what is told of the bad rows, without the file's folder."""
    folder = f"{provider.csv_path.parent}/"
    return [str(error).removeprefix(folder) for error in await provider.rejected_records()]


async def refused(provider: CSVTenantProvider) -> dict[str, object]:
    with pytest.raises(RegistryRecordError) as caught:
        await provider.list_tenants()
    where = caught.value.details["where"].removeprefix(f"{provider.csv_path.parent}/")
    return {**caught.value.details, "where": where}


# Reading the list


async def test_lists_in_order_by_pages(path: Path) -> None:
    provider = write(path, row("T3"), row("T1"), row("T2"), row("T4", tier="premium"))
    assert list(await tenants(provider)) == ["T1", "T2", "T3", "T4"]
    assert [tenant.tenant_id for tenant in await provider.list_tenants(offset=1, limit=2)] == ["T2", "T3"]
    assert [tenant.tenant_id for tenant in await provider.list_tenants({"tier": "basic"}, 1)] == ["T2", "T3"]
    assert await provider.list_tenants(limit=0) == []
    assert await provider.get_tenant_count() == 4
    assert await provider.get_tenant_count({"tier": ["premium", "enterprise"]}) == 1
    assert [tenant.tenant_id for tenant in await provider.search_tenants("tenant_id > 'T2'")] == ["T3", "T4"]
    with pytest.raises(QueryError):
        await provider.list_tenants({"zone": "x"})
    with pytest.raises(QueryError):
        await provider.search_tenants("zone = 'x'")


async def test_100_tenants_unless_told(path: Path) -> None:
    provider = write(path, *(row(f"T{number:03}") for number in range(150)))
    assert len(await provider.list_tenants()) == 100


async def test_get_tenant(path: Path) -> None:
    provider = write(path, row("T1", "株式会社ホシノ"), row("T2", tier="gold"))
    assert (await provider.get_tenant("T1")).customer_name == "株式会社ホシノ"
    for tenant_id in ("T2", "T9"):
        with pytest.raises(TenantNotFoundError):
            await provider.get_tenant(tenant_id)


async def test_config_of_a_tenant(path: Path) -> None:
    write(path, row("T1"), row("../T1"))
    configs = path.parent / "configs"
    configs.mkdir()
    (configs / "T1.yaml").write_text("locale: ja_JP")
    assert await CSVTenantProvider(path).get_tenant_config("T1") == {}
    provider = CSVTenantProvider(str(path), str(configs))
    assert await provider.get_tenant_config("T1") == {"locale": "ja_JP"}
    with pytest.raises(TenantNotFoundError):
        await provider.get_tenant_config("T2")
    with pytest.raises(RegistryRecordError):
        await provider.get_tenant_config("../T1")


async def test_10_000_rows(path: Path) -> None:
    provider = write(
        path, *(row(f"T{number:05}", tier="x" if number % 100 == 0 else "basic") for number in range(10_000))
    )
    assert await provider.get_tenant_count() == 9_900
    assert len(await provider.rejected_records()) == 100


# Cells


async def test_cells_are_stripped_and_empty_ones_absent(path: Path) -> None:
    header = HEADER.replace(",region", " , region ") + ",database_prefix,instances,billing_info"
    provider = write(
        path,
        row(" T1 ", "  Acme　", more=',,"main, test","{""plan"": ""pro""}"'),
        row("T2", more=",  ,,"),
        row("T3"),
        header=header,
    )
    found = await tenants(provider)
    assert (found["T1"].customer_name, found["T1"].instances) == ("Acme", ["main", "test"])
    assert found["T1"].billing_info == {"plan": "pro"}
    assert found["T1"].updated_at.isoformat() == "2024-01-01T00:00:00+00:00"
    for tenant_id in ("T2", "T3"):
        assert (found[tenant_id].database_prefix, found[tenant_id].instances) == (None, ["main"])
        assert found[tenant_id].billing_info is None


async def test_blank_lines_are_skipped(path: Path) -> None:
    provider = write(path, "", row("T1"), ",,,,", " , ", row("T2"), "", "", header="\n" + HEADER)
    assert list(await tenants(provider)) == ["T1", "T2"]
    assert await rejected(provider) == []


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
async def test_line_ends_and_byte_order_mark(path: Path, newline: str) -> None:
    lines = [HEADER, row("T1", "two\nlines"), row("T2", tier="gold")]
    provider = write_bytes(path, b"\xef\xbb\xbf" + newline.join(lines).encode())
    assert (await tenants(provider))["T1"].customer_name == "two\nlines"
    assert (await rejected(provider))[0].startswith("tenants.csv, row 4, column tier: no such tier")


# Bad rows


async def test_a_bad_row_is_told_and_the_others_go_on(path: Path) -> None:
    provider = write(path, row("T1"), row("T2", tier="gold"), row("T3"))
    assert list(await tenants(provider)) == ["T1", "T3"]
    assert await rejected(provider) == [
        "tenants.csv, row 3, column tier: no such tier; received 'gold'; allowed: basic, standard, premium, enterprise"
    ]


async def test_rows_are_numbered_by_the_line_on_which_they_start(path: Path) -> None:
    provider = write(path, row("T1", "three\nlines\nhere"), row("T2", "two\nlines", tier="gold"), row("T3", tier="x"))
    places = [error.details["where"] for error in await provider.rejected_records()]
    assert places == [f"{path}, row 5, column tier", f"{path}, row 7, column tier"]


async def test_a_row_tells_all_its_bad_columns(path: Path) -> None:
    provider = write(path, "T1,Acme,acme,us,gold,gone,2024-01-01,2024-01-01,schema")
    assert await rejected(provider) == [
        "tenants.csv, row 2: "
        "column tier: no such tier; received 'gold'; allowed: basic, standard, premium, enterprise; and "
        "column status: no such status; received 'gone'; allowed: active, inactive, suspended, terminated"
    ]


async def test_the_first_of_two_rows_with_one_id_stands(path: Path) -> None:
    provider = write(path, row("T1", "first"), row("T1", "second"), row("T1", "third"))
    assert (await tenants(provider))["T1"].customer_name == "first"
    assert await rejected(provider) == [
        f"tenants.csv, row {number}, column tenant_id: row 2 has this tenant_id already; received 'T1'"
        for number in (3, 4)
    ]


async def test_a_bad_row_does_not_take_an_id(path: Path) -> None:
    provider = write(path, row("T1", tier="gold"), row("T1", "second"))
    assert (await tenants(provider))["T1"].customer_name == "second"


async def test_cells_beyond_the_header(path: Path) -> None:
    provider = write(path, row("T1", more=",x"), row("T2", more=",,"), "T3")
    assert list(await tenants(provider)) == ["T2"]
    too_many, too_few = await rejected(provider)
    assert too_many == "tenants.csv, row 2: 10 cells; received 'x'; allowed: 9 cells, as the header has"
    assert too_few.startswith("tenants.csv, row 4: column customer_name: no value; and column customer_code: no value")


async def test_rows_that_are_no_csv(path: Path) -> None:
    provider = write(path, row("T1"), '"T2"x,Acme', row("T3", "x" * 200_000), row("T4"))
    assert list(await tenants(provider)) == ["T1", "T4"]
    assert await rejected(provider) == [
        "tenants.csv, row 3: no CSV: ',' expected after '\"'",
        "tenants.csv, row 4: no CSV: field larger than field limit (131072)",
    ]


@pytest.mark.parametrize("below", [[row("T3")], [row("T3", "Acme, Inc.")], [row("T3")] * 5_000])
async def test_a_quote_that_is_never_closed_loses_no_tenants_silently(path: Path, below: list[str]) -> None:
    provider = write(path, row("T1"), 'T2,"Acme', *below)
    details = await refused(provider)
    assert (details["where"], str(details["problem"])[:6]) == ("tenants.csv, row 3", "no CSV")


async def test_an_unclosed_quote_on_the_last_line(path: Path) -> None:
    provider = write_bytes(path, "\n".join([HEADER, row("T1"), 'T2,"Acme']).encode())
    assert list(await tenants(provider)) == ["T1"]
    assert await rejected(provider) == ["tenants.csv, row 3: no CSV: unexpected end of data"]


# Files that are no list of tenants


async def test_header_is_required(path: Path) -> None:
    assert (await refused(write_bytes(path, b"\n , \n")))["problem"] == "no header"


async def test_missing_columns(path: Path) -> None:
    details = await refused(write(path, "T1,Acme", header="tenant_id;customer_name,region"))
    assert details["where"] == "tenants.csv, row 1"
    assert details["problem"] == (
        "missing columns: tenant_id, customer_name, customer_code, tier, status, created_at, updated_at, "
        "isolation_strategy"
    )
    assert details["received"] == "tenant_id;customer_name, region"


async def test_duplicate_columns(path: Path) -> None:
    details = await refused(write(path, row("T1", more=",x"), header=HEADER + ", tier"))
    assert details["problem"] == "columns named twice: tier"


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (f"{HEADER}\n{row('T1', 'ホシノ')}\n".encode("cp932"), len(HEADER) + 1 + len("T1,")),
        ("\ufeff".encode() + HEADER.encode() + b"\n\xff", 3 + len(HEADER) + 1),
        (HEADER.encode("utf-16"), 0),
    ],
)
async def test_other_encodings(path: Path, content: bytes, position: int) -> None:
    details = await refused(write_bytes(path, content))
    assert (details["where"], details["problem"]) == (f"tenants.csv, byte {position}", "no UTF-8")


async def test_unknown_columns_are_left_out_and_told_once_a_read(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    provider = write(path, row("T1", more=",red,x"), header=HEADER + ",colour,Tier")
    found = await asyncio.gather(*(tenants(provider) for _ in range(10)))
    assert all(list(one) == ["T1"] for one in found)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{path}, row 1: columns left out: ['colour', 'Tier']; allowed: tenant_id,")


# The file over time


async def test_file_that_cannot_be_read(path: Path) -> None:
    provider = CSVTenantProvider(path)
    with pytest.raises(SourceUnavailableError, match=r"tenants\.csv: No such file or directory"):
        await provider.list_tenants()
    write(path, row("T1"))
    assert list(await tenants(provider)) == ["T1"]
    delete(path)
    with pytest.raises(SourceUnavailableError):
        await provider.list_tenants()


async def test_reads_again_what_has_changed(path: Path) -> None:
    provider = write(path, row("T1"))
    once = CSVTenantProvider(path, watch_changes=False)
    assert list(await tenants(provider)) == list(await tenants(once)) == ["T1"]
    write(path, row("T1"), row("T2", tier="gold"), row("T3"))
    assert list(await tenants(provider)) == ["T1", "T3"]
    assert len(await provider.rejected_records()) == 1
    assert list(await tenants(once)) == ["T1"]


async def test_sees_a_replacement_of_equal_size_and_time(path: Path) -> None:
    provider = write(path, row("T1"))
    assert list(await tenants(provider)) == ["T1"]
    replace_alike(path, row("T2"))
    assert list(await tenants(provider)) == ["T2"]


async def test_a_file_that_has_become_bad_is_not_served_from_memory(path: Path) -> None:
    provider = write(path, row("T1"))
    assert list(await tenants(provider)) == ["T1"]
    write_bytes(path, b"oops")
    for _ in range(2):
        assert "missing columns" in str((await refused(provider))["problem"])


async def test_replacing_the_file_never_gives_half_a_list(path: Path) -> None:
    provider = write(path, *(row(f"T{number:04}", "version 0") for number in range(300)))
    stop = threading.Event()

    def replace() -> None:
        version = 0
        while not stop.is_set():
            version += 1
            write(path.with_suffix(".new"), *(row(f"T{number:04}", f"version {version}") for number in range(300)))
            path.with_suffix(".new").replace(path)
            stop.wait(0.05)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        for _ in range(20):
            found = await provider.list_tenants(limit=None)
            assert len(found) == 300
            assert len({tenant.customer_name for tenant in found}) == 1
    finally:
        stop.set()
        thread.join()


async def test_a_file_that_never_stands_still(path: Path) -> None:
    class Restless:
        """A file that has grown between any two looks at it."""

        def __init__(self) -> None:
            self.content = write(path, row("T1")) and path.read_bytes()

        def __str__(self) -> str:
            return "restless.csv"

        def read_bytes(self) -> bytes:
            return self.content

        def stat(self) -> os.stat_result:
            with path.open("ab") as file:
                file.write(b"\n")
            return path.stat()

    with pytest.raises(SourceUnavailableError, match=r"restless\.csv: changed whenever it was read, 3 times"):
        await CSVTenantProvider(Restless()).list_tenants()
