"""Who may do what in databases of MySQL and MariaDB: the catalog's queries, and the SQL that changes it.

Privileges add up, on all databases, on those of a pattern, on a database, its tables, their columns and its routines;
nothing takes a part of a wider one back. So what is taken is all that names the instance's databases or objects.
https://dev.mysql.com/doc/refman/8.0/en/privilege-system.html, https://mariadb.com/kb/en/grant/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from ..errors import UnsupportedError
from ..schema import ObjectKey
from .base import Grant, GrantedOn, Scope, alike
from .mysql_catalog import grant_pattern, in_list

# CURRENT_USER() is the account that we are, whatever name we gave.
_US = "CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')"
_GRANTS = f"""
SELECT 'database', GRANTEE, TABLE_SCHEMA, '', PRIVILEGE_TYPE, IS_GRANTABLE
  FROM information_schema.SCHEMA_PRIVILEGES WHERE GRANTEE <> {_US} AND TABLE_SCHEMA IN ({{patterns}})
UNION ALL
SELECT 'table', GRANTEE, TABLE_SCHEMA, TABLE_NAME, PRIVILEGE_TYPE, IS_GRANTABLE
  FROM information_schema.TABLE_PRIVILEGES WHERE GRANTEE <> {_US} AND TABLE_SCHEMA IN ({{names}})
UNION ALL
SELECT 'table', GRANTEE, TABLE_SCHEMA, TABLE_NAME, CONCAT(PRIVILEGE_TYPE, ' (`', REPLACE(COLUMN_NAME, '`', '``'), '`)'),
       IS_GRANTABLE
  FROM information_schema.COLUMN_PRIVILEGES WHERE GRANTEE <> {_US} AND TABLE_SCHEMA IN ({{names}})
"""  # noqa: S608 - of constants
_ROUTINE_GRANTS = """
SELECT LOWER(CONVERT(Routine_type USING utf8mb4)), User, Host, Db, Routine_name, Proc_priv
  FROM mysql.procs_priv WHERE CONCAT(User, '@', Host) <> CURRENT_USER() AND Db IN ({names})
"""
# Who has SUPER is an administrator, and told of nowhere.
_WITH_ACCESS = f"""
SELECT DISTINCT GRANTEE
  FROM (SELECT GRANTEE FROM information_schema.USER_PRIVILEGES
         WHERE PRIVILEGE_TYPE IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'EXECUTE')
         UNION ALL
        SELECT GRANTEE FROM information_schema.SCHEMA_PRIVILEGES
         WHERE TABLE_SCHEMA NOT IN ({{patterns}}) AND ({{likes}})) g
 WHERE GRANTEE <> {_US}
   AND GRANTEE NOT IN (SELECT GRANTEE FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'SUPER')
"""  # noqa: S608 - of constants
SESSIONS = """
SELECT ID, USER FROM information_schema.PROCESSLIST
 WHERE DB IN ({names}) AND ID <> CONNECTION_ID() AND USER <> SUBSTRING_INDEX(CURRENT_USER(), '@', 1)
   AND USER NOT IN (SELECT SUBSTRING(SUBSTRING_INDEX(GRANTEE, '''@''', 1), 2)
                      FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'SUPER')
"""
MAY_END = f"""
SELECT 1 FROM information_schema.USER_PRIVILEGES
 WHERE PRIVILEGE_TYPE IN ('SUPER', 'CONNECTION_ADMIN', 'CONNECTION ADMIN') AND GRANTEE = {_US} LIMIT 1
