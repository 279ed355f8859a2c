"""`FileSink`: one JSON file for each tenant, which only its owner can read."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from ..errors import CredentialError
from .base import Credential

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_MAX_NAME_CHARS = 200  # file systems take 255 bytes; a draft's name is longer by its mark


class FileSink:
    """A folder with a file `<tenant_id>.json` for each tenant.

    The folder is made where it is missing, for its owner alone; a file is whole at every moment. Characters of a
    tenant_id that mean something to a file system are percent-encoded.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def file(self, tenant_id: str) -> Path:
        """Return where a tenant's credential is."""
        name = quote(tenant_id, safe=" ")
        if len(name) > _MAX_NAME_CHARS:
            digest = hashlib.sha256(tenant_id.encode()).hexdigest()
            name = f"{name[: _MAX_NAME_CHARS - len(digest)]}{digest}"
        return self.folder / f"{name}.json"

    async def put(self, credential: Credential) -> None:
        """Write the tenant's file. Raises CredentialError."""
        try:
            await asyncio.to_thread(self._write, credential)
        except OSError as error:
            told = f"tenant {credential.tenant_id}: its credential cannot be written: {error}"
            raise CredentialError(told, sink=str(self.folder)) from None

    def _write(self, credential: Credential) -> None:
        folder = self.folder
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(_FOLDER_MODE)
        target = self.file(credential.tenant_id)
        draft = folder / f".{uuid4().hex}.tmp"
        # Made anew, and with its mode at once: nobody may have it open, and it is never readable for others.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(credential.document(), file, ensure_ascii=False, indent=2)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self._keep_name()

    def _keep_name(self) -> None:
        """Let the file's new name outlast a crash of the machine as well."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
