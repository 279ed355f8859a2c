"""What schemas of PostgreSQL hold, in one query for many of them.

https://www.postgresql.org/docs/current/catalogs.html, https://www.postgresql.org/docs/current/functions-info.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..schema import Namespace
from .describing import Found, Grammar
from .postgresql_catalog import ranges

# What decides how the server writes definitions; pg_dump sets the same. Taken back with the savepoint.
BEGIN = """
SAVEPOINT dbgear_describe;
SET LOCAL search_path = ''; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres';
SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex';
SET LOCAL quote_all_identifiers = off; SET LOCAL standard_conforming_strings = on; SET LOCAL jit = off
"""
END = "ROLLBACK TO SAVEPOINT dbgear_describe; RELEASE SAVEPOINT dbgear_describe"

_NAME = r'"(?:[^"]|"")+"|[^\W\d][\w$]*'
GRAMMAR = Grammar(
    tokens=re.compile(
        rf"'(?P<cast>(?:[^']|'')*)'(?=::regclass)|(?P<string>[eE]?'(?:[^']|'')*')"
        rf"|(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<first>{_NAME})(?:\.(?P<second>{_NAME}))?",
        re.DOTALL,
    ),
    mark='"',
)

# Every step goes by an index: pg_class has none by namespace alone, pg_depend has.
_OF_SCHEMAS = """
WITH space AS (SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname = ANY($1)),
member AS MATERIALIZED (
    SELECT s.nspname, d.classid, d.objid
      FROM space s
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
       AND d.refobjid = s.oid
),
relation AS MATERIALIZED (
    SELECT m.nspname, c.* FROM member m JOIN pg_catalog.pg_class c ON c.oid = m.objid
     WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
),
routine AS (
    SELECT m.nspname, p.* FROM member m JOIN pg_catalog.pg_proc p ON p.oid = m.objid
     WHERE m.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
),
type AS (
    SELECT m.nspname, t.* FROM member m JOIN pg_catalog.pg_type t ON t.oid = m.objid
     WHERE m.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
)
"""
# A shared schema holds thousands of instances, whose names are ranges of the index by name.
_OF_PREFIXES = """
WITH space AS (
    SELECT n.oid, n.nspname, p.low::name AS low, p.high::name AS high
      FROM unnest($1::text[], $2::text[], $3::text[]) AS p (nspname, low, high)
      JOIN pg_catalog.pg_namespace n ON n.nspname = p.nspname::name
),
relation AS MATERIALIZED (
    SELECT s.nspname, c.* FROM space s
      JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname >= s.low AND c.relname < s.high
),
routine AS (
    SELECT s.nspname, p.* FROM space s
      JOIN pg_catalog.pg_proc p ON p.pronamespace = s.oid AND p.proname >= s.low AND p.proname < s.high
),
type AS (
    SELECT s.nspname, t.* FROM space s
      JOIN pg_catalog.pg_type t ON t.typnamespace = s.oid AND t.typname >= s.low AND t.typname < s.high
)
"""
# pg_get_expr needs the table only for an expression over columns, and would open it each time.
_OBJECTS = """
, stored AS MATERIALIZED (SELECT * FROM relation WHERE relkind IN ('r', 'p', 'f'))
SELECT 'table' AS kind, c.nspname::text AS nspname, '' AS tab, c.relname::text AS name,
       CASE c.relkind WHEN 'p' THEN 'PARTITION BY ' || pg_catalog.pg_get_partkeydef(c.oid)
            WHEN 'f' THEN 'foreign' END AS f1,
       CASE c.relpersistence WHEN 'u' THEN 'true' END AS f2,
       array_to_string(c.reloptions, ', ') AS f3,
       CASE WHEN c.relforcerowsecurity THEN 'forced' WHEN c.relrowsecurity THEN 'true' END AS f4,
       pg_catalog.obj_description(c.oid, 'pg_class') AS f5, NULL AS f6, NULL AS f7
  FROM stored c WHERE NOT c.relispartition
UNION ALL
SELECT 'partition', c.nspname, p.relname, c.relname, pg_catalog.pg_get_expr(c.relpartbound, c.oid),
       CASE c.relkind WHEN 'p' THEN 'PARTITION BY ' || pg_catalog.pg_get_partkeydef(c.oid) END,
       NULL, NULL, NULL, NULL, NULL
  FROM stored c JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
 WHERE c.relispartition
UNION ALL
SELECT 'column', c.nspname, c.relname, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
       CASE WHEN NOT a.attnotnull THEN 'true' END,
       CASE a.attgenerated WHEN '' THEN pg_catalog.pg_get_expr(d.adbin, 0) END,
       CASE WHEN a.attgenerated <> '' THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
       CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual'
            ELSE CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity' END END,
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::pg_catalog.regcollation::text END,
       pg_catalog.col_description(c.oid, a.attnum)
  FROM stored c
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE NOT c.relispartition
UNION ALL
SELECT CASE k.contype WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'x' THEN 'exclusion'
            WHEN 'f' THEN 'foreign key' ELSE 'check' END,
       c.nspname, c.relname, CASE k.contype WHEN 'p' THEN '' ELSE k.conname END,
       pg_catalog.pg_get_constraintdef(k.oid), pg_catalog.obj_description(k.oid, 'pg_constraint'),
       NULL, NULL, NULL, NULL, NULL
  FROM stored c JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid
 WHERE k.contype IN ('p', 'u', 'x', 'f', 'c') AND k.conparentid = 0 AND k.conislocal
