"""The Python example of the page on rollouts runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from dbgear_airflow_provider.core.fleet import FleetStore, RolloutMember
from dbgear_airflow_provider.core.registries import CSVTenantProvider
from dbgear_airflow_provider.core.settings import load_project

ROOT = Path(__file__).parents[3]


async def test_the_example_begins_a_rollout_and_reports_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DBGEAR_CREDENTIALS_DIR", str(tmp_path))
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "rollouts.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "rollouts.md", "exec"), names)  # noqa: S102
    settings = load_project(ROOT / "include" / "project.yaml").multi_tenant
    tenants = await CSVTenantProvider(ROOT / "include" / "registry" / "tenants.csv").list_tenants(limit=None)
    store = FleetStore(f"sqlite+aiosqlite:///{tmp_path / 'fleet.db'}")
    await store.prepare()

    for _ in range(2):
        plan = await names["begin"](store, settings, tenants, {})
    report = await names["report"](store)
    assert report.counts["pending"] == len(plan.members) > 30
    assert {group.kind for group in report.left_out} == {"status"}
    assert [item.stage.name for item in report.stages] == [stage.name for stage in settings.rollout.stages]

    done = [RolloutMember(tenant_id=tenant, instance=name, status="changed") for tenant, name in plan.members]
    await store.rollouts.record("rollout-7", done)
    assert await store.rollouts.set_status("rollout-7", "done", of=["running"])
    report = await names["report"](store)
    report.raise_unless_done()
    assert report.record.counts["changed"] == len(plan.members)
    await store.aclose()
