from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, Server, ServerAddress
from dbgear_airflow_provider.core.errors import NameClashError, SettingsError, TerminalError
from dbgear_airflow_provider.core.isolation import Place, place
from dbgear_airflow_provider.core.schema import Namespace
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
    on_table = tenant(isolation_strategy="table", **fields)
    assert naming.location(on_table, "main") == "acme_main_"
    assert naming.table_name(on_table, "users") == "users"


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
        ({"isolation_strategy": "table"}, {"isolation_strategy": "table", "customer_code": "x"}, None),
        ({"isolation_strategy": "table"}, {"isolation_strategy": "table", "customer_code": "ACME"}, "acme_asia_main_"),
        (
            {"isolation_strategy": "table", "table_prefix": "ac_", "instances": ["me"]},
            {"isolation_strategy": "table", "table_prefix": "AC_ME_"},
            "ac_me_",
        ),
        ({"isolation_strategy": "table"}, {}, None),
        ({"isolation_strategy": "table", "table_prefix": "a_"}, {"isolation_strategy": "table"}, None),
    ],
)
def test_clashes_of_two_tenants(one: dict[str, Any], other: dict[str, Any], clash: str | None) -> None:
    clashes = naming.find_clashes([tenant("A", **one), tenant("B", **other)])
    assert clashes == ({clash: ["A", "B"]} if clash else {})


def test_a_tenant_clashes_with_itself() -> None:
    assert naming.find_clashes([tenant("A", instances=["main", "MAIN"])]) == {"acme_asia_main": ["A", "A"]}


def test_a_prefix_clashes_with_all_that_begin_with_it() -> None:
    prefixes = {"A": "ac_b_", "B": "ac_", "C": "ac.c_", "D": "ad_", "E": "AC-", "F": "ac"}
    tenants = [
        tenant(name, isolation_strategy="table", table_prefix=prefix, instances=["x"])
        for name, prefix in prefixes.items()
    ]
    assert naming.find_clashes(tenants) == {"ac_x_": ["B", "E"]}
    tenants.append(tenant("G", isolation_strategy="table", table_prefix="ac_", instances=["x_1", "x_2"]))
    assert naming.find_clashes(tenants) == {"ac_x_": ["B", "E", "G", "G"]}


def test_where_schemas_are_databases_the_strategies_share_their_names() -> None:
    tenants = [tenant("A"), tenant("B", isolation_strategy="database")]
    assert naming.find_clashes(tenants) == {}
    assert naming.find_clashes(tenants, schemas_are_databases=True) == {"acme_asia_main": ["A", "B"]}


def test_no_tenants_schema_is_the_shared_one() -> None:
    tenants = [tenant("A"), tenant("B", customer_code="x"), tenant("C", isolation_strategy="database")]
    assert naming.find_clashes(tenants, shared_schema="Acme_Asia_main") == {"acme_asia_main": ["A"]}


def test_clashes_of_a_large_fleet_are_found() -> None:
    tenants = [tenant(f"T{n}", isolation_strategy="table", table_prefix=f"t{n}_") for n in range(20_000)]
    twins = [tenant(name, isolation_strategy="table", table_prefix="t7_") for name in ("A", "B")]
    assert naming.find_clashes([*tenants, *twins]) == {"t7_main_": ["T7", "A", "B"]}


def test_a_clash_of_one_strategy_does_not_hide_that_of_another() -> None:
    tenants = [
        *(tenant(name, isolation_strategy="database") for name in "AB"),
        *(tenant(name, isolation_strategy="schema") for name in "CD"),
    ]
    assert naming.find_clashes(tenants) == {"acme_asia_main": ["A", "B", "C", "D"]}


def test_a_tenant_without_a_name_is_passed_over() -> None:
    nameless = tenant("A", database_prefix="-", instances=["-"], isolation_strategy="database")
    assert naming.find_clashes([nameless, nameless]) == {}


def server(database: str = "shared", kind: type[Server] = PostgresServer) -> Server:
    return kind("main", ServerAddress(host="h", port=1, user="u", database=database))


def test_a_database_of_its_own() -> None:
    assert place(tenant(isolation_strategy="database"), "test env", server()) == Place(
        target="main", database="acme_asia_test_env", schema="test_env", isolation="database"
    )


def test_a_schema_in_the_shared_database() -> None:
    assert place(tenant(), "main", server("fleet")) == Place(
        target="main", database="fleet", schema="acme_asia_main", isolation="schema"
    )


