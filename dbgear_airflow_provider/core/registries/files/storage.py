"""Files as registries read them: on this machine, or on object storage."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ...errors import DbgearError, RegistryRecordError, SettingsError, SourceUnavailableError, UnsupportedError

_READ_ATTEMPTS = 3

# From the scheme to the last @ where a colon stands before it: the keys of AWS may hold slashes.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^@]*:.*@|[^@/]*@)")
_QUERY = re.compile(r"[?#].*", re.DOTALL)  # of a signed URL

# What fsspec's file systems tell of a file that changes when its content does, in lower case without - and _.
_STAMPS = frozenset(
    (
        *("checksum", "contentmd5", "created", "digest", "etag", "generation", "ino", "lastmodified", "md5hash"),
        *("modified", "mtime", "mtimens", "updated", "versionid"),
    )
)
_PUNCTUATION = str.maketrans("", "", "-_")

Version = tuple[Any, ...]


class StoredFile(Protocol):
    """A file elsewhere, as pathlib has it: universal_pathlib's UPath, or Airflow's ObjectStoragePath."""

    def read_bytes(self) -> bytes:
        """Return the whole content."""

    def stat(self) -> Any:
        """Return what is known of the file: st_size, st_mtime and st_ino."""


FileLocation = str | Path | StoredFile


class SourceFile:
    """A file that is read as a whole, and again when it has changed.

    location: a path; a URL that fsspec knows, such as s3://bucket/tenants.csv; or a StoredFile. limit_bytes: larger
    files are refused. name: the location as errors tell it, without passwords and signatures.
    """

    def __init__(self, location: FileLocation, limit_bytes: int) -> None:
        self.location = Path(location) if isinstance(location, str) and "://" not in location else location
        self.limit_bytes = limit_bytes
        self.name = _QUERY.sub("", _CREDENTIALS.sub("", text)) if "://" in (text := str(location)) else text

    def is_still(self, version: Version) -> bool:
        """Tell whether the file still is of that version. Blocks; raises as `read` does."""
        with self._errors_told():
            return self._state()[0] == version

    def read(self) -> tuple[bytes, Version | None]:
        """Return the content and its version. Blocks.

        The version is None where the storage tells nothing by which it could be known.
        Raises SourceUnavailableError where the file cannot be read or never stands still, RegistryRecordError where it
        is too large or no regular file, UnsupportedError where the package for such a URL is not installed, and
        SettingsError where there is no such kind of URL.
        """
        with self._errors_told():
            for _ in range(_READ_ATTEMPTS):
                version, size_bytes = self._state()
                if size_bytes > self.limit_bytes:
                    raise RegistryRecordError(
                        "the file is too large",
                        where=self.name,
                        received=f"{size_bytes} bytes",
                        allowed=f"{self.limit_bytes} bytes",
                    )
                content = self._opened.read_bytes()
                if version is None or version == self._state()[0]:
                    return content, version
        raise SourceUnavailableError(f"{self.name}: changed whenever it was read, {_READ_ATTEMPTS} times")

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            yield
        except DbgearError:
            raise
        except ImportError as error:
            raise UnsupportedError(f"{self.name}: {error}") from None
        except Exception as error:  # noqa: BLE001  each storage has its own
            # Their own texts may hold signed URLs: they are told of local files alone.
            cause = error if isinstance(self.location, Path) else None
            raise SourceUnavailableError(f"{self.name}: {_problem(error)}") from cause

    def _state(self) -> tuple[Version | None, int]:
        file = self._opened
        return _local_state(file) if isinstance(file, Path) else _stored_state(file)

    @cached_property
    def _opened(self) -> Path | StoredFile:
        if not isinstance(self.location, str):
            return self.location
        from upath import UPath  # noqa: PLC0415  DAG files that read local files need not wait for it

        try:
            return UPath(self.location)
        except ValueError:
            raise SettingsError(
                "no such kind of URL", where=self.name, allowed="a path, or a URL that fsspec knows: s3://, gs://, ..."
            ) from None


def _local_state(path: Path) -> tuple[Version | None, int]:
    status = path.stat()
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # reading a pipe might never end
        raise RegistryRecordError("no regular file", where=str(path))
    return (status.st_mtime_ns, status.st_size, status.st_ino), status.st_size


def _stored_state(file: Any) -> tuple[Version | None, int]:
    storage = getattr(file, "fs", None)
    if storage is None:
        status = file.stat()
        info: Mapping[str, Any] = {
            name: getattr(status, f"st_{name}", None) for name in ("mtime", "mtime_ns", "size", "ino")
        }
    else:
        storage.invalidate_cache(file.path)  # else what somebody has listed long ago would be told
        info = storage.info(file.path)
    size_bytes = int(info.get("size") or 0)
    stamps = sorted(
        (name, str(value)) for name, value in info.items() if value and name.lower().translate(_PUNCTUATION) in _STAMPS
    )
    return (*stamps, size_bytes) if stamps else None, size_bytes


def _problem(error: Exception) -> str:
    match error:
        case OSError(errno=int(number)):
            return os.strerror(number)
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "access denied"
    return f"cannot be read: {type(error).__name__}"
