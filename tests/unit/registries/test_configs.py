from __future__ import annotations

from pathlib import Path

import pytest

from dbgear_airflow_provider.core.errors import RegistryRecordError, SourceUnavailableError
from dbgear_airflow_provider.core.registries.files.configs import read_tenant_config


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "configs"
    folder.mkdir()
    (tmp_path / "secret.yaml").write_text("password: x")
    return folder


async def test_reads_yaml_and_yml(folder: Path) -> None:
    (folder / "T1.yaml").write_text("features: [audit]\nlocale: ja_JP\n顧客: ホシノ\n")
    (folder / "T2.yml").write_text("retention_days: 365\n")
    assert await read_tenant_config(folder, "T1") == {"features": ["audit"], "locale": "ja_JP", "顧客": "ホシノ"}
    assert await read_tenant_config(folder, "T2") == {"retention_days": 365}


async def test_no_file_or_an_empty_one_has_no_settings(folder: Path) -> None:
    (folder / "T1.yaml").write_text("# nothing yet\n")
    assert await read_tenant_config(folder, "T1") == {}
    assert await read_tenant_config(folder, "T2") == {}


async def test_no_folder(folder: Path) -> None:
    with pytest.raises(SourceUnavailableError, match="no such folder"):
        await read_tenant_config(folder / "elsewhere", "T1")


@pytest.mark.parametrize("tenant_id", ["../secret", "/etc/passwd", "a/b", "..\\secret", "x\0y"])
async def test_stays_in_the_folder(folder: Path, tenant_id: str) -> None:
    with pytest.raises(RegistryRecordError, match="tenant_id is no file name"):
        await read_tenant_config(folder, tenant_id)


async def test_dots_are_a_name_like_others(folder: Path) -> None:
    assert await read_tenant_config(folder, "..") == {}


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        ("\n# one\n- a\n- b\n", ", line 3", "no mapping of settings"),
        ("just text", ", line 1", "no mapping of settings"),
        ("1: x", ", line 1", "no mapping of settings"),
        ("a: 1\nb: [1, 2\n", ", line 3, column 1", "no YAML"),
        ("a: 1\nb: !!python/object:os.system x\n", ", line 2, column 4", "no YAML"),
        ("a: 2026-02-30", "", "no YAML"),
        ("a: \x01", "", "no YAML"),
    ],
)
async def test_tells_what_is_wrong(folder: Path, text: str, where: str, problem: str) -> None:
    path = folder / "T1.yaml"
    path.write_text(text)
    with pytest.raises(RegistryRecordError) as caught:
        await read_tenant_config(folder, "T1")
    assert caught.value.details["where"] == f"{path}{where}"
    assert caught.value.details["problem"].startswith(problem)
