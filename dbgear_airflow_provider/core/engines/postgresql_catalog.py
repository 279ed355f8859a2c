"""What schemas of PostgreSQL hold, by its catalog.

Every step goes by an index: a scan of the catalog for each tenant would cost more with every tenant that the server
already holds. pg_class has none by namespace, but pg_depend has one
(https://www.postgresql.org/docs/current/catalog-pg-depend.html), and names have theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..schema import Namespace, outermost

SCHEMAS = "SELECT nspname::text FROM pg_catalog.pg_namespace WHERE nspname = ANY($1)"

# Those ledgers that exist, of the schemas $1 with the names $2. Something else of that name is not read: doing so could
# run a tenant's code.
LEDGERS = """
SELECT n.nspname::text, c.relname::text
  FROM unnest($1::text[], $2::text[]) asked (space, name)
  JOIN pg_catalog.pg_namespace n ON n.nspname = asked.space
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = asked.name
 WHERE c.relkind = 'r' AND NOT c.relrowsecurity
   AND (c.relowner = n.nspowner OR pg_catalog.pg_get_userbyid(c.relowner) = current_user)
"""
LEDGER = "SELECT {}, version, tenant_id, instance, checksum::text FROM {}"
# An error where the ledger says something else of migrations, or is another's.
UNCHANGED = """
SELECT CASE WHEN (
  SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(coalesce(
           pg_catalog.string_agg(version || ' ' || checksum::text, E'\\n'
                                 ORDER BY version || ' ' || checksum::text COLLATE "C"), ''), 'UTF8')), 'hex')
    FROM {ledger} WHERE version ~ '^([0-9]|baseline )') = '{digest}'
  AND (SELECT tenant_id = {tenant_id} AND instance = {instance} AND checksum NOT LIKE {begun} || '%'
         FROM {ledger} WHERE version = 'provision')
  THEN '0' ELSE 'the ledger has changed' END::integer"""
# Of a name as SQL writes it, where the session stands: an index that was not finished.
INVALID_INDEX = """
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_index i
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indexrelid = pg_catalog.to_regclass($1) AND NOT i.indisvalid
"""

# Of a relation and a routine: those of whole schemas, $1, and those of one, $1, whose names are from $2 to below $3.
_OF_SCHEMAS = """
WITH space AS (SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname = ANY($1)),
relation AS (
    SELECT s.nspname, c.oid, c.relname, c.relkind
      FROM space s
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
       AND d.refobjid = s.oid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
      JOIN pg_catalog.pg_class c ON c.oid = d.objid
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
),
routine AS (
    SELECT s.nspname, p.proname, p.prokind
      FROM space s
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
       AND d.refobjid = s.oid AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
      JOIN pg_catalog.pg_proc p ON p.oid = d.objid
)
"""
# Names are compared byte by byte, whatever the collation: https://www.postgresql.org/docs/current/datatype-character.html
_OF_PREFIX = """
WITH space AS (SELECT oid, nspname FROM pg_catalog.pg_namespace WHERE nspname = $1),
relation AS (
    SELECT s.nspname, c.oid, c.relname, c.relkind
      FROM space s JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid
     WHERE c.relname >= $2 AND c.relname < $3 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
),
routine AS (
    SELECT s.nspname, p.proname, p.prokind
      FROM space s JOIN pg_catalog.pg_proc p ON p.pronamespace = s.oid
     WHERE p.proname >= $2 AND p.proname < $3
)
"""
_OBJECTS = """
SELECT 'schema', nspname::text, nspname::text FROM space
UNION ALL
SELECT CASE WHEN relkind IN ('v', 'm') THEN 'view' ELSE 'table' END, nspname, relname FROM relation
UNION ALL
SELECT 'index', r.nspname, c.relname
  FROM relation r
  JOIN pg_catalog.pg_index i ON i.indrelid = r.oid
  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
UNION ALL
SELECT 'foreign key', r.nspname, r.relname || '.' || k.conname
  FROM relation r JOIN pg_catalog.pg_constraint k ON k.conrelid = r.oid AND k.contype = 'f'
UNION ALL
SELECT 'trigger', r.nspname, t.tgname
  FROM relation r JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
UNION ALL
SELECT CASE WHEN prokind = 'p' THEN 'procedure' ELSE 'function' END, nspname, proname FROM routine
"""
IN_SCHEMAS = _OF_SCHEMAS + _OBJECTS
WITH_PREFIX = _OF_PREFIX + _OBJECTS


def ranges(namespaces: Sequence[Namespace]) -> list[tuple[str, str, str]]:
    """Return (schema, first name, end of names) for those with a prefix."""
    return [
        (namespace.schema, namespace.prefix, namespace.prefix[:-1] + _after(namespace.prefix[-1]))
        for namespace in outermost(namespaces)
        if namespace.prefix
    ]


def _after(character: str) -> str:
    # What lies between these two are no characters.
    return "\ue000" if character == "\ud7ff" else chr(ord(character) + 1)
