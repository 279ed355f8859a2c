"""Who may enter a schema or a database of PostgreSQL: the catalog's queries, and the SQL that changes it.

https://www.postgresql.org/docs/current/ddl-priv.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UnsupportedError
from .base import Grant, GrantedOn, Scope, alike

# The privileges without which nothing inside can be reached. USAGE of a schema is asked for whenever a name in it is
# looked up, CONNECT when a session begins.
PRIVILEGES: dict[GrantedOn, list[str]] = {
    "schema": ["USAGE", "CREATE"],
    "database": ["CONNECT"],
    "table": ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"],
    "function": ["EXECUTE"],
    "procedure": ["EXECUTE"],
}
_OF_COLUMN = re.compile(r'([A-Z]+) \("(?:[^"]|"")+"\)')

_OBJECTS: dict[GrantedOn, str] = {
    "schema": """
SELECT 'schema' AS kind, nspname::text AS name, '' AS part, '' AS of_column, nspowner AS owner,
       coalesce(nspacl, pg_catalog.acldefault('n', nspowner)) AS acl
  FROM pg_catalog.pg_namespace WHERE nspname = ANY($1)
""",
    # A database without an ACL is open: PUBLIC has CONNECT and TEMPORARY.
    "database": """
SELECT 'database' AS kind, datname::text AS name, '' AS part, '' AS of_column, datdba AS owner,
       coalesce(datacl, pg_catalog.acldefault('d', datdba)) AS acl
  FROM pg_catalog.pg_database WHERE datname = ANY($1)
""",
    # Of a schema of others as well: by the names of what is the instance's. Sequences alone give no data.
    "table": """
SELECT 'table' AS kind, n.nspname::text AS name, c.relname::text AS part, '' AS of_column, c.relowner AS owner,
       coalesce(c.relacl, pg_catalog.acldefault('r', c.relowner)) AS acl
  FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = ANY($3)
 WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT 'table', n.nspname::text, c.relname::text, pg_catalog.format(' ("%s")', replace(a.attname, '"', '""')),
       c.relowner, a.attacl
  FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = ANY($3)
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
 WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, n.nspname::text, p.proname::text, '', p.proowner,
       coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))
  FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid AND p.proname = ANY($3)
 WHERE n.nspname = ANY($1) AND p.prokind IN ('f', 'p', 'w')
""",
}

# What the owner granted to itself is left out; what another granted to the owner hangs on that other one's grant.
_GRANTS = """
WITH object AS ({objects})
SELECT o.kind, o.name, o.part, a.privilege_type || o.of_column AS privilege, grantee.rolname::text AS grantee,
       CASE WHEN a.grantor <> o.owner THEN grantor.rolname::text END AS grantor, a.is_grantable AS grantable,
       a.grantee = o.owner OR coalesce(grantee.rolsuper, false) AS keeps
  FROM object o
 CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) a
  LEFT JOIN pg_catalog.pg_roles grantee ON grantee.oid = a.grantee
  LEFT JOIN pg_catalog.pg_roles grantor ON grantor.oid = a.grantor
 WHERE (a.grantee <> o.owner OR a.grantor <> o.owner) AND a.privilege_type = ANY($2)
 ORDER BY o.name, o.part, grantee.rolname NULLS FIRST, a.privilege_type, o.of_column, grantor.rolname
"""

_WITH_ACCESS = """
WITH RECURSIVE object AS ({objects}),
inside(oid) AS (
    SELECT oid FROM (SELECT owner AS oid FROM object
                     UNION SELECT oid FROM pg_catalog.pg_roles WHERE rolname = ANY($2)) first
    UNION
    SELECT m.member FROM pg_catalog.pg_auth_members m JOIN inside ON m.roleid = inside.oid
)
SELECT r.rolname::text
  FROM pg_catalog.pg_roles r JOIN inside USING (oid)
 WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname NOT IN (current_user, session_user)
   AND r.oid NOT IN (SELECT owner FROM object)
 ORDER BY 1
"""
# Predefined roles that may use every schema: https://www.postgresql.org/docs/current/predefined-roles.html
_READERS = ["pg_read_all_data", "pg_write_all_data"]
_EVERYWHERE: dict[GrantedOn, list[str]] = {"schema": _READERS, "table": _READERS}

# The condition of pg_terminate_backend; a superuser has every role. Without pg_read_all_stats the kind of a backend is
# hidden, so it is not asked for: only sessions have a role.
_SESSIONS = """
  FROM (SELECT a.pid, r.rolname::text AS role,
               pg_catalog.pg_has_role(r.oid, 'USAGE') OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS may_end
          FROM pg_catalog.pg_stat_activity a
          JOIN pg_catalog.pg_database d ON d.oid = a.datid
          JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
         WHERE d.datname = ANY($1) AND a.pid <> pg_catalog.pg_backend_pid() AND NOT r.rolsuper
           AND r.rolname NOT IN (current_user, session_user)
           AND NOT pg_catalog.pg_has_role(r.oid, d.datdba, 'USAGE')) session
