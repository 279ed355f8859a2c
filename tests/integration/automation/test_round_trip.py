"""Any document: what provisioning makes of it needs no plan, and a plan makes of it any other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbgear_airflow_provider.core.automation.instance import Instance
from dbgear_airflow_provider.core.automation.plan import apply_plan, plan_instance
from dbgear_airflow_provider.core.automation.provision import provision_instance
from dbgear_airflow_provider.core.automation.reference import References
from dbgear_airflow_provider.core.engines import MySQLServer, PostgresServer, Server, ServerAddress
from dbgear_airflow_provider.core.isolation import Place
from dbgear_airflow_provider.core.tenants import IsolationStrategy
from tests.integration.schema.nasty import column, relation
from tests.servers.address import address_of

# Few names, so that the second document of a pair has much of the first; some need quotes, one has another's in it.
# What one name may be of is converted by every engine. {name: {type: defaults}}
COLUMNS: dict[str, dict[str, list[str | None]]] = {
    "a": {"INT": ["0", "7", None], "BIGINT UNSIGNED": ["1", None], "DECIMAL(10,2)": ["1.5", None]},
    "利 用": {"INT": [None], "SMALLINT": ["5"]},
    "select": {
        "VARCHAR(20)": ["'x'", "''", "'it''s'", "NULL", None],
        "VARCHAR(40)": ["'x'", None],
        "CHAR(3)": ["'abc'", None],
        "TEXT": [None],
        "ENUM('a','b')": ["'a'", None],
        "ENUM('a','b','c')": [None],
    },
    "x.y": {"DATE": ["'2026-01-01'", None], "DATETIME": ["CURRENT_TIMESTAMP", None], "DATETIME(3)": [None]},
    "xx": {"TIMESTAMP(3)": ["CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP"]},
    "flag": {"TINYINT(1)": ["1", "0", None]},
    "data": {"JSON": [None]},
}
LONG = {"TEXT", "JSON"}


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    own = [column("id", draw(st.sampled_from(["INT", "BIGINT"])), nullable=False, primaryKey=1)]
    own[0]["autoIncrement"] = draw(st.booleans())
    for name in draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True, max_size=4)):
        kind = draw(st.sampled_from(sorted(COLUMNS[name])))
        default = draw(st.sampled_from(COLUMNS[name][kind]))
        nullable = kind.startswith("TIMESTAMP") or default == "NULL" or draw(st.booleans())
        own.append(column(name, kind, nullable=nullable, defaultValue=default))
        if draw(st.booleans()):
            own[-1]["displayName"] = draw(st.sampled_from(["名前", "it's", name]))
    numbers = [item for item in own if item["columnType"]["columnType"] in {"INT", "BIGINT"} and item is not own[0]]
    if numbers and draw(st.booleans()):
        text = f"`{numbers[0]['columnName']}` * {draw(st.integers(2, 3))}"
        own.append(column("made", "INT", expression=text, stored=draw(st.booleans())))
    keys = [
        item["columnName"] for item in own if item["columnType"]["columnType"] not in LONG and "expression" not in item
    ]
    indexes = [
        {
            "indexName": f"i{number}",
            "columns": [
                name + draw(st.sampled_from(["", " DESC"]))
                for name in draw(st.lists(st.sampled_from(keys), unique=True, min_size=1, max_size=3))
            ],
            "unique": draw(st.booleans()),
        }
        for number in range(draw(st.integers(0, 2)))
    ]
    return {"columns": own, "indexes": indexes, "displayName": draw(st.sampled_from(["t", "表"]))}


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    made = {
        name: draw(tables()) for name in draw(st.lists(st.sampled_from(["t", "u", "order"]), min_size=1, unique=True))
    }
    views = {}
    for name, table in made.items():
        others = [other for other in made if draw(st.booleans())]
        kind = table["columns"][0]["columnType"]["columnType"]
        for other in others:
            if made[other]["columns"][0]["columnType"]["columnType"] == kind and other != name:
                rule = draw(st.sampled_from(["CASCADE", "RESTRICT"]))
                table.setdefault("relations", []).append(relation(other, ("id", "id"), onDelete=rule))
        if draw(st.booleans()):
            columns = ", ".join(f"`{item['columnName']}`" for item in table["columns"][: draw(st.integers(1, 4))])
            views[f"v_{name}"] = {
                "selectStatement": f"SELECT {columns} FROM `{name}` WHERE id > {draw(st.integers(0, 1))}"
            }
    if views and draw(st.booleans()):
        views["w"] = {"selectStatement": f"SELECT id FROM {min(views)}"}
    return {"schemas": {"main": {"tables": made, "views": views}}}


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[type[Server], ServerAddress, Any]]:
    running = request.getfixturevalue(request.param)
    mysql = request.param == "mariadb"
    database = "" if mysql else request.getfixturevalue("database")
    address = address_of(running, database)
    yield (MySQLServer if mysql else PostgresServer), address, running


def place_of(server: Server, isolation: IsolationStrategy, name: str) -> Place:
    """Return a place that is not there yet. With a prefix it is in a schema of its own, for it to be dropped."""
    mysql = server.schemas_are_databases
    return Place(
        target="main",
        isolation=isolation,
        database=name if mysql or isolation == "database" else server.address.database,
        schema=name if mysql or isolation != "database" else "main",
        prefix="Ab_" if isolation == "table" else "",
        schemas_are_databases=mysql,
        name_limit=server.name_limit,
    )


async def tell(
    kind: type[Server], address: ServerAddress, running: Any, isolation: IsolationStrategy, pair: Any
) -> None:
    server = kind("main", address)
    name = f"trip_{os.urandom(5).hex()}"
    place = place_of(server, isolation, name)
    first, second = (
        Instance(tenant_id="T", name="main", place=place, document=tree, template="t.j2", on_unsupported="warn")
        for tree in pair
    )
    references = References()
    try:
        await provision_instance(first, server, dry_run=False)
        plan = await plan_instance(first, server, references)
        assert (list(plan.differences), list(plan.statements)) == ([], [])
        done = await apply_plan(second, server, references, allow_destructive=True)
        assert not done.unrepaired
        plan = await plan_instance(second, server, references)
        assert (list(plan.differences), list(plan.statements)) == ([], []), [item.sql for item in done.statements]
    finally:
        await server.aclose()
        drop(running, address.database, place, name)


def drop(running: Any, database: str, place: Place, name: str) -> None:
    if place.schemas_are_databases:
        running.query(f"DROP DATABASE IF EXISTS {name}")
        return
    what = f"DATABASE IF EXISTS {name}" if place.own_database else f"SCHEMA IF EXISTS {name} CASCADE"
    with running.connect(database) as connection:
        connection.execute(f"DROP {what}")


# A document costs MariaDB seconds. On it, `database` is what `schema` is. DBGEAR_TEST_EXAMPLES: for a night.
EXAMPLES = {
    (PostgresServer, "schema"): 60,
    (PostgresServer, "database"): 20,
    (PostgresServer, "table"): 60,
    (MySQLServer, "schema"): 40,
    (MySQLServer, "database"): 10,
    (MySQLServer, "table"): 40,
}


@pytest.mark.parametrize("isolation", ["schema", "database", "table"])
def test_any_document_is_what_its_plan_says(server: Any, isolation: IsolationStrategy) -> None:
    @settings(
        max_examples=int(os.environ.get("DBGEAR_TEST_EXAMPLES", EXAMPLES[server[0], isolation])),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(documents(), documents()))
    def check(pair: Any) -> None:
        asyncio.run(tell(*server, isolation, pair))

    check()
