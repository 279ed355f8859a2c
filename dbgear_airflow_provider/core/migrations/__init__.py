"""Migration scripts: plain SQL files that are run on every tenant of a fleet."""

from .folder import MigrationSet
from .ledger import VERSION, LedgerState, Progress, digests_at, known_state, step_version
from .lint import Finding, ServerFacts, lint
from .macros import Names
from .manifest import write_manifest
from .rules import RULES
from .script import Migration, Section, Statement, parse_query, version_order
from .sections import Allow

__all__ = [
    "RULES",
    "VERSION",
    "Allow",
    "Finding",
    "LedgerState",
    "Migration",
    "MigrationSet",
    "Names",
    "Progress",
    "Section",
    "ServerFacts",
    "Statement",
    "digests_at",
    "known_state",
    "lint",
    "parse_query",
    "step_version",
    "version_order",
    "write_manifest",
]
