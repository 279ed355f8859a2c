from __future__ import annotations

import pickle
from datetime import UTC, date, datetime
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import QueryError
from dbgear_airflow_provider.core.tenants import TenantInfo, TenantQuery


def tenant(**changes: Any) -> TenantInfo:
    fields: dict[str, Any] = {
        "tenant_id": "T0001",
        "customer_name": "Acme 100% [beta]",
        "customer_code": "acme",
        "region": "asia",
        "tier": "premium",
        "status": "active",
        "created_at": datetime(2024, 1, 1, tzinfo=UTC),
        "updated_at": datetime(2024, 6, 1, 12, 30, tzinfo=UTC),
        "isolation_strategy": "schema",
        "schema_suffix": "_x",
        "instances": ["main", "test"],
        "billing_info": {
            "plan": "pro",
            "seats": 10,
            "rate": 0.5,
            "trial": False,
            "memo": None,
            "address": {"city": "大阪"},
        },
    }
    return TenantInfo(**fields | changes)


def refused(query: str) -> dict[str, Any]:
    with pytest.raises(QueryError) as caught:
        TenantQuery.parse(query)
    return dict(caught.value.details)


@pytest.mark.parametrize(
    "query",
    [
        "region = 'asia'",
        "'asia' = region",
        "'b' > region",
        "(region) = ('asia')",
        "\"region\" = 'asia'",
        "region != 'europe' AND region <> 'us'",
        "region = 'asia';",
        "region='asia' AND tier IN ('premium', 'enterprise')",
        "tier NOT IN ('basic')",
        "region >= 'asia' AND region < 'asib' AND region > 'asi' AND region <= 'asia'",
        "region BETWEEN 'asia' AND 'asia'",
        "region NOT BETWEEN 'b' AND 'c'",
        "customer_name LIKE 'Acme%'",
        "customer_name LIKE '%100% [beta]'",
        "customer_name NOT LIKE 'acme%'",
        "NOT customer_name LIKE 'acme%'",
        "region LIKE '_s_a'",
        "database_prefix IS NULL",
        "schema_suffix IS NOT NULL",
        "contract_info IS NULL AND billing_info IS NOT NULL",
        "TRUE",
        "region = 'us' OR NOT FALSE",
        "region = 'us' AND region = 'us' OR region = 'asia'",
        "'test' IN instances",
        "'staging' NOT IN instances",
        "created_at = '2024-01-01'",
        "created_at = '2024-01-01T09:00:00+09:00'",
        "created_at BETWEEN '2023-12-31' AND '2024-01-01T00:00'",
        "updated_at > '2024-06-01 12:29:59'",
        "updated_at IN ('2024-06-01T12:30:00Z')",
        "billing_info.plan = 'pro'",
        "billing_info.seats >= 10 AND billing_info.seats < 10.5 AND billing_info.seats > -1",
        "billing_info.seats IN (10.0, 11)",
        "billing_info.rate = 5e-1",
        "billing_info.trial = FALSE",
        "billing_info.memo IS NULL AND billing_info.no.such.key IS NULL",
        "billing_info.address.city LIKE '大%'",
    ],
)
def test_matches(query: str) -> None:
    assert TenantQuery.parse(query).matches(tenant())


@pytest.mark.parametrize(
    "query",
    [
        "region = 'ASIA'",
        "region LIKE 'ASIA'",
        "region = ''",
        "region = 'asia' AND FALSE",
        "'asia' = region AND 'b' < region",
        "schema_suffix LIKE '\\_x'",
        "customer_name LIKE '[A]%'",
        "region LIKE 'asi'",
        "created_at > '2024-01-01'",
        "created_at < '2024-01-01T08:59:59+09:00'",
        "billing_info.seats = '10'",
        "billing_info.plan > 5",
        "billing_info.trial = 0",
        "billing_info.address = 'Osaka'",
        "billing_info.plan.deeper = 'pro'",
    ],
)
def test_does_not_match(query: str) -> None:
    assert not TenantQuery.parse(query).matches(tenant())


@pytest.mark.parametrize(
    "condition",
    [
        "database_prefix = 'x'",
        "database_prefix != 'x'",
        "database_prefix IN ('x')",
        "database_prefix LIKE '%'",
        "database_prefix BETWEEN 'a' AND 'z'",
        "database_prefix = 'x' AND TRUE",
        "database_prefix = 'x' OR FALSE",
        "billing_info.no = 1",
        "billing_info.memo = 'x'",
        "billing_info.seats != 'ten'",
        "contract_info.sla > 99",
    ],
)
def test_unknown_neither_matches_nor_does_its_negation(condition: str) -> None:
    assert not TenantQuery.parse(condition).matches(tenant())
    assert not TenantQuery.parse(f"NOT ({condition})").matches(tenant())


