"""Tenants of a DBGear project, from the tenant.yaml of an environment."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from upath import UPath

from dbgear_airflow_provider.core.errors import RegistryRecordError, SourceUnavailableError, TenantNotFoundError
from dbgear_airflow_provider.core.registries import DBGearTenantProvider, Record
from dbgear_airflow_provider.core.settings import FieldMapping
from dbgear_airflow_provider.core.tenants import TenantInfo
from dbgear_airflow_provider.core.tenants.naming import database_name

# As DBGear's users have it.
TENANT_YAML = """\
# Customers of the Tokyo office.
tenants:
  localgov:
    ref: base
    databases:
      - database: localgov_minato
        description: 港区
        active: true
      - database: localgov_chuo
        active: false   # contract has ended
  hoshino:
    ref: premium
    dataArgs: {plan: gold}
    databases:
      - {database: hoshino, description: 株式会社ホシノ}
"""
DEFAULTS = {"region": "japan", "tier": "standard", "created_at": "2024-04-01"}


def read(folder: Path, text: str = TENANT_YAML, **mapping: Any) -> DBGearTenantProvider:
    (folder / "tenant.yaml").write_text(text)
    return DBGearTenantProvider(folder, mapping=FieldMapping.model_validate({"defaults": DEFAULTS, **mapping}))


def entries(*lines: str, tenant: str = "crm") -> str:
    return f"tenants:\n  {tenant}:\n    ref: base\n    databases:\n" + "".join(f"      - {line}\n" for line in lines)


async def tenants(provider: DBGearTenantProvider) -> dict[str, TenantInfo]:
    return {tenant.tenant_id: tenant for tenant in await provider.list_tenants(limit=None)}


async def rejected(provider: DBGearTenantProvider) -> list[str]:
    folder = provider.source.removesuffix("tenant.yaml")
    return [str(error).removeprefix(folder) for error in await provider.rejected_records()]


async def refused(provider: DBGearTenantProvider) -> str:
    with pytest.raises(RegistryRecordError) as caught:
        await provider.list_tenants()
    return str(caught.value).removeprefix(provider.source.removesuffix("tenant.yaml"))


# What DBGear itself knows


async def test_each_database_is_a_tenant(tmp_path: Path) -> None:
    provider = read(tmp_path)
    found = await tenants(provider)
    assert list(found) == ["hoshino", "localgov_chuo", "localgov_minato"]
    assert {tenant.tenant_id: (tenant.customer_name, tenant.status) for tenant in found.values()} == {
        "hoshino": ("株式会社ホシノ", "active"),
        "localgov_chuo": ("localgov", "inactive"),
        "localgov_minato": ("港区", "active"),
    }
    minato = found["localgov_minato"]
    assert (minato.customer_code, minato.region, minato.tier) == ("localgov_minato", "japan", "standard")
    assert (minato.isolation_strategy, minato.created_at) == ("database", minato.updated_at)
    assert database_name(minato, "main") == "localgov_minato_main"
    assert await rejected(provider) == []


async def test_the_usual_questions(tmp_path: Path) -> None:
    provider = read(tmp_path)
    assert await provider.get_tenant_count({"status": "active"}) == 2
    assert [tenant.tenant_id for tenant in await provider.search_tenants("customer_name LIKE '%区'")] == [
        "localgov_minato"
    ]
    assert (await provider.get_tenant("hoshino")).tenant_id == "hoshino"
    assert await provider.get_tenant_config("hoshino") == {}
    with pytest.raises(TenantNotFoundError):
        await provider.get_tenant("localgov")
    read(tmp_path, entries("{database: new}"))
    assert list(await tenants(provider)) == ["new"]


async def test_the_file_or_its_folder(tmp_path: Path) -> None:
    provider = read(tmp_path)
    mapping = provider.mapping
    for path in (tmp_path, str(tmp_path), tmp_path / "tenant.yaml", f"file://{tmp_path}", UPath(f"file://{tmp_path}")):
        assert await DBGearTenantProvider(path, mapping=mapping).get_tenant_count() == 3
    with pytest.raises(SourceUnavailableError, match=r"production/tenant\.yaml: No such file"):
        await DBGearTenantProvider(tmp_path / "production").list_tenants()


async def test_what_nobody_says_is_asked_for(tmp_path: Path) -> None:
    assert await refused(read(tmp_path, defaults={"region": "japan"})) == (
        "tenant.yaml: no entry has tier, created_at, updated_at; allowed: such keys in the entries of databases, "
        "or mapping.defaults: tier, created_at, updated_at"
    )


async def test_what_some_entries_lack_is_told_of_those(tmp_path: Path) -> None:
    provider = read(
        tmp_path, entries("{database: a, region: us}", "{database: b}"), defaults={**DEFAULTS, "region": None}
    )
    assert list(await tenants(provider)) == ["a"]
    assert await rejected(provider) == ["tenant.yaml, line 6, tenants.crm.databases.1, key region: no value"]


async def test_defaults_come_before_guesses_and_words_are_translated(tmp_path: Path) -> None:
    provider = read(
        tmp_path,
        entries("{database: a}", "{database: b, active: false, description: B}"),
        defaults={
            **DEFAULTS,
            "customer_name": "Nobody",
            "customer_code": "crm",
            "status": "suspended",
            "isolation_strategy": "schema",
            "updated_at": "2025-01-01",
        },
        values={"status": {"inactive": "terminated"}},
    )
    a, b = (await tenants(provider)).values()
    assert (a.customer_name, a.status, a.isolation_strategy) == ("Nobody", "suspended", "schema")
    assert (b.customer_name, b.status) == ("B", "terminated")
    assert (a.customer_code, a.database_prefix, a.updated_at.year) == ("crm", None, 2025)


# What an entry may say beyond


async def test_entries_may_have_fields_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = """
tenants:
  crm:
    ref: base
    databases:
      - database: acme
        active: true
        tenant_id: 00123
        customerName: No
        customer_code: 1e3
        region: us
        tier: premium
        status: suspended
        created_at: 2024-01-01
        updatedAt: 2024-01-01 09:00:00+09:00
        isolation_strategy: schema
        instances: [main, test]
        billing_info: {seats: 5, since: 2024-01-01, "yes": true}
        contract_info: '{"sla": "gold"}'
