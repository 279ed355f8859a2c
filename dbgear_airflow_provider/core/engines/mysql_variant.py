"""MySQL and MariaDB: how the two differ, as facts of the one that answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect

from ..errors import UnsupportedError

# From these versions on a DDL statement is done whole or not at all, also in a crash; what was half done could neither
# be told from what is whole nor be finished.
# https://dev.mysql.com/doc/refman/8.0/en/atomic-ddl.html, https://mariadb.com/kb/en/atomic-ddl/
_OLDEST = {False: (8, 0), True: (10, 6)}
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")

# DEFAULT_COLLATE_NAME is what utf8mb4 alone would give; a server whose own default is of utf8mb4 has chosen another.
FACTS = """
SELECT VERSION(), CONCAT_WS(' ', @@hostname, @@port, @@server_id), @@lower_case_table_names,
       IF(@@character_set_server = 'utf8mb4', @@collation_server,
          (SELECT DEFAULT_COLLATE_NAME FROM information_schema.CHARACTER_SETS WHERE CHARACTER_SET_NAME = 'utf8mb4')),
       @@explicit_defaults_for_timestamp
"""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What kind of server it is.

    text: the version as the server tells it. node: which server of those behind one address. folds_names: whether it
    keeps the names of databases and tables in lower case. collation: its default for utf8mb4.
    """

    text: str
    node: str
    folds_names: bool
    collation: str

    @property
    def is_mariadb(self) -> bool:
        """Whether it is MariaDB rather than MySQL."""
        return "mariadb" in self.text.lower()

    @property
    def version(self) -> tuple[int, ...]:
        """The version in numbers."""
        match = _VERSION.match(self.text)
        return tuple(int(part) for part in match.groups() if part) if match else ()

    @property
    def dialect(self) -> Dialect:
        """The compilers for this version. Servers that are alike share it, and with it what was compiled."""
        return dialect(self.is_mariadb, self.version)

    def refuse_too_old(self, server: str) -> None:
        """Raise UnsupportedError for a version in which a crash may leave half a table."""
        oldest = _OLDEST[self.is_mariadb]
        if self.version < oldest:
            needed = ".".join(map(str, oldest))
            kind = "MariaDB" if self.is_mariadb else "MySQL"
            raise UnsupportedError(f"target {server}: {kind} {self.text} is too old, at least {needed} is needed")

    def statement_limit(self, seconds: float) -> str:
        """Return the setting that ends a statement after that time; in MySQL it does so for SELECT only.

        https://mariadb.com/kb/en/server-system-variables/#max_statement_time,
        https://dev.mysql.com/doc/refman/8.0/en/server-system-variables.html#sysvar_max_execution_time
        """
        if self.is_mariadb:
            return f"max_statement_time = {seconds:.3f}"
        return f"max_execution_time = {max(1, round(seconds * 1000))}"


@lru_cache(maxsize=32)
def dialect(is_mariadb: bool, version: tuple[int, ...]) -> Dialect:
    """Return SQLAlchemy's dialect, as it would be on a connection to that version."""
    # With a paramstyle of % the compiler would double each % of a name or comment.
    made = mysql.dialect(paramstyle="named", is_mariadb=is_mariadb)
    made.server_version_info = version
    return made
