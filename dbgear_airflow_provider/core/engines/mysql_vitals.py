"""The state of a server of MySQL's kind, by information_schema.

One branch for each database, by equality, as `mysql_catalog` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..schema import Namespace
from .mysql_catalog import BEGINS, pattern
from .vitals import HALF, Activity, Busy, Counter, Vitals

_AT_ONCE = 100
_SIZE = "SELECT {}, COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s"
_COUNTERS = (
    "SELECT {}, CONCAT(t.TABLE_NAME, '.', c.COLUMN_NAME), t.AUTO_INCREMENT, c.COLUMN_TYPE "
    "FROM information_schema.TABLES t JOIN information_schema.COLUMNS c "
    "ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME AND c.EXTRA LIKE '%%auto_increment%%' "
    "WHERE t.AUTO_INCREMENT > 1 AND t.TABLE_SCHEMA = %s AND c.TABLE_SCHEMA = %s"
)
# https://dev.mysql.com/doc/refman/8.0/en/integer-types.html
_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_LIMIT = "SELECT @@max_connections"
# Without the privilege PROCESS, of our own account alone.
_CONNECTIONS = "SELECT COALESCE(DB, ''), USER, COUNT(*) FROM information_schema.PROCESSLIST GROUP BY DB, USER"
# A statement that waits for a table as a whole is in no transaction of InnoDB's yet.
_BUSY = (
    "SELECT COALESCE(p.DB, ''), p.USER, "
    "COALESCE(TIMESTAMPDIFF(MICROSECOND, t.trx_started, NOW(6)) / 1000000, p.TIME), "
    "CASE WHEN p.STATE LIKE 'Waiting for % lock' THEN p.TIME "
    "WHEN t.trx_state = 'LOCK WAIT' THEN TIMESTAMPDIFF(MICROSECOND, t.trx_wait_started, NOW(6)) / 1000000 END "
    "FROM information_schema.PROCESSLIST p "
    "LEFT JOIN information_schema.INNODB_TRX t ON t.trx_mysql_thread_id = p.ID "
    "WHERE p.ID <> CONNECTION_ID() AND (t.trx_id IS NOT NULL OR p.STATE LIKE 'Waiting for % lock')"
)


# MySQL keeps figures of tables for a day: https://dev.mysql.com/doc/refman/8.0/en/information-schema-optimization.html
FRESH = "SET SESSION information_schema_stats_expiry = 0"


async def vitals(run: Any, namespaces: Sequence[Namespace]) -> dict[Namespace, Vitals]:
    """Return what the catalog says of namespaces. run: executes a query with values. Every index is valid here."""
    sizes: dict[int, int] = {}
    counters: dict[int, list[Counter]] = {}
    for start in range(0, len(namespaces), _AT_ONCE):
        numbered = list(enumerate(namespaces))[start : start + _AT_ONCE]
        sql, values = _query(_SIZE, numbered, "TABLE_NAME")
        sizes |= {int(number): int(size) for number, size in await run(sql, *values, told="the catalog")}
        sql, values = _query(_COUNTERS, numbered, "t.TABLE_NAME", times=2)
        for number, name, following, column_type in await run(sql, *values, told="the catalog"):
            used = (int(following) - 1) / _most(str(column_type))
            if used > HALF:
                counters.setdefault(int(number), []).append(Counter(name=str(name), used=used))
    return {
        space: Vitals(
            size_bytes=sizes.get(number, 0),
            counters=sorted(counters.get(number, ()), key=lambda counter: -counter.used),
        )
        for number, space in enumerate(namespaces)
    }


def _query(
    branch: str, numbered: Sequence[tuple[int, Namespace]], column: str, times: int = 1
) -> tuple[str, list[str]]:
    parts, values = [], []
    for number, space in numbered:
        parts.append(branch.format(number) + (BEGINS.format(column) if space.prefix else ""))
        values += [*[space.schema] * times, *([pattern(space.prefix)] if space.prefix else [])]
    return " UNION ALL ".join(parts), values


def _most(column_type: str) -> int:
    """Return the largest number of a column of such a type, `int(10) unsigned`."""
    word = column_type.lower().partition("(")[0].split()[0]
    bits = _BITS.get(word, 64)
    return int(2**bits - 1 if "unsigned" in column_type.lower() else 2 ** (bits - 1) - 1)


async def activity(run: Any, latency_s: float) -> Activity:
    """Return what the server is doing. run: executes a query."""
    ((limit,),) = await run(_LIMIT)
    connections = {(_text(database), _text(role)): int(count) for database, role, count in await run(_CONNECTIONS)}
    return Activity(latency_s=latency_s, limit=int(limit), connections=connections, busy=list(_busy(await run(_BUSY))))


def _busy(rows: Sequence[tuple[Any, ...]]) -> Iterator[Busy]:
    for database, role, transaction_s, waits_s in rows:
        yield Busy(
            database=_text(database),
            role=_text(role),
            transaction_s=float(transaction_s or 0),
            waits_s=None if waits_s is None else float(waits_s),
        )


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
