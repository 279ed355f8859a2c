"""What an engine would refuse, or ignore without a word, is told by name before anything is created."""

from __future__ import annotations

from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import DocumentError
from dbgear_airflow_provider.core.schema import Namespace, prepare
from tests.unit.schema.test_on_mysql import ID, MARIADB, MYSQL, NAME, POSTGRES, compiled, table


def relation(*, name: str = "fk", column: str = "t_id", **fields: Any) -> dict[str, Any]:
    binds = [{"sourceColumn": column, "targetColumn": "id"}]
    return {"target": {"tableName": "t"}, "bindColumns": binds, "constraintName": name, **fields}


def keys(tables: dict[str, Any], dialect: Any, kind: str) -> tuple[list[str], list[str]]:
    sql, warnings = compiled(tables, dialect)
    return sorted(name for found, name in sql if found == kind), warnings


def test_a_quoted_default_with_an_on_update() -> None:
    fields = {"columnName": "at", "columnType": "DATETIME", "nullable": False}
    fields["defaultValue"] = "'2000-01-01 00:00:00' ON UPDATE CURRENT_TIMESTAMP"
    tree = {"schemas": {"main": {"tables": {"t": table(ID, fields)}}}}
    ddl = prepare(tree, {"main": Namespace("acme")}, MYSQL, where="t.j2").missing(set())[1].statements[0]
    assert "DEFAULT '2000-01-01 00:00:00' ON UPDATE CURRENT_TIMESTAMP" in ddl
    there = [
        item.key.kind for item in prepare(tree, {"main": Namespace("acme")}, POSTGRES, where="t.j2").missing(set())
    ]
    assert "trigger" in there


@pytest.mark.parametrize("rule", ["onDelete", "onUpdate"])
def test_set_null_on_a_column_that_cannot_be_null(rule: str) -> None:
    column = {"columnName": "t_id", "columnType": "INT", "nullable": False}
    tables = {"t": table(), "u": table(ID, column, relations=[relation(**{rule: "SET NULL"})])}
    assert keys(tables, MYSQL, "foreign key") == ([], ["main.u.fk: SET NULL, but t_id cannot be NULL"])
    assert keys(tables, POSTGRES, "foreign key") == (["u.fk"], [])


def test_engines_that_ignore_foreign_keys() -> None:
    column = {"columnName": "t_id", "columnType": "INT"}
    tables = {"t": table(), "u": table(ID, column, relations=[relation()], mysqlOptions={"engine": "MyISAM"})}
    assert keys(tables, MYSQL, "foreign key") == ([], ["main.u.fk: u must be of InnoDB to have foreign keys"])
    assert keys(tables, POSTGRES, "foreign key") == (["u.fk"], [])


def test_names_that_mysql_does_not_tell_apart() -> None:
    columns = [{"columnName": name, "columnType": "INT"} for name in ("x", "y")]
    relations = [relation(name="fk", column="x"), relation(name="FK", column="y")]
    tables = {"t": table(), "u": table(ID, *columns, relations=relations)}
    assert keys(tables, MYSQL, "foreign key") == (["u.u_FK_y", "u.u_fk"], [])
    twice = {"t": table(ID, NAME, NAME | {"columnName": "NAME"})}
    assert keys(twice, POSTGRES, "table") == (["t"], [])
    with pytest.raises(DocumentError, match=r"^main\.t: .*alike whatever their case"):
        compiled(twice)


@pytest.mark.parametrize("fields", [{"unique": True}, {"columns": ["name", "id"]}, {"columns": ["name DESC"]}])
def test_hash_indexes_on_postgresql(fields: dict[str, Any]) -> None:
    index = {"indexName": "i", "columns": ["name"], "indexType": "HASH"}
    found, warnings = keys({"t": table(indexes=[index | fields])}, POSTGRES, "index")
    assert found == []
    assert warnings == ["main.t.i: a HASH index of PostgreSQL is of one column, without DESC and not unique"]
    assert keys({"t": table(indexes=[index | fields])}, MYSQL, "index") == (["t.i"], [])


def test_an_index_that_includes_a_column_that_is_left_out() -> None:
    shape = {"columnName": "shape", "columnType": "POINT"}
    index = {"indexName": "i", "columns": ["name"], "includeColumns": ["id", "shape"]}
    sql, warnings = compiled({"t": table(ID, NAME, shape, indexes=[index])}, POSTGRES)
    assert sql["index", "t_i"] == "CREATE INDEX t_i ON acme.t (name) INCLUDE (id)"
    assert warnings[1:] == ["main.t.i: a column that it includes is left out"]


def test_what_changes_while_the_row_stays_on_postgresql() -> None:
    joined = {"columnName": "c", "columnType": "TEXT", "expression": "CONCAT_WS('-', name, name)"}
    index = {"indexName": "i", "columns": ["id"], "partialCondition": "name > CURRENT_DATE"}
    sql, warnings = compiled({"t": table(ID, NAME, joined, indexes=[index])}, POSTGRES)
    assert "CONCAT_WS" not in sql["table", "t"]
    assert warnings == [
        "main.t.c: PostgreSQL generates no column with CONCAT_WS",
        "main.t.i: PostgreSQL has no index with CURRENT_DATE in its condition",
    ]


