"""Partitions of a table, as `mysqlOptions` has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DocumentError
from .columns import Target
from .ddl import quoted
from .document import MySQLOptions
from .expressions import columns_of, constants, expression, generated
from .objects import Namespace

# KEY goes by MySQL's own hash of any columns, HASH by a number; LINEAR changes how rows are spread, not what they are.
_METHODS = re.compile(r"(?:(LINEAR )?(HASH|KEY)|(RANGE|LIST)( COLUMNS)?)")
_DEFINED = re.compile(r"(?P<by>.*?)\s*\((?P<partitions>\s*PARTITION\s.*)\)\s*", re.IGNORECASE | re.DOTALL)
_PARTITION = re.compile(
    r"\s*PARTITION\s+(?P<name>`[^`]+`|\w+)\s+VALUES\s+"
    r"(?:LESS\s+THAN\s+(?P<most>MAXVALUE)|(?P<kind>LESS\s+THAN|IN)\s*\((?P<values>(?:'(?:[^'\\]|''|\\.)*'|[^()']|\([^()]*\))*)\))"
    r"\s*(?:,|$)",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(r"\s*(?:`([^`]+)`|(\w+))\s*")
_MAX = "MAXVALUE"
_ALLOWED = "RANGE, LIST, HASH or KEY over columns of the table, RANGE and LIST with their partitions behind"


@dataclass(frozen=True, kw_only=True)
class _Partition:
    name: str
    least: bool
    values: list[str]


@dataclass(frozen=True, kw_only=True)
class Partitioning:
    """How a table is partitioned.

    by: columns, or one expression in MySQL's dialect; named: its columns. count: of partitions that the server names
    itself.
    """

    method: str
    columns: list[str] | None
    expression: str
    count: int | None
    partitions: list[_Partition]
    named: list[str]

    def options(self, target: Target) -> dict[str, object]:
        """Return the options of a table on an engine that has them as the document writes them."""
        by = ", ".join(quoted(target.dialect, name) for name in self.columns or ()) if self.columns else ""
        text = f"{self.method} ({by or self.expression})"
        parts = []
        for part in self.partitions:
            values = f"VALUES {'LESS THAN' if part.least else 'IN'} ({', '.join(part.values)})"
            parts.append(f"PARTITION {quoted(target.dialect, part.name)} {values}")
        count = str(self.count) if self.count else None
        if not parts:
            return target.option(partition_by=text, partitions=count)
        # SQLAlchemy writes the number behind all of it, and it only repeats how many there are.
        return target.option(partition_by=f"{text} ({', '.join(parts)})")

    def options_of_columns(self, target: Target) -> dict[str, object]:
        """Return the option of a table on an engine where partitions are tables, and every method is of columns."""
        method = self.method.removeprefix("LINEAR ").removesuffix(" COLUMNS").replace("KEY", "HASH")
        by = ", ".join(quoted(target.dialect, name) for name in self.columns or ())
        return target.option(partition_by=f"{method} ({by})")

    def children(self, namespace: Namespace, table: str, target: Target) -> list[tuple[str, str]]:
        """Return (name, SQL) of the tables that hold the partitions, on an engine where they are tables."""
        of, children, lowest = target.quoted(namespace, table), [], ["MINVALUE"] * len(self.columns or ())
        if not self.partitions:
            count = self.count or 1
            bounds = [(f"p{n}", f"WITH (MODULUS {count}, REMAINDER {n})") for n in range(count)]
        else:
            bounds = []
            for part in self.partitions:
                if part.least:
                    bounds.append((part.name, f"FROM ({', '.join(lowest)}) TO ({', '.join(part.values)})"))
                    lowest = part.values
                else:
                    bounds.append((part.name, f"IN ({', '.join(part.values)})"))
        for name, bound in bounds:
            child = f"{table}_{name}"
            create = f"CREATE TABLE {target.quoted(namespace, child)} PARTITION OF {of} FOR VALUES {bound}"
            children.append((target.named(namespace, child), create))
        return children


def partitioning(options: MySQLOptions, names: Sequence[str], where: str, target: Target) -> Partitioning | None:
    """Return how a table of these columns is partitioned; None where it is not. Raises DocumentError."""
    if options.partition_by is None:
        return None
    method = " ".join(options.partition_by.split())
    if not (match := _METHODS.fullmatch(method)):
        raise DocumentError("no way to partition", where=where, received=options.partition_by, allowed=_ALLOWED)
    text = options.partition_expression or ""
    defined = _DEFINED.fullmatch(text)
    by = _stripped(defined["by"] if defined else text)
    columns = _columns(by, names)
    is_hash = match[2] is not None
    try:
        parsed = None if columns is not None else expression(by, names)
        of = "" if parsed is None else generated(parsed, "mysql")
        named = [] if parsed is None else columns_of(parsed)
        partitions = _partitions(defined["partitions"], len(columns or [0]), target) if defined else []
    except ValueError as error:
        raise DocumentError(str(error), where=where, received=text, allowed=_ALLOWED) from None
    if is_hash == bool(partitions) or (columns is None and ("COLUMNS" in method or "KEY" in method)):
        raise DocumentError("not a partitioning", where=where, received=f"{method} {text}", allowed=_ALLOWED)
    return Partitioning(
        method=method,
        columns=columns,
        expression=of,
        count=options.partition_count,
        partitions=partitions,
        named=named,
    )


def _stripped(text: str) -> str:
    text = text.strip()
    # `(id)` is how people write it.
    return text[1:-1].strip() if re.fullmatch(r"\([^()]*\)", text) else text


def _columns(text: str, names: Sequence[str]) -> list[str] | None:
    """Return the columns of a list of nothing but them; None where it is anything else."""
    if not text:
        return []
    matches = [_NAME.fullmatch(part) for part in text.split(",")]
    found = [match[1] or match[2] for match in matches if match]
    return found if len(found) == len(matches) and set(found) <= set(names) else None


def _partitions(text: str, width: int, target: Target) -> list[_Partition]:
    found, end = [], 0
    while end < len(text):
        match = _PARTITION.match(text, end)
        if match is None:
            raise ValueError("not PARTITION <name> VALUES LESS THAN (...) or IN (...)")
        end, least = match.end(), match["kind"] is None or match["kind"].upper() != "IN"
        values = [_MAX] * width if match["most"] else constants(match["values"], target.features.grammar, _MAX)
        found.append(_Partition(name=match["name"].strip("`"), least=least, values=values))
    return found
