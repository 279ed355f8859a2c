"""Engines: everything that differs between database servers."""

from .base import ExpectedLedger, Grant, GrantedOn, OtherSession, Scope, Server, ServerAddress, Session, Timeouts
from .cloning import CloneSource
from .lending import borrowing
from .mysql import MySQLServer
from .postgresql import PostgresServer
from .roles import RoleRequest, RoleScript, RoleState
from .vitals import Activity, Busy, Counter, Vitals

__all__ = [
    "Activity",
    "Busy",
    "CloneSource",
    "Counter",
    "ExpectedLedger",
    "Grant",
    "GrantedOn",
    "MySQLServer",
    "OtherSession",
    "PostgresServer",
    "RoleRequest",
    "RoleScript",
    "RoleState",
    "Scope",
    "Server",
    "ServerAddress",
    "Session",
    "Timeouts",
    "Vitals",
    "borrowing",
]
