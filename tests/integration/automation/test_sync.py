"""A registry of record in a database, synchronized with files."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.core.automation import SyncPlan, apply_sync, last_reads, plan_sync
from dbgear_airflow_provider.core.errors import (
    DbgearError,
    RegistryRecordError,
    SourceUnavailableError,
    SyncRefusedError,
)
from dbgear_airflow_provider.core.fleet import FleetStore, Run
from dbgear_airflow_provider.core.registries import CSVTenantProvider
from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider
from dbgear_airflow_provider.core.settings import SyncSettings
from dbgear_airflow_provider.core.tenants import TenantInfo

NOW = datetime(2026, 7, 1, 2, 0, tzinfo=UTC)
REQUIRED = [name for name, field in TenantInfo.model_fields.items() if field.is_required()]
BILLING = ["tenant_id", "billing_info"]
REPOSITORY = Path(__file__).parents[3]


def row(tenant_id: str, **changes: str) -> dict[str, str]:
    return {
        "tenant_id": tenant_id,
        "customer_name": f"顧客 {tenant_id}",
        "customer_code": tenant_id.lower(),
        "region": "jp",
        "tier": "basic",
        "status": "active",
        "created_at": "2026-01-01T09:30:15.123456+09:00",
        "updated_at": "2026-01-02",
        "isolation_strategy": "schema",
        **changes,
    }


class Company:
    """Files of a CRM and a billing system, the registry that they feed, and the history of it."""

    def __init__(self, folder: Path, registry: DatabaseTenantProvider, store: FleetStore) -> None:
        self.folder = folder
        self.registry = registry
        self.store = store

    def write(self, name: str, rows: Sequence[Mapping[str, str]], columns: Sequence[str] = REQUIRED) -> None:
        with (self.folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    async def plan(self, *names: str, **settings: Any) -> SyncPlan:
        names = names or ("crm",)
        configs = self.folder / "configs"
        sources = {
            name: (
                CSVTenantProvider(self.folder / f"{name}.csv", configs if name == "crm" and configs.exists() else None),
                BILLING if name == "billing" else None,
            )
            for name in names
        }
        previous = await last_reads(self.store, names)
        return await plan_sync(
            self.registry, sources, SyncSettings(**settings), now=NOW, previous=previous, configs_of=["crm"]
        )

    async def sync(self, *names: str, force: bool = False, **settings: Any) -> SyncPlan:
        plan = await self.plan(*names, **settings)
        await apply_sync(self.registry, plan, force=force, run=Run(store=self.store, run_id="tenant_sync/1"))
        return plan

    async def tenants(self) -> dict[str, TenantInfo]:
        return {tenant.tenant_id: tenant async for tenant in self.registry.stream_tenants()}

    async def history(self, tenant_id: str) -> list[Any]:
        return [record.details for record in await self.store.history(tenant_id)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FleetStore]:
    store = FleetStore(f"sqlite+aiosqlite:///{tmp_path / 'fleet.db'}")
    await store.prepare()
    yield store
    await store.aclose()


def url_of(engine: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the URL of an empty database."""
    if engine == "sqlite":
        return f"sqlite:///{folder / 'registry.db'}"
    server = request.getfixturevalue("postgres" if engine == "postgresql" else "mariadb")
    name = request.getfixturevalue("database" if engine == "postgresql" else "mysql_database")
    from sqlalchemy import URL

    url = URL.create(engine, server.user, server.password, server.host, server.port, name)
    return url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite"])
async def company(request: pytest.FixtureRequest, tmp_path: Path, store: FleetStore) -> AsyncIterator[Company]:
    registry = DatabaseTenantProvider(url_of(request.param, request, tmp_path))
    yield Company(tmp_path, registry, store)
    await registry.aclose()


every_engine = pytest.mark.parametrize("company", ["sqlite", "postgresql", "mysql"], indirect=True)


