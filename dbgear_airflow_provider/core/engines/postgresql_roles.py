"""A tenant's roles on PostgreSQL: the owner of its schemas and objects, and the login that may work with them.

Where an instance has but a prefix in a shared schema, its objects stay ours: their owner would need CREATE on the
schema of all (https://www.postgresql.org/docs/current/sql-altertable.html), and the roles get grants on each object.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from ..schema.ddl import Secret
from .roles import HIDDEN, RoleRequest, RoleScript, RoleState

_ON_TABLES = "SELECT, INSERT, UPDATE, DELETE"
_ON_SEQUENCES = "USAGE, SELECT"
# Default privileges by the letters of pg_default_acl.
_DEFAULTS = {"r": f"{_ON_TABLES} ON TABLES", "S": f"{_ON_SEQUENCES} ON SEQUENCES", "f": "EXECUTE ON ROUTINES"}
_ITERATIONS = (
    4096  # what the server itself takes: https://www.postgresql.org/docs/current/runtime-config-connection.html
)

# Both ways go by an index of the catalog (see `postgresql`): from the schema, and where that is shared from the names.
_OWN = """
relation AS (
    SELECT s.nspname, c.oid, c.relname::text, c.relkind, c.relowner, c.relacl,
           c.relkind = 'S' AND EXISTS (
               SELECT FROM pg_catalog.pg_depend o
                WHERE o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objid = c.oid
                  AND o.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.deptype IN ('a', 'i')) AS of_table
      FROM space s
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
       AND d.refobjid = s.oid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
      JOIN pg_catalog.pg_class c ON c.oid = d.objid
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relname <> ALL($5)
),
routine AS (
    SELECT s.nspname, p.oid, p.proname::text, p.proowner, p.proacl
      FROM space s
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
       AND d.refobjid = s.oid AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
      JOIN pg_catalog.pg_proc p ON p.oid = d.objid
     WHERE p.prokind IN ('f', 'p', 'w')
)"""
_SHARED = """
named AS (
    SELECT s.nspname, c.oid, c.relname::text, c.relkind, c.relowner, c.relacl, false AS of_table
      FROM space s JOIN pg_catalog.pg_class c ON c.relnamespace = s.oid AND c.relname = ANY($5)
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
),
relation AS (
    SELECT * FROM named
    UNION ALL
    SELECT n.nspname, c.oid, c.relname::text, c.relkind, c.relowner, c.relacl, true
      FROM named n
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = n.oid
       AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
      JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S'
),
routine AS (
    SELECT s.nspname, p.oid, p.proname::text, p.proowner, p.proacl
      FROM space s JOIN pg_catalog.pg_proc p ON p.pronamespace = s.oid AND p.proname = ANY($5)
     WHERE p.prokind IN ('f', 'p', 'w')
)"""

_STATE = """
WITH role AS (SELECT r.oid, r.rolname::text, pg_catalog.shobj_description(r.oid, 'pg_authid') AS told
                FROM pg_catalog.pg_roles r WHERE r.rolname IN ($2, $3)),
owner AS (SELECT coalesce((SELECT oid FROM role WHERE rolname = $2), 0) AS oid),
login AS (SELECT coalesce((SELECT oid FROM role WHERE rolname = $3), 0) AS oid),
space AS (SELECT oid, nspname::text, nspowner, nspacl FROM pg_catalog.pg_namespace WHERE nspname = ANY($1)),
{objects}
SELECT 'role' AS what, '' AS schema, rolname AS name, coalesce(told, '') AS text FROM role
UNION ALL
SELECT 'superuser', '', '', '' FROM pg_catalog.pg_roles WHERE rolname = current_user AND rolsuper
UNION ALL
SELECT 'member', '', '', '' FROM owner WHERE oid <> 0 AND pg_catalog.pg_has_role(oid, 'USAGE')
UNION ALL
SELECT CASE WHEN a.grantee = 0 THEN 'public' ELSE 'connect' END, '', '', ''
  FROM pg_catalog.pg_database b
 CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(b.datacl, pg_catalog.acldefault('d', b.datdba))) a, login
 WHERE b.datname = $4 AND (a.grantee = 0 OR (a.grantee = login.oid AND a.privilege_type = 'CONNECT'))
UNION ALL
SELECT 'default', '', d.defaclobjtype::text, ''
  FROM pg_catalog.pg_default_acl d CROSS JOIN LATERAL pg_catalog.aclexplode(d.defaclacl) a, owner, login
 WHERE d.defaclrole = owner.oid AND d.defaclnamespace = 0 AND a.grantee = login.oid
