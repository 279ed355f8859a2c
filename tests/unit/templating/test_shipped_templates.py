from __future__ import annotations

from itertools import product

import pytest

from dbgear_airflow_provider.core.errors import TemplateError
from dbgear_airflow_provider.core.templating import TenantTemplateEngine, sandbox
from dbgear_airflow_provider.core.templating.sandbox import default_template_dir
from dbgear_airflow_provider.core.tenants import naming

FLEET = list(product(["basic", "standard", "premium", "enterprise"], ["database", "schema", "table"]))
SCHEMAS = ["schema.j2", "saas_standard_schema.j2", "enterprise_schema.j2"]
STANDARD = {
    "tenant_settings",
    "users",
    "roles",
    "user_roles",
    "plans",
    "subscriptions",
    "invoices",
    "invoice_lines",
    "projects",
    "tasks",
}
ENTERPRISE = {"audit_logs", "sso_providers", "api_keys", "data_retention"}


@pytest.fixture(scope="module")
def shipped():
    return TenantTemplateEngine(None, None)


def tables(document):
    (schema,) = document["schemas"].values()
    return schema["tables"]


def test_every_shipped_template_is_known():
    assert {path.name for path in default_template_dir().iterdir()} == {"environment.j2", "columns.j2", *SCHEMAS}


def test_a_wheel_has_them_inside_the_package(tmp_path, monkeypatch):
    (tmp_path / "templates").mkdir()
    monkeypatch.setattr(sandbox, "__file__", str(tmp_path / "core" / "templating" / "sandbox.py"))
    assert default_template_dir() == tmp_path / "templates"


@pytest.mark.parametrize(("tier", "strategy"), FLEET)
def test_the_environment_tells_what_an_instance_has_for_itself(shipped, make_tenant, tier, strategy):
    tenant = make_tenant(
        tier=tier, isolation_strategy=strategy, instances=["main", "test"], schema_suffix="_v2", table_prefix="ac_"
    )
    environment = shipped.render_environment(tenant, {})
    assert environment["base"] == f"{tier}_base"
    assert environment["isolation_config"]["strategy"] == strategy
    assert environment["name_macros"] == {"database_prefix": "acme_asia", "table_prefix": "ac_"}
    assert list(environment["database_config"]) == ["main", "test"]
    pattern = environment["isolation_config"]["naming_pattern"]
    for instance, config in environment["database_config"].items():
        if strategy == "database":
            assert config == {"database_name": naming.location(tenant, instance), "schema_name": instance}
            assert pattern.format(instance=instance) == config["database_name"]
        elif strategy == "schema":
            assert config == {"database_name": None, "schema_name": naming.location(tenant, instance)}
            assert pattern.format(instance=instance) == config["schema_name"]
        else:
            assert config == {"database_name": None, "schema_name": None}
            prefix = naming.object_prefix(tenant, instance)
            assert pattern.format(instance=instance, table="users") == naming.prefixed(prefix, "users")


def test_the_environments_database_prefix_is_the_tenants(shipped, make_tenant):
    environment = shipped.render_environment(make_tenant(database_prefix="own"), {})
    assert environment["database_config"]["main"]["database_name"] == "own_main"
    assert environment["isolation_config"]["naming_pattern"] == "own_{instance}"
    assert environment["name_macros"]["database_prefix"] == "own"


@pytest.mark.parametrize("template", SCHEMAS)
@pytest.mark.parametrize(("tier", "strategy"), FLEET)
def test_schemas_are_named_for_the_tenant_and_whole(shipped, make_tenant, template, tier, strategy):
    tenant = make_tenant(
        tenant_id="T'1", tier=tier, isolation_strategy=strategy, instances=["main", "test"], table_prefix="ac_"
    )
    for instance in tenant.instances:
        document = shipped.render_schema(tenant, {}, instance, template)
        assert list(document["schemas"]) == [naming.database_name(tenant, instance)]
        names = {name.removeprefix("ac_") for name in tables(document)}
        assert (
            names
            == {
                "schema.j2": {"users"},
                "saas_standard_schema.j2": STANDARD,
                "enterprise_schema.j2": STANDARD | ENTERPRISE,
            }[template]
        )
        assert "'T''1'" in str(document) or "\"'T''1'\"" in str(document)


@pytest.mark.parametrize("template", SCHEMAS[1:])
def test_keys_indexes_and_relations_name_columns_that_exist(shipped, tenant, template):
    document = shipped.render_schema(tenant, {}, "main", template)
    columns = {
        name: {column["columnName"]: column for column in table["columns"]} for name, table in tables(document).items()
    }
    for name, table in tables(document).items():
        assert table["displayName"]
        keys = sorted(column["primaryKey"] for column in table["columns"] if "primaryKey" in column)
        assert keys == list(range(1, len(keys) + 1))
        assert keys
        for index in table.get("indexes", []):
            assert {entry.split()[0] for entry in index["columns"]} <= columns[name].keys()
        for relation in table.get("relations", []):
            assert relation["target"]["schemaName"] in document["schemas"]
            target = columns[relation["target"]["tableName"]]
            for bound in relation["bindColumns"]:
                source = columns[name][bound["sourceColumn"]]
                assert source["columnType"] == target[bound["targetColumn"]]["columnType"]
                assert relation["onDelete"] != "SET NULL" or source["nullable"]


def test_columns_say_their_types_in_whole_and_in_parts(shipped, tenant):
    found = tables(shipped.render_schema(tenant, {}, "main", "saas_standard_schema.j2"))
    types = {(t, c["columnName"]): c["columnType"] for t, table in found.items() for c in table["columns"]}
    assert types["users", "email"] == {"columnType": "VARCHAR(255)", "baseType": "VARCHAR", "length": 255}
    assert types["invoices", "total"] == {
        "columnType": "DECIMAL(14,2)",
        "baseType": "DECIMAL",
        "precision": 14,
        "scale": 2,
    }
    assert types["projects", "description"] == {"columnType": "TEXT", "baseType": "TEXT"}
    assert found["users"]["columns"][0]["autoIncrement"] is True
    assert {column.get("primaryKey") for column in found["invoice_lines"]["columns"]} == {1, 2, None}


def test_enterprise_honours_the_tenants_settings(shipped, tenant):
    config = {"features": ["audit", "retention"], "retention_days": 30, "default_locale": "it's"}
    found = tables(shipped.render_schema(tenant, config, "main", "enterprise_schema.j2"))
    assert set(found) == STANDARD | {"audit_logs", "data_retention"}
    defaults = {c["columnName"]: c.get("defaultValue") for t in found.values() for c in t["columns"]}
    assert defaults["retention_days"] == "30"
    assert defaults["locale"] == "'it''s'"
    assert set(tables(shipped.render_schema(tenant, {"features": []}, "main", "enterprise_schema.j2"))) == STANDARD


def test_a_retention_that_is_no_number_is_no_sql_either(shipped, tenant):
    with pytest.raises(TemplateError, match=r"enterprise_schema\.j2, line \d+: .*number is required"):
        shipped.render_schema(tenant, {"retention_days": "1, evil"}, "main", "enterprise_schema.j2")