"""
    (tenant,) = (await tenants(read(tmp_path, text, defaults={}))).values()
    assert (tenant.tenant_id, tenant.customer_name, tenant.customer_code) == ("00123", "No", "1e3")
    assert (tenant.tier, tenant.status, tenant.database_prefix) == ("premium", "suspended", None)
    assert tenant.created_at == tenant.updated_at.replace(hour=0)
    assert tenant.instances == ["main", "test"]
    assert tenant.billing_info == {"seats": 5, "since": "2024-01-01", "yes": True}
    assert tenant.contract_info == {"sla": "gold"}
    assert caplog.records == []


async def test_keys_of_others(tmp_path: Path) -> None:
    provider = read(
        tmp_path,
        entries("{database: a, plan: P, 地域: asia}", "{database: b, plan: X, 地域: asia}"),
        fields={"tier": "plan", "region": "地域"},
        values={"tier": {"P": "premium"}},
    )
    (tenant,) = (await tenants(provider)).values()
    assert (tenant.tier, tenant.region) == ("premium", "asia")
    assert await rejected(provider) == [
        "tenant.yaml, line 6, tenants.crm.databases.1, key plan: no such tier; received 'X'; "
        "allowed: basic, standard, premium, enterprise"
    ]
    assert (await refused(read(tmp_path, fields={"billing_info": "請求"}))).startswith(
        "tenant.yaml: no entry has 請求;"
    )


async def test_unknown_keys_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = entries("{database: a, colour: red}", "{database: b, colour: blue, Region: us}").replace(
        "ref:", "reference:"
    )
    assert list(await tenants(read(tmp_path, text))) == ["a", "b"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(
        f"{tmp_path}/tenant.yaml: keys left out: ['reference', 'colour', 'Region']; fields: tenant_id,"
    )


async def test_anchors(tmp_path: Path) -> None:
    text = """
x-common: &common {region: us, tier: basic, created_at: 2024-01-01}
tenants:
  crm:
    databases:
      - &first {<<: *common, database: a, tier: premium}
      - {<<: [*first], database: b}
