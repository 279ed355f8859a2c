"""Folders of scripts: which file is which version, for which engine, and whether somebody edited one."""

from __future__ import annotations

import hashlib
import re

import pytest

from dbgear_airflow_provider.core.errors import MigrationError
from dbgear_airflow_provider.core.migrations import MigrationSet, write_manifest


def versions(path, dialect):
    return [(item.version, item.name, item.file.name) for item in MigrationSet.load(path, dialect=dialect).migrations]


def test_versions_are_ordered_as_numbers(folder, dialects):
    names = [
        "v2.10_b.sql", "V2.9-a.sql", "20240101120000_create.sql", "001 x.sql", "2.9.1.add users.SQL", "v3.sql",
    ]  # fmt: skip
    path = folder(dict.fromkeys(names, "SELECT 1") | {"README.md": "no script", "checks.txt": ""})
    (path / "sub").mkdir()
    assert versions(path, dialects["postgresql"]) == [
        ("001", "x", "001 x.sql"),
        ("2.9", "a", "V2.9-a.sql"),
        ("2.9.1", "add users", "2.9.1.add users.SQL"),
        ("2.10", "b", "v2.10_b.sql"),
        ("3", "", "v3.sql"),
        ("20240101120000", "create", "20240101120000_create.sql"),
    ]


def test_each_engine_takes_its_own_variant(folder, dialects):
    path = folder(
        {
            "v1.sql": "SELECT 1",
            "v1.postgresql.sql": "SELECT 'pg'",
            "v2_two.mysql.sql": "SELECT 'my'",
            "v2_two.mariadb.sql": "SELECT 'maria'",
            "v2_two.sql": "SELECT 2",
        }
    )
    taken = {
        engine: [file for _, _, file in versions(path, dialects[engine])]
        for engine in ("postgresql", "mysql", "mariadb")
    }
    assert taken == {
        "postgresql": ["v1.postgresql.sql", "v2_two.sql"],
        "mysql": ["v1.sql", "v2_two.mysql.sql"],
        "mariadb": ["v1.sql", "v2_two.mariadb.sql"],
    }
    both = MigrationSet.load(path, dialect=dialects["mariadb"], variants=["mysql"]).migrations
    assert both[1].file.name == "v2_two.mysql.sql"


@pytest.mark.parametrize(
    ("files", "named", "problem"),
    [
        (["1.sql", "001_a.sql"], ["1.sql", "001_a.sql"], "the same version"),
        (["2.1_a.sql", "v2.1.0_b.sql"], ["2.1_a.sql", "v2.1.0_b.sql"], "the same version"),
        (["1.sql", "v2.mysql.sql"], ["v2.mysql.sql"], "version 2 has no script for this engine"),
        (["1.sql", "add_users.sql"], ["add_users.sql"], "no name of a script"),
        (["1.sql", "v.sql"], ["v.sql"], "no name of a script"),
        (["1_a.postgres.sql"], ["1_a.postgres.sql"], "no name of a script"),
        (["1a.sql"], ["1a.sql"], "no name of a script"),
        ([], [], "no script in this folder"),
    ],
)
def test_a_folder_that_cannot_be_names_its_files(folder, dialects, files, named, problem):
    path = folder(dict.fromkeys(files, "SELECT 1"))
    with pytest.raises(MigrationError, match=problem) as error:
        MigrationSet.load(path, dialect=dialects["postgresql"])
    assert all(name in str(error.value) for name in named)
    assert error.value.details["allowed"]


def test_no_folder_and_no_text(tmp_path, dialects):
    with pytest.raises(MigrationError, match=r"nowhere: there is no such file or folder"):
        MigrationSet.load(tmp_path / "nowhere", dialect=dialects["mysql"])
    (tmp_path / "1.sql").write_bytes(b"SELECT '\xff'")
    with pytest.raises(MigrationError, match=r"1\.sql: no text in UTF-8; received 'byte 8: ff"):
        MigrationSet.load(tmp_path, dialect=dialects["mysql"])


def test_upto(folder, dialects):
    path = folder(dict.fromkeys(["v1.sql", "v2.1.sql", "v3.sql"], "SELECT 1"))
    found = MigrationSet.load(path, dialect=dialects["postgresql"])
    assert [item.version for item in found.upto("2.1.0").migrations] == ["1", "2.1"]
    assert found.upto(None) is found
    for wrong in ("2", "x", ""):
        with pytest.raises(MigrationError, match=r"no such version.*1, 2\.1, 3"):
            found.upto(wrong)


def test_one_file_is_a_set(folder, dialects):
    path = folder({"v1.sql": "SELECT 1", "v2.sql": "SELECT 2", "checksums.txt": "nonsense"})
    one = MigrationSet.load(path / "v2.sql", dialect=dialects["postgresql"])
    assert (one.is_file, [item.version for item in one.migrations]) == (True, ["2"])


def test_the_manifest_finds_what_was_edited_added_or_lost(folder, dialects):
    path = folder({"v1.sql": "SELECT 1", "v2.mysql.sql": "SELECT 'my'", "v2.sql": "SELECT 2"})

    def load(engine="postgresql", **options):
        return MigrationSet.load(path, dialect=dialects[engine], **options)

    for engine in ("postgresql", "mysql"):
        file = write_manifest(path, load(engine, manifest=False).migrations)
    lines = file.read_text().splitlines()
    assert [line[64:] for line in lines] == ["  v1.sql", "  v2.mysql.sql", "  v2.sql"]
    assert all(re.fullmatch(r"[0-9a-f]{64}", line[:64]) for line in lines)
    assert lines[0][:64] == load().migrations[0].checksum
    assert load("mysql").migrations[1].file.name == "v2.mysql.sql"

    folder({"v1.sql": "-- mended\nSELECT 1;\n\n"})
    assert len(load().migrations) == 2
    folder({"v1.sql": "SELECT 11"})
    with pytest.raises(MigrationError, match=r"checksums\.txt: v1\.sql is edited since the manifest was written"):
        load()
    folder({"v1.sql": "SELECT 1", "v3.sql": "SELECT 3"})
    with pytest.raises(MigrationError, match=r"v3\.sql is not in the manifest"):
        load()
    (path / "v3.sql").unlink()
    (path / "v1.sql").unlink()
    with pytest.raises(MigrationError, match=r"v1\.sql is not in the folder"):
        load()
    file.write_text(f"{hashlib.sha256().hexdigest()}  v2.sql\nabc  v2.sql\n")
    with pytest.raises(MigrationError, match=r"checksums\.txt, line 2: no line of a manifest"):
        load()