@every_engine
async def test_the_registry_follows_its_sources(company: Company) -> None:
    company.write("crm", [row("A"), row("B"), row("C"), row("D", status="suspended")])
    company.write(
        "billing",
        [{"tenant_id": "A", "billing_info": '{"plan": "yearly", "seats": 12.5, "vip": true, "tags": ["x", null]}'}],
        BILLING,
    )
    first = await company.sync("crm", "billing")
    assert first.counts()["added"] == 4
    tenants = await company.tenants()
    assert tenants["A"].billing_info == {"plan": "yearly", "seats": 12.5, "vip": True, "tags": ["x", None]}
    assert tenants["B"].billing_info is None
    assert tenants["A"].created_at == datetime(2026, 1, 1, 0, 30, 15, 123456, tzinfo=UTC)

    again = await company.sync("crm", "billing")
    assert not again, again.table()
    assert again.unchanged == 4

    company.write("crm", [row("A", tier="premium"), row("B"), row("D"), row("E")])
    company.write("billing", [{"tenant_id": "A", "billing_info": '{"plan": "monthly", "seats": 12.5}'}], BILLING)
    second = await company.sync("crm", "billing", max_change_percent=25)
    assert {change.tenant_id: dict(change.fields) for change in second.changed} == {
        "A": {
            "tier": ("basic", "premium"),
            "updated_at": (tenants["A"].updated_at, NOW),
            "billing_info.plan": ("yearly", "monthly"),
            "billing_info.tags": (["x", None], None),
            "billing_info.vip": (True, None),
        },
        "D": {"status": ("suspended", "active"), "updated_at": (tenants["D"].updated_at, NOW)},
    }
    assert [change.tenant_id for change in second.gone] == ["C"]
    assert second.became("active") == ["D", "E"]
    tenants = await company.tenants()
    assert {name: held.status for name, held in tenants.items()} == {
        **dict.fromkeys("ABDE", "active"),
        "C": "terminated",
    }
    # Answers that the registry has given before are not given again.
    assert (await company.registry.get_tenant("C")).status == "terminated"

    company.write("crm", [row(name, tier="premium" if name == "A" else "basic") for name in "ABCDE"])
    third = await company.sync("crm", "billing")
    assert third.changed[0].fields["status"] == ("terminated", "active")
    assert (await company.tenants())["C"].status == "active"

    assert await company.history("C") == [
        {"change": "added"},
        {"change": "terminated", "fields": ["status", "updated_at"]},
        {"change": "changed", "fields": ["status", "updated_at"]},
    ]
    reads = await last_reads(company.store, ["crm", "billing", "erp"])
    assert {name: read.records for name, read in reads.items()} == {"crm": 5, "billing": 1}
    assert reads["billing"].fields == ("billing_info",)


async def test_an_answer_that_was_kept_is_forgotten_when_the_registry_changes(company: Company) -> None:
    company.write("crm", [row("A")])
    await company.sync()
    assert (await company.registry.get_tenant("A")).tier == "basic"
    company.write("crm", [row("A", tier="premium")])
    await company.sync()
    assert (await company.registry.get_tenant("A")).tier == "premium"


async def test_a_plan_alone_writes_nothing(company: Company) -> None:
    company.write("crm", [row("A"), row("B")])
    await company.sync()
    before = await company.tenants()
    company.write("crm", [row("A", tier="premium"), row("C")])
    plan = await company.plan(max_change_percent=100)
    assert [plan.counts()[name] for name in ("added", "changed", "terminated")] == [1, 1, 1]
    assert await company.tenants() == before
    assert await company.history("A") == [{"change": "added"}]


async def test_bad_rows_are_told_and_cost_nobody_anything(company: Company) -> None:
    company.write("crm", [row("A"), row("B"), row("C")])
    await company.sync()
    company.write("crm", [row("A", tier="gold"), row("B", region=""), row("C", tier="premium"), row("C", tier="basic")])
    plan = await company.plan(max_change_percent=100)
    place = f"crm: {company.folder}/crm.csv, row"
    assert [error.message for error in plan.rejected] == [
        f"{place} 2, column tier: no such tier; received 'gold'; allowed: basic, standard, premium, enterprise",
        f"{place} 5, column tenant_id: {company.folder}/crm.csv, row 4 has this tenant_id already; received 'C'",
        "tenant B, in crm: no value for region",
    ]
    assert list(plan.kept) == ["A", "B"]
    assert [change.tenant_id for change in plan.changed] == ["C"]


