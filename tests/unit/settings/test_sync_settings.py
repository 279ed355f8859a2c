"""The sections `sources` and `sync` of the project file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.settings import MultiTenantSettings, load_project

PROJECT = """\
multi_tenant:
  tenant_registry: {connection_id: registry}
  targets: {main: {connection_id: main}}
  sources:
    crm: {connection_id: crm}
    billing: {connection_id: billing, fields: [tenant_id, billing_info]}
    partner: {connection_id: partner}
  sync:
"""


def load(folder: Path, text: str) -> MultiTenantSettings:
    path = folder / "project.yaml"
    path.write_text(text)
    return load_project(path).multi_tenant


def test_all_sources_in_their_order_unless_told_otherwise(tmp_path):
    assert list(load(tmp_path, PROJECT + "    max_change_percent: 5\n").synced_sources()) == [
        "crm",
        "billing",
        "partner",
    ]
    assert list(load(tmp_path, PROJECT + "    sources: [partner, crm]\n").synced_sources()) == ["partner", "crm"]


def test_a_sync_is_a_dry_run_until_somebody_says_otherwise(tmp_path):
    sync = load(tmp_path, PROJECT + "    max_change_percent: 5\n").sync
    assert (sync.dry_run, sync.provision_new, sync.revoke_suspended) == (True, False, False)


@pytest.mark.parametrize(
    ("section", "where", "received", "allowed"),
    [
        ("sources: [crm, cmr]", "multi_tenant.sync.sources.1", "cmr", "crm, billing, partner"),
        ("precedence: {tier: [partner, erp]}", "multi_tenant.sync.precedence.tier.1", "erp", "crm, partner"),
        ("precedence: {tier: [billing]}", "multi_tenant.sync.precedence.tier.0", "billing", "crm, partner"),
        (
            "{sources: [crm, billing], precedence: {tier: [partner]}}",
            "multi_tenant.sync.precedence.tier.0",
            "partner",
            "crm",
        ),
        ("precedence: {tire: [crm]}", "multi_tenant.sync.precedence.tire", "tire", "'tenant_id'"),
        ("sources: []", "multi_tenant.sync.sources", None, None),
        ("sources: [crm, crm]", "multi_tenant.sync.sources", None, None),
        ("max_change_percent: 101", "multi_tenant.sync.max_change_percent", "101", None),
    ],
)
def test_what_names_no_source_or_field_is_told(tmp_path, section, where, received, allowed):
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, PROJECT + f"    {section}\n")
    details = caught.value.details
    assert details["where"].endswith(where)
    assert f"{tmp_path / 'project.yaml'}, line 9" in details["where"] or "line 8" in details["where"]
    assert details["received"] == received
    if allowed is not None:
        told = details["allowed"]
        assert (told if isinstance(told, str) else ", ".join(told)).startswith(allowed)