def test_known_terms_decide_over_unknown_ones() -> None:
    assert TenantQuery.parse("database_prefix = 'x' OR region = 'asia'").matches(tenant())
    assert TenantQuery.parse("NOT (database_prefix = 'x' AND region = 'us')").matches(tenant())


def test_text_is_compared_by_code_point() -> None:
    assert TenantQuery.parse("region < 'a'").matches(tenant(region="Z"))
    assert TenantQuery.parse("region > 'z'").matches(tenant(region="é"))
    assert TenantQuery.parse("region > '\uffff'").matches(tenant(region="😀"))
    assert not TenantQuery.parse("region = 'e\u0301'").matches(tenant(region="é"))


def test_like_takes_no_time_to_refuse_a_hostile_pattern() -> None:
    query = TenantQuery.parse(f"customer_name LIKE '{'%a' * 200}b'")
    assert not query.matches(tenant(customer_name="a" * 20_000))


@pytest.mark.parametrize(
    ("query", "where", "problem"),
    [
        ("", "query", "empty"),
        (" \n", "query", "empty"),
        (";", "query", "empty"),
        ("region = 'x'; DROP TABLE tenants", "query, column 15", "not understood"),
        ("region = 'x'; tier = 'basic'", "query", "more than one statement"),
        ("region = 'x' -- all of them", "query, column 10", "comments are not allowed"),
        ("/* hm */ region = 'x'", "query, column 10", "comments are not allowed"),
        ("region = 'x", "query", "a quote or a comment is not closed"),
        ("region =", "query, column 8", "not understood"),
        ("region = 'x' AND", "query, column 14", "not understood"),
        ("region = 'x' tier = 'basic'", "query, column 14", "not understood"),
        ("(region = 'x'", "query, column 11", "not understood"),
        ("SELECT 1", "query, column 1", "not understood"),
        ("regoin = 'x'", "query, column 1", "no such field"),
        ("region = 'x' AND\n  zone = 'y'", "query, line 2, column 3", "no such field"),
        ("region.zone = 'x'", "query, column 1", "region has no parts"),
        ("lower(region) = 'x'", "query, column 1", "a field was expected"),
        ("region = lower('X')", "query, column 10", "a value was expected"),
        ("region IN (SELECT region)", "query, column 1", "not part of the query language"),
        ("EXISTS (SELECT 1)", "query, column 16", "not part of the query language"),
        ("region = 'a' || 'b'", "query, column 10", "a value was expected"),
        ("billing_info.seats = 1 + 1", "query, column 22", "a value was expected"),
        ("billing_info.seats * 2 = 4", "query, column 1", "a field was expected"),
        ("billing_info.seats = 1.5e", "query, column 22", "not a number in range"),
        ("billing_info.seats = 1e999", "query, column 22", "not a number in range"),
        ("billing_info['seats'] = 1", "query, column 1", "a field was expected"),
        ("billing_info.* = 1", "query, column 1", "a field was expected"),
        ("billing_info = 'x'", "query, column 16", "billing_info holds no single value"),
        ("billing_info.plan IN ('x', 1)", "query, column 1", "values of several types"),
        ("region = :region", "query, column 1", "a value was expected"),
        ("region = ?", "query, column 1", "a value was expected"),
        ("region = tier", "query, column 10", "a value was expected"),
        ('region = "asia"', "query, column 10", "double quotes name a field"),
        ("region = NULL", "query, column 1", "NULL equals nothing"),
        ("region IN ('x', NULL)", "query, column 1", "NULL equals nothing"),
        ("region IN ()", "query, column 1", "an empty list"),
        ("region IS TRUE", "query, column 1", "IS takes no other value"),
        ("region IS DISTINCT FROM 'x'", "query, column 1", "not part of the query language"),
        ("region ILIKE 'x'", "query, column 1", "not part of the query language"),
        ("region LIKE 'x' ESCAPE '!'", "query, column 1", "not part of the query language"),
        ("region LIKE 5", "query, column 1", "LIKE compares text"),
        ("created_at LIKE '2024%'", "query, column 1", "LIKE compares text"),
        ("region BETWEEN SYMMETRIC 'a' AND 'b'", "query, column 1", "not part of the query language"),
        ("region", "query, column 1", "not part of the query language"),
        ("1 = 1", "query, column 1", "a field was expected"),
        ("tier < 5", "query, column 8", "tier does not compare with this"),
        ("region = TRUE", "query, column 1", "region does not compare with this"),
        ("tier = 'gold'", "query, column 8", "no such tier"),
        ("status IN ('active', 'activ')", "query, column 1", "no such status"),
        ("created_at > 'yesterday'", "query, column 14", "created_at is a date-time"),
        ("created_at > '2024-02-30'", "query, column 14", "created_at is a date-time"),
        ("created_at > '0001-01-01T00:00+14:00'", "query, column 14", "created_at is a date-time"),
        ("created_at > 20240101", "query, column 14", "created_at does not compare with this"),
        ("instances = 'test'", "query, column 13", "instances holds no single value"),
        ("'test' IN region", "query, column 1", "region is no list"),
        ("5 IN instances", "query, column 1", "instances holds text"),
    ],
)
def test_refuses(query: str, where: str, problem: str) -> None:
    details = refused(query)
    assert (details["where"], details["problem"]) == (where, problem)


