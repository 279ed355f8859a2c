from __future__ import annotations

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from dbgear_airflow_provider.core.errors import TemplateError
from dbgear_airflow_provider.core.templating.filters import sql_literal
from dbgear_airflow_provider.core.tenants import naming


def test_names_come_from_naming(make_engine, make_tenant):
    tenant = make_tenant(customer_code="Acme & Co.", table_prefix="ac_", schema_suffix="_v2", database_prefix="own")
    document = make_engine(
        {
            "t.j2": "prefix: {{ tenant | tenant_prefix }}\ndb: {{ tenant | db_name('test') }}\n"
            "schema: {{ tenant | schema_name('test') }}\ntable: {{ tenant | table_name('users') }}\n"
            "safe: {{ tenant.customer_code | safe_identifier }}\n"
        }
    ).render_schema(tenant, {}, "main", "t.j2")
    assert document == {
        "prefix": naming.tenant_prefix(tenant),
        "db": naming.database_name(tenant, "test"),
        "schema": naming.schema_name(tenant, "test"),
        "table": "ac_users",
        "safe": naming.safe_identifier("Acme & Co."),
    }


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("'\\\"%_n0\n"))
def test_sql_literal_is_read_back_by_the_dialect_of_documents(text):
    literal = sqlglot.parse_one(sql_literal(text), dialect="mysql")
    assert isinstance(literal, sqlglot.exp.Literal)
    assert literal.is_string
    assert literal.this == text


@pytest.mark.parametrize("expression", ["config | sql_literal", "'acme' | db_name('main')", "'!' | safe_identifier"])
def test_a_filter_refuses_what_it_is_not_for(render, expression):
    with pytest.raises(TemplateError) as caught:
        render("\nx: {{ " + expression + " }}")
    assert caught.value.details["where"] == "t.j2, line 2"
