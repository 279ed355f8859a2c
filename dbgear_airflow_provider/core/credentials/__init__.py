"""Credentials of tenants' logins, and the sinks that they are handed over to.

`VaultSink` is imported on first use: httpx takes time that who needs no Vault need not wait for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .base import ClosingSink, Credential, CredentialSink
from .factory import make_sink
from .file import FileSink

if TYPE_CHECKING:
    from .vault import VaultSink

_HOMES = {"VaultSink": "vault"}

__all__ = ["ClosingSink", "Credential", "CredentialSink", "FileSink", "VaultSink", "make_sink"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
