"""What makes a copy of schemas, as their catalog tells it: queries for statements, and what cannot be copied.

Each is for the relations, routines and types that a head of `postgresql_describe` finds, and in its order: what others
need is older than they are, mostly. Names are with their schemas: nothing is in the search_path.
"""

from __future__ import annotations

import re

# The copies' schemas, with the database of a clone that is in another one.
NOTE = "dbgear: rehearsal in database "
CLONES = """
SELECT DISTINCT pg_catalog.regexp_replace(n.nspname, '_[0-9]+$', '') AS name,
       pg_catalog.substr(pg_catalog.obj_description(n.oid, 'pg_namespace'), pg_catalog.length($2) + 1) AS database
  FROM pg_catalog.pg_namespace n
 WHERE pg_catalog.starts_with(n.nspname, $1)
"""
OF_CLONE = "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE pg_catalog.starts_with(nspname, $1 || '_')"

SETTINGS = ("SET LOCAL search_path = ''", "SET LOCAL check_function_bodies = off")
SEARCH_PATH = re.compile(r"^ SET search_path TO .*$", re.MULTILINE)
DELETION = "    {}; GET DIAGNOSTICS n = ROW_COUNT; found := found + n;\n"
UNTIL_NONE = """DO $dbgear$
DECLARE n bigint; found bigint;
BEGIN
  LOOP
    found := 0;
{deletions}    EXIT WHEN found = 0;
  END LOOP;
END
$dbgear$"""
# The last statement: an error where more was done to what is in the originals than to read it.
ONLY_READ = """DO $dbgear$
BEGIN
  IF EXISTS (
    SELECT FROM pg_catalog.pg_locks l
      JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE l.pid = pg_catalog.pg_backend_pid() AND l.mode <> 'AccessShareLock' AND n.nspname IN ({originals}))
  THEN RAISE EXCEPTION 'the copying is not of reading alone';
  END IF;
END
$dbgear$"""

UNSUPPORTED = """
SELECT 'foreign table ' || c.relname FROM relation c WHERE c.relkind = 'f'
UNION ALL
SELECT 'type ' || t.typname FROM type t JOIN pg_catalog.pg_class c ON c.oid = t.typrelid WHERE c.relkind = 'c'
UNION ALL
SELECT 'table ' || c.relname || ', which inherits'
  FROM relation c JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid WHERE c.relkind = 'r' AND NOT c.relispartition
UNION ALL
SELECT 'policy ' || p.polname || ' of ' || c.relname
  FROM relation c JOIN pg_catalog.pg_policy p ON p.polrelid = c.oid
UNION ALL
SELECT 'rule ' || r.rulename || ' of ' || c.relname
  FROM relation c JOIN pg_catalog.pg_rewrite r ON r.ev_class = c.oid WHERE r.rulename <> '_RETURN'
UNION ALL
SELECT 'statistics ' || s.stxname || ' of ' || c.relname
  FROM relation c JOIN pg_catalog.pg_statistic_ext s ON s.stxrelid = c.oid
UNION ALL
SELECT 'key ' || k.conname || ' of ' || c.relname || ' to a table elsewhere'
  FROM relation c JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f'
 WHERE NOT EXISTS (SELECT FROM relation o WHERE o.oid = k.confrelid)
UNION ALL
SELECT 'aggregate ' || p.proname FROM routine p WHERE p.prokind = 'a'
UNION ALL
SELECT 'type ' || t.typname FROM type t WHERE t.typtype = 'r'
"""

_OF_RELATION = "d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid"
_IS_LATE = """
EXISTS (SELECT FROM pg_catalog.pg_depend d LEFT JOIN pg_catalog.pg_type t
            ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.oid = d.refobjid
          LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
         WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
           AND (d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass OR t.typrelid <> 0 OR e.typrelid <> 0))
"""
_OPTIONS = "coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')"
_SEQUENCE = """format('INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s%s', q.seqincrement, q.seqmin,
       q.seqmax, q.seqstart, q.seqcache, CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END)"""
_INDEX = """
SELECT CASE c.relkind WHEN 'p' THEN pg_catalog.regexp_replace(pg_catalog.pg_get_indexdef(x.oid), ' ON ONLY ', ' ON ')
            ELSE pg_catalog.pg_get_indexdef(x.oid) END
  FROM relation c
  JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
  JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid AND NOT x.relispartition
 WHERE c.relkind {kinds} AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_constraint k
        WHERE k.conrelid = i.indrelid AND k.conindid = x.oid AND k.contype IN ('p', 'u', 'x'))
 ORDER BY x.oid
"""
_CONSTRAINT = """
SELECT format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', c.nspname, c.relname, k.conname,
              pg_catalog.pg_get_constraintdef(k.oid))
  FROM relation c JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid
 WHERE k.contype IN ({kinds}) AND k.conparentid = 0 AND k.conislocal ORDER BY k.contype = 'c', k.oid
"""

