"""`MigrationSet`: the scripts of a folder, or one file, in the order of their versions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.engine import Dialect

from ..errors import MigrationError
from ..schema.features import VARIANTS, features
from .macros import Macros
from .manifest import check_manifest
from .script import Migration, parse_script, version_order

_SCRIPT = re.compile(r"[vV]?(?P<version>\d+(?:\.\d+)*)(?P<rest>(?:[_\-. ].*)?)\.sql", re.IGNORECASE | re.ASCII)
# What people write for a variant, and would otherwise be run on every engine.
_MISTAKEN = re.compile(r"\.(postgres|pg|pgsql|psql|maria|my|sqlite|oracle|mssql)$", re.IGNORECASE)
_NAMES = "<version>[_name][.<variant>].sql, such as v2.1_add_plan.postgresql.sql; variants: " + ", ".join(VARIANTS)
_MAX_VERSION_CHARS = 200  # of the ledger's 255


@dataclass(frozen=True, kw_only=True)
class MigrationSet:
    """Scripts for one engine. migrations: ordered by version. is_file: one file alone, not all versions.

    macros: names that the tenants' environment documents add.
    """

    migrations: Sequence[Migration]
    path: Path
    is_file: bool
    macros: Collection[str] = ()

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        dialect: Dialect,
        variants: Sequence[str] | None = None,
        macros: Collection[str] = (),
        manifest: bool = True,
    ) -> MigrationSet:
        """Read a folder of scripts, or one, for the engine of a dialect.

        variants: of the engine, the first that is there is taken; None: those of the dialect. macros: names that the
        tenants' environment documents add. manifest: check that of the folder, where it has one. Raises
        MigrationError for whatever is wrong with a name or a script.
        """
        variants = features(dialect).variants if variants is None else variants
        files = _chosen([path] if path.is_file() else _scripts(path), variants)
        known = Macros(dialect, macros)
        migrations = [
            parse_script(
                item.file, _read(item.file), version=item.version, name=item.name, dialect=dialect, macros=known
            )
            for item in files
        ]
        if manifest and path.is_dir():
            check_manifest(path, migrations, set(_scripts(path)) - {item.file for item in files})
        return cls(migrations=migrations, path=path, is_file=path.is_file(), macros=macros)

    def upto(self, version: str | None) -> MigrationSet:
        """Return the set without what is newer than a version; None: all of it. Raises MigrationError."""
        if version is None:
            return self
        versions = {migration.order: migration.version for migration in self.migrations}
        try:
            last = version_order(version.lstrip("vV"))
        except ValueError:
            last = ()
        if last not in versions:
            raise MigrationError(
                "there is no such version", where=str(self.path), received=version, allowed=list(versions.values())
            )
        return replace(self, migrations=[item for item in self.migrations if item.order <= last])


@dataclass(frozen=True, kw_only=True)
class _File:
    file: Path
    version: str
    name: str
    variant: str


def _scripts(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise MigrationError(
            "there is no such file or folder", where=str(folder), allowed="a folder of scripts, or one"
        )
    found = sorted(item for item in folder.iterdir() if item.suffix.lower() == ".sql" and item.is_file())
    if not found:
        raise MigrationError("no script in this folder", where=str(folder), allowed=_NAMES)
    return found


def _named(file: Path) -> _File:
    match = _SCRIPT.fullmatch(file.name)
    if match is None or _MISTAKEN.search(match["rest"]) or len(match["version"]) > _MAX_VERSION_CHARS:
        raise MigrationError("no name of a script", where=str(file), received=file.name, allowed=_NAMES)
    name, _, variant = match["rest"].rpartition(".")
    if variant.lower() not in VARIANTS:
        name, variant = match["rest"], ""
    return _File(file=file, version=match["version"], name=name[1:] if name else "", variant=variant.lower())


def _chosen(files: Sequence[Path], variants: Sequence[str]) -> list[_File]:
    """Return the file of each version for an engine."""
    versions: dict[tuple[int, ...], dict[str, _File]] = defaultdict(dict)
    for item in map(_named, files):
        others = versions[version_order(item.version)]
        if item.variant in others:
            raise MigrationError(
                f"the same version as {others[item.variant].file.name}",
                where=str(item.file),
                received=item.version,
                allowed="one file for each version and variant",
            )
        others[item.variant] = item
    chosen = []
    for _, found in sorted(versions.items()):
        taken = next((found[variant] for variant in (*variants, "") if variant in found), None)
        if taken is None:
            other = next(iter(found.values()))
            raise MigrationError(
                f"version {other.version} has no script for this engine",
                where=str(other.file),
                received=", ".join(found),
                allowed=[*(f".{variant}.sql" for variant in variants), ".sql"],
            )
        chosen.append(taken)
    return chosen


def _read(file: Path) -> str:
    """Return the text of a script, with lines that end as on Unix: a checkout on Windows has the same checksum."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        received = f"byte {error.start}: {error.object[error.start : error.start + 8].hex()}"
        raise MigrationError("no text in UTF-8", where=str(file), received=received, allowed="UTF-8") from None
    except OSError as error:
        raise MigrationError("cannot be read", where=str(file), received=error.strerror, allowed="a file") from None