"""
SESSIONS = f"SELECT role, may_end {_SESSIONS} ORDER BY role"
END_SESSIONS = f"SELECT pg_catalog.pg_terminate_backend(pid) {_SESSIONS} WHERE may_end"

OWN_TABLE = """
SELECT 1
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind = 'r' AND NOT c.relrowsecurity
   AND pg_catalog.pg_get_userbyid(c.relowner) = current_user
"""

ROLES = "SELECT rolname::text FROM pg_catalog.pg_roles WHERE rolname = ANY($1)"


def grants_query(scope: Scope) -> tuple[Any, ...]:
    """Return the query for the fields of `Grant`, and its arguments."""
    privileges = PRIVILEGES[scope.kind] + (["EXECUTE"] if scope.kind == "table" else [])
    return _GRANTS.format(objects=_OBJECTS[scope.kind]), list(scope.names), privileges, *_parts(scope)


def access_query(scope: Scope) -> tuple[Any, ...]:
    """Return the query for the roles that get in without a grant, and its arguments."""
    everywhere = _EVERYWHERE.get(scope.kind, [])
    return _WITH_ACCESS.format(objects=_OBJECTS[scope.kind]), list(scope.names), everywhere, *_parts(scope)


def _parts(scope: Scope) -> list[list[str]]:
    return [sorted({key.name for key in scope.parts})] if scope.kind == "table" else []


def revoke_statements(grants: Sequence[Grant], quote: Callable[[str], str]) -> list[str]:
    """Return a REVOKE for each object and grantee, in the owner's name.

    A role can only take back what it granted itself, and who acts for an owner acts as the owner. What other roles
    granted goes by CASCADE, with the grant of theirs that it hangs on.
    """
    statements = []
    for items in alike([grant for grant in grants if grant.grantor is None]):
        cascade = " CASCADE" if items[0].grantable else ""
        statements.append(f"REVOKE {_privileges(items, quote)} FROM {_grantee(items, quote)}{cascade}")
    return statements


def grant_statements(grants: Sequence[Grant], quote: Callable[[str], str]) -> list[str]:
    """Return the GRANTs; those of a role other than the owner are executed as that role, after it can grant.

    Raises UnsupportedError for a privilege that is none of PRIVILEGES: the word goes into the SQL as it is.
    """
    for grant in grants:
        of_column = _OF_COLUMN.fullmatch(grant.privilege) if grant.kind == "table" else None
        if (of_column[1] if of_column else grant.privilege) not in PRIVILEGES[grant.kind]:
            raise UnsupportedError(f"no privilege that is given back on a {grant.kind}: {grant.privilege[:80]!r}")
    by_owner = [grant for grant in grants if grant.grantor is None]
    statements = [_grant(items, quote) for items in alike(by_owner)]
    given = set(by_owner)
    waiting = [grant for grant in grants if grant.grantor is not None]
    while waiting:
        able = {(*grant.what, grant.grantee) for grant in given if grant.grantable}
        # Where nothing is left that can grant, the rest is tried all the same: it is the server that knows.
        now = [item for item in waiting if (*item.what, item.grantor) in able] or waiting
        for grant in now:
            statements += [f"SET LOCAL ROLE {quote(grant.grantor or '')}", _grant([grant], quote), "RESET ROLE"]
        given |= set(now)
        waiting = [grant for grant in waiting if grant not in given]
    return statements


def _grant(items: Sequence[Grant], quote: Callable[[str], str]) -> str:
    option = " WITH GRANT OPTION" if items[0].grantable else ""
    return f"GRANT {_privileges(items, quote)} TO {_grantee(items, quote)}{option}"


def _privileges(items: Sequence[Grant], quote: Callable[[str], str]) -> str:
    first = items[0]
    name = ".".join(quote(name) for name in (first.name, first.part) if name)
    return f"{', '.join(item.privilege for item in items)} ON {first.kind.upper()} {name}"


def _grantee(items: Sequence[Grant], quote: Callable[[str], str]) -> str:
    return "PUBLIC" if items[0].grantee is None else quote(items[0].grantee)