"""
    found = await tenants(read(tmp_path, text, defaults={}))
    assert {tenant.tenant_id: (tenant.region, tenant.tier) for tenant in found.values()} == {
        "a": ("us", "premium"),
        "b": ("us", "premium"),
    }


async def test_records_for_a_sync(tmp_path: Path) -> None:
    provider = read(tmp_path, entries("{database: b, tier: gold}", "{database: a, tier: basic}", "x"), defaults={})
    *records, error = [record async for record in provider.records(["tier", "status"])]
    assert isinstance(error, RegistryRecordError)
    assert [dict(record.fields) for record in records if isinstance(record, Record)] == [
        {"tenant_id": "b", "tier": "gold", "status": "active"},
        {"tenant_id": "a", "tier": "basic", "status": "active"},
    ]


# What is wrong


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("just text", ": no mapping; received 'just text'; allowed: name: value"),
        ("[a, b]", ": no mapping; received 'a list'; allowed: name: value"),
        (
            "{description: x}",
            ", tenants.crm.databases.1: no database; allowed: {database: ..., description: ..., active: true}",
        ),
        ("{database: }", ", tenants.crm.databases.1: no database;"),
        ("{database: [a]}", ", tenants.crm.databases.1, key database: no text; received ['a']"),
        ("{database: b, database: c}", ": the key is there twice; received 'database'"),
        ("{database: b, active: sometimes}", ", tenants.crm.databases.1, key active: neither true nor false; received"),
        ("{database: b, created_at: 2026-02-30}", ", tenants.crm.databases.1: key created_at: no date-time; received"),
        ("{database: b, tier: gold}", ", tenants.crm.databases.1, key tier: no such tier; received 'gold'"),
        (
            "{database: b, billing_info: !!python/name:os.system x}",
            ", column 37: no YAML: could not determine a constructor",
        ),
        (
            "{database: a}",
            ", tenants.crm.databases.1, key database: line 5, tenants.crm.databases.0 has this tenant_id already; "
            "received 'a'",
        ),
    ],
)
async def test_a_bad_entry_is_told_and_the_others_go_on(tmp_path: Path, entry: str, message: str) -> None:
    provider = read(tmp_path, entries("{database: a}", entry, "{database: z}"))
    assert list(await tenants(provider)) == ["a", "z"]
    (told,) = await rejected(provider)
    assert told.startswith(f"tenant.yaml, line 6{message}")


async def test_databases_of_python_modules_are_refused(tmp_path: Path) -> None:
    text = (
        TENANT_YAML + "  dynamic:\n    databases: project.tenants\n  odd:\n    databases: {a: b}\n  none:\n    ref: x\n"
    )
    provider = read(tmp_path, text)
    assert len(await tenants(provider)) == 3
    assert await rejected(provider) == [
        "tenant.yaml, line 17, tenants.dynamic.databases: a Python module would list the databases, and none is run; "
        "received 'project.tenants'; allowed: a list of {database: ..., description: ..., active: true}",
        "tenant.yaml, line 19, tenants.odd.databases: no list; received 'a mapping'; "
        "allowed: a list of {database: ..., description: ..., active: true}",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "tenant.yaml: no mapping; allowed: name: value"),
        ("- a", "tenant.yaml, line 1: no mapping; received 'a list'"),
        ("schemas: {}", "tenant.yaml: no tenants; allowed: tenants: {name: {databases: [...]}}"),
        ("tenants: [a]", "tenant.yaml, line 1: no mapping; received 'a list'"),
        ("tenants:\n  a: {}\n  b: {}\n  a: {}\n", "tenant.yaml, line 4: the key is there twice; received 'a'"),
        ("tenants:\n  a: {\n", "tenant.yaml, line 3, column 1: no YAML: "),
        ("tenants: &t {<<: *t}", "tenant.yaml: no YAML: nested too deeply"),
        ("[" * 10_000, "tenant.yaml"),
    ],
)
async def test_files_that_are_no_list(tmp_path: Path, text: str, message: str) -> None:
    assert (await refused(read(tmp_path, text))).startswith(message)


async def test_no_tenants_are_none(tmp_path: Path) -> None:
    assert await tenants(read(tmp_path, "tenants: {}")) == {}


async def test_anchors_do_not_multiply(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    text = bomb + entries("{database: a, region: *a29}")
    assert await refused(read(tmp_path, text)) == "tenant.yaml: no YAML: anchors stand for too much"


async def test_10_000_entries_with_a_common_anchor(tmp_path: Path) -> None:
    common = "x-common: &common {region: us, tier: basic, created_at: 2024-01-01}\n"
    provider = read(
        tmp_path, common + entries(*(f"{{<<: *common, database: db{n}}}" for n in range(10_000))), defaults={}
    )
    assert await provider.get_tenant_count() == 10_000


async def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "tenant-list.md").read_text()
    example, mapping, *_ = (
        block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if ": {" in block or "tenants:" in block
    )
    found = await tenants(read(tmp_path, example))
    assert {tenant.customer_name: (tenant.status, tenant.tier) for tenant in found.values()} == {
        "Minato City": ("active", "standard"),
        "localgov": ("inactive", "premium"),
    }
    assert FieldMapping.model_validate(yaml.safe_load(mapping)).source_name("tenant_id") == "No."
