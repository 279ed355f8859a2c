"""A query selects the tenants that SQLite selects with the same text as its WHERE clause."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dbgear_airflow_provider.core.errors import QueryError
from dbgear_airflow_provider.core.tenants import TenantInfo, TenantQuery

REQUIRED = ("customer_name", "region")
OPTIONAL = ("database_prefix", "schema_suffix", "table_prefix")

# Few characters, so that values meet: with case, LIKE's and fnmatch's wildcards, and more than one byte.
texts = st.text("aAb%_'*[\\é日😀\n", max_size=3)
literals = texts.map(lambda text: "'" + text.replace("'", "''") + "'")
fields = st.sampled_from(REQUIRED + OPTIONAL)
comparisons = st.sampled_from(["=", "!=", "<>", "<", "<=", ">", ">="])

tests = st.one_of(
    st.sampled_from(["TRUE", "FALSE"]),
    st.builds("{} {} {}".format, fields, comparisons, literals),
    st.builds("{} {} {}".format, literals, comparisons, fields),
    st.builds("{} {} {}".format, fields, st.sampled_from(["LIKE", "NOT LIKE"]), literals),
    st.builds("{} {}".format, fields, st.sampled_from(["IS NULL", "IS NOT NULL"])),
    st.builds("{} {} {} AND {}".format, fields, st.sampled_from(["BETWEEN", "NOT BETWEEN"]), literals, literals),
    st.builds(
        "{} {} ({})".format,
        fields,
        st.sampled_from(["IN", "NOT IN"]),
        st.lists(literals, min_size=1, max_size=3).map(", ".join),
    ),
)
# Only some terms are in parentheses: precedence is part of the language.
queries = st.recursive(
    tests,
    lambda terms: st.one_of(
        st.builds("{} AND {}".format, terms, terms),
        st.builds("{} OR {}".format, terms, terms),
        st.builds("NOT {}".format, terms),
        st.builds("({})".format, terms),
    ),
    max_leaves=8,
)
values = texts.filter(bool)
records = st.fixed_dictionaries(dict.fromkeys(REQUIRED, values) | {name: st.none() | values for name in OPTIONAL})


def tenant(number: int, record: dict[str, str | None]) -> TenantInfo:
    return TenantInfo.model_validate(
        record
        | {
            "tenant_id": str(number),
            "customer_code": "x",
            "tier": "basic",
            "status": "active",
            "created_at": datetime(2024, 1, 1, tzinfo=UTC),
            "updated_at": datetime(2024, 1, 1, tzinfo=UTC),
            "isolation_strategy": "schema",
        }
    )


@given(query=queries, drawn=st.lists(records, min_size=1, max_size=6))
def test_query_agrees_with_sqlite(query: str, drawn: list[dict[str, str | None]]) -> None:
    parsed = TenantQuery.parse(query)
    tenants = [tenant(number, record) for number, record in enumerate(drawn)]
    columns = ("tenant_id", *REQUIRED, *OPTIONAL)
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("PRAGMA case_sensitive_like = ON")
        database.execute(f"CREATE TABLE tenants ({', '.join(f'{name} TEXT' for name in columns)})")
        database.executemany(
            f"INSERT INTO tenants VALUES ({', '.join('?' * len(columns))})",
            [[getattr(each, name) for name in columns] for each in tenants],
        )
        selected = database.execute(f"SELECT tenant_id FROM tenants WHERE {query} ORDER BY rowid").fetchall()
    assert [each.tenant_id for each in tenants if parsed.matches(each)] == [row[0] for row in selected]


WORDS = """
region tier billing_info . , ; ( ) [ ] { } = != < > + - * / % | & ^ ~ ? : @ $ # ` ' '' 'x' " \\ 1 1.5e 0x1 -- /* */
AND OR NOT IN IS NULL LIKE BETWEEN TRUE CASE WHEN END SELECT FROM EXISTS CAST AS INTERVAL ANY ALL IF
"""


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS.split()), max_size=12).map(" ".join)))
def test_any_text_is_a_query_or_a_query_error(text: str) -> None:
    with contextlib.suppress(QueryError):
        TenantQuery.parse(text)