def test_tells_the_fields_that_there_are() -> None:
    with pytest.raises(QueryError) as caught:
        TenantQuery.parse("active = 'x'")
    assert str(caught.value) == (
        "query, column 1: no such field; received 'active'; allowed: tenant_id, customer_name, customer_code, "
        "region, tier, status, created_at, updated_at, isolation_strategy, database_prefix, schema_suffix, "
        "table_prefix, instances, billing_info, contract_info"
    )


def test_tells_the_values_of_a_closed_set() -> None:
    assert refused("tier = 'gold'")["allowed"] == ("basic", "standard", "premium", "enterprise")


@pytest.mark.parametrize(
    "query",
    [
        "(" * 50_000 + "TRUE" + ")" * 50_000,
        "(" * 100_000,
        "NOT " * 25_000 + "TRUE",
        "NOT (" * 15_000 + "TRUE" + ")" * 15_000,
        "billing_info.seats = " + "- " * 50_000 + "1",
        "billing_info.seats = " + "1 + " * 25_000 + "1",
        "CASE WHEN " * 10_000,
        "[" * 100_000,
        "x" * 1_000_000,
    ],
    ids=lambda query: query[:24],
)
def test_refuses_pathological_queries(query: str) -> None:
    assert len(str(refused(query))) < 1_000


def test_long_queries_of_everyday_shape_are_fine() -> None:
    ids = ", ".join(f"'T{number:05}'" for number in range(10_000))
    assert not TenantQuery.parse(f"tenant_id IN ({ids})").matches(tenant())
    assert TenantQuery.parse(" OR ".join(["region = 'us'"] * 5_000 + ["region = 'asia'"])).matches(tenant())
    assert TenantQuery.parse("(" * 20 + "TRUE" + ")" * 20).matches(tenant())


def test_is_a_value() -> None:
    query = TenantQuery.parse("region = 'asia' AND billing_info.seats IN (1, 10)")
    assert pickle.loads(pickle.dumps(query)) == query  # noqa: S301 - our own pickle
    assert str(query) == query.text == "region = 'asia' AND billing_info.seats IN (1, 10)"
    assert hash(query) == hash(TenantQuery.parse(query.text))


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        (None, True),
        ({}, True),
        ({"region": "asia"}, True),
        ({"region": "us"}, False),
        ({"region": "asia", "tier": "basic"}, False),
        ({"region": ["us", "asia"]}, True),
        ({"region": ("us",)}, False),
        ({"tier": {"premium", "enterprise"}}, True),
        ({"tier": []}, False),
        ({"database_prefix": None}, True),
        ({"region": None}, False),
        ({"database_prefix": [None, "x"]}, True),
        ({"schema_suffix": [None, "x"]}, False),
        ({"instances": "test"}, True),
        ({"instances": ["staging", "main"]}, True),
        ({"instances": "staging"}, False),
        ({"created_at": "2024-01-01"}, True),
        ({"created_at": date(2024, 1, 1)}, True),
        ({"created_at": datetime(2024, 1, 1)}, True),  # naive is UTC
        ({"billing_info.seats": 10}, True),
        ({"billing_info.seats": "10"}, False),
    ],
)
def test_filters(filters: dict[str, Any] | None, matches: bool) -> None:
    assert TenantQuery.from_filters(filters).matches(tenant()) is matches


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ({"zone": "x"}, "no such field"),
        ({"1=1 OR region": "x"}, "no such field"),
        ({"": "x"}, "no such field"),
        ({"tier": "gold"}, "no such tier"),
        ({"tier": 5}, "tier does not compare with this"),
        ({"created_at": "soon"}, "created_at is a date-time"),
        ({"billing_info": {"plan": "pro"}}, "billing_info holds no single value"),
        ({"billing_info.seats": [1, "x"]}, "values of several types"),
        ({"instances": 5}, "instances holds text"),
    ],
)
def test_refuses_filters(filters: dict[str, Any], problem: str) -> None:
    with pytest.raises(QueryError) as caught:
        TenantQuery.from_filters(filters)
    assert caught.value.details["problem"] == problem
    assert caught.value.details["where"] == f"filters, {next(iter(filters))}"
