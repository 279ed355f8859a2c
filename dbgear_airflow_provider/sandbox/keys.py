"""Passwords and keys that are made once and kept in files that only their owner may read."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def password() -> str:
    """Return a new random password, good for URLs."""
    return secrets.token_urlsafe(24)


def fernet_key() -> str:
    """Return a new key for Airflow's `[core] fernet_key`."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def kept(path: Path, make: Callable[[], str] = password) -> str:
    """Return what the file holds; where there is none yet, make it and keep it there with mode 0600."""
    if not path.exists():
        draft = path.with_suffix(".new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(make())
        draft.rename(path)
    return path.read_text()
