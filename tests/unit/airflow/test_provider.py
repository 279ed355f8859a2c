"""The provider as Airflow finds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from dbgear_airflow_provider.provider_info import get_provider_info

REPOSITORY = Path(__file__).resolve().parents[3]


def run(*command: str, **environment: str) -> str:
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_metadata_is_valid():
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_airflow_lists_the_provider(tmp_path):
    airflow = Path(sys.executable).with_name("airflow")
    listed = json.loads(run(str(airflow), "providers", "list", "-o", "json", AIRFLOW_HOME=str(tmp_path)))
    assert "airflow-provider-dbgear" in {provider["package_name"] for provider in listed}


def test_all_that_is_registered_is_there():
    info = get_provider_info()
    for part in ("operators", "hooks"):
        for module in info[part][0]["python-modules"]:
            import_module(module)
    for kind in info["connection-types"]:
        module, _, name = kind["hook-class-name"].rpartition(".")
        hook = getattr(import_module(module), name)
        assert (hook.conn_type, hook.hook_name) == (kind["connection-type"], kind["hook-name"])


def test_every_operator_module_is_registered():
    there = {path.stem for path in (REPOSITORY / "dbgear_airflow_provider" / "operators").glob("[a-z]*.py")}
    registered = get_provider_info()["operators"][0]["python-modules"]
    assert {name.rpartition(".")[2] for name in registered} == {name for name in there if not name.startswith("base")}


@pytest.mark.parametrize("module", ["dbgear_airflow_provider.core", "dbgear_airflow_provider.core.automation"])
def test_the_core_imports_no_airflow(module):
    script = f"import {module} as m, sys; [getattr(m, name) for name in m.__all__]; "
    script += "print([name for name in sys.modules if name.split('.')[0] == 'airflow'])"
    assert run(sys.executable, "-c", script).strip() == "[]"


def test_the_dag_has_a_typed_form_and_a_task_group_per_target():
    script = f"""
import json, runpy, os
dag = runpy.run_path({str(REPOSITORY / "dags" / "tenant_provision.py")!r})["dag"]
print(json.dumps({{
    "tasks": sorted(dag.task_ids),
    "params": {{name: dag.params.get_param(name).schema["type"] for name in dag.params}},
    "pool": dag.get_task("main.provision").pool,
    "slots": dag.get_task("main.provision").pool_slots,
}}))
"""
    project = str(REPOSITORY / "include" / "project.yaml")
    found = json.loads(run(sys.executable, "-c", script, AIRFLOW__DBGEAR__PROJECT_FILE=project).splitlines()[-1])
    assert found == {
        "tasks": ["main.list_tenants", "main.provision", "main.render", "summarize"],
        "params": {"query": "string", "isolation": "array", "dry_run": "boolean", "tenants_in_flight": "integer"},
        "pool": "dbgear_main",
        "slots": 2,
    }


def test_each_target_has_its_pool():
    import yaml

    project = yaml.safe_load((REPOSITORY / "include" / "project.yaml").read_text())
    pools = json.loads((REPOSITORY / "include" / "pools.json").read_text())
    assert {f"dbgear_{target}" for target in project["multi_tenant"]["targets"]} <= set(pools)
