"""Databases of ours on MySQL and MariaDB, where DDL cannot be taken back: their names, and what killed runs left.

Those of references are for the time of a look, those of clones for that of a rehearsal.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import uuid4

from .cloning import CLONE

PRESENT = r"SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'dbgear\_reference\_%'"
CLONES = r"SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'dbgear\_rehearsal\_%'"
_NAME = re.compile(r"(dbgear_reference_(\d{12})_[0-9a-f]{12})_\d+")
_CLONE = re.compile(rf"({CLONE}(\d{{12}})_([0-9a-f]{{8}})_[0-9a-f]{{12}})_\d+")
_TIME = "%Y%m%d%H%M"
# Nobody needs one for so long. A lock tells that it is in use, but on one of several servers behind an address only.
_OLD = timedelta(hours=1)


def name(now: datetime) -> str:
    """Return what the names of a new scratch place begin with. now: by the server's clock, UTC."""
    return f"dbgear_reference_{now.strftime(_TIME)}_{uuid4().hex[:12]}"


def left_overs(present: Iterable[str], now: datetime) -> dict[str, list[str]]:
    """Return {what their names begin with: databases} of the scratch places that are old."""
    old = defaultdict(list)
    for database in present:
        match = _NAME.fullmatch(database)
        if match and now - datetime.strptime(match[2], _TIME) > _OLD:
            old[match[1]].append(database)
    return old


def clone_name(now: datetime, node: str) -> str:
    """Return what the names of a new clone begin with. node: which server of those behind one address."""
    return f"{CLONE}{now.strftime(_TIME)}_{_short(node)}_{uuid4().hex[:12]}"


def left_clones(present: Iterable[str], now: datetime, node: str) -> dict[str, list[str]]:
    """Return {what their names begin with: databases} of the clones whose lock tells whether they are in use.

    They are made by this very server, or old.
    """
    found = defaultdict(list)
    for database in present:
        match = _CLONE.fullmatch(database)
        if match and (match[3] == _short(node) or now - datetime.strptime(match[2], _TIME) > _OLD):
            found[match[1]].append(database)
    return found


def _short(node: str) -> str:
    return hashlib.sha256(node.encode()).hexdigest()[:8]
