from __future__ import annotations

import logging
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import DocumentError
from dbgear_airflow_provider.core.schema import SchemaDocument, checksum
from dbgear_airflow_provider.core.schema import document as module


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_told", set())


def tree(columns: Any = None, **table: Any) -> dict[str, Any]:
    columns = columns or [{"columnName": "id", "columnType": "INT", "nullable": False}]
    return {"schemas": {"main": {"tables": {"users": {"displayName": "利用者", "columns": columns, **table}}}}}


def load(tree: Any) -> SchemaDocument:
    return SchemaDocument.load(tree, where="t.j2")


def refused(tree: Any) -> dict[str, Any]:
    with pytest.raises(DocumentError) as caught:
        load(tree)
    return dict(caught.value.details)


def test_camel_case_and_snake_case_are_the_same() -> None:
    camel = {
        "columnName": "id",
        "displayName": "番号",
        "columnType": {"columnType": "DECIMAL(10,2)", "baseType": "DECIMAL", "precision": 10, "scale": 2},
        "nullable": False,
        "primaryKey": 1,
        "defaultValue": "0",
        "autoIncrement": False,
    }
    snake = {
        "column_name": "id",
        "display_name": "番号",
        "column_type": {"column_type": "DECIMAL(10,2)", "base_type": "DECIMAL", "precision": 10, "scale": 2},
        "nullable": False,
        "primary_key": 1,
        "default_value": "0",
        "auto_increment": False,
    }
    assert load(tree([camel])) == load(tree([snake]))


def test_the_older_dialect() -> None:
    columns = [
        {"column_name": "id", "column_type": "INT AUTO_INCREMENT", "primary_key": True},
        {"column_name": "name", "column_type": "VARCHAR(10)", "primary_key": False},
    ]
    document = load({"schemas": {"main": {"tables": {"users": {"columns": columns}}}}})
    first, second = document.schemas["main"].tables["users"].columns
    assert (first.primary_key, second.primary_key) == (0, None)
    assert first.column_type.column_type == "INT AUTO_INCREMENT"
    assert first.nullable is None
    assert first.display_name is None


@pytest.mark.parametrize(
    ("written", "read"), [(0, "0"), (1.5, "1.5"), (True, "TRUE"), (False, "FALSE"), ("NOW()", "NOW()"), (None, None)]
)
def test_defaults_as_yaml_reads_them(written: Any, read: str | None) -> None:
    document = load(tree([{"columnName": "a", "columnType": "INT", "defaultValue": written}]))
    assert document.schemas["main"].tables["users"].columns[0].default_value == read


INT = {"columnName": "id", "columnType": "INT"}


@pytest.mark.parametrize(
    ("document", "where", "received"),
    [
        ({}, "t.j2, schemas", None),
        ({"schemas": {}}, "t.j2, schemas", None),
        (
            {"schemas": {"main": {"tables": {"users": {"columns": []}}}}},
            "t.j2, schemas.main.tables.users.columns",
            None,
        ),
        (tree([INT, {"columnName": "n"}]), "t.j2, schemas.main.tables.users.columns.n.columnType", None),
        (tree([INT, {"columnType": "INT"}]), "t.j2, schemas.main.tables.users.columns.1.columnName", None),
        (tree([INT | {"nullable": "maybe"}]), "t.j2, schemas.main.tables.users.columns.id.nullable", "maybe"),
        (tree([INT | {"primaryKey": "x"}]), "t.j2, schemas.main.tables.users.columns.id.primaryKey", "x"),
        (
            tree([INT | {"columnType": {"columnType": "ENUM", "items": [{"caption": "x"}]}}]),
            "t.j2, schemas.main.tables.users.columns.id.columnType.items.0.value",
            None,
        ),
        (
            tree([INT | {"columnType": {"columnType": "ENUM", "items": [{"value": False}]}}]),
            "t.j2, schemas.main.tables.users.columns.id.columnType.items.0.value",
            False,
        ),
        (tree([INT | {"displayName": "a\0b"}]), "t.j2, schemas.main.tables.users.columns.id.displayName", "a\0b"),
        (tree(indexes=[{"indexName": "i", "columns": []}]), "t.j2, schemas.main.tables.users.indexes.i.columns", None),
        (
            tree(indexes=[{"indexName": "i", "columns": ["id"], "storageParameters": {"f) TABLESPACE x": 1}}]),
            "t.j2, schemas.main.tables.users.indexes.i.storageParameters.f) TABLESPACE x.[key]",
            "f) TABLESPACE x",
        ),
        (
            tree(relations=[{"constraintName": "fk", "target": {"tableName": "t"}, "bindColumns": []}]),
            "t.j2, schemas.main.tables.users.relations.fk.bindColumns",
            None,
        ),
        (
            tree(
                relations=[
                    {
                        "constraintName": "fk",
                        "target": {"tableName": "t"},
                        "bindColumns": [{"sourceColumn": "id", "targetColumn": "id"}],
                        "matchType": "FULL; DROP TABLE x",
                    }
                ]
            ),
            "t.j2, schemas.main.tables.users.relations.fk.matchType",
            "FULL; DROP TABLE X",
        ),
    ],
)
def test_an_error_names_the_object(document: dict[str, Any], where: str, received: Any) -> None:
    details = refused(document)
    assert details["where"] == where
    assert details["received"] == received


