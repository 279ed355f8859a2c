"""MySQL and MariaDB as registries: text compares as we do in one collation only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from typing_extensions import override

from ....tenants.predicates import Operator
from ..pushdown import Bounds, Column, Sql, compared
from .base import CONNECT_TIMEOUT_S, STATEMENT_TIMEOUT_S, Dialect


class MySQL(Dialect):
    """MySQL 8 and MariaDB by asyncmy. is_mariadb: which of the two it is."""

    driver = "mysql+asyncmy"
    package_extra = "mysql"
    json_type = mysql.JSON(none_as_null=True)
    time_type = mysql.DATETIME(fsp=6)

    def __init__(self, *, is_mariadb: bool) -> None:
        # The only two that tell 'a' from 'a ': utf8mb4_bin does not.
        self.collation = "utf8mb4_nopad_bin" if is_mariadb else "utf8mb4_0900_bin"
        self.id_type = mysql.VARCHAR(255, charset="utf8mb4", collation=self.collation)
        self.text_type = mysql.TEXT(charset="utf8mb4", collation=self.collation)

    @override
    @classmethod
    def connect_args(cls) -> dict[str, Any]:
        # Strict, so that nothing is cut silently; UTC for TIMESTAMP. The comments are for MariaDB and for MySQL alone.
        session = (
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00'"
            f" /*M! , max_statement_time = {STATEMENT_TIMEOUT_S} */"
            f" /*!50708 , max_execution_time = {STATEMENT_TIMEOUT_S * 1000} */"
        )
        return {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": STATEMENT_TIMEOUT_S,
            "charset": "utf8mb4",
            "init_command": session,
        }

    @override
    def text(self, column: Column) -> Sql:
        plain = isinstance(column.type, sa.String) and not isinstance(column.type, sa.Enum | mysql.SET)
        return sa.type_coerce(column.sql, sa.Text()) if plain else self._converted(column)

    @override
    def value(self, column: Column) -> Sql:
        return sa.type_coerce(column.sql, sa.Text()) if isinstance(column.type, sa.JSON) else self.text(column)

    @override
    def key(self, column: Column) -> Sql:
        if self.is_ordered(column):
            return self.text(column)
        return sa.collate(self._converted(column), self.collation)

    @override
    def lookup(self, column: Column) -> Sql | None:
        return self.text(column) if isinstance(column.type, sa.String) and not self.is_ordered(column) else None

    @override
    def is_ordered(self, column: Column) -> bool:
        return isinstance(column.type, sa.String) and getattr(column.type, "collation", None) == self.collation

    @override
    def time(self, column: Column, operator: Operator, value: datetime) -> Bounds | None:
        if not isinstance(column.type, sa.DateTime | sa.Date):
            return None
        moment = mysql.DATETIME(fsp=6)
        bound = sa.cast(sa.literal(value.astimezone(UTC).replace(tzinfo=None), moment), moment)
        return compared(sa.cast(column.sql, moment), operator, bound)

    def _converted(self, column: Column) -> Sql:
        # The column may have another character set, which knows no collation of utf8mb4.
        return sa.cast(column.sql, mysql.CHAR(charset="utf8mb4"))
