"""A tenant's roles on MySQL and MariaDB: a role with all rights on its databases, and the login that may work in them.

The login's grants are on each table and routine, in a database of its own as well: one on the whole database would
cover the ledger, and nothing takes a part of it back. So what comes later is covered by the next provisioning.
https://dev.mysql.com/doc/refman/8.0/en/grant.html, https://mariadb.com/kb/en/grant/
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from ..schema import ObjectKey
from ..schema.ddl import Secret
from .mysql_catalog import grant_pattern, in_list
from .roles import HIDDEN, Fact, RoleRequest, RoleScript, RoleState

HOST = "%"  # from where a login may come: the server's network is what keeps others out
_ON_TABLES = ("SELECT", "INSERT", "UPDATE", "DELETE")
_ROUTINES = {"function": "FUNCTION", "procedure": "PROCEDURE"}

# MariaDB keeps roles without a host, MySQL with that of an account. Texts of the grant tables differ in collation.
_STATE = """
SELECT 'role', '', CONVERT(User USING utf8mb4) COLLATE utf8mb4_bin, '' FROM mysql.user
 WHERE (User = %s AND Host IN ('', '%%')) OR (User = %s AND Host = '%%')
UNION ALL
SELECT 'table', CONVERT(Db USING utf8mb4), CONVERT(Table_name USING utf8mb4), CONVERT(Table_priv USING utf8mb4)
  FROM mysql.tables_priv WHERE User = %s AND Host = %s AND Db IN ({schemas})
UNION ALL
SELECT LOWER(CONVERT(Routine_type USING utf8mb4)), CONVERT(Db USING utf8mb4), CONVERT(Routine_name USING utf8mb4),
       CONVERT(Proc_priv USING utf8mb4)
  FROM mysql.procs_priv WHERE User = %s AND Host = %s AND Db IN ({schemas})
UNION ALL
SELECT 'owned', CONVERT(Db USING utf8mb4), '', '' FROM mysql.db
 WHERE User = %s AND Host IN ('', '%%') AND Db IN ({schemas})
"""


def state_query(request: RoleRequest, *, folds_names: bool) -> tuple[str, list[str]]:
    """Return the query for what there is, and its values. folds_names: the grant tables have names in lower case."""
    folded = str.lower if folds_names else str
    schemas, login = list(map(folded, request.schemas)), [request.login, HOST]
    sql = _STATE.format(schemas=in_list(schemas))
    patterns = [grant_pattern(schema) for schema in schemas]
    values = [request.owner, request.login, *login, *schemas, *login, *schemas, request.owner, *patterns]
    return sql, values


def state(request: RoleRequest, rows: Sequence[Any]) -> RoleState:
    """Return what the rows of that query tell: facts are the grants that are there."""
    facts: set[Fact] = set()
    for what, schema, name, privileges in rows:
        words = {word.upper() for word in (privileges or "").split(",")}
        needed = set(_ON_TABLES) if what == "table" else {"EXECUTE"} if what in _ROUTINES else set()
        if what != "role" and needed <= words:
            facts.add((what, schema, name, ""))
    existing = {name for what, _, name, _ in rows if what == "role"}
    return RoleState(existing=frozenset(existing), marked=frozenset(), facts=frozenset(facts))


def script(
    request: RoleRequest,
    state: RoleState,
    password: str | None,
    quote: Callable[[str], str],
    *,
    takes_hash: bool,
    folds_names: bool,
) -> RoleScript:
    """Return what is missing. takes_hash: the server takes a password's hash instead of the password."""
    owner, login = quote(request.owner), f"{quote(request.login)}@'{HOST}'"
    folded = str.lower if folds_names else str
    owning = [] if request.owner in state.existing else [f"CREATE ROLE {owner}"]
    if request.login not in state.existing:
        owning.append(_with_password(f"CREATE USER {login}", password, takes_hash=takes_hash))
    last: list[str] = []
    if not request.suspended:
        if not request.shared:
            owning += [
                f"GRANT ALL PRIVILEGES ON {quote(grant_pattern(schema))}.* TO {owner}"
                for schema in request.schemas
                if not state.has("owned", folded(grant_pattern(schema)))
            ]
        for key in sorted(request.objects, key=lambda key: (key.schema, key.kind, key.name)):
            if not state.has(_kind(key), folded(key.schema), folded(key.name)):
                last += _on_object(key, owner if request.shared else None, login, quote)
    return RoleScript(owning=owning, last=last)


def password_statement(login: str, password: str | None, *, takes_hash: bool) -> str:
    """Return the SQL that changes a password. login: quoted."""
    return _with_password(f"ALTER USER {login}@'{HOST}'", password, takes_hash=takes_hash)


def native_hash(password: str) -> str:
    """Return what mysql_native_password keeps of a password (https://mariadb.com/kb/en/password/)."""
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return f"*{hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()}"


def _kind(key: ObjectKey) -> str:
    return "table" if key.kind == "view" else key.kind


def _on_object(key: ObjectKey, owner: str | None, login: str, quote: Callable[[str], str]) -> list[str]:
    name = f"{quote(key.schema)}.{quote(key.name)}"
    routine = _ROUTINES.get(key.kind)
    on = f"{routine} {name}" if routine else f"TABLE {name}"
    privileges = "EXECUTE" if routine else ", ".join(_ON_TABLES)
    ours = [f"GRANT ALL PRIVILEGES ON {on} TO {owner}"] if owner else []
    return [*ours, f"GRANT {privileges} ON {on} TO {login}"]


def _with_password(statement: str, password: str | None, *, takes_hash: bool) -> str:
    identified = f"{statement} IDENTIFIED BY PASSWORD" if takes_hash else f"{statement} IDENTIFIED BY"
    shown = f"{identified} '{HIDDEN}'"
    if password is None:
        return shown
    return Secret(shown, f"{identified} '{native_hash(password) if takes_hash else password}'")
