"""What a suspended tenant's roles were granted: the record of it, in the tenant's own schema.

The table `dbgear_withheld` is made, filled and dropped in the transaction that revokes or restores, so that it tells
the truth whatever happens on the way, and it goes with the schema when that is dumped or moved. Where DDL is not
transactional it is there before anything is revoked, and until all is given back. The ledger's row `access` says that
there is a record, and its checksum.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import cast, get_args

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateTable

from ..engines import Grant, GrantedOn, Session
from ..schema import WITHHELD, LedgerEntry, Namespace, ledger_name
from ..schema.ddl import literal, quoted
from ..tenants import naming

ACCESS = "access"  # the version of the ledger's row


class Record:
    """The record of one instance. namespace: its main one."""

    def __init__(self, namespace: Namespace, dialect: Dialect) -> None:
        self._namespace = namespace
        self._dialect = dialect
        # An empty grantee is PUBLIC, an empty grantor the owner: no role has an empty name.
        self._table = sa.Table(
            naming.prefixed(namespace.prefix, WITHHELD),
            sa.MetaData(),
            sa.Column("kind", sa.String(16), primary_key=True),
            sa.Column("name", sa.String(64), primary_key=True),
            sa.Column("part", sa.String(64), primary_key=True),
            sa.Column("privilege", sa.String(96), primary_key=True),
            sa.Column("grantee", sa.String(160), primary_key=True),
            sa.Column("grantor", sa.String(64), primary_key=True),
            sa.Column("grantable", sa.Boolean, nullable=False),
            schema=namespace.schema,
        )
        self._name = dialect.identifier_preparer.format_table(self._table)

    async def read(self, session: Session, entry: LedgerEntry) -> list[Grant] | None:
        """Return the recorded grants, in order; None where they are gone, or not those that `entry` was written for."""
        rows = await session.rows(self._namespace.schema, self._table.name)
        if rows is None or _checksum(rows) != entry.checksum:
            return None
        return [_grant(row) for row in sorted(rows, key=_by_grantee)]

    def write_statements(
        self, grants: Sequence[Grant], owner: LedgerEntry, *, replaces: bool, transactional_ddl: bool
    ) -> list[str]:
        """Return the SQL that records the grants, instead of what was there.

        owner: the ledger's row of the instance. replaces: whether the ledger has a row of the record.
        transactional_ddl: the table is made anew each time then, for one that is there could be somebody else's, and
        have triggers; otherwise it is made where it is missing, and filled and told of in one transaction.
        """
        recorded = [_row(grant) for grant in grants]
        values = ", ".join(
            f"({', '.join(literal(str(text), self._dialect) for text in texts)}, {'true' if grantable else 'false'})"
            for *texts, grantable in recorded
        )
        create = str(CreateTable(self._table).compile(dialect=self._dialect)).strip()
        entry = LedgerEntry(
            version=ACCESS, tenant_id=owner.tenant_id, instance=owner.instance, checksum=_checksum(recorded)
        )
        insert = f"INSERT INTO {self._name} VALUES {values}"  # noqa: S608 - literals above
        row = entry.statement(self._namespace, self._dialect, replaces=replaces)
        if transactional_ddl:
            return [f"DROP TABLE IF EXISTS {self._name}", create, insert, row]
        create = create.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)
        return [create, "START TRANSACTION", f"DELETE FROM {self._name}", insert, row, "COMMIT"]  # noqa: S608

    def drop_statements(self) -> list[str]:
        """Return the SQL that removes the ledger's row and the record; in between there is no record any more."""
        ledger = quoted(self._dialect, self._namespace.schema, ledger_name(self._namespace))
        return [
            f"DELETE FROM {ledger} WHERE version = '{ACCESS}'",  # noqa: S608 - quoted, and a constant
            f"DROP TABLE IF EXISTS {self._name}",
        ]


def _checksum(rows: Iterable[tuple[object, ...]]) -> str:
    """Return the sha256 of a record, in hex, whatever the order of its rows."""
    # MySQL has flags as numbers.
    told = sorted([*map(str, texts), bool(flag)] for *texts, flag in rows)
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _row(grant: Grant) -> tuple[object, ...]:
    texts = grant.kind, grant.name, grant.part, grant.privilege, grant.grantee or "", grant.grantor or ""
    return *texts, grant.grantable


def _by_grantee(row: tuple[object, ...]) -> tuple[str, ...]:
    kind, name, part, privilege, grantee, *others = map(str, row)
    return kind, name, part, grantee, privilege, *others


def _grant(row: tuple[object, ...]) -> Grant:
    kind, name, part, privilege, grantee, grantor, grantable = row
    return Grant(
        kind=cast(GrantedOn, kind) if kind in get_args(GrantedOn) else "schema",
        name=str(name),
        part=str(part),
        privilege=str(privilege),
        grantee=str(grantee) or None,
        grantor=str(grantor) or None,
        grantable=bool(grantable),
    )
