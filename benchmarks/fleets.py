"""Fleets to measure with: a project of schema tenants of ten tables with an index each."""

from __future__ import annotations

import csv
from pathlib import Path

import yaml

COLUMNS = (
    *("tenant_id", "customer_name", "customer_code", "region", "tier", "status"),
    *("created_at", "updated_at", "isolation_strategy"),
)
TEMPLATES = Path(__file__).parent / "templates"


def write_project(
    folder: Path, tenants: int, *, connection_id: str = "dbgear_target_main", max_mapped_tasks: int = 100
) -> Path:
    """Write `tenants.csv` and `project.yaml` for that many tenants; return the project file."""
    registry = folder / "tenants.csv"
    with registry.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(tenants):
            code = f"t{number:05}"
            times = ["2026-01-01T00:00:00Z"] * 2
            writer.writerow([code.upper(), f"Customer {number}", code, "asia", "basic", "active", *times, "schema"])
    project = {
        "project_name": "benchmark",
        "multi_tenant": {
            "tenant_registry": {"provider": "csv", "config": {"csv": {"path": str(registry)}}},
            "targets": {"main": {"connection_id": connection_id, "max_connections": 8}},
            "templates": {
                "base_dir": str(TEMPLATES),
                "schema_templates": [{"name": "benchmark", "file": "schema.j2"}],
            },
            "automation": {"tenants_in_flight": 2, "max_mapped_tasks": max_mapped_tasks},
        },
    }
    path = folder / "project.yaml"
    path.write_text(yaml.safe_dump(project), encoding="utf-8")
    return path