UNION ALL
SELECT 'index', c.nspname, c.relname, x.relname, pg_catalog.pg_get_indexdef(x.oid), s.spcname,
       CASE WHEN NOT i.indisvalid THEN 'false' END, pg_catalog.obj_description(x.oid, 'pg_class'), NULL, NULL, NULL
  FROM relation c
  JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid AND NOT x.relispartition
  LEFT JOIN pg_catalog.pg_tablespace s ON s.oid = x.reltablespace
 WHERE c.relkind IN ('r', 'p', 'm') AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = i.indrelid AND k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))
UNION ALL
SELECT 'trigger', c.nspname, c.relname, t.tgname, pg_catalog.pg_get_triggerdef(t.oid),
       CASE t.tgenabled WHEN 'D' THEN 'false' WHEN 'A' THEN 'always' WHEN 'R' THEN 'replica' END,
       pg_catalog.obj_description(t.oid, 'pg_trigger'), NULL, NULL, NULL, NULL
  FROM relation c JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgparentid = 0
UNION ALL
SELECT 'view', c.nspname, '', c.relname, pg_catalog.pg_get_viewdef(c.oid),
       CASE c.relkind WHEN 'm' THEN 'true' END, array_to_string(c.reloptions, ', '),
       pg_catalog.obj_description(c.oid, 'pg_class'), NULL, NULL, NULL
  FROM relation c WHERE c.relkind IN ('v', 'm')
UNION ALL
SELECT 'sequence', c.nspname, '', c.relname, pg_catalog.format_type(q.seqtypid, NULL),
       format('START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s', q.seqstart, q.seqincrement, q.seqmin, q.seqmax,
              q.seqcache),
       CASE WHEN q.seqcycle THEN 'true' END, NULL, NULL, NULL, NULL
  FROM relation c JOIN pg_catalog.pg_sequence q ON q.seqrelid = c.oid
 WHERE c.relkind = 'S' AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'i')
UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, p.nspname, '',
       p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')',
       CASE WHEN p.prokind = 'a' THEN 'aggregate' ELSE pg_catalog.pg_get_functiondef(p.oid) END,
       pg_catalog.obj_description(p.oid, 'pg_proc'), NULL, NULL, NULL, NULL, NULL
  FROM routine p
UNION ALL
SELECT 'type', t.nspname, '', t.typname,
       CASE t.typtype
            WHEN 'e' THEN (SELECT string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                             FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
            ELSE pg_catalog.format_type(t.typbasetype, t.typtypmod) || coalesce(' DEFAULT ' || t.typdefault, '')
                 || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
                 || coalesce((SELECT string_agg(' ' || pg_catalog.pg_get_constraintdef(k.oid), '' ORDER BY k.conname)
                                FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid), '') END,
       NULL, NULL, NULL, NULL, NULL, NULL
  FROM type t WHERE t.typtype IN ('e', 'd')
"""
_DEFINITION_AND_COMMENT = ("definition", "comment")
_FIELDS = {
    "table": ("kind", "unlogged", "options", "row_security", "comment"),
    "partition": ("bound", "definition"),
    "column": ("type", "nullable", "default", "expression", "generated", "collation", "comment"),
    "index": ("definition", "tablespace", "valid", "comment"),
    "trigger": ("definition", "enabled", "comment"),
    "view": ("definition", "materialized", "options", "comment"),
    "sequence": ("type", "definition", "cycle"),
    "type": ("definition",),
}
_TEXT = re.compile(r"(E?)'((?:[^']|'')*)'(::.+)?", re.DOTALL)


def queries(groups: Sequence[Sequence[Namespace]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield the queries for what the namespaces hold, each with its values: one for each way of isolation in them."""
    for head, values in scopes(groups):
        yield head + _OBJECTS, values


def scopes(groups: Sequence[Sequence[Namespace]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield what queries for `relation`, `routine` and `type` of the namespaces begin with, and its values."""
    whole = sorted({item.schema for group in groups for item in group if not item.prefix})
    shared = [item for group in groups for item in group if item.prefix]
    if whole:
        yield _OF_SCHEMAS, [whole]
    if shared:
        yield _OF_PREFIXES, list(map(list, zip(*ranges(shared), strict=True)))


def found(rows: Iterable[Sequence[Any]]) -> Iterator[Found]:
    """Return what the rows of a query tell."""
    for kind, schema, table, name, *values in rows:
        names = _FIELDS.get(kind, _DEFINITION_AND_COMMENT)
        fields = tuple(zip(names, values, strict=False))
        if kind == "column" and values[2] and (match := _TEXT.fullmatch(values[2])):
            escaped, text, cast = match.groups()
            text = text.replace("''", "'")
            text = text.replace("\\\\", "\\") if escaped else text
            fields = (*fields[:2], ("default", f"text{cast or ''}"), ("default_text", text), *fields[3:])
        yield Found(kind, schema, table, name, fields)
