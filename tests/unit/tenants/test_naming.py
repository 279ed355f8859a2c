from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgear_airflow_provider.core.engines import PostgresServer, ServerAddress
from dbgear_airflow_provider.core.errors import NameClashError, TerminalError, UnsupportedError
from dbgear_airflow_provider.core.isolation import Place, place
from dbgear_airflow_provider.core.tenants import TenantInfo, naming


def tenant(tenant_id: str = "T1", **changes: Any) -> TenantInfo:
    fields: dict[str, Any] = {
        "tenant_id": tenant_id,
        "customer_name": "Acme",
        "customer_code": "acme",
        "region": "asia",
        "tier": "premium",
        "status": "active",
        "created_at": datetime(2024, 1, 1, tzinfo=UTC),
        "updated_at": datetime(2024, 1, 1, tzinfo=UTC),
        "isolation_strategy": "schema",
    }
    return TenantInfo(**fields | changes)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("acme", "acme"),
        ("Acme", "Acme"),
        ("acme-corp", "acme_corp"),
        ("a  b!!c", "a_b_c"),
        ("1st", "_1st"),
        ("日本 支社", "日本_支社"),
        ("ＡＢＣ１", "ABC1"),
        ("²", "_2"),
        ("pg_main", "_pg_main"),
        ("pgmain", "pgmain"),
        ('a"; DROP', "a_DROP"),
        ("a.b", "a_b"),
        ("a\0b", "a_b"),
        ("a_b", "a_b"),
        ("_", None),
        ("", None),
        ("-!-", None),
        ("𠮷野", "_野"),  # MySQL takes no characters beyond the basic plane
        ("𠮷", None),
    ],
)
def test_safe_identifier(text: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(ValueError, match=r"no letter or digit"):
            naming.safe_identifier(text)
    else:
        assert naming.safe_identifier(text) == name


def test_a_long_name_keeps_its_beginning_and_gets_a_hash() -> None:
    name = naming.shorten("顧客" * 40)
    assert re.fullmatch("(顧客){9}_[0-9a-f]{8}", name)
    assert naming.shorten("a" * 63) == "a" * 63
    assert len(naming.shorten("a" * 64)) == 63
    assert naming.shorten("a" * 64) != naming.shorten("a" * 65)
    assert naming.shorten("abcdefghijklmnop", 12) == naming.shorten("abcdefghijklmnop", 12)
    assert len(naming.shorten("abcdefghijklmnop", 12)) == 12


TEXT = st.text(max_size=80) | st.text(alphabet="aé日𠮷😀_-1 ", max_size=80)


@given(TEXT)
def test_every_name_is_valid_and_short(text: str) -> None:
    try:
        name = naming.safe_identifier(text)
    except ValueError:
        return
    assert 1 <= len(name.encode()) <= 63
    assert re.fullmatch(r"\w+", name)
    assert not name[0].isdigit()
    assert not name.startswith("pg_")
    assert max(map(ord, name)) <= 0xFFFF
    assert naming.safe_identifier(text) == name
    assert naming.safe_identifier(name) == name


@given(TEXT, st.integers(10, 63))
def test_a_short_name_is_the_same_and_no_character_is_split(text: str, limit_bytes: int) -> None:
    name = naming.shorten(text, limit_bytes)
    assert len(name.encode()) <= limit_bytes
    if len(text.encode()) <= limit_bytes:
        assert name == text
    else:
        assert text.startswith(name[:-9])


def test_the_names_of_a_tenant() -> None:
    plain = tenant()
    assert naming.tenant_prefix(plain) == "acme_asia"
    assert naming.database_name(plain, "main") == "acme_asia_main"
    assert naming.schema_name(plain, "test") == "acme_asia_test"
    assert naming.table_name(plain, "users") == "users"
    named = tenant(database_prefix="crm", schema_suffix="_v2", table_prefix="acme_")
    assert naming.database_name(named, "main") == "crm_main"
    assert naming.schema_name(named, "main") == "acme_asia_main_v2"
    assert naming.table_name(named, "users") == "acme_users"
    assert len(naming.table_name(named, "u" * 80).encode()) == 63


def test_the_location_of_an_instance_is_that_of_its_isolation() -> None:
    fields = {"database_prefix": "crm", "schema_suffix": "_v2", "table_prefix": "acme_"}
    assert naming.location(tenant(isolation_strategy="database", **fields), "main") == "crm_main"
    assert naming.location(tenant(isolation_strategy="schema", **fields), "main") == "acme_asia_main_v2"
    assert naming.location(tenant(isolation_strategy="table", **fields), "main") == "acme_main_"


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ({}, {}, "acme_asia_main"),
        ({}, {"customer_code": "ACME"}, "acme_asia_main"),
        ({"customer_code": "a-b"}, {"customer_code": "a b"}, "a_b_asia_main"),
        ({"customer_code": "a_b", "region": "c"}, {"customer_code": "a", "region": "b_c"}, "a_b_c_main"),
        ({"schema_suffix": "_x"}, {}, None),
        ({"isolation_strategy": "database"}, {}, None),
        ({"isolation_strategy": "database"}, {"isolation_strategy": "database"}, "acme_asia_main"),
        (
            {"isolation_strategy": "database", "database_prefix": "crm"},
            {"isolation_strategy": "database", "database_prefix": "CRM", "customer_code": "x"},
            "crm_main",
        ),
        (
            {"isolation_strategy": "database", "database_prefix": "acme_asia"},
            {"isolation_strategy": "database"},
            "acme_asia_main",
        ),
        ({"instances": ["main"]}, {"instances": ["test"]}, None),
        ({"instances": ["main", "test"]}, {"instances": ["test"]}, "acme_asia_test"),
        ({"isolation_strategy": "table"}, {"isolation_strategy": "table", "customer_code": "x"}, "main_"),
        ({"isolation_strategy": "table", "table_prefix": "a_"}, {"isolation_strategy": "table"}, None),
    ],
)
def test_clashes_of_two_tenants(one: dict[str, Any], other: dict[str, Any], clash: str | None) -> None:
    clashes = naming.find_clashes([tenant("A", **one), tenant("B", **other)])
    assert clashes == ({clash: ["A", "B"]} if clash else {})