@pytest.mark.parametrize(("isolation", "name"), [("database", "crm_main"), ("schema", "acme_asia_main_v2")])
def test_where_schemas_are_databases_both_are_one(isolation: str, name: str) -> None:
    on = server("", MySQLServer)
    where = place(tenant(isolation_strategy=isolation, database_prefix="crm", schema_suffix="_v2"), "main", on)
    assert (where.database, where.schema, where.own_database) == (name, name, isolation == "database")
    assert where.told() == f"{name} on target main"
    assert where.namespaces(["first", "audit"]) == {"first": Namespace(name), "audit": Namespace(f"{name}_audit")}


def test_each_engine_has_its_limit() -> None:
    long = "顧客" * 16  # 32 characters, 96 bytes
    on_mysql = place(tenant(customer_code=long), "main", server("", MySQLServer))
    assert on_mysql.schema == f"{long}_asia_main"
    beside = on_mysql.namespaces(["first", "x" * 40])["x" * 40].schema
    assert len(beside) == 64
    assert beside.startswith(f"{long}_asia_main_xxx")
    on_postgres = place(tenant(customer_code=long), "main", server())
    assert len(on_postgres.schema.encode()) <= 63
    assert place(tenant(customer_code="a" * 40), "main", server("", MySQLServer)).schema == f"{'a' * 40}_asia_main"


def test_a_prefix_in_the_shared_schema() -> None:
    one = tenant(isolation_strategy="table", customer_code="Acme")
    assert place(one, "main", server("fleet")) == Place(
        target="main", database="fleet", schema="public", isolation="table", prefix="Acme_asia_main_"
    )
    on_mysql = place(one, "main", server("fleet", MySQLServer))
    assert (on_mysql.database, on_mysql.schema, on_mysql.own_database) == ("fleet", "fleet", False)
    address = ServerAddress(host="h", port=1, user="u", database="fleet")
    assert place(one, "main", PostgresServer("main", address, shared_schema="everybody")).schema == "everybody"
    with pytest.raises(SettingsError, match=r"multi_tenant\.targets\.main\.shared_schema: no schema for tenants"):
        place(one, "main", server("", MySQLServer))


@given(TEXT, TEXT)
def test_a_prefix_is_short_and_stays_whole(prefix: str, name: str) -> None:
    try:
        begins = naming.object_prefix(tenant(table_prefix=prefix or None, isolation_strategy="table"), "main")
        further = naming.further_prefix(begins, name)
    except ValueError:
        return
    assert len(begins.encode()) <= naming.MAX_PREFIX_BYTES
    assert further.startswith(begins)
    for whole in (begins, further):
        assert naming.prefixed(whole, name).startswith(whole)
        assert len(naming.prefixed(whole, name).encode()) <= 63


def test_what_has_no_place() -> None:
    with pytest.raises(TerminalError, match="tenant T1: no letter or digit"):
        place(tenant(isolation_strategy="database"), "-", server())


def test_the_schemas_of_a_document() -> None:
    where = Place(target="t", database="d", schema="acme_asia_main", isolation="schema")
    assert where.namespaces(["any", "audit-log"]) == {
        "any": Namespace("acme_asia_main"),
        "audit-log": Namespace("acme_asia_main_audit_log"),
    }
    with pytest.raises(NameClashError, match="a b, a-b"):
        where.namespaces(["any", "a b", "a-b"])


# Roles


def test_the_roles_of_a_tenant() -> None:
    assert naming.owner_role(tenant()) == "acme_asia_owner"
    assert naming.login_role(tenant()) == "acme_asia_login"


def test_long_names_of_roles_fit_and_stay_apart() -> None:
    limit = MySQLServer.role_limit
    long = [tenant(customer_code=f"{'a' * 40}{end}") for end in "xy"]
    names = [make(item, limit) for item in long for make in (naming.owner_role, naming.login_role)]
    assert len(set(names)) == 4
    assert all(len(name) <= 32 for name in names)
    assert all(len(naming.login_role(item).encode()) <= 63 for item in long)


def test_tenants_that_would_share_a_login() -> None:
    one, other = tenant("A"), tenant("B", customer_code="ACME", isolation_strategy="database")
    nameless = tenant("C", customer_code="!", region="!")
    assert naming.find_role_clashes([one, other, nameless, nameless]) == {"acme_asia_login": ["A", "B"]}
    assert naming.find_role_clashes([one, tenant("B", region="eu")]) == {}
