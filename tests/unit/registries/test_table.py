"""Tables of tenants whose columns and words are not ours."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import RegistryRecordError
from dbgear_airflow_provider.core.registries.checked import TenantTable, read_table
from dbgear_airflow_provider.core.registries.files.table import BadCell, Cell, table_records
from dbgear_airflow_provider.core.registries.records import Record
from dbgear_airflow_provider.core.settings import FieldMapping

# A CRM's export.
HEADER = ["番号", "会社名", "略称", "地域", "プラン", "状態", "契約日", "メモ"]
ROW = ["00123", "株式会社ホシノ", "hoshino", "japan", "S", "1", "2024-04-01", "x"]
MAPPING = FieldMapping.model_validate(
    {
        "fields": {
            "tenant_id": "番号",
            "customer_name": "会社名",
            "customer_code": "略称",
            "region": "地域",
            "tier": "プラン",
            "status": "状態",
            "created_at": "契約日",
            "updated_at": "契約日",
        },
        "defaults": {"isolation_strategy": "schema", "region": "asia", "instances": ["main", "test"]},
        "values": {"tier": {"S": "standard", "P": "premium"}, "status": {"1": "active", "0": "inactive"}},
    }
)


def records(
    *rows: list[Cell],
    header: list[str] = HEADER,
    mapping: FieldMapping = MAPPING,
    fields: Collection[str] | None = None,
) -> Iterator[Record | RegistryRecordError]:
    numbered: list[tuple[int, list[Any]]] = list(enumerate([header, *rows], start=1))
    return table_records(numbered, source="crm.csv", mapping=mapping, fields=fields)


def table(*rows: list[Cell], **arguments: Any) -> TenantTable:
    return read_table(records(*rows, **arguments), source="crm.csv")


def changed(**cells: Cell) -> list[Cell]:
    return [cells.get(name, cell) for name, cell in zip(HEADER, ROW, strict=True)]


def test_columns_and_words_of_others() -> None:
    read = table(list(ROW), changed(番号="00124", プラン="P", 状態="0", 地域=""))
    one, two = read.tenants["00123"], read.tenants["00124"]
    assert (one.customer_name, one.tier, one.status, one.region) == ("株式会社ホシノ", "standard", "active", "japan")
    assert (two.tier, two.status, two.region, two.instances) == ("premium", "inactive", "asia", ["main", "test"])
    assert one.created_at == one.updated_at
    assert read.rejected == []


def test_words_that_the_mapping_does_not_name_stay() -> None:
    assert table(changed(プラン="enterprise")).tenants["00123"].tier == "enterprise"


def test_errors_name_the_columns_of_the_source() -> None:
    read = table(changed(プラン="G"), changed(プラン="G", 状態="2"), list(ROW), list(ROW))
    assert [str(error) for error in read.rejected] == [
        "crm.csv, row 2, column プラン: no such tier; received 'G'; allowed: basic, standard, premium, enterprise",
        "crm.csv, row 3: "
        "column プラン: no such tier; received 'G'; allowed: basic, standard, premium, enterprise; and "
        "column 状態: no such status; received '2'; allowed: active, inactive, suspended, terminated",
        "crm.csv, row 5, column 番号: row 4 has this tenant_id already; received '00123'",
    ]


def refused(**arguments: Any) -> dict[str, Any]:
    with pytest.raises(RegistryRecordError) as caught:
        table(list(ROW), **arguments)
    return dict(caught.value.details)


def test_missing_columns_are_told_by_the_source_s_names() -> None:
    header = ["番号", "会社名", "略称", "地域", "plan", "契約日", "", ""]
    details = refused(header=header)
    assert (details["where"], details["problem"]) == ("crm.csv, row 1", "missing columns: プラン, 状態")
    assert "プラン" in details["allowed"]
    assert "tier" not in details["allowed"]


def test_columns_with_a_default_may_be_missing() -> None:
    header = [name.replace("地域", "") for name in HEADER]
    assert table(list(ROW), header=header).tenants["00123"].region == "asia"


def test_a_column_that_the_mapping_names_is_meant_to_be_there() -> None:
    mapping = MAPPING.model_copy(update={"fields": {**MAPPING.fields, "billing_info": "請求"}})
    assert refused(mapping=mapping)["problem"] == "missing columns: 請求"


def test_columns_of_no_field_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    table(list(ROW), header=[*HEADER, "tier"])  # ours, but here another one is it
    assert caplog.record_tuples[0][1:2] == (logging.WARNING,)
    assert caplog.messages[0].startswith("crm.csv, row 1: columns left out: ['メモ', 'tier']; allowed: 番号, 会社名,")


def test_records_are_unchecked_and_in_the_order_of_the_source() -> None:
    found = list(records(changed(番号="2", プラン="G"), changed(番号="1"), changed(番号="1")))
    assert [record.fields["tenant_id"] for record in found if isinstance(record, Record)] == ["2", "1", "1"]
    assert isinstance(found[0], Record)
    assert found[0].fields["tier"] == "G"
    assert found[0].where == "crm.csv, row 2"
    with pytest.raises(RegistryRecordError, match="column プラン: no such tier"):
        found[0].known()


def test_records_of_some_fields_need_those_columns_alone() -> None:
    (record,) = records(["T1", "P", "x"], header=["番号", "プラン", "メモ"], fields=["tier"])
    assert isinstance(record, Record)
    assert record.known() == {"tenant_id": "T1", "tier": "premium"}
    with pytest.raises(RegistryRecordError, match="missing columns: 番号"):
        list(records(["P"], header=["プラン"], fields=["tier"]))
    with pytest.raises(RegistryRecordError, match="missing columns: contract_info"):
        list(records(["T1"], header=["番号"], fields=["contract_info"]))


def test_cells_that_cannot_be_read_are_bad_where_they_matter() -> None:
    broken = BadCell("the cell holds an error", "#REF!")
    read = table(changed(メモ=broken), changed(番号="2", 会社名=broken))
    assert list(read.tenants) == ["00123"]
    assert [str(error) for error in read.rejected] == [
        "crm.csv, row 3, column 会社名: the cell holds an error; received '#REF!'"
    ]
    (record,) = records(changed(会社名=broken), fields=["tier"])
    assert isinstance(record, Record)


def test_a_table_without_rows() -> None:
    with pytest.raises(RegistryRecordError, match=r"crm\.csv: no header; allowed: 番号, 会社名"):
        list(table_records([], source="crm.csv", mapping=MAPPING))
    assert table() == TenantTable({}, [])
