"""Scratch databases on MySQL and MariaDB, where DDL cannot be taken back: their names, and what killed runs left."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import uuid4

PRESENT = r"SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE 'dbgear\_reference\_%'"
_NAME = re.compile(r"(dbgear_reference_(\d{12})_[0-9a-f]{12})_\d+")
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
