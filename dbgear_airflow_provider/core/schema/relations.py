"""Relations of a document as foreign keys."""

from __future__ import annotations

import re
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.sql.elements import UnaryExpression

from ..errors import DocumentError
from .columns import Target, existing
from .document import Relation, SchemaDocument
from .types import charset_of

_RULES = ("RESTRICT", "CASCADE", "SET NULL", "NO ACTION", "SET DEFAULT")
Tables = Mapping[str, Mapping[str, sa.Table]]


def add_relations(
    tables: Tables,
    schema_name: str,
    table_name: str,
    document: SchemaDocument,
    taken: set[str],
    *,
    target: Target,
) -> None:
    """Add a table's foreign keys. tables: {schema of the document: {name: table}}.

    taken: names of foreign keys so far, of the whole schema.
    """
    source = tables[schema_name].get(table_name)
    if source is None:
        return  # left out, and told
    shared = target.features.constraint_names == "of the schema"
    if not shared:
        taken = set()
    for relation in document.schemas[schema_name].tables[table_name].relations:
        name = relation.constraint_name or f"fk_{table_name}_{relation.target.table_name}"
        if shared and relation.constraint_name:
            # As with indexes: the name must not depend on what other tables have.
            name = f"{table_name}_{name}"
        # Where names are of the schema, they are alike whatever their case.
        fold = str.lower if shared else str
        if fold(name) in taken:  # documents do hold two relations of one name; their columns tell them apart
            name = f"{name}_{'_'.join(bind.source_column for bind in relation.bind_columns)}"
        where = f"{schema_name}.{table_name}.{relation.constraint_name or name}"
        if fold(name) in taken:
            where = f"{schema_name}.{table_name}.{name}"
            raise DocumentError("a relation is there twice", where=where, received=name, allowed="each once")
        taken.add(fold(name))
        other = _target(tables, schema_name, relation, where, document)
        if other is None:
            target.problems.add(where, f"{relation.target.table_name} is left out")
        else:
            made = target.named(source.info["namespace"], name) if shared else target.shorten(name)
            _add_relation((source, other), made, relation, where, target)


def _target(
    tables: Tables, schema_name: str, relation: Relation, where: str, document: SchemaDocument
) -> sa.Table | None:
    schema, name = relation.target.schema_name or schema_name, relation.target.table_name
    if schema not in tables:
        raise DocumentError("no such schema", where=where, received=schema, allowed=list(tables))
    names = document.schemas[schema].tables
    if name not in names:
        raise DocumentError("no such table", where=where, received=name, allowed=list(names))
    return tables[schema].get(name)


def _add_relation(ends: tuple[sa.Table, sa.Table], name: str, relation: Relation, where: str, target: Target) -> None:
    (source, other), features, problems = ends, target.features, target.problems
    for rule in (relation.on_delete, relation.on_update):
        if rule.upper() not in _RULES:
            raise DocumentError("no such rule", where=where, received=rule, allowed=_RULES)
    pairs = [
        (existing(source, bind.source_column, where), existing(other, bind.target_column, where))
        for bind in relation.bind_columns
    ]
    columns = [(one, two) for one, two in pairs if one is not None and two is not None]
    if len(columns) < len(pairs):
        return problems.add(where, "one of its columns is left out")
    unlike = [_unlike(one, two, where, target) for one, two in columns]
    if any(unlike):
        return None
    if not _has_key(other, [two.name for _, two in columns], target):
        needed = "index that begins with" if features.any_index else "primary key or unique index over"
        names = ", ".join(two.name for _, two in columns)
        return problems.add(where, f"{features.title} needs a {needed} {names} in {other.info['name']}")
    if not features.partitioned_keys and (source.info["partitioned"] or other.info["partitioned"]):
        return problems.add(where, f"partitioned tables have no foreign keys on {features.title}")
    if why := _refused(ends, [one for one, _ in columns], relation, target):
        return problems.add(where, why)
    timing = relation.deferrable or relation.initially_deferred
    if timing and not features.constraint_timing:
        problems.add(where, f"{features.title} checks foreign keys at once, not DEFERRABLE")
    # MATCH SIMPLE is what is meant where nothing is said, and of one column the two are the same.
    full = relation.match_type == "FULL" and (len(columns) > 1 or features.constraint_timing)
    if full and not features.constraint_timing:
        problems.add(where, f"{features.title} has no MATCH FULL")
    key = sa.ForeignKeyConstraint(
        [one for one, _ in columns],
        [two for _, two in columns],
        name=name,
        ondelete=relation.on_delete.upper(),
        onupdate=relation.on_update.upper(),
        deferrable=(relation.deferrable or None) if features.constraint_timing else None,
        initially="DEFERRED" if relation.initially_deferred and features.constraint_timing else None,
        match=relation.match_type if features.constraint_timing else None,
    )
    source.append_constraint(key)
    return None


