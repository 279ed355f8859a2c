from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import Dialect

from dbgear_airflow_provider.core.engines import PostgresServer
from dbgear_airflow_provider.core.engines.mysql_variant import dialect as mysql_dialect
from dbgear_airflow_provider.core.isolation import Place
from dbgear_airflow_provider.core.migrations import Migration, MigrationSet, Names
from dbgear_airflow_provider.core.tenants import TenantInfo

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
DIALECTS: dict[str, Dialect] = {
    "postgresql": PostgresServer.dialect,
    "mysql": mysql_dialect(False, (8, 0, 40)),
    "mariadb": mysql_dialect(True, (10, 11, 6)),
}


@pytest.fixture(scope="session")
def dialects() -> dict[str, Dialect]:
    return DIALECTS


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Migration]:
    """Write a script and load it."""

    def load(text: str, engine: str = "postgresql", **options: Any) -> Migration:
        file = tmp_path / "v1_test.sql"
        file.write_text(text, encoding="utf-8")
        return MigrationSet.load(file, dialect=DIALECTS[engine], **options).migrations[0]

    return load


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of scripts, {name: text}."""

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return make


def make_names(prefix: str = "", *, instance: str = "main", macros: Any = dict, **fields: Any) -> Names:
    given = {
        "tenant_id": "T001",
        "customer_name": "Acme",
        "customer_code": "acme",
        "region": "asia",
        "tier": "premium",
        "status": "active",
        "created_at": EPOCH,
        "updated_at": EPOCH,
        "isolation_strategy": "table" if prefix else "schema",
    }
    tenant = TenantInfo(**(given | fields))
    isolation = tenant.isolation_strategy
    place = Place(target="one", isolation=isolation, database="tenants", schema="Acme_asia", prefix=prefix)
    return Names(place, tenant, instance, name_macros=macros)


@pytest.fixture(scope="session")
def names() -> Callable[..., Names]:
    return make_names
