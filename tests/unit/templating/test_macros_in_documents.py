"""Macros in every part of a schema document's format."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic.alias_generators import to_camel

from dbgear_airflow_provider.core.errors import TemplateError
from dbgear_airflow_provider.core.schema import SchemaDocument
from dbgear_airflow_provider.core.schema import document as models
from dbgear_airflow_provider.core.templating import MacroProcessor


def whole(m: str) -> dict[str, Any]:
    """Return a document with all keys of the format, and that text in every name and text of it."""
    note = [{"title": m, "content": f"a {m} b", "checked": False}]
    item = {"value": f"{m}1", "caption": f"{m}です", "description": m}
    kind = {
        "columnType": f"ENUM('{m}1')", "baseType": m, "length": 36, "precision": 10, "scale": 2,
        "items": [item], "jsonSchema": {"type": m, f"x-{m}": [m, 1]},
    }  # fmt: skip
    column = {
        "columnName": f"c_{m}", "displayName": m, "columnType": kind, "nullable": False, "primaryKey": 0,
        "defaultValue": f"'{m}'", "expression": f"`c_{m}` + 1", "stored": True, "autoIncrement": True,
        "charset": m, "collation": f"{m}_bin", "notes": note,
    }  # fmt: skip
    index = {
        "indexName": f"i_{m}", "columns": [f"c_{m} DESC"], "indexType": m, "unique": True,
        "partialCondition": f"`c_{m}` = '{m}'", "includeColumns": [f"c_{m}"], "tablespace": m,
        "storageParameters": {"fillfactor": m}, "displayName": m, "notes": note,
    }  # fmt: skip
    relation = {
        "target": {"schemaName": f"s_{m}", "tableName": f"t_{m}"},
        "bindColumns": [{"sourceColumn": f"c_{m}", "targetColumn": f"c_{m}"}],
        "constraintName": f"fk_{m}", "onDelete": m, "onUpdate": m, "deferrable": True, "initiallyDeferred": False,
        "matchType": "FULL", "relationshipType": m, "cardinaritySource": m, "cardinarityTarget": m, "description": m,
    }  # fmt: skip
    options = {
        "engine": m, "charset": m, "collation": m, "autoIncrement": 5, "rowFormat": m, "partitionBy": "RANGE",
        "partitionExpression": f"`c_{m}` (PARTITION p_{m} VALUES LESS THAN ('{m}'))", "partitionCount": 3,
    }  # fmt: skip
    table = {
        "displayName": f"{m}表", "columns": [column], "indexes": [index], "relations": [relation],
        "mysqlOptions": options, "notes": note, "categories": [m],
    }  # fmt: skip
    trigger = {
        "displayName": m, "tableName": f"t_{m}", "timing": "BEFORE", "event": "INSERT", "notes": note,
        "body": f"BEGIN SET NEW.c_{m} = '{m}'; END", "condition": f"NEW.c_{m} = 1",
    }  # fmt: skip
    parameter = {"parameterName": f"p_{m}", "parameterType": "IN", "dataType": f"ENUM('{m}')", "defaultValue": m}
    procedure = {
        "displayName": m, "body": f"RETURN '{m}'", "parameters": [parameter], "returnType": f"ENUM('{m}')",
        "deterministic": True, "readsSqlData": False, "modifiesSqlData": True, "securityType": "INVOKER", "notes": note,
    }  # fmt: skip
    view = {"displayName": m, "selectStatement": f"SELECT c_{m} AS `{m}` FROM t_{m}", "notes": note}
    schema = {
        "tables": {f"t_{m}": table}, "views": {f"v_{m}": view}, "triggers": {f"x_{m}": trigger},
        "procedures": {f"p_{m}": procedure}, "notes": note,
    }  # fmt: skip
    return {"schemas": {f"s_{m}": schema}, "notes": note, "registry": {"url": m}}


def keys(node: Any) -> set[str]:
    if isinstance(node, list):
        return {key for item in node for key in keys(item)}
    return {str(key) for key in node} | keys(list(node.values())) if isinstance(node, dict) else set()


MACROS = MacroProcessor({"region2": "asia_2", "x": "${REGION2}"}, where="schema.yaml")


def test_the_document_here_has_all_keys_of_the_format() -> None:
    classes = [item for item in vars(models).values() if isinstance(item, type) and issubclass(item, models._Object)]
    fields = {to_camel(name) for item in classes for name in item.model_fields}
    assert fields <= keys(whole("m"))


def test_every_name_and_text_of_a_document_is_replaced() -> None:
    tree = whole("${REGION2}")
    before = copy.deepcopy(tree)
    assert MACROS.process_schema_manager(tree) == whole("asia_2")
    assert tree == before


def test_what_a_macro_gives_and_what_is_escaped_stays_everywhere() -> None:
    assert MACROS.process_schema_manager(whole("${X}")) == whole("${REGION2}")
    assert MACROS.process_schema_manager(whole("$${X}")) == whole("${X}")


def test_an_unknown_macro_anywhere_is_an_error_that_lists_those_that_exist() -> None:
    with pytest.raises(TemplateError) as caught:
        MACROS.process_schema_manager(whole("${REGION}"))
    assert str(caught.value) == (
        "schema.yaml: ${REGION}: there is no such macro; "
        "allowed: DB_NAME, REGION2, SCHEMA_NAME, TABLE_NAME, TENANT_PREFIX, X"
    )


def test_numbers_and_truths_keep_their_types() -> None:
    tree: dict[str, Any] = {"schemas": {"s": {"x": [1, 2.5, True, None, "${REGION2}"]}}, 7: True}
    assert MACROS.process_schema_manager(tree) == {"schemas": {"s": {"x": [1, 2.5, True, None, "asia_2"]}}, 7: True}
    assert MACROS.process_schema_manager(tree)["schemas"]["s"]["x"][2] is True


@pytest.mark.parametrize("kind", ["tables", "views", "triggers", "procedures"])
def test_two_objects_that_would_get_one_name(kind: str) -> None:
    with pytest.raises(TemplateError, match="two keys of one mapping become 'asia_2'"):
        MACROS.process_schema_manager({"schemas": {"s": {kind: {"${REGION2}": {}, "asia_2": {}}}}})


def test_a_document_as_an_object_gives_an_object() -> None:
    given = {"schemas": {"s_${REGION2}": {"tables": whole("${REGION2}")["schemas"]["s_${REGION2}"]["tables"]}}}
    given["schemas"]["s_${REGION2}"]["tables"]["t_${REGION2}"].pop("mysqlOptions")
    given["schemas"]["s_${REGION2}"]["tables"]["t_${REGION2}"]["indexes"] = []
    document = SchemaDocument.load({**given, "comment": "${REGION2}"}, where="schema.yaml")
    before = document.model_copy(deep=True)
    processed = MACROS.process_schema_manager(document)
    expected = MACROS.process_schema_manager({**given, "comment": "${REGION2}"})
    assert processed == SchemaDocument.load(expected, where="schema.yaml")
    assert isinstance(processed, SchemaDocument)
    assert document == before
    assert processed.schemas["s_asia_2"].tables["t_asia_2"].columns[0].column_name == "c_asia_2"


def test_an_object_that_would_be_none_any_more() -> None:
    options = {"engine": "InnoDB", "autoIncrement": 1}
    table = {"columns": [{"columnName": "c", "columnType": "INT"}], "mysqlOptions": options}
    document = SchemaDocument.load({"schemas": {"s": {"tables": {"${A}": table}}}}, where="schema.yaml")
    with pytest.raises(TemplateError, match=r"schema\.yaml, schemas\.s\.tables.*: no document any more"):
        MacroProcessor({"a": "a\0b"}, where="schema.yaml").process_schema_manager(document)