def test_a_tenant_clashes_with_itself() -> None:
    assert naming.find_clashes([tenant("A", instances=["main", "MAIN"])]) == {"acme_asia_main": ["A", "A"]}


def test_a_clash_of_one_strategy_does_not_hide_that_of_another() -> None:
    tenants = [
        *(tenant(name, isolation_strategy="database") for name in "AB"),
        *(tenant(name, isolation_strategy="schema") for name in "CD"),
    ]
    assert naming.find_clashes(tenants) == {"acme_asia_main": ["A", "B", "C", "D"]}


def test_a_tenant_without_a_name_is_passed_over() -> None:
    nameless = tenant("A", database_prefix="-", instances=["-"], isolation_strategy="database")
    assert naming.find_clashes([nameless, nameless]) == {}


def server(database: str = "shared") -> Any:
    return Mock(spec=PostgresServer, address=ServerAddress(host="h", port=1, user="u", database=database))


def test_a_database_of_its_own() -> None:
    on = server()
    on.name = "main"
    assert place(tenant(isolation_strategy="database"), "test env", on) == Place(
        target="main", database="acme_asia_test_env", schema="test_env", own_database=True
    )


def test_a_schema_in_the_shared_database() -> None:
    on = server("fleet")
    on.name = "main"
    assert place(tenant(), "main", on) == Place(
        target="main", database="fleet", schema="acme_asia_main", own_database=False
    )


def test_what_has_no_place() -> None:
    with pytest.raises(UnsupportedError, match="tenant T1: isolation strategy 'table'"):
        place(tenant(isolation_strategy="table"), "main", server())
    with pytest.raises(TerminalError, match="tenant T1: no letter or digit"):
        place(tenant(isolation_strategy="database"), "-", server())


def test_the_schemas_of_a_document() -> None:
    where = Place(target="t", database="d", schema="acme_asia_main", own_database=False)
    assert where.schemas(["any", "audit-log"]) == {"any": "acme_asia_main", "audit-log": "acme_asia_main_audit_log"}
    with pytest.raises(NameClashError, match="a b, a-b"):
        where.schemas(["any", "a b", "a-b"])
