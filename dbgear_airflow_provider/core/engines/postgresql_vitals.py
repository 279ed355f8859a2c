"""The state of a PostgreSQL server, by its catalog and its statistics views.

Each is one scan of the catalog for hundreds of schemas: pg_class has no index by namespace, and by pg_depend it would
be a look for each schema.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ..schema import Namespace
from .vitals import HALF, Activity, Busy, Counter, Vitals

# $1: schemas, $2: those of them that are shared, of which each table is told. A table that somebody has locked for
# himself alone, or waits to, is not measured: that would wait too. Its last size stands for it.
_SIZES = """
WITH locked AS (
    SELECT DISTINCT relation FROM pg_catalog.pg_locks
     WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid <> pg_catalog.pg_backend_pid()
       AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
)
SELECT n.nspname::text, CASE WHEN n.nspname = ANY($2) OR l.relation IS NOT NULL THEN c.relname::text ELSE '' END,
       sum(CASE WHEN l.relation IS NULL THEN pg_catalog.pg_total_relation_size(c.oid)
                ELSE c.relpages::bigint * pg_catalog.current_setting('block_size')::bigint END)::bigint,
       l.relation IS NOT NULL
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN locked l ON l.relation = c.oid
 WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'm')
 GROUP BY 1, 2, 4
"""
_INVALID = """
SELECT n.nspname::text, t.relname::text, c.relname::text
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
  JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
 WHERE NOT i.indisvalid AND n.nspname = ANY($1)
"""
# Those that may come to an end: a bigint does not. Of a sequence that belongs to a column, the column's type may be the
# narrower one. Not of those that begin anew.
_SEQUENCES = """
SELECT space, "table", name, oid, first, last FROM (
    SELECT n.nspname::text AS space, coalesce(t.relname, c.relname)::text AS "table", c.relname::text AS name, c.oid,
           s.seqmin::numeric AS first,
           LEAST(s.seqmax, CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                           ELSE 9223372036854775807 END)::numeric AS last
      FROM pg_catalog.pg_sequence s
      JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
       AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
      LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
      LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
     WHERE n.nspname = ANY($1) AND s.seqincrement > 0 AND NOT s.seqcycle AND s.seqmax > s.seqmin
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks l
                        WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock'
                          AND l.pid <> pg_catalog.pg_backend_pid())
) counting WHERE last < 9223372036854775807
"""
_LAST_VALUES = """
SELECT asked, pg_catalog.pg_sequence_last_value(asked)::numeric FROM unnest($1::oid[]) asked
 WHERE EXISTS (SELECT FROM pg_catalog.pg_sequence WHERE seqrelid = asked)
"""
# Each that is asked for its last value stays locked until the transaction ends, and the server has room for
# max_locks_per_transaction * max_connections locks, 6,400 by default, for everybody together.
_SEQUENCES_AT_ONCE = 500
# Of sessions of others we see only what pg_read_all_stats, or being a member of their role, lets us see.
_LIMIT = "SELECT pg_catalog.current_setting('max_connections')::integer"
_CONNECTIONS = """
SELECT coalesce(datname, '')::text, coalesce(usename, '')::text, count(*)
  FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2
"""
_BUSY = """
SELECT a.datname::text, coalesce(a.usename, '')::text,
       extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8,
       CASE WHEN a.wait_event_type = 'Lock'
            THEN extract(epoch FROM pg_catalog.clock_timestamp() - coalesce(
                (SELECT min((pg_catalog.to_jsonb(l) ->> 'waitstart')::timestamptz) FROM pg_catalog.pg_locks l
                  WHERE l.pid = a.pid AND NOT l.granted), a.query_start))::float8 END,
       ARRAY(SELECT DISTINCT ARRAY[n.nspname::text, c.relname::text]
               FROM pg_catalog.pg_locks l
               JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p', 'm')
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              WHERE l.pid = a.pid AND l.locktype = 'relation' AND n.nspname <> 'pg_catalog'
                AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
  FROM pg_catalog.pg_stat_activity a
 WHERE a.xact_start IS NOT NULL AND a.datname IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
   AND a.backend_type = 'client backend'
"""


async def vitals(fetch: Any, anew: Any, namespaces: Sequence[Namespace]) -> dict[Namespace, Vitals]:
    """Return what the catalog says of namespaces.

    fetch: executes a query with values. anew: ends the transaction, and begins the next one.
    """
    schemas = sorted({space.schema for space in namespaces})
    shared = sorted({space.schema for space in namespaces if space.prefix})
    sizes = [tuple(row) for row in await fetch(_SIZES, schemas, shared)]
    invalid = [(schema, table, f"{table}.{index}") for schema, table, index in await fetch(_INVALID, schemas)]
    counters = await _counters(fetch, anew, await fetch(_SEQUENCES, schemas))
    of_size = _by_space([(schema, table, size) for schema, table, size, _ in sizes], namespaces)
    of_locked = _by_space([(schema, table, table) for schema, table, _, locked in sizes if locked], namespaces)
    of_invalid, of_counters = _by_space(invalid, namespaces), _by_space(counters, namespaces)
    return {
        space: Vitals(
            size_bytes=sum(of_size[space]),
            locked=sorted(of_locked[space]),
            invalid_indexes=sorted(of_invalid[space]),
            counters=sorted(of_counters[space], key=lambda counter: -counter.used),
        )
        for space in namespaces
    }


async def _counters(fetch: Any, anew: Any, sequences: Sequence[Any]) -> list[tuple[str, str, Counter]]:
    """Return (schema, table, counter) of those sequences of which more than half is used."""
    found = []
    for start in range(0, len(sequences), _SEQUENCES_AT_ONCE):
        some = sequences[start : start + _SEQUENCES_AT_ONCE]
        values = dict(await fetch(_LAST_VALUES, [oid for _, _, _, oid, _, _ in some]))
        await anew()
        for schema, table, name, oid, first, last in some:
            if (value := values.get(oid)) is not None and (used := float((value - first) / (last - first))) > HALF:
                found.append((schema, table, Counter(name=name, used=used)))
    return found


def _by_space(
    rows: Sequence[tuple[str, str, Any]], namespaces: Sequence[Namespace]
) -> defaultdict[Namespace, list[Any]]:
    """Return the values of (schema, table, value) by the namespace that the table is in."""
    in_schema: defaultdict[str, list[Namespace]] = defaultdict(list)
    for space in namespaces:
        in_schema[space.schema].append(space)
    found: defaultdict[Namespace, list[Any]] = defaultdict(list)
    for schema, table, value in rows:
        for space in in_schema[schema]:
            if not space.prefix or table.startswith(space.prefix):
                found[space].append(value)
    return found


async def activity(fetch: Any, latency_s: float) -> Activity:
    """Return what the server is doing. fetch: executes a query."""
    ((limit,),) = await fetch(_LIMIT)
    connections = {(database, role): count for database, role, count in await fetch(_CONNECTIONS)}
    busy = [
        Busy(
            database=database,
            role=role,
            transaction_s=transaction_s,
            waits_s=waits_s,
            tables=[(schema, table) for schema, table in tables],
        )
        for database, role, transaction_s, waits_s, tables in await fetch(_BUSY)
    ]
    return Activity(latency_s=latency_s, limit=limit, connections=connections, busy=busy)