async def test_an_unreadable_row_terminates_nobody(company: Company) -> None:
    company.write("crm", [row("A"), row("B")])
    await company.sync()
    company.write("crm", [row("A")])
    with (company.folder / "crm.csv").open("a") as file:
        file.write("B" + "," * 20 + "x\n")
    plan = await company.sync(max_change_percent=100)
    assert list(plan.kept) == ["B"]
    assert (await company.tenants())["B"].status == "active"


async def test_an_empty_a_shrunken_and_a_broken_source_change_nothing(company: Company) -> None:
    company.write("crm", [row(f"T{number:02}") for number in range(20)])
    company.write(
        "billing", [{"tenant_id": f"T{number:02}", "billing_info": '{"plan": "x"}'} for number in range(20)], BILLING
    )
    await company.sync("crm", "billing")
    before = await company.tenants()

    company.write("crm", [])
    for force in (False, True):
        with pytest.raises(SyncRefusedError, match="source crm has no good record"):
            await company.sync("crm", "billing", force=force)
    company.write("crm", [row(f"T{number:02}") for number in range(15)])
    with pytest.raises(SyncRefusedError, match=r"source crm: 5 of 20 \(25 %, max_change_percent is 20\)"):
        await company.sync("crm", "billing")
    company.write("crm", [{"tenant_id": "T01"}], ["tenant_id"])
    with pytest.raises(RegistryRecordError, match="missing columns"):
        await company.sync("crm", "billing")
    (company.folder / "crm.csv").unlink()
    with pytest.raises(SourceUnavailableError, match="crm.csv"):
        await company.sync("crm", "billing")
    assert await company.tenants() == before

    company.write("crm", [row(f"T{number:02}") for number in range(20)])
    company.write("billing", [{"tenant_id": "T01", "billing_info": '{"plan": "x"}'}], BILLING)
    with pytest.raises(SyncRefusedError, match="source billing: 19 of 20"):
        await company.sync("crm", "billing")
    assert await company.tenants() == before


async def test_with_force_the_shrunken_source_is_what_the_next_one_is_compared_with(company: Company) -> None:
    company.write("crm", [row(f"T{number:02}") for number in range(20)])
    await company.sync()
    company.write("crm", [row(f"T{number:02}") for number in range(5)])
    plan = await company.sync(force=True)
    assert len(plan.gone) == 15
    assert not await company.sync()


async def test_two_sources_of_the_same_rank_keep_each_others_tenants(company: Company) -> None:
    company.write("asia", [row("A1"), row("A2")])
    company.write("europe", [row("E1"), row("A2", tier="premium")])
    await company.sync("asia", "europe")
    tenants = await company.tenants()
    assert sorted(tenants) == ["A1", "A2", "E1"]
    assert tenants["A2"].tier == "basic"
    plan = await company.sync("asia", "europe", precedence={"tier": ["europe"]})
    assert [(change.tenant_id, change.fields["tier"]) for change in plan.changed] == [("A2", ("basic", "premium"))]