@pytest.mark.parametrize("value", ["x'); DROP TABLE y; --", "1 2", "", "a=b", [1]])
def test_a_storage_parameter_is_one_word(value: Any) -> None:
    indexes = [{"indexName": "i", "columns": ["id"], "storageParameters": {"fillfactor": value}}]
    assert ".indexes.i.storageParameters.fillfactor" in refused(tree(indexes=indexes))["where"]


def test_unknown_keys_are_told_once_with_their_place(caplog: pytest.LogCaptureFixture) -> None:
    odd = tree([INT | {"colour": "red"}], shape="round")
    with caplog.at_level(logging.WARNING):
        assert load(odd).schemas["main"].tables["users"].columns
        # The name of the schema differs from tenant to tenant; the mistake is the template's.
        load({"schemas": {"other": odd["schemas"]["main"]}})
    assert [record.getMessage() for record in caplog.records] == [
        "t.j2: unknown key schemas.main.tables.users.shape is ignored",
        "t.j2: unknown key schemas.main.tables.users.columns.0.colour is ignored",
    ]
    with caplog.at_level(logging.WARNING):
        SchemaDocument.load(odd, where="other.j2")
    assert len(caplog.records) == 4


def test_every_key_of_the_format_is_known(caplog: pytest.LogCaptureFixture) -> None:
    column: dict[str, Any] = INT | {
        "displayName": "a",
        "columnType": {
            "columnType": "ENUM('a')",
            "baseType": "ENUM",
            "length": None,
            "precision": None,
            "scale": None,
            "items": [{"value": "a", "caption": "A", "description": "x"}],
            "jsonSchema": {},
        },
        "nullable": True,
        "primaryKey": None,
        "defaultValue": None,
        "expression": None,
        "stored": False,
        "autoIncrement": False,
        "charset": "utf8mb4",
        "collation": "utf8mb4_bin",
        "notes": [{"content": "x", "title": "y", "checked": True}],
    }
    index = {
        "indexName": "i",
        "columns": ["id"],
        "indexType": "BTREE",
        "unique": True,
        "partialCondition": None,
        "includeColumns": None,
        "storageParameters": {"fillfactor": 70},
        "tablespace": None,
    }
    relation = {
        "target": {"schemaName": "main", "tableName": "users"},
        "bindColumns": [{"sourceColumn": "id", "targetColumn": "id"}],
        "cardinaritySource": "1",
        "cardinarityTarget": "0..n",
        "constraintName": "fk",
        "onDelete": "CASCADE",
        "onUpdate": "CASCADE",
        "deferrable": True,
        "initiallyDeferred": True,
        "matchType": "simple",
        "relationshipType": "association",
        "description": "x",
    }
    document = tree(
        [column],
        indexes=[index],
        relations=[relation],
        notes=[],
        categories=["a"],
        mysqlOptions={"engine": "InnoDB", "charset": "utf8mb4"},
    )
    document |= {"notes": [], "registry": {}}
    document["schemas"]["main"] |= {"views": {}, "triggers": {}, "procedures": {}, "notes": []}
    with caplog.at_level(logging.WARNING):
        load(document)
    assert not caplog.records


def test_the_checksum_is_of_the_content() -> None:
    assert checksum({"a": 1, "b": ["日本"]}) == checksum({"b": ["日本"], "a": 1})
    assert checksum({"a": [1, 2]}) != checksum({"a": [2, 1]})
    assert len(checksum({})) == 64
