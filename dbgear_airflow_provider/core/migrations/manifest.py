"""The manifest, `checksums.txt`: the checksum of every script of a folder, so that none is edited unseen."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ..errors import MigrationError
from .script import Migration

MANIFEST = "checksums.txt"
_LINE = re.compile(r"(?P<checksum>[0-9a-f]{64}) [ *](?P<name>\S.*)")
_ALLOWED = "lines as sha256sum writes them: <checksum>  <file name>"


def check_manifest(folder: Path, migrations: Sequence[Migration], others: Collection[Path] = ()) -> None:
    """Raise MigrationError where a folder has a manifest that does not hold the scripts' checksums.

    others: scripts that are for other engines, which may be in it.
    """
    file = folder / MANIFEST
    if not file.is_file():
        return
    listed = _read(file)
    for migration in migrations:
        listed_checksum = listed.pop(migration.file.name, None)
        if listed_checksum != migration.checksum:
            problem = "not in the manifest" if listed_checksum is None else "edited since the manifest was written"
            raise MigrationError(
                f"{migration.file.name} is {problem}",
                where=str(file),
                received=migration.checksum,
                allowed=listed_checksum or "every script with its checksum",
            )
    for name in listed.keys() - {other.name for other in others}:
        raise MigrationError(f"{name} is not in the folder", where=str(file), received=name, allowed="scripts")


def write_manifest(folder: Path, migrations: Sequence[Migration]) -> Path:
    """Write the manifest of a folder: of these scripts, and what it has of scripts that are there for other engines.

    Returns its path.
    """
    file = folder / MANIFEST
    listed = _read(file) if file.is_file() else {}
    kept = {name: checksum for name, checksum in listed.items() if (folder / name).is_file()}
    lines = sorted((kept | {item.file.name: item.checksum for item in migrations}).items())
    file.write_text("".join(f"{checksum}  {name}\n" for name, checksum in lines), encoding="utf-8", newline="\n")
    return file


def _read(file: Path) -> dict[str, str]:
    found = {}
    for number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.rstrip())
        if match is None:
            raise MigrationError(
                "no line of a manifest", where=f"{file}, line {number}", received=line, allowed=_ALLOWED
            )
        found[match["name"]] = match["checksum"]
    return found
