"""docker-compose.yaml, as far as it can be judged without Docker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbgear_airflow_provider.core.settings import load_project

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
AIRFLOW = {"airflow-init", "api-server", "scheduler", "dag-processor", "triggerer", "worker"}
SERVERS = {"postgres", "redis", "tenants-postgres", "tenants-mariadb"}
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<required>:\?[^}]+)?\}")


def test_the_services_of_a_distributed_airflow_are_there() -> None:
    assert set(SERVICES) == AIRFLOW | SERVERS


def test_every_variable_is_required_and_told_how_to_make() -> None:
    head = TEXT.split("\nname:")[0]
    found = list(VARIABLE.finditer(TEXT))
    assert {match["name"] for match in found if not match["required"]} == set()
    assert {match["name"] for match in found if match["name"] not in head} == set()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_password_is_written_down(name: str) -> None:
    for key, value in SERVICES[name]["environment"].items():
        if re.search(r"PASSWORD|SECRET|_KEY$|SQL_ALCHEMY_CONN|BROKER_URL|RESULT_BACKEND|AUTH$", key):
            assert VARIABLE.search(value), key


@pytest.mark.parametrize("name", sorted(AIRFLOW))
def test_each_airflow_service_has_one_image_and_environment(name: str) -> None:
    service = SERVICES[name]
    assert service["image"] == SERVICES["airflow-init"]["image"]
    assert service["environment"].items() >= COMPOSE["x-environment"].items()
    assert service["command"]


@pytest.mark.parametrize("name", sorted(AIRFLOW - {"airflow-init"}))
def test_each_airflow_service_waits_for_the_init_job(name: str) -> None:
    after = SERVICES[name]["depends_on"]["airflow-init"]
    assert after == {"condition": "service_completed_successfully"}


def test_the_init_job_waits_for_every_server() -> None:
    assert set(SERVICES["airflow-init"]["depends_on"]) == SERVERS
    assert SERVICES["airflow-init"]["command"] == "pools import /opt/airflow/include/pools.json"


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"airflow-init"}))
def test_each_service_tells_its_health_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVERS - {"redis"}))
def test_each_database_keeps_its_data(name: str) -> None:
    assert SERVICES[name]["volumes"]


def test_what_is_mounted_is_declared_or_in_the_repository() -> None:
    sources = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert {source for source in sources if not source.startswith("./")} == set(COMPOSE["volumes"])
    assert all((ROOT / source).is_dir() for source in sources if source.startswith("./"))
    configs = {config["source"] for service in SERVICES.values() for config in service.get("configs", ())}
    assert configs == set(COMPOSE["configs"])


def test_only_the_ui_is_published_and_only_locally() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"api-server": ["127.0.0.1:8080:8080"]}


def test_connections_are_json_and_lead_to_services() -> None:
    environment = COMPOSE["x-environment"]
    connections = {
        name.removeprefix("AIRFLOW_CONN_").lower(): json.loads(VARIABLE.sub("secret", value))
        for name, value in environment.items()
        if name.startswith("AIRFLOW_CONN_")
    }
    assert {"dbgear_registry", "dbgear_fleet"} <= set(connections)
    hosts = {connection["host"] for connection in connections.values() if "host" in connection}
    assert hosts <= SERVERS
    targets = load_project(ROOT / "include" / "project.yaml").multi_tenant.targets
    assert {target.connection_id for target in targets.values()} <= set(connections)


def test_every_target_has_its_pool() -> None:
    pools = json.loads((ROOT / "include" / "pools.json").read_text())
    targets = load_project(ROOT / "include" / "project.yaml").multi_tenant.targets
    assert {f"dbgear_{target}" for target in targets} <= set(pools)


def test_the_image_is_the_airflow_that_we_test_with() -> None:
    pinned = re.search(r"^apache-airflow==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    dockerfile = SERVICES["airflow-init"]["build"]["dockerfile_inline"]
    assert dockerfile.startswith(f"FROM apache/airflow:{pinned[1]}\n")


def test_the_image_gets_all_that_the_build_of_the_package_needs() -> None:
    dockerfile = SERVICES["airflow-init"]["build"]["dockerfile_inline"]
    for copied in ("pyproject.toml", "README.md", "LICENSE", "dbgear_airflow_provider", "templates"):
        assert re.search(rf"^COPY .*\b{re.escape(copied)}\b", dockerfile, re.MULTILINE), copied
        assert (ROOT / copied).exists()