async def test_a_registry_that_refuses_one_tenant_takes_none(company: Company) -> None:
    company.write("crm", [row("A")])
    await company.sync()
    database = sqlite3.connect(company.folder / "registry.db")
    refuse = (
        "CREATE TRIGGER refuse BEFORE INSERT ON tenants WHEN NEW.tenant_id = 'Z' BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    database.execute(refuse)
    database.close()
    company.write("crm", [row("A", tier="premium"), row("B"), row("Z")])
    with pytest.raises(DbgearError):
        await company.sync()
    assert {name: held.tier for name, held in (await company.tenants()).items()} == {"A": "basic"}
    assert await company.history("A") == [{"change": "added"}]


async def test_a_registry_that_does_not_answer_is_worth_a_retry(company: Company) -> None:
    company.write("crm", [row("A")])
    company.registry = DatabaseTenantProvider(f"sqlite:///{company.folder}/no/such/folder/registry.db")
    with pytest.raises(SourceUnavailableError):
        await company.sync()
    await company.registry.aclose()


async def test_history_that_cannot_be_written_does_not_hide_what_was_done(company: Company, caplog: Any) -> None:
    company.write("crm", [row("A")])
    plan = await company.plan()
    lost = FleetStore(f"sqlite+aiosqlite:///{company.folder / 'no' / 'such' / 'folder.db'}")
    await apply_sync(company.registry, plan, run=Run(store=lost, run_id="x"))
    await lost.aclose()
    assert list(await company.tenants()) == ["A"]
    assert "the history of this sync is not complete" in caplog.text


KILLED = """
import asyncio, json, sys
from datetime import UTC, datetime
from dbgear_airflow_provider.core.automation import apply_sync, plan_sync
from dbgear_airflow_provider.core.registries import CSVTenantProvider
from dbgear_airflow_provider.core.registries.database import DatabaseTenantProvider
from dbgear_airflow_provider.core.settings import SyncSettings

async def main():
    registry = DatabaseTenantProvider(sys.argv[1])
    sources = {"crm": (CSVTenantProvider(sys.argv[2]), None)}
    plan = await plan_sync(registry, sources, SyncSettings(max_change_percent=100), now=datetime.now(UTC))
    print(json.dumps(plan.counts()), flush=True)
    await asyncio.sleep(60)
    await apply_sync(registry, plan)

asyncio.run(main())
"""


async def test_a_sync_that_is_killed_before_it_writes_has_changed_nothing(company: Company) -> None:
    company.write("crm", [row("A"), row("B")])
    await company.sync()
    before = await company.tenants()
    company.write("crm", [row("A", tier="premium"), row("C")])
    url = f"sqlite:///{company.folder / 'registry.db'}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, url, str(company.folder / "crm.csv")),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["added"] == 1
    process.kill()
    await process.communicate()
    assert await company.tenants() == before
    assert (await company.sync(max_change_percent=100)).counts()["changed"] == 1


@every_engine
async def test_settings_of_tenants_come_along(company: Company) -> None:
    configs = company.folder / "configs"
    configs.mkdir()
    company.write("crm", [row("A"), row("B"), row("C")])
    (configs / "A.yaml").write_text("features: [audit, 監査]\nsince: 2026-01-31\n", encoding="utf-8")
    (configs / "B.yaml").write_text("not a mapping", encoding="utf-8")
    first = await company.sync(max_change_percent=100)
    assert first.counts() == first.counts() | {"configs": 1, "added": 3, "rejected": 1}
    assert "crm: " in first.rejected[0].message
    assert "B.yaml" in first.rejected[0].message
    assert await company.registry.get_tenant_config("A") == {"features": ["audit", "監査"], "since": "2026-01-31"}
    assert await company.registry.get_tenant_config("B") == {}
    assert not await company.plan()

    (configs / "A.yaml").write_text("features: [audit]\nsince: 2026-01-31\n", encoding="utf-8")
    (configs / "B.yaml").write_text("locale: ja_JP", encoding="utf-8")
    planned = await company.plan()
    assert {change.tenant_id: list(change.fields) for change in planned.configs} == {
        "A": ["config.features"],
        "B": ["config.locale"],
    }
    assert "config.features" in planned.table()
    assert "audit" not in planned.table()  # what is in them is for the registry
    assert await company.registry.get_tenant_config("B") == {}
    await company.sync()
    assert await company.registry.get_tenant_config("A") == {"features": ["audit"], "since": "2026-01-31"}
    assert await company.registry.get_tenant_config("B") == {"locale": "ja_JP"}

    (configs / "A.yaml").unlink()
    await company.sync()
    assert (await company.registry.get_tenant_config("A"))["features"] == ["audit"]  # what no source has, stays