def _refused(
    ends: tuple[sa.Table, sa.Table], columns: list[sa.Column[object]], relation: Relation, target: Target
) -> str | None:
    """Return why the engine has no such foreign key, though its columns may have one."""
    features, rules = target.features, {relation.on_delete.upper(), relation.on_update.upper()}
    if "SET DEFAULT" in rules and not features.set_default:
        return f"{features.title} has no SET DEFAULT"
    fixed = [column.name for column in columns if not column.nullable]
    if "SET NULL" in rules and fixed and not features.set_null_always:
        return f"SET NULL, but {', '.join(fixed)} cannot be NULL"
    others = dict.fromkeys(end.info["name"] for end in ends if _engine(end) not in _ENGINES)
    if others and features.options:
        return f"{' and '.join(others)} must be of InnoDB to have foreign keys"
    return None


# The others ignore foreign keys without a word.
_ENGINES = {"INNODB", "NDB", "NDBCLUSTER"}


def _engine(table: sa.Table) -> str:
    return (table.info["options"].engine or "InnoDB").upper()


def _has_key(table: sa.Table, names: list[str], target: Target) -> bool:
    """Tell whether a foreign key may point to these columns."""
    keys = [[column.name for column in table.primary_key.columns]]
    for index in table.indexes:
        options = index.dialect_options[target.dialect.name]
        columns = [part.element if isinstance(part, UnaryExpression) else part for part in index.expressions]
        plain = [column.name for column in columns if isinstance(column, sa.Column)]
        partial = options.get("where") is not None or options.get("prefix") is not None
        if len(plain) == len(columns) and not partial and (index.unique or target.features.any_index):
            keys.append(plain)
    if target.features.any_index:
        return any(key[: len(names)] == names for key in keys)
    return any(sorted(key) == sorted(names) for key in keys)


# Types that can be compared by an index of the other. The first word of a type on PostgreSQL:
# https://www.postgresql.org/docs/current/btree.html (operator families integer_ops, float_ops, datetime_ops, text_ops)
_FAMILIES = {
    "SMALLINT": "integer", "INTEGER": "integer", "BIGINT": "integer",
    "REAL": "float", "DOUBLE": "float",
    "CHAR": "text", "VARCHAR": "text", "TEXT": "text",
    "DATE": "date", "TIMESTAMP": "date",
}  # fmt: skip
# Of a referencing type that is converted to the other one without being asked.
_WIDENS = {("integer", "NUMERIC"), ("integer", "float"), ("NUMERIC", "float")}
# Of integers: display widths and zeros.
_WIDTH = re.compile(r"(?<=INT)\(\d+\)|(?<=INTEGER)\(\d+\)| ZEROFILL")


def _unlike(one: sa.Column[object], two: sa.Column[object], where: str, target: Target) -> bool:
    """Note that two columns are too unlike for a foreign key, if they are."""
    texts = [column.type.compile(dialect=target.dialect) for column in (one, two)]
    if target.features.alike:
        alike = _same(one, two, texts, target)
    else:
        words = [text.split("(")[0].split()[0] for text in texts]
        families = tuple(_FAMILIES.get(word, word) for word in words)
        alike = families[0] == families[1] or families in _WIDENS
    if not alike:
        names = [
            f"{column.table.info['name']}.{column.name} is {text}"
            for column, text in zip((one, two), texts, strict=True)
        ]
        told = f"a foreign key between unlike types on {target.features.title}: {names[0]}, {names[1]}"
        target.problems.add(where, told)
    return not alike


def _same(one: sa.Column[object], two: sa.Column[object], texts: list[str], target: Target) -> bool:
    """Tell whether InnoDB takes two types for one: a text's length does not matter, its charset and collation do."""
    impls = [column.type.dialect_impl(target.dialect) for column in (one, two)]
    if all(isinstance(impl, sa.VARBINARY | sa.BINARY) for impl in impls):
        return True
    if not all(isinstance(impl, sa.String) and not isinstance(impl, sa.Enum | mysql.SET) for impl in impls):
        return len({_WIDTH.sub("", text) for text in texts}) == 1
    (charset, collation), (other_charset, other_collation) = map(_alphabet, (one, two), impls)
    # What neither column nor table says is the schema's, of which the document does not know.
    return charset in {None, other_charset or charset} and collation in {None, other_collation or collation}


def _alphabet(column: sa.Column[object], impl: object) -> tuple[str | None, str | None]:
    charset, collation = getattr(impl, "charset", None), getattr(impl, "collation", None)
    if charset is None and collation is None:
        options = column.table.info["options"]
        charset, collation = options.charset, options.collation
    return charset or (collation and charset_of(collation)), collation