# {what: the query}. All but `names`, `columns`, `references` and `counters` give statements.
QUERIES = {
    "names": """
SELECT nspname::text, relname::text FROM relation
UNION ALL SELECT c.nspname, x.relname
            FROM relation c JOIN pg_catalog.pg_index i ON i.indrelid = c.oid
            JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
UNION ALL SELECT nspname, proname FROM routine
UNION ALL SELECT nspname, typname FROM type
""",
    "types": """
SELECT CASE t.typtype
       WHEN 'e' THEN format('CREATE TYPE %I.%I AS ENUM (%s)', t.nspname, t.typname,
                            (SELECT string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                               FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid))
       ELSE format('CREATE DOMAIN %I.%I AS %s', t.nspname, t.typname,
                   pg_catalog.format_type(t.typbasetype, t.typtypmod) || coalesce(' DEFAULT ' || t.typdefault, '')
                   || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
                   || coalesce((SELECT string_agg(' ' || pg_catalog.pg_get_constraintdef(k.oid), '' ORDER BY k.conname)
                                  FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'), ''))
       END
  FROM type t WHERE t.typtype IN ('e', 'd') ORDER BY t.oid
""",
    "sequences": f"""
SELECT format('CREATE SEQUENCE %I.%I AS %s ', c.nspname, c.relname, pg_catalog.format_type(q.seqtypid, NULL))
       || {_SEQUENCE}
  FROM relation c JOIN pg_catalog.pg_sequence q ON q.seqrelid = c.oid
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
                      AND d.deptype = 'i')
 ORDER BY c.oid
""",  # noqa: S608 - constants
    "early routines": f"""
SELECT pg_catalog.pg_get_functiondef(p.oid) FROM routine p WHERE NOT {_IS_LATE} ORDER BY p.oid
""",  # noqa: S608 - constants
    "tables": f"""
SELECT format('CREATE %sTABLE %I.%I (%s)%s', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END,
              c.nspname, c.relname, (
       SELECT string_agg(format('%I %s', a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod))
              || CASE WHEN a.attcollation <> t.typcollation
                      THEN ' COLLATE ' || a.attcollation::pg_catalog.regcollation::text ELSE '' END
              || CASE WHEN a.attgenerated <> ''
                      THEN ' GENERATED ALWAYS AS (' || pg_catalog.pg_get_expr(e.adbin, e.adrelid)
                           || CASE a.attgenerated WHEN 's' THEN ') STORED' ELSE ') VIRTUAL' END
                      WHEN a.attidentity <> ''
                      THEN format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %I.%I ',
                                  CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,
                                  s.nspname, s.relname) || {_SEQUENCE} || ')'
                      ELSE coalesce(' DEFAULT ' || pg_catalog.pg_get_expr(e.adbin, e.adrelid), '') END
              || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END, ', ' ORDER BY a.attnum)
         FROM pg_catalog.pg_attribute a
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
         LEFT JOIN pg_catalog.pg_attrdef e ON e.adrelid = a.attrelid AND e.adnum = a.attnum
         LEFT JOIN (pg_catalog.pg_depend d
                    JOIN pg_catalog.pg_sequence q ON q.seqrelid = d.objid
                    JOIN (SELECT r.oid, r.relname, n.nspname FROM pg_catalog.pg_class r
                            JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace) s ON s.oid = d.objid)
           ON {_OF_RELATION} = c.oid AND d.refobjsubid = a.attnum AND d.deptype = 'i'
          AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       CASE c.relkind WHEN 'p' THEN ' PARTITION BY ' || pg_catalog.pg_get_partkeydef(c.oid) ELSE '' END)
       || {_OPTIONS}
  FROM relation c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.oid
""",  # noqa: S608 - constants
    "partitions": f"""
SELECT format('CREATE TABLE %I.%I PARTITION OF %I.%I %s%s', c.nspname, c.relname, n.nspname, o.relname,
              pg_catalog.pg_get_expr(c.relpartbound, c.oid),
              CASE c.relkind WHEN 'p' THEN ' PARTITION BY ' || pg_catalog.pg_get_partkeydef(c.oid) ELSE '' END)
       || {_OPTIONS}
  FROM relation c
  JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid
  JOIN pg_catalog.pg_class o ON o.oid = i.inhparent JOIN pg_catalog.pg_namespace n ON n.oid = o.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relispartition
 ORDER BY (SELECT count(*) FROM pg_catalog.pg_partition_ancestors(c.oid)), c.oid
""",  # noqa: S608 - constants
    "columns": """
SELECT c.nspname::text, c.relname::text, array_agg(a.attname::text ORDER BY a.attnum),
       array_agg(CASE WHEN own.oid IS NOT NULL THEN pg_catalog.format_type(a.atttypid, a.atttypmod) END
                 ORDER BY a.attnum)
  FROM relation c
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  LEFT JOIN type own ON own.oid IN (t.oid, t.typelem)
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition GROUP BY c.oid, c.nspname, c.relname ORDER BY c.oid
""",
    "keys": _CONSTRAINT.format(kinds="'p', 'u', 'x', 'c'"),
    "foreign keys": _CONSTRAINT.format(kinds="'f'"),
    "references": """
SELECT c.nspname::text, c.relname::text,
       array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (num, at)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.at),
       o.nspname::text, o.relname::text,
       array(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (num, at)
               JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.at)
  FROM relation c JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
  JOIN relation o ON o.oid = k.confrelid
""",
    "indexes": _INDEX.format(kinds="IN ('r', 'p')"),
    "late": f"""
SELECT sql FROM (
SELECT c.oid, format('CREATE %sVIEW %I.%I%s AS %s', CASE c.relkind WHEN 'm' THEN 'MATERIALIZED ' ELSE '' END,
                     c.nspname, c.relname, {_OPTIONS}, pg_catalog.rtrim(pg_catalog.pg_get_viewdef(c.oid), ';')) AS sql
  FROM relation c WHERE c.relkind IN ('v', 'm')
UNION ALL
SELECT p.oid, pg_catalog.pg_get_functiondef(p.oid) FROM routine p WHERE {_IS_LATE}
) late ORDER BY oid
""",  # noqa: S608 - constants
    "late indexes": _INDEX.format(kinds="= 'm'"),
    "triggers": """
SELECT pg_catalog.pg_get_triggerdef(t.oid)
  FROM relation c JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgparentid = 0
 ORDER BY t.oid
""",
    "owned": f"""
SELECT format('ALTER SEQUENCE %I.%I OWNED BY %I.%I.%I', c.nspname, c.relname, o.nspname, o.relname, a.attname)
  FROM relation c
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
   AND d.deptype = 'a'
  JOIN relation o ON {_OF_RELATION} = o.oid
  JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND a.attnum = d.refobjsubid
 WHERE c.relkind = 'S'
""",  # noqa: S608 - constants
    "settings": """
SELECT format('ALTER TABLE %I.%I %s TRIGGER %I', c.nspname, c.relname,
              CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END,
              t.tgname)
  FROM relation c JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgparentid = 0
 WHERE t.tgenabled <> 'O' AND c.relkind IN ('r', 'p')
UNION ALL
SELECT format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY', c.nspname, c.relname)
  FROM relation c WHERE c.relrowsecurity
UNION ALL
SELECT format('ALTER TABLE %I.%I FORCE ROW LEVEL SECURITY', c.nspname, c.relname)
  FROM relation c WHERE c.relforcerowsecurity
""",
    "comments": """
SELECT format('COMMENT ON %s %s IS %L', pg_catalog.regexp_replace(i.type, '^.* (column|constraint)$', '\\1'),
              i.identity, d.description)
  FROM (
       SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS class, oid FROM relation
       UNION SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, x.indexrelid
               FROM relation c JOIN pg_catalog.pg_index x ON x.indrelid = c.oid
       UNION SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, k.oid
               FROM relation c JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid
       UNION SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, t.oid
               FROM relation c JOIN pg_catalog.pg_trigger t ON t.tgrelid = c.oid
       UNION SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, oid FROM routine
       UNION SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, oid FROM type
       ) object
  JOIN pg_catalog.pg_description d ON d.classoid = object.class AND d.objoid = object.oid
 CROSS JOIN LATERAL pg_catalog.pg_identify_object(d.classoid, d.objoid, d.objsubid) i
""",
    "counters": """
SELECT c.nspname::text, c.relname::text FROM relation c WHERE c.relkind = 'S'
""",
}