UNION ALL
SELECT 'owned', nspname, '', '' FROM space, owner WHERE nspowner = owner.oid
UNION ALL
SELECT 'usage', s.nspname, CASE WHEN a.grantee = 0 THEN 'public' ELSE '' END, ''
  FROM space s CROSS JOIN LATERAL pg_catalog.aclexplode(s.nspacl) a, login
 WHERE a.privilege_type = 'USAGE' AND a.grantee IN (login.oid, 0)
UNION ALL
SELECT 'another''s', nspname, relname, pg_catalog.format('TABLE %I.%I', nspname, relname)
  FROM relation, owner WHERE relowner <> owner.oid AND NOT of_table
UNION ALL
SELECT 'another''s', nspname, proname, 'ROUTINE ' || routine.oid::pg_catalog.regprocedure
  FROM routine, owner WHERE proowner <> owner.oid
UNION ALL
SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, nspname, relname,
       pg_catalog.format('%I.%I', nspname, relname)
  FROM relation, login
 WHERE (SELECT count(DISTINCT a.privilege_type) FROM pg_catalog.aclexplode(relacl) a
         WHERE a.grantee = login.oid
           AND a.privilege_type = ANY (CASE relkind WHEN 'S' THEN '{{USAGE,SELECT}}'
                                       ELSE '{{SELECT,INSERT,UPDATE,DELETE}}' END::text[]))
       < CASE relkind WHEN 'S' THEN 2 ELSE 4 END
UNION ALL
SELECT 'routine', nspname, proname, routine.oid::pg_catalog.regprocedure::text
  FROM routine, login
 WHERE NOT EXISTS (SELECT FROM pg_catalog.aclexplode(proacl) a WHERE a.grantee = login.oid)
    OR proacl IS NULL OR EXISTS (SELECT FROM pg_catalog.aclexplode(proacl) a WHERE a.grantee = 0)
"""

_EACH_SEQUENCE = """
DECLARE sequence pg_catalog.regclass;
BEGIN
  FOR sequence IN
    SELECT d.objid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S'
     WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
       AND d.refobjid = ANY (ARRAY[{tables}]::pg_catalog.regclass[])
  LOOP
    EXECUTE pg_catalog.format('GRANT {privileges} ON SEQUENCE %s TO %I', sequence, {login});
  END LOOP;
END
"""


def mark(tenant_id: str) -> str:
    """Return the comment of a tenant's roles."""
    return f"dbgear: tenant {tenant_id}"


def state_query(request: RoleRequest) -> tuple[Any, ...]:
    """Return the query for what there is, and its arguments."""
    names = sorted({key.name for key in request.objects} if request.shared else request.kept)
    sql = _STATE.format(objects=_SHARED if request.shared else _OWN)
    return sql, request.schemas, request.owner, request.login, request.database, names


def state(request: RoleRequest, rows: Sequence[Any]) -> RoleState:
    """Return what the rows of that query tell."""
    facts = [(what, schema, name, text) for what, schema, name, text in rows]
    roles = {name: text for what, _, name, text in facts if what == "role"}
    return RoleState(
        existing=frozenset(roles),
        marked=frozenset(name for name, text in roles.items() if text == mark(request.tenant_id)),
        facts=frozenset(fact for fact in facts if fact[0] != "role"),
    )


def script(
    request: RoleRequest,
    state: RoleState,
    password: str | None,
    quote: Callable[[str], str],
    literal: Callable[[str], str],
) -> RoleScript:
    """Return what is missing. In one transaction with the objects, so that there is never a half of it."""
    make = _Script(request, state, quote, literal)
    own = not request.shared
    return RoleScript(
        first=[*make.roles(password), *make.database(), *(make.defaults() if own else [])],
        owning=[*(make.ownership() if own else []), *make.entry()],
        begin=[f"SET LOCAL ROLE {make.owner}"] if own else [],
        end=["RESET ROLE"] if own else [],
        last=make.grants(),
    )