"""  # noqa: S608 - of constants

# What goes into the SQL as it is: words, and for columns their quoted name.
_PRIVILEGE = re.compile(r"[A-Z]+(?: [A-Z]+)*(?: \(`(?:[^`]|``)+`\))?")
_NOTHING = "USAGE"


def grants_query(scope: Scope) -> tuple[str, list[str]]:
    """Return the query for grants on databases, tables and columns, and its values."""
    names, patterns = list(scope.names), _patterns(scope.names)
    sql = _GRANTS.replace("%", "%%").format(names=in_list(names), patterns=in_list(patterns))
    return sql, [*patterns, *names, *names]


def routines_query(scope: Scope) -> tuple[str, list[str]]:
    """Return the query for grants on routines, and its values."""
    return _ROUTINE_GRANTS.format(names=in_list(scope.names)), list(scope.names)


def access_query(scope: Scope) -> tuple[str, list[str]]:
    """Return the query for accounts that need no grant on these databases, and its values."""
    names, patterns = list(scope.names), _patterns(scope.names)
    likes = " OR ".join(["%s LIKE TABLE_SCHEMA"] * len(names)) or "FALSE"
    return _WITH_ACCESS.format(patterns=in_list(patterns), likes=likes), [*patterns, *names]


def grants(
    scope: Scope, rows: Sequence[Any], routines: Sequence[Any], folded: Collection[ObjectKey] | None = None
) -> list[Grant]:
    """Return what the rows of both queries tell, ordered by object, grantee and privilege.

    folded: what is there, by its own names, where the grant tables have names in lower case alone. The catalog's
    collations know neither case nor accents, so other databases may be among the rows.
    """
    fold = str if folded is None else str.lower
    asked = {fold(name): name for name in scope.names}
    of_pattern = {fold(text): (name, text) for name in scope.names for text in (name, grant_pattern(name))}
    found = []
    for kind, grantee, place, part, privilege, grantable in rows:
        on_database = kind == "database"
        if place not in (of_pattern if on_database else asked):
            continue
        name, written = of_pattern[place] if on_database else (asked[place], part)
        found.append(
            Grant(
                kind=cast(GrantedOn, kind),
                name=name,
                part=written,
                privilege=privilege,
                grantee=account(grantee),
                grantable=grantable == "YES",
            )
        )
    for kind, user, host, place, part, privileges in routines:
        if place not in asked:
            continue
        words = [word.upper() for word in privileges.split(",") if word]
        for word in [word for word in words if word != "GRANT"] or [_NOTHING]:
            found.append(  # noqa: PERF401 - of two loops
                Grant(
                    kind=cast(GrantedOn, kind),
                    name=asked[place],
                    part=part,
                    privilege=word,
                    grantee=f"{user}@{host}",
                    grantable="GRANT" in words,
                )
            )
    # What remains of an account that has nothing is told as USAGE; so is one that may but grant on.
    found = [grant for grant in found if grant.privilege != _NOTHING or grant.grantable]
    own: dict[tuple[str, ...], str] = {
        ("table" if key.kind == "view" else key.kind, key.schema, fold(key.name)): key.name for key in folded or ()
    }
    found = [replace(grant, part=own.get((grant.kind, grant.name, fold(grant.part)), grant.part)) for grant in found]
    if scope.parts:
        parts = {(key.schema, key.name) for key in scope.parts}
        found = [grant for grant in found if grant.kind != "database" and (grant.name, grant.part) in parts]
    return sorted(found, key=lambda grant: (grant.name, grant.kind, grant.part, grant.grantee or "", grant.privilege))


def account(grantee: str) -> str:
    """Return `user@host` of what the catalog has as `'user'@'host'`; a role of MariaDB has no host."""
    user, _, host = grantee.rpartition("'@'")
    return f"{user[1:]}@{host[:-1]}"


def revoke_statements(items: Sequence[Grant], quote: Callable[[str], str]) -> list[str]:
    """Return a REVOKE for each object and account."""
    return [
        f"REVOKE {', '.join([*_words(group), *(['GRANT OPTION'] if group[0].grantable else [])])} "
        f"ON {_object(group[0], quote)} FROM {_account(group[0], quote)}"
        for group in alike(items)
    ]


def grant_statements(items: Sequence[Grant], quote: Callable[[str], str]) -> list[str]:
    """Return a GRANT for each object and account. Raises UnsupportedError for what is none of this engine's."""
    for grant in items:
        is_own = grant.kind != "database" or grant.part in {grant.name, grant_pattern(grant.name)}
        if not _PRIVILEGE.fullmatch(grant.privilege) or not is_own or grant.kind == "schema":
            raise UnsupportedError(f"no privilege that is given back: {str(grant)[:80]!r}")
    return [
        f"GRANT {', '.join(_words(group) or [_NOTHING])} ON {_object(group[0], quote)} "
        f"TO {_account(group[0], quote)}{' WITH GRANT OPTION' if group[0].grantable else ''}"
        for group in alike(items)
    ]


def _patterns(names: Iterable[str]) -> list[str]:
    """Return how a grant on one of these databases may be written, with or without its wildcards escaped."""
    return list(dict.fromkeys(text for name in names for text in (name, grant_pattern(name))))


def _words(group: Sequence[Grant]) -> list[str]:
    return [grant.privilege for grant in group if grant.privilege != _NOTHING]


def _object(grant: Grant, quote: Callable[[str], str]) -> str:
    if grant.kind == "database":
        return f"{quote(grant.part)}.*"
    return f"{grant.kind.upper()} {quote(grant.name)}.{quote(grant.part)}"


def _account(grant: Grant, quote: Callable[[str], str]) -> str:
    user, _, host = (grant.grantee or "").rpartition("@")
    if host:
        return f"{quote(user)}@{quote(host)}"
    return "PUBLIC" if user == "PUBLIC" else quote(user)
