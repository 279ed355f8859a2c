"""Engines: everything that differs between database servers."""

from .base import LedgerEntry, Server, ServerAddress, Session, Timeouts
from .postgresql import PostgresServer

__all__ = ["LedgerEntry", "PostgresServer", "Server", "ServerAddress", "Session", "Timeouts"]
