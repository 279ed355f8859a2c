"""What an engine can hold of a schema document, as facts of its dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy.engine import Dialect

IndexNames = Literal["of the schema", "of the table"]


@dataclass(frozen=True, kw_only=True)
class Features:
    """What an engine can hold.

    title: the engine's name for people. grammar: what sqlglot calls its SQL. translated: the document's SQL is in
    another one. index_names, and constraint_names of foreign keys: within what they must be unique. index_methods:
    kinds of indexes. index_lengths: an index may be on the beginning of a text. index_extras: INCLUDE, WITH and
    TABLESPACE of an index. constraint_timing: DEFERRABLE and MATCH FULL. set_default: as a rule of a foreign key.
    alike: types at the two ends of a foreign key must be of one size and sign; otherwise of one family.
    any_index: a foreign key may point to the first columns of any index; otherwise to all of a unique one.
    virtual_columns: generated columns that are computed when read. virtual_moments: these
    may hold what changes with time. generated_not_null: they may be NOT NULL.
    on_update: ON UPDATE CURRENT_TIMESTAMP is part of a column. counts_outside_key: AUTO_INCREMENT outside the key.
    routines: triggers, procedures and functions in MySQL's language. options:
    mysqlOptions mean something. partitioned_keys: a partitioned table may have foreign keys. set_null_always: SET NULL
    may be a rule of a foreign key over columns that are NOT NULL. hash_plain: a HASH index is of one column, without
    an order and not unique. alike_names: names of columns are alike whatever their case. immutable:
    generated columns and conditions of indexes take only what gives the same for the same row. json_arrows: -> and
    ->> are operators of JSON. same: compares two values, NULL with NULL. exact: what makes texts compare byte by byte.
    binary: a literal of bytes in hex. json: what makes a JSON column's text comparable. typed_numbers: a number in
    quotes becomes the column's type. follows_numbers: a column that counts up goes on behind numbers given to it.
    innodb_limits: rows and indexes are of limited length, which is looked at beforehand;
    long_indexes: other indexes than primary keys may be longer. index_columns: how many an index has at most.
    whole_columns: a change of a column tells all of it. key_clauses: primary and foreign keys are dropped as such, not
    as constraints. readers_hold: views and generated columns keep the columns that they read from being changed.
    unique_constraints: they are something else than unique
    indexes. replaced: kinds of objects that CREATE OR REPLACE changes, whatever the change. trigger_of_table: to drop a
    trigger its table is named. variants: of migration scripts, of which the first that is there is taken.
    """

    title: str
    grammar: str
    translated: bool
    index_names: IndexNames
    constraint_names: IndexNames
    index_methods: frozenset[str]
    index_lengths: bool
    index_extras: bool
    partial_indexes: bool
    constraint_timing: bool
    set_default: bool
    alike: bool
    any_index: bool
    virtual_columns: bool
    virtual_moments: bool
    generated_not_null: bool
    on_update: bool
    counts_outside_key: bool
    routines: bool
    options: bool
    partitioned_keys: bool
    set_null_always: bool
    hash_plain: bool
    alike_names: bool
    immutable: bool
    json_arrows: bool
    same: str
    exact: str
    binary: str
    json: str
    typed_numbers: bool
    follows_numbers: bool
    innodb_limits: bool
    long_indexes: bool
    index_columns: int
    whole_columns: bool
    key_clauses: bool
    readers_hold: bool
    unique_constraints: bool
    replaced: frozenset[str]
    trigger_of_table: bool
    variants: tuple[str, ...]


_POSTGRES = Features(
    title="PostgreSQL",
    grammar="postgres",
    translated=True,
    index_names="of the schema",
    constraint_names="of the table",
    index_methods=frozenset({"BTREE", "HASH", "FULLTEXT", "GIN", "GIST", "SPGIST", "BRIN"}),
    index_lengths=False,
    index_extras=True,
    partial_indexes=True,
    constraint_timing=True,
    set_default=True,
    alike=False,
    any_index=False,
    virtual_columns=False,  # from version 18 on alone: https://www.postgresql.org/docs/18/ddl-generated-columns.html
    virtual_moments=False,
    generated_not_null=True,
    on_update=False,
    counts_outside_key=True,
    routines=False,
    options=False,
    partitioned_keys=True,
    set_null_always=True,
    hash_plain=True,  # https://www.postgresql.org/docs/current/hash-index.html
    alike_names=False,
    immutable=True,
    json_arrows=True,
    same="{} IS NOT DISTINCT FROM {}",
    exact="{}",
    binary="'\\x{}'",
    json="{}",
    typed_numbers=True,
    follows_numbers=False,
    innodb_limits=False,
    long_indexes=True,
    index_columns=32,
    whole_columns=False,
    key_clauses=False,
    readers_hold=True,
    unique_constraints=True,
    # Not views: they may only get more columns. https://www.postgresql.org/docs/current/sql-createview.html
    replaced=frozenset({"function", "trigger"}),
    trigger_of_table=True,
    variants=("postgresql",),
)
# Names, MATCH, SET DEFAULT and types of foreign keys:
# https://dev.mysql.com/doc/refman/8.4/en/create-table-foreign-keys.html; partitions have none:
# https://dev.mysql.com/doc/refman/8.4/en/partitioning-limitations-storage-engines.html
_MYSQL = Features(
    title="MySQL",
    grammar="mysql",
    translated=False,
    index_names="of the table",
    constraint_names="of the schema",
    index_methods=frozenset({"BTREE", "HASH", "FULLTEXT", "SPATIAL"}),
    index_lengths=True,
    index_extras=False,
    partial_indexes=False,
    constraint_timing=False,
    set_default=False,
    alike=True,
    any_index=True,
    virtual_columns=True,
    virtual_moments=False,
    generated_not_null=True,
    on_update=True,
    counts_outside_key=False,
    routines=True,
    options=True,
    partitioned_keys=False,
    set_null_always=False,
    hash_plain=False,
    alike_names=True,
    immutable=False,
    json_arrows=True,
    same="{} <=> {}",
    exact="CAST(CONVERT({} USING utf8mb4) AS BINARY)",  # collations take `a` and `A` for one
    binary="x'{}'",
    json="CAST({} AS JSON)",
    typed_numbers=False,
    follows_numbers=True,
    innodb_limits=True,
    long_indexes=False,
    index_columns=16,
    whole_columns=True,
    key_clauses=True,
    readers_hold=False,
    unique_constraints=False,
    replaced=frozenset({"view"}),
    trigger_of_table=False,
    variants=("mysql",),
)
# https://mariadb.com/kb/en/generated-columns/: no NOT NULL, but NOW() in virtual ones; no -> and ->>
_MARIADB = Features(
    **{
        **_MYSQL.__dict__,
        "title": "MariaDB",
        "virtual_moments": True,
        "generated_not_null": False,
        "json_arrows": False,
        "json": "{}",
        "long_indexes": True,
        "index_columns": 32,
        # https://mariadb.com/kb/en/create-trigger/, https://mariadb.com/kb/en/create-function/
        "replaced": frozenset({"view", "function", "procedure", "trigger"}),
        "variants": ("mariadb", "mysql"),
    }
)
_FEATURES = {"postgresql": _POSTGRES, "mysql": _MYSQL, "mariadb": _MARIADB}
# All of migration scripts.
VARIANTS = tuple(sorted({variant for item in _FEATURES.values() for variant in item.variants}))


def features(dialect: Dialect) -> Features:
    """Return what the engine of a dialect can hold."""
    # One driver serves MySQL and MariaDB; its dialect may be called mysql for either.
    return _FEATURES["mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name]
