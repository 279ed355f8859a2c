from __future__ import annotations

import pickle

import pytest

from dbgear_airflow_provider.core.errors import TemplateError
from dbgear_airflow_provider.core.templating import MacroProcessor
from dbgear_airflow_provider.core.tenants import naming

CONTEXT = {"customer_code": "Acme & Co", "region": "asia", "instance": "test", "table_prefix": "ac_", "x1": "y"}


def test_context_is_looked_up_in_lower_case():
    assert MacroProcessor(CONTEXT).process_string("a ${REGION}-${X1} ${region} $REGION {REGION}") == (
        "a asia-y ${region} $REGION {REGION}"
    )


def test_functions_agree_with_naming(make_tenant):
    tenant = make_tenant(**{key: CONTEXT[key] for key in ("customer_code", "region", "table_prefix")})
    for macros in (MacroProcessor(CONTEXT), MacroProcessor.for_tenant(tenant, "test")):
        assert macros.process_string("${TENANT_PREFIX}") == naming.tenant_prefix(tenant)
        assert macros.process_string("${DB_NAME}") == naming.database_name(tenant, "test")
        assert macros.process_string("${DB_NAME:main}") == naming.database_name(tenant, "main")
        assert macros.process_string("${SCHEMA_NAME}") == naming.schema_name(tenant, "test")
        assert macros.process_string("${TABLE_NAME:users}") == naming.table_name(tenant, "users")


def test_functions_follow_the_tenants_overrides(make_tenant):
    tenant = make_tenant(database_prefix="own", schema_suffix="_v2")
    macros = MacroProcessor.for_tenant(tenant, "main", {"database_prefix": "told", "instance": "other"})
    assert macros.process_string("${DB_NAME} ${SCHEMA_NAME} ${DATABASE_PREFIX} ${INSTANCE}") == (
        "own_main acme_asia_main_v2 told main"
    )


def test_a_tenant_without_a_prefix_has_an_empty_macro(make_tenant):
    assert MacroProcessor.for_tenant(make_tenant(), "main").process_string("${TABLE_PREFIX}users") == "users"


def test_the_context_goes_before_the_functions():
    assert MacroProcessor({"db_name": "mine"}).process_string("${DB_NAME}") == "mine"


def test_values_are_not_expanded_again():
    assert MacroProcessor({"a": "${B}", "b": "$${A}"}).process_string("${A} ${B}") == "${B} $${A}"


def test_a_doubled_dollar_keeps_the_macro_as_text():
    assert (
        MacroProcessor({"a": "x"}).process_string("$${A} $$${A} $${UNKNOWN:y} $$name")
        == "${A} $${A} ${UNKNOWN:y} $$name"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${NOPE}", "${NOPE}: there is no such macro; allowed: A, DB_NAME, SCHEMA_NAME, TABLE_NAME, TENANT_PREFIX"),
        ("${A:x}", "${A}: this macro takes no argument"),
        ("${TENANT_PREFIX:x}", "${TENANT_PREFIX}: this macro takes no argument"),
        ("${TABLE_NAME}", "${TABLE_NAME}: this macro takes the table's name: ${TABLE_NAME:users}"),
        ("${DB_NAME}", "${DB_NAME}: this macro takes an instance: ${DB_NAME:main}"),
        ("${TENANT_PREFIX}", "${TENANT_PREFIX}: no letter or digit in '_' to make a name of"),
    ],
)
def test_errors_name_the_macro_and_what_there_is(text, problem):
    with pytest.raises(TemplateError) as caught:
        MacroProcessor({"a": "x"}, where="schema.yaml").process_string(text)
    assert str(caught.value) == f"schema.yaml: {problem}"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_a_document_is_copied_with_keys_and_texts_replaced():
    document = {"schemas": {"${A}_main": {"tables": {"t": [{"n": "${A}", "i": 1, "none": None, "p": ("${A}",)}]}}}}
    processed = MacroProcessor({"a": "x"}).process_schema_manager(document)
    assert processed == {"schemas": {"x_main": {"tables": {"t": [{"n": "x", "i": 1, "none": None, "p": ["x"]}]}}}}
    processed["schemas"]["x_main"]["tables"]["t"][0]["n"] = "changed"
    assert document["schemas"]["${A}_main"]["tables"]["t"][0]["n"] == "${A}"


def test_keys_that_become_equal_are_an_error():
    with pytest.raises(TemplateError, match="two keys of one mapping become 'x'"):
        MacroProcessor({"a": "x"}).process_schema_manager({"schemas": {"${A}": {}, "x": {}}})


# -- in templates


def test_macros_are_of_the_templates_own_text_only(make_engine, make_tenant):
    engine = make_engine(
        {
            "environment.j2": "name_macros:\n  app: {{ tenant.customer_name }}\n",
            "t.j2": "${INSTANCE}_db: ${APP}\nvalue: {{ tenant.customer_name }}\nescaped: $${APP}\n"
            "table: ${TABLE_NAME:{{ tenant.region }}}\nsplit: ${{ '{' }}APP}\n",
        }
    )
    tenant = make_tenant(customer_name="${TENANT_ID} \ue0000\ue001", table_prefix="ac_")
    assert engine.render_schema(tenant, {}, "test", "t.j2") == {
        "test_db": tenant.customer_name,
        "value": tenant.customer_name,
        "escaped": "${APP}",
        "table": "ac_asia",
        "split": "${APP}",
    }


def test_an_unknown_macro_in_a_template_names_the_template(render):
    with pytest.raises(TemplateError, match=r"t\.j2: \$\{NOPE\}: there is no such macro; allowed: .*TENANT_ID"):
        render("a: ${NOPE}\n")


def test_environment_documents_have_no_macros(make_engine, tenant):
    assert make_engine({"environment.j2": "a: ${NOPE}\n"}).render_environment(tenant, {}) == {"a": "${NOPE}"}


@pytest.mark.parametrize("macros", ["[a]", "{ a: 1 }"])
def test_name_macros_are_texts(make_engine, tenant, macros):
    engine = make_engine({"environment.j2": f"name_macros: {macros}\n", "t.j2": "a: ${A}\n"})
    with pytest.raises(TemplateError) as caught:
        engine.render_schema(tenant, {}, "main", "t.j2")
    assert caught.value.details["where"] == "environment.j2"