class _Script:
    def __init__(
        self, request: RoleRequest, state: RoleState, quote: Callable[[str], str], literal: Callable[[str], str]
    ) -> None:
        self._request = request
        self._state = state
        self._quote = quote
        self._literal = literal
        self.owner, self.login = quote(request.owner), quote(request.login)

    def roles(self, password: str | None) -> list[str]:
        request, state = self._request, self._state
        statements = []
        for name, create in (
            (request.owner, f"CREATE ROLE {self.owner} NOLOGIN"),
            (request.login, _with_password(f"CREATE ROLE {self.login} LOGIN", password)),
        ):
            if name not in state.existing:
                told = self._literal(mark(request.tenant_id))
                statements += [create, f"COMMENT ON ROLE {self._quote(name)} IS {told}"]
        # From version 16 on who makes a role may manage it, but is no member of it:
        # https://www.postgresql.org/docs/16/role-attributes.html
        if not (state.has("superuser") or state.has("member")):
            statements.append(f"GRANT {self.owner} TO CURRENT_USER")
        return statements

    def database(self) -> list[str]:
        """Close the instance's own database to everybody else."""
        if not self._request.own_database:
            return []
        database, state = self._quote(self._request.database), self._state
        statements = []
        if state.has("public"):
            statements.append(f"REVOKE CONNECT, TEMPORARY ON DATABASE {database} FROM PUBLIC")
        if not (state.has("connect") or self._request.suspended):
            statements.append(f"GRANT CONNECT ON DATABASE {database} TO {self.login}")
        return statements

    def defaults(self) -> list[str]:
        """Let the login work with what the owner will make. They are of this database alone."""
        alter = f"ALTER DEFAULT PRIVILEGES FOR ROLE {self.owner}"
        statements = [
            f"{alter} GRANT {privileges} TO {self.login}"
            for letter, privileges in _DEFAULTS.items()
            if not self._state.has("default", name=letter)
        ]
        # What everybody may do by default is only taken away for all schemas together.
        return [f"{alter} REVOKE EXECUTE ON ROUTINES FROM PUBLIC", *statements] if statements else []

    def ownership(self) -> list[str]:
        schemas = [name for name in self._request.schemas if not self._state.has("owned", name)]
        return [
            *(f"ALTER SCHEMA {self._quote(name)} OWNER TO {self.owner}" for name in schemas),
            *(f"ALTER {text} OWNER TO {self.owner}" for text in self._state.texts("another's")),
        ]

    def entry(self) -> list[str]:
        request, state = self._request, self._state
        if request.shared:
            # Not to each login: an ACL of some hundred entries is too long for the catalog. Of two that change it at
            # once the server fails one, so they take turns.
            return [
                statement
                for name in request.schemas
                if not state.has("usage", name, "public")
                for statement in (
                    f"SELECT pg_catalog.pg_advisory_xact_lock({self._lock(name)})",
                    f"GRANT USAGE ON SCHEMA {self._quote(name)} TO PUBLIC",
                )
            ]
        return [
            f"GRANT USAGE ON SCHEMA {self._quote(name)} TO {self.login}"
            for name in request.schemas
            if not (request.suspended or state.has("usage", name))
        ]

    def _lock(self, schema: str) -> str:
        return f"pg_catalog.hashtextextended({self._literal(f'dbgear: usage of {schema}')}, 0)"

    def grants(self) -> list[str]:
        """Let the login work with what is there already; in a shared schema, with what is made now as well."""
        request, state = self._request, self._state
        if request.shared and request.suspended:
            return []
        tables, routines, statements = state.texts("table"), state.texts("routine"), []
        if request.shared:
            made = [(key.kind, f"{self._quote(key.schema)}.{self._quote(key.name)}") for key in request.created]
            tables += [text for kind, text in made if kind in {"table", "view"}]
            routines += [text for kind, text in made if kind in {"function", "procedure"}]
        if tables:
            statements.append(f"GRANT {_ON_TABLES} ON TABLE {', '.join(tables)} TO {self.login}")
            if request.shared:
                statements.append(f"GRANT ALL ON TABLE {', '.join(tables)} TO {self.owner}")
                statements.append(self._sequences(tables))
        if sequences := [] if request.shared and tables else state.texts("sequence"):
            statements.append(f"GRANT {_ON_SEQUENCES} ON SEQUENCE {', '.join(sequences)} TO {self.login}")
        for routine in routines:
            statements += [
                f"REVOKE EXECUTE ON ROUTINE {routine} FROM PUBLIC",
                f"GRANT EXECUTE ON ROUTINE {routine} TO {self.login}",
            ]
        return statements

    def _sequences(self, tables: Sequence[str]) -> str:
        """Return what grants on the sequences of the tables' columns, whose names the server chooses."""
        body = _EACH_SEQUENCE.format(
            tables=", ".join(map(self._literal, tables)),
            privileges=_ON_SEQUENCES,
            login=self._literal(self._request.login),
        )
        # Between dollars a name could end it.
        return f"DO {self._literal(body)}"


def _with_password(statement: str, password: str | None) -> str:
    shown = f"{statement} PASSWORD '{HIDDEN}'"
    return shown if password is None else Secret(shown, f"{statement} PASSWORD '{verifier(password)}'")


def password_statement(login: str, password: str | None) -> str:
    """Return the SQL that changes a password. login: quoted."""
    return _with_password(f"ALTER ROLE {login}", password)


def verifier(password: str, salt: bytes | None = None) -> str:
    """Return what the server keeps of a password of ASCII, so that it never sees the password (RFC 5802, RFC 7677)."""
    salt = secrets.token_bytes(16) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${_ITERATIONS}:{_b64(salt)}${_b64(stored)}:{_b64(server)}"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
