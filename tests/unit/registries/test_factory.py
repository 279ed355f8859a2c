"""Registries and caches made of a project file alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pytest
import yaml
from openpyxl.worksheet.worksheet import Worksheet

from dbgear_airflow_provider.core import load_project
from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.registries import RegistryCache, create_cache, create_registry
from dbgear_airflow_provider.core.settings import CacheSettings, MultiTenantSettings

HEADER = "id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy"
ROW = "T1,Acme,acme,us,basic,active,2024-01-01,2024-01-01,schema"
MAPPING = {"fields": {"tenant_id": "id"}}


def project(folder: Path, registry: dict[str, Any], **more: Any) -> MultiTenantSettings:
    path = folder / "project.yaml"
    section = {"tenant_registry": registry, "targets": {"main": {"connection_id": "x"}}, **more}
    path.write_text(yaml.safe_dump({"multi_tenant": section}))
    return load_project(path).multi_tenant


def csv(folder: Path) -> dict[str, Any]:
    (folder / "tenants.csv").write_text(f"{HEADER}\n{ROW}\n")
    return {"path": "tenants.csv", "config_dir": "configs", "mapping": MAPPING}


def excel(folder: Path) -> dict[str, Any]:
    book = openpyxl.Workbook()
    sheet = book.create_sheet("CRM")
    assert isinstance(sheet, Worksheet)
    for line in ("Customers", HEADER, ROW):
        sheet.append(line.split(","))
    book.save(folder / "tenants.xlsx")
    return {"path": "tenants.xlsx", "sheet": "CRM", "header_row": 2, "config_dir": "configs", "mapping": MAPPING}


def dbgear(folder: Path) -> dict[str, Any]:
    (folder / "production").mkdir()
    entry = dict(zip(HEADER.split(","), ROW.split(","), strict=True)) | {"database": "acme"}
    (folder / "production" / "tenant.yaml").write_text(yaml.safe_dump({"tenants": {"a": {"databases": [entry]}}}))
    return {"path": "production", "mapping": MAPPING}


@pytest.mark.parametrize("section", [csv, excel, dbgear])
async def test_registries_in_files(tmp_path: Path, section: Any) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "T1.yaml").write_text("locale: ja_JP")
    settings = project(tmp_path, {"provider": section.__name__, "config": {section.__name__: section(tmp_path)}})
    registry = create_registry(settings.tenant_registry)
    assert (await registry.get_tenant("T1")).customer_name == "Acme"
    assert await registry.get_tenant_config("T1") == ({} if section is dbgear else {"locale": "ja_JP"})
    await registry.aclose()


async def test_files_that_do_not_change_are_not_looked_at(tmp_path: Path) -> None:
    section = csv(tmp_path) | {"watch_changes": False}
    registry = create_registry(project(tmp_path, {"config": {"csv": section}}).tenant_registry)
    assert await registry.get_tenant_count() == 1
    (tmp_path / "tenants.csv").write_text(HEADER)
    assert await registry.get_tenant_count() == 1


async def test_registries_in_databases(tmp_path: Path) -> None:
    database = {"url": f"sqlite:///{tmp_path}/crm.db", "tenant_table": "customers", "cache_ttl": 0}
    settings = project(tmp_path, {"provider": "database", "config": {"database": database}})
    registry = create_registry(settings.tenant_registry)
    tenant = await create_registry(project(tmp_path, {"config": {"csv": csv(tmp_path)}}).tenant_registry).get_tenant(
        "T1"
    )
    await registry.write_tenants([tenant])  # type: ignore[attr-defined]
    assert await registry.list_tenants() == [tenant]
    await registry.aclose()


async def test_registries_behind_an_api(tmp_path: Path) -> None:
    cache = RegistryCache(60)
    api = {"base_url": "https://crm.example.com/v1", "auth_token": "s3cr3t", "path": "/customers"}
    registry = create_registry(project(tmp_path, {"provider": "api", "config": {"api": api}}).tenant_registry, cache)
    assert registry.source.startswith("https://crm.example.com/v1")  # type: ignore[attr-defined]
    assert registry.cache is cache  # type: ignore[attr-defined]
    assert "s3cr3t" not in f"{registry!r} {vars(registry)}"
    await registry.aclose()


@pytest.mark.parametrize(
    ("registry", "message"),
    [
        (
            {"connection_id": "crm"},
            "multi_tenant.tenant_registry.config.csv: no such section; received 'connection_id crm'; "
            "allowed: without Airflow there are no connections",
        ),
        (
            {"provider": "database", "config": {"database": {"tenant_table": "x"}}},
            "multi_tenant.tenant_registry.config.database: no key url; "
            "allowed: without Airflow there are no connections",
        ),
        (
            {"provider": "api", "config": {"api": {"path": "/x"}}},
            "multi_tenant.tenant_registry.config.api: no key base_url; "
            "allowed: without Airflow there are no connections",
        ),
    ],
)
def test_missing_keys_are_named(tmp_path: Path, registry: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        create_registry(project(tmp_path, registry).tenant_registry)
    assert str(caught.value) == message


def test_errors_name_the_source(tmp_path: Path) -> None:
    sources = {"crm": {"provider": "api", "config": {"api": {}}}}
    settings = project(tmp_path, {"config": {"csv": csv(tmp_path)}}, sources=sources)
    with pytest.raises(SettingsError, match=r"^multi_tenant\.sources\.crm\.config\.api: no key base_url"):
        create_registry(settings.sources["crm"], where="multi_tenant.sources.crm")


async def test_caches() -> None:
    assert create_cache(CacheSettings(), 0) is None
    cache = create_cache(CacheSettings(max_entries=1), 60)
    assert isinstance(cache, RegistryCache)
    await cache.aclose()
    shared = create_cache(CacheSettings.model_validate({"redis_url": "redis://:s3cr3t@127.0.0.1:1/0"}), 60)
    assert isinstance(shared, RegistryCache)
    assert "s3cr3t" not in repr(shared)
    await shared.aclose()
    with pytest.raises(SettingsError, match="no key redis_url; received 'redis_connection_id redis_default'"):
        create_cache(CacheSettings(redis_connection_id="redis_default"), 60)


def test_what_is_not_used_is_not_imported() -> None:
    """DAG files import the registries and sinks: what takes time is imported where it is used."""
    program = """
import sys
from dbgear_airflow_provider.core.credentials import CredentialSink, FileSink, make_sink
from dbgear_airflow_provider.core.registries import CSVTenantProvider, TenantRegistryProvider, create_registry
slow = {"httpx", "sqlalchemy", "openpyxl", "redis", "fsspec", "upath", "asyncpg"}
print(sorted(slow & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
