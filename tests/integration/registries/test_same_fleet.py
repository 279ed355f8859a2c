"""One fleet in eight kinds of source: whichever is asked, the answer is the same."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import openpyxl
import pytest
import yaml

from dbgear_airflow_provider.core.errors import TenantNotFoundError
from dbgear_airflow_provider.core.registries import (
    APITenantProvider,
    CSVTenantProvider,
    DatabaseTenantProvider,
    DBGearTenantProvider,
    ExcelTenantProvider,
    TenantRegistryProvider,
)
from dbgear_airflow_provider.core.settings import ApiRegistrySettings, GraphqlSettings
from dbgear_airflow_provider.core.tenants import TenantInfo, TenantQuery
from dbgear_airflow_provider.sandbox.environment import REGISTRY_CSV
from dbgear_airflow_provider.sandbox.postgres import PostgresServer
from tests.servers.mariadb import MySQLServer

SOURCES = ("csv", "excel", "dbgear", "postgresql", "mariadb", "sqlite", "rest", "graphql")
PAGE = 7

QUERIES = (
    "TRUE",
    "FALSE",
    "status = 'active'",
    "tier IN ('premium', 'enterprise') AND region = 'japan'",
    "NOT (tier = 'basic' OR region IN ('us', 'europe'))",
    "'test' IN instances",
    "'test' NOT IN instances AND isolation_strategy = 'database'",
    "customer_name LIKE '%株式会社%'",
    "customer_name LIKE '_a%' OR customer_name LIKE '%''%'",
    "customer_code LIKE 'A%'",  # codes are in lower case
    "customer_name >= 'T' AND customer_name < 'a'",
    "created_at >= '2024-01-01' AND created_at < '2025-01-01'",
    "updated_at BETWEEN '2025-01-01T00:00:00+09:00' AND '2026-01-01'",
    "billing_info.seats >= 100",
    "billing_info.seats = '45'",
    "NOT billing_info.plan = 'annual'",
    "billing_info.currency IN ('USD', 'EUR') AND billing_info.seats < 1000",
    "contract_info.sla IS NULL",
    "contract_info.sla IS NOT NULL AND database_prefix IS NULL",
    "schema_suffix IS NOT NULL OR table_prefix IS NOT NULL",
    "tenant_id BETWEEN 'T0001' AND 'T0020'",
    "tenant_id > 'T0040' OR tenant_id IN ('T0001', 'nobody')",
)
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"status": "active"},
    {"tier": ["premium", "enterprise"], "region": "japan"},
    {"instances": "test"},
    {"database_prefix": None},
    {"billing_info.currency": "USD"},
)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with REGISTRY_CSV.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.DictReader(file) if any(row.values())]


def typed(row: dict[str, str]) -> dict[str, Any]:
    """Return a row as a source with types has it."""
    item: dict[str, Any] = {name: text.strip() for name, text in row.items() if text.strip()}
    if "instances" in item:
        item["instances"] = [name.strip() for name in item["instances"].split(",")]
    for name in ("billing_info", "contract_info"):
        with suppress(KeyError, ValueError):
            item[name] = json.loads(item[name])
    return item


@pytest.fixture(scope="module")
def crm(rows: list[dict[str, str]]) -> Iterator[str]:
    """A REST and a GraphQL server that page through the rows; return its URL."""
    items = [typed(row) for row in reversed(rows)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            start, limit = int(asked["offset"][0]), int(asked["limit"][0])
            self.answer({"items": items[start : start + limit], "total": len(items)})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert "tenants(" in asked["query"]
            start = int(asked["variables"].get("after") or 0)
            end = start + asked["variables"]["first"]
            page = {"nodes": items[start:end], "pageInfo": {"endCursor": str(end), "hasNextPage": end < len(items)}}
            self.answer({"data": {"tenants": page}})

        def answer(self, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def excel(path: Path, rows: list[dict[str, str]]) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append([text or None for text in row.values()])
    book.save(path)


def dbgear(path: Path, rows: list[dict[str, str]]) -> None:
    tenants = {
        row["tenant_id"]: {
            "ref": "base",
            "databases": [{"database": row["customer_code"], "active": True, **typed(row)}],
        }
        for row in rows
    }
    path.write_text(yaml.safe_dump({"tenants": tenants}, allow_unicode=True))


@pytest.fixture(params=SOURCES)
async def source(
    request: pytest.FixtureRequest, tmp_path: Path, rows: list[dict[str, str]], good: list[TenantInfo]
) -> AsyncIterator[TenantRegistryProvider]:
    def url_of(kind: str) -> str:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / 'crm.db'}"
        if kind == "postgresql":
            postgres: PostgresServer = request.getfixturevalue("postgres")
            return postgres.dsn(request.getfixturevalue("database"))
        mariadb: MySQLServer = request.getfixturevalue("mariadb")
        account = f"{quote(mariadb.user, safe='')}:{quote(mariadb.password, safe='')}"
        return f"mysql://{account}@{mariadb.host}:{mariadb.port}/{request.getfixturevalue('mysql_database')}"

    async with AsyncExitStack() as stack:
        provider: TenantRegistryProvider
        match request.param:
            case "csv":
                provider = CSVTenantProvider(REGISTRY_CSV)
            case "excel":
                excel(tmp_path / "crm.xlsx", rows)
                provider = ExcelTenantProvider(tmp_path / "crm.xlsx")
            case "dbgear":
                dbgear(tmp_path / "tenant.yaml", rows)
                provider = DBGearTenantProvider(tmp_path / "tenant.yaml")
            case "rest":
                options = ApiRegistrySettings(page_size=PAGE, total="total")
                provider = APITenantProvider(request.getfixturevalue("crm"), options=options)
            case "graphql":
                graphql = GraphqlSettings(
                    query="query ($first: Int, $after: String) { tenants(first: $first, after: $after) { nodes } }",
                    limit_variable="first",
                    cursor_variable="after",
                    cursor="data.tenants.pageInfo.endCursor",
                    has_more="data.tenants.pageInfo.hasNextPage",
                )
                options = ApiRegistrySettings(page_size=PAGE, items="data.tenants.nodes", graphql=graphql)
                provider = APITenantProvider(request.getfixturevalue("crm"), options=options)
            case kind:
                provider = DatabaseTenantProvider(url_of(kind), cache_ttl=0)
                await provider.write_tenants(good)
        stack.push_async_callback(provider.aclose)
        yield provider


@pytest.fixture
async def good() -> list[TenantInfo]:
    """The tenants as the CSV file has them, which other tests check cell by cell."""
    return await CSVTenantProvider(REGISTRY_CSV).list_tenants(limit=None)


async def test_it_lists_the_same_tenants(source: TenantRegistryProvider, good: list[TenantInfo]) -> None:
    assert len(good) >= 40
    assert await source.list_tenants(limit=None) == good
    assert [tenant async for tenant in source.stream_tenants()] == good
    assert await source.list_tenants(offset=5, limit=10) == good[5:15]
    assert await source.list_tenants() == good[:100]
    assert await source.get_tenant("T0007") == next(each for each in good if each.tenant_id == "T0007")
    with pytest.raises(TenantNotFoundError):
        await source.get_tenant("nobody")


async def test_it_finds_the_same_tenants(source: TenantRegistryProvider, good: list[TenantInfo]) -> None:
    for text in QUERIES:
        query = TenantQuery.parse(text)
        assert await source.search_tenants(text) == [each for each in good if query.matches(each)], text


async def test_it_counts_the_same_tenants(source: TenantRegistryProvider, good: list[TenantInfo]) -> None:
    for filters in FILTERS:
        query = TenantQuery.from_filters(filters)
        expected = [each for each in good if query.matches(each)]
        assert await source.get_tenant_count(filters) == len(expected), filters
        assert await source.list_tenants(filters, limit=None) == expected, filters


async def test_it_tells_the_same_bad_records(source: TenantRegistryProvider) -> None:
    rejected = await source.rejected_records()
    if isinstance(source, DatabaseTenantProvider):  # what we wrote there is good
        assert rejected == []
        return
    assert len(rejected) == 2
    assert "no such tier; received 'gold'; allowed: basic, standard, premium, enterprise" in rejected[0].message or (
        "no such tier; received 'gold'; allowed: basic, standard, premium, enterprise" in rejected[1].message
    )
    assert "billing_info" in " ".join(error.message for error in rejected)


def test_the_queries_tell_tenants_apart(good: list[TenantInfo]) -> None:
    counts = {text: sum(TenantQuery.parse(text).matches(each) for each in good) for text in QUERIES}
    empty = [text for text, count in counts.items() if count == 0]
    assert empty == ["FALSE", "customer_code LIKE 'A%'", "billing_info.seats = '45'"]
