"""A query selects the same tenants in Python, SQLite, PostgreSQL and MariaDB."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider
from dbgear_airflow_provider.core.registries.database.pushdown import narrow
from dbgear_airflow_provider.core.tenants import TenantInfo, TenantQuery

from .conftest import Place

# Few and nasty, so that values meet: case, wildcards of LIKE, GLOB and fnmatch, quotes, escapes, trailing spaces,
# letters that are equal without accents, more than one byte, more than one UTF-16 unit.
WORDS = (
    *(
        "a",
        "A",
        "á",
        "a ",
        " a",
        "aa",
        "ab",
        "a%",
        "%",
        "_",
        "a_b",
        "*",
        "?",
        "[a]",
        "\\",
        "a\\%",
        "/",
        "//",
        "'",
        "''",
    ),
    *(
        '"',
        "日本",
        "日本 ",
        "株式会社",
        "ß",
        "ss",
        "😀",
        "\uffff",
        "ー",
        "ｱ",
        "ア",
        "true",
        "1",
        "01",
        "null",
        "\n",
        "a\nb",
        "{}",
    ),
)
TIMES = (
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2024, 1, 1, tzinfo=UTC),
    datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
    datetime(2024, 1, 1, 9, 30, 59, 999999, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC),
    datetime(1901, 5, 6, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)
NUMBERS = (0, 1, -1, 1.0, 0.1, 0.5, 100, 100.5, -0.0, 1e-300, 2**53 - 1, 2**53 + 1, 10**30)
JSON_VALUES: tuple[Any, ...] = (
    *WORDS[:12],
    *NUMBERS,
    True,
    False,
    None,
    {},
    [],
    ["a"],
    {"b": "a"},
    {"b": 1},
    {"b": {"c": True}},
)
KEYS = ("a", "b", "A", "0", "日本", "a.b", 'q"uote', "back\\slash", "$", "' OR 1=1")
INSTANCES = ("main", "test", "Test", "main ", "a,b", "日本", 'q"', "\\", "te")

TIERS, STATUSES = ("basic", "standard", "premium", "enterprise"), ("active", "inactive", "suspended", "terminated")


def pool() -> list[TenantInfo]:
    draw = random.Random(7)  # noqa: S311 - the same tenants every time

    def document() -> dict[str, Any]:
        made = {key: draw.choice(JSON_VALUES) for key in draw.sample(KEYS, draw.randint(0, 4))}
        if draw.random() < 0.5:
            made[draw.choice(KEYS)] = {draw.choice(KEYS): draw.choice(JSON_VALUES)}
        return made

    tenants = []
    for number in range(80):
        word = WORDS[number % len(WORDS)]
        tenants.append(
            TenantInfo(
                tenant_id=word if number < len(WORDS) else f"T{number:04}",
                customer_name=draw.choice(WORDS),
                customer_code=draw.choice(WORDS),
                region=draw.choice(WORDS[:6]),
                tier=draw.choice(TIERS),
                status=draw.choice(STATUSES),
                created_at=draw.choice(TIMES),
                updated_at=draw.choice(TIMES),
                isolation_strategy=draw.choice(("database", "schema")),
                database_prefix=draw.choice((None, *WORDS)),
                schema_suffix=draw.choice((None, *WORDS[:5])),
                table_prefix=None,
                instances=draw.sample(INSTANCES, draw.randint(1, 3)),
                billing_info=draw.choice((None, document(), document())),
                contract_info=draw.choice((None, {}, document())),
            )
        )
    return sorted(tenants, key=lambda tenant: tenant.tenant_id)


TENANTS = pool()


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def listed(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=4).map(lambda chosen: f"({', '.join(chosen)})")


comparisons = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
words = st.one_of(st.sampled_from(WORDS), st.text("aAb%_'*[\\/é日😀 \n\0", max_size=3)).map(literal)
patterns = st.lists(st.sampled_from(["%", "_", *WORDS]), max_size=3).map("".join).map(literal)
text_fields = st.sampled_from(
    ["tenant_id", "customer_name", "customer_code", "region", "database_prefix", "schema_suffix", "table_prefix"]
)
closed = st.sampled_from(
    [("tier", TIERS), ("status", STATUSES), ("isolation_strategy", ("database", "schema", "table"))]
)
moments = (
    st.one_of(st.sampled_from(TIMES), st.sampled_from(TIMES[:5]).map(lambda time: time + timedelta(microseconds=1)))
    .flatmap(lambda time: st.sampled_from([time.isoformat(), time.isoformat()[:-6], time.date().isoformat()]))
    .map(literal)
)
time_fields = st.sampled_from(["created_at", "updated_at"])
numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(-3, 101), st.floats(-2, 2)).map(
    lambda number: f"{number!r}".replace("e+", "e")
)
scalars = st.one_of(st.sampled_from(WORDS[:12]).map(literal), numbers, st.sampled_from(["TRUE", "FALSE"]))
keys = st.sampled_from(KEYS).map(lambda key: '"' + key.replace('"', '""') + '"')
paths = st.builds(
    lambda name, parts: ".".join([name, *parts]),
    st.sampled_from(["billing_info", "contract_info"]),
    st.lists(keys, min_size=1, max_size=2),
)


def typed_lists() -> st.SearchStrategy[str]:
    return st.one_of(
        listed(st.sampled_from(WORDS[:12]).map(literal)), listed(numbers), st.sampled_from(["(TRUE)", "(TRUE, FALSE)"])
    )


def conditions_on(
    fields: st.SearchStrategy[str], values: st.SearchStrategy[str], lists: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    return st.one_of(
        st.builds("{} {} {}".format, fields, comparisons, values),
        st.builds("{} {} {}".format, fields, st.sampled_from(["IN", "NOT IN"]), lists),
        st.builds("{} {}".format, fields, st.sampled_from(["IS NULL", "IS NOT NULL"])),
    )


likes = st.builds("{} {} {}".format, st.one_of(text_fields, paths), st.sampled_from(["LIKE", "NOT LIKE"]), patterns)
terms = st.one_of(
    st.sampled_from(["TRUE", "FALSE"]),
    conditions_on(text_fields, words, listed(words)),
    likes,
    closed.flatmap(
        lambda one: conditions_on(
            st.just(one[0]), st.sampled_from(one[1]).map(literal), listed(st.sampled_from(one[1]).map(literal))
        )
    ),
    conditions_on(time_fields, moments, listed(moments)),
    conditions_on(paths, scalars, typed_lists()),
    st.builds("{} {} instances".format, st.sampled_from(INSTANCES).map(literal), st.sampled_from(["IN", "NOT IN"])),
    st.sampled_from(["billing_info", "contract_info", "instances"]).map("{} IS NULL".format),
)
queries = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.builds("{} AND {}".format, inner, inner),
        st.builds("{} OR {}".format, inner, inner),
        st.builds("NOT ({})".format, inner),
        st.builds("({})".format, inner),
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def runner() -> Any:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def registries(places: dict[str, Place], runner: asyncio.Runner) -> Any:
    providers = {engine: DatabaseTenantProvider(place.url, cache_ttl=0) for engine, place in places.items()}
    for provider in providers.values():
        runner.run(provider.write_tenants(TENANTS))
    yield providers
    for provider in providers.values():
        runner.run(provider.aclose())


async def selected_by_sql(provider: DatabaseTenantProvider, query: TenantQuery) -> tuple[list[str], bool]:
    """Return the ids that the condition alone selects, and whether it is said to be exact."""
    columns = await provider._columns([])
    assert columns is not None
    narrowed = narrow(query.predicate, columns.comparable(), columns.layout.dialect)
    statement = sa.select(columns.selected(["tenant_id"])["tenant_id"]).select_from(columns.clause)
    async with provider._engine.connect() as connection:
        return sorted(await connection.scalars(statement.where(narrowed.condition))), narrowed.exact


EXACT = {
    "sqlite": ["customer_name LIKE '%a_'", "tier IN ('basic')", "NOT region < 'a'", "database_prefix IS NULL"],
    "postgresql": [
        "'test' NOT IN instances",
        "NOT created_at <= '2024-01-01'",
        "billing_info.a >= 0.1",
        "NOT billing_info.a LIKE 'a%'",
        "billing_info.b != TRUE",
        "billing_info IS NULL",
    ],
    "mariadb": ["customer_code LIKE '\\%'", "updated_at > '2024-01-01'", "tenant_id NOT IN ('a', 'A')"],
}


@pytest.mark.parametrize(("engine", "query"), [(engine, query) for engine in EXACT for query in EXACT[engine]])
def test_the_database_decides(
    engine: str, query: str, registries: dict[str, DatabaseTenantProvider], runner: asyncio.Runner
) -> None:
    parsed = TenantQuery.parse(query)
    selected, exact = runner.run(selected_by_sql(registries[engine], parsed))
    assert exact
    assert selected == [tenant.tenant_id for tenant in TENANTS if parsed.matches(tenant)]
    assert 0 < len(selected) < len(TENANTS)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(query=queries)
def test_all_agree(query: str, registries: dict[str, DatabaseTenantProvider], runner: asyncio.Runner) -> None:
    parsed = TenantQuery.parse(query)
    expected = [tenant for tenant in TENANTS if parsed.matches(tenant)]
    ids = [tenant.tenant_id for tenant in expected]

    async def ask(provider: DatabaseTenantProvider) -> tuple[list[TenantInfo], list[str], bool]:
        return await provider.search_tenants(query), *await selected_by_sql(provider, parsed)

    async def ask_all() -> list[tuple[list[TenantInfo], list[str], bool]]:
        return await asyncio.gather(*map(ask, registries.values()))

    for engine, (found, selected, exact) in zip(registries, runner.run(ask_all()), strict=True):
        assert found == expected, engine
        assert set(selected) >= set(ids), engine
        if exact:
            assert selected == ids, engine