@pytest.mark.parametrize("kind", ["TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"])
@pytest.mark.parametrize("dialect", [MYSQL, MARIADB])
def test_all_long_texts_of_mysql_are_apart_from_their_row(dialect: Any, kind: str) -> None:
    column = {"columnName": "t", "columnType": kind, "defaultValue": "'x'"}
    indexes = [{"indexName": "whole", "columns": ["t"]}, {"indexName": "begin", "columns": ["t(10)"]}]
    sql, warnings = compiled({"t": table(ID, column, indexes=indexes)}, dialect)
    assert f"t {kind} DEFAULT ('x')" in sql["table", "t"]
    assert [name for found, name in sql if found == "index"] == ["t.begin"]
    (warning,) = warnings
    assert warning.startswith("main.t.whole: an index on t needs a length")


def test_counting_up_in_the_second_column_of_a_key() -> None:
    count = {"columnName": "n", "columnType": "INT", "primaryKey": 2, "autoIncrement": True}
    sql, warnings = compiled({"t": table(count, ID)})
    assert "AUTO_INCREMENT" not in sql["table", "t"]
    assert warnings == ["main.t.n: MySQL counts up in the first column of the primary key alone"]
    sql, warnings = compiled({"t": table(count | {"primaryKey": 0}, ID)})
    assert "AUTO_INCREMENT" in sql["table", "t"]
    assert warnings == []


@pytest.mark.parametrize("dialect", [MYSQL, POSTGRES])
def test_keys_of_partitioned_tables(dialect: Any) -> None:
    options = {"partitionBy": "HASH", "partitionExpression": "id", "partitionCount": 2}
    indexes = [{"indexName": "u", "columns": ["name"], "unique": True}]
    indexes.append({"indexName": "v", "columns": ["name", "id DESC"], "unique": True})
    found, warnings = keys({"t": table(indexes=indexes, mysqlOptions=options)}, dialect, "index")
    assert [name[-1] for name in found] == ["v"]
    assert warnings == ["main.t.u: a unique index of a partitioned table needs all columns that partition it, id"]
    other = {"columnName": "n", "columnType": "INT"}
    sql, warnings = compiled({"t": table(ID, other, mysqlOptions=options | {"partitionExpression": "n"})}, dialect)
    assert "PARTITION" not in sql["table", "t"]
    assert warnings == ["main.t: the key of a partitioned table needs n, which partitions it"]


@pytest.mark.parametrize("text", ["JSON_EXTRACT(name, '$.a', '$.b')", "JSON_EXTRACT(name, '$[*].a')"])
def test_json_paths_of_many_values_on_postgresql(text: str) -> None:
    views = {"v": {"selectStatement": f"SELECT {text} AS x FROM t"}}
    sql, warnings = compiled({"t": table()}, POSTGRES, views=views)
    assert ("view", "v") not in sql
    assert "find more than one value" in warnings[0]


def test_arrows_into_json_on_mariadb() -> None:
    views = {
        "v": {"selectStatement": "SELECT name->>'$.a' AS x FROM t"},
        "w": {"selectStatement": "SELECT '->' FROM t"},
    }
    assert compiled({"t": table()}, MYSQL, views=views)[1] == []
    sql, warnings = compiled({"t": table()}, MARIADB, views=views)
    assert ("view", "w") in sql
    assert warnings == ["main.v: MariaDB has no -> and ->>, but JSON_EXTRACT"]


def test_a_view_from_dual_in_capitals() -> None:
    for dialect in (MYSQL, POSTGRES):
        assert ("view", "v") in compiled({}, dialect, views={"v": {"selectStatement": "SELECT 1 AS n FROM DUAL"}})[0]


def test_unsigned_casts_on_postgresql() -> None:
    column = {"columnName": "c", "columnType": "BIGINT", "expression": "CAST(name AS UNSIGNED)"}
    assert 'CAST("name" AS BIGINT)' in compiled({"t": table(ID, NAME, column)}, POSTGRES)[0]["table", "t"]


def test_partitions_by_unix_time() -> None:
    at = {"columnName": "at", "columnType": "TIMESTAMP", "primaryKey": 1}
    by = "UNIX_TIMESTAMP(at) (PARTITION p VALUES LESS THAN (UNIX_TIMESTAMP('2026-01-01')))"
    tables = {"t": table(at, mysqlOptions={"partitionBy": "RANGE", "partitionExpression": by})}
    sql, warnings = compiled(tables)
    assert (
        "BY RANGE (UNIX_TIMESTAMP(`at`)) (PARTITION p VALUES LESS THAN (UNIX_TIMESTAMP('2026-01-01')))"
        in sql["table", "t"]
    )
    assert warnings == []
    assert "by its columns alone" in compiled(tables, POSTGRES)[1][0]
    column = {"columnName": "c", "columnType": "INT", "expression": "UNIX_TIMESTAMP(name)"}
    assert compiled({"t": table(ID, NAME, column)}, POSTGRES)[1] == [
        "main.t.c: PostgreSQL generates no column with UNIX_TIMESTAMP"
    ]


def test_a_key_with_nothing_behind_it_is_not_there() -> None:
    nothing = {"indexes": None, "relations": None, "mysqlOptions": None, "displayName": None}
    assert compiled(
        {"t": table(ID | {"stored": None, "display_name": None}, **nothing)}, views=None, triggers=None
    ) == (compiled({"t": table(ID)}))
    with pytest.raises(DocumentError, match=r"main\.tables\.t\.columns"):
        compiled({"t": {"columns": None}})
