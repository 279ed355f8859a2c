from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from dbgear_airflow_provider.core.errors import TemplateError, TenantNotFoundError
from dbgear_airflow_provider.core.templating import TenantTemplateEngine, documents, engine

# The examples of the multi-tenant design, section "テンプレート例".
SPEC_ENVIRONMENT = """\
name: "{{ tenant.tenant_id }}"
type: "tenant"
base: "{{ tenant.tier }}_base"

tenant_info:
  tenant_id: "{{ tenant.tenant_id }}"
  customer_name: "{{ tenant.customer_name }}"
  customer_code: "{{ tenant.customer_code }}"
  region: "{{ tenant.region }}"
  tier: "{{ tenant.tier }}"

# データベース設定
database_config:
{% for instance in tenant.instances %}
  {{ instance }}:
    database_name: "{{ tenant | tenant_prefix }}_{{ instance }}"
    schema_name: "{{ instance }}"
{% endfor %}

# 分離設定
isolation_config:
  strategy: "{{ tenant.isolation_strategy }}"
  naming_pattern: "{{ tenant | tenant_prefix }}_{instance}"

# マクロ定義
name_macros:
  database_prefix: "{{ tenant | tenant_prefix }}"
  table_prefix: "{{ tenant.table_prefix or '' }}"
"""
SPEC_SCHEMA = """\
schemas:
  {{ tenant | tenant_prefix }}_main:
    tables:
      {{ tenant | table_name('users') }}:
        columns:
          - column_name: "id"
            column_type: "INT AUTO_INCREMENT"
            primary_key: true
          - column_name: "tenant_id"
            column_type: "VARCHAR(50)"
            nullable: false
            default_value: "'{{ tenant.tenant_id }}'"
          - column_name: "username"
            column_type: "VARCHAR(255)"
            nullable: false

        indexes:
          - index_name: "idx_tenant_id"
            columns: ["tenant_id"]
"""


async def test_the_designs_own_templates(tmp_path, make_tenant, registry):
    (tmp_path / "environment.j2").write_text(SPEC_ENVIRONMENT)
    (tmp_path / "schema.j2").write_text(SPEC_SCHEMA)
    tenant = make_tenant(customer_name='Say "hi": 株式会社\n', table_prefix="ac_", instances=["main", "test"])
    templates = TenantTemplateEngine(str(tmp_path), registry(tenant))
    assert await templates.generate_environment_config("T001") == {
        "name": "T001",
        "type": "tenant",
        "base": "premium_base",
        "tenant_info": {
            "tenant_id": "T001",
            "customer_name": 'Say "hi": 株式会社\n',
            "customer_code": "acme",
            "region": "asia",
            "tier": "premium",
        },
        "database_config": {
            "main": {"database_name": "acme_asia_main", "schema_name": "main"},
            "test": {"database_name": "acme_asia_test", "schema_name": "test"},
        },
        "isolation_config": {"strategy": "database", "naming_pattern": "acme_asia_{instance}"},
        "name_macros": {"database_prefix": "acme_asia", "table_prefix": "ac_"},
    }
    document = await templates.generate_schema_document("T001")
    table = document["schemas"]["acme_asia_main"]["tables"]["ac_users"]
    assert [column["column_name"] for column in table["columns"]] == ["id", "tenant_id", "username"]
    assert table["columns"][1]["default_value"] == "'T001'"


async def test_an_unknown_tenant(registry):
    templates = TenantTemplateEngine(None, registry())
    with pytest.raises(TenantNotFoundError):
        await templates.generate_environment_config("T404")
    with pytest.raises(TenantNotFoundError):
        await templates.generate_schema_document("T404")


async def test_the_context(tmp_path, make_tenant, registry):
    (tmp_path / "t.j2").write_text("a: {{ config.a }}\nb: {{ instance }}\nc: {{ instances }}\n")
    tenant = make_tenant(instances=["main", "test"])
    templates = TenantTemplateEngine(tmp_path, registry(tenant, config={"a": [1]}))
    document = await templates.generate_schema_document("T001", "test", "t.j2")
    assert document == {"a": [1], "b": "test", "c": ["main", "test"]}


def test_a_project_overrides_single_templates(make_engine, tenant):
    templates = make_engine({"schema.j2": "{% include 'environment.j2' %}\nmine: true\n"})
    document = templates.render_schema(tenant, {})
    assert document["mine"] is True
    assert document["name"] == "T001"


@pytest.mark.parametrize("cache_enabled", [True, False])
def test_a_changed_template_is_noticed(tmp_path, tenant, cache_enabled):
    path = tmp_path / "t.j2"
    templates = TenantTemplateEngine(tmp_path, None, cache_enabled)
    for second, source in enumerate(["a: 1", "a: 2"]):
        path.write_text(source)
        os.utime(path, (second, second))
        assert templates.render_schema(tenant, {}, "main", "t.j2") == {"a": second + 1}


@pytest.mark.parametrize(("cache_enabled", "parses"), [(True, 1), (False, 50)])
def test_a_text_is_parsed_once_for_tenants_of_one_shape(tmp_path, make_tenant, monkeypatch, cache_enabled, parses):
    texts = []

    def counted(text):
        texts.append(text)
        return documents.parse(text)

    monkeypatch.setattr(engine, "parse", counted)
    (tmp_path / "t.j2").write_text('"{{ tenant.tenant_id }}": { a: [{{ tenant.customer_name }}] }\n')
    templates = TenantTemplateEngine(tmp_path, None, cache_enabled)
    for n in range(50):
        document = templates.render_schema(make_tenant(tenant_id=f"T{n}", customer_name=f"- {n}"), {}, "main", "t.j2")
        assert document == {f"T{n}": {"a": [f"- {n}"]}}
        document[f"T{n}"]["a"].append("a caller's change")
    assert len(texts) == parses


def test_threads_do_not_mix_their_tenants(make_engine, make_tenant):
    source = "{% macro m(x) %}{{ x }}{% endmacro %}\n[{% for i in range(20) %}{{ m(tenant.tenant_id) }}, {% endfor %}]"
    templates = make_engine({"t.j2": source.replace("[", "ids: [")})
    tenants = [make_tenant(tenant_id=f"T{n}") for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        rendered = pool.map(lambda tenant: templates.render_schema(tenant, {}, "main", "t.j2"), tenants)
        assert list(rendered) == [{"ids": [tenant.tenant_id] * 20} for tenant in tenants]


# -- errors


@pytest.mark.parametrize(
    ("source", "where", "problem"),
    [
        ("a: 1\nb: {{ nope }}", "t.j2, line 2", "'nope' is undefined"),
        ("a: {{ [nope] }}", "t.j2, line 1", "'nope' is undefined"),
        ("a: {{ tenant.nope }}", "t.j2, line 1", "has no attribute 'nope'"),
        ("a: {{ config.nope }}", "t.j2, line 1", "has no attribute 'nope'"),
        ("a: {{ tenant | db_name(nope) }}", "t.j2, line 1", "'nope' is undefined"),
        ("a: {{ 1 / 0 }}", "t.j2, line 1", "division by zero"),
        ("a: {{ tenant }}", "t.j2, line 1", "a TenantInfo cannot be written"),
        ("{% macro m() %}{{ m() }}{% endmacro %}a: {{ m() }}", "t.j2, line 1", "recursion"),
        ("a: {{ [config.nan] }}", "t.j2, line 1", "JSON"),
        ("\n\n{% for %}", "t.j2, line 3", "Expected an expression"),
        ("\n{{ 1 | nope }}", "t.j2, line 2", "No filter named 'nope'"),
        ("\n{{ lipsum() }}", "t.j2, line 2", "'lipsum' is undefined"),
        ("a: 1\nb: \ue0000\ue001", "t.j2, line 2", "reserved"),
        ('a: "\\ue0000\\ue001"', "t.j2", "reserved"),
        ("a: 1\n\n{% include 'bad.j2' %}", "bad.j2, line 2", "unknown tag 'endif'"),
        ("a: 1\n{% include 'undefined.j2' %}", "undefined.j2, line 1", "'nope' is undefined"),
        ("a: 1\n{% import 'sub/m.j2' as m %}\n{{ m.fails() }}", "sub/m.j2, line 2", "'nope' is undefined"),
        # the sandbox
        ("a: {{ ''.__class__.__mro__ }}", "t.j2, line 1", "unsafe"),
        ("a: {{ tenant.__class__ }}", "t.j2, line 1", "unsafe"),
        ("a: {{ tenant | attr('__class__') }}", "t.j2, line 1", "unsafe"),
        ("a: {{ tenant['__class__'] }}", "t.j2, line 1", "unsafe"),
        ("a: {{ tenant.parse_file('/etc/passwd') }}", "t.j2, line 1", "unsafe"),
        ("a: {{ tenant.model_dump() }}", "t.j2, line 1", "unsafe"),
        ("a: {{ '{0.__class__}'.format(tenant) }}", "t.j2, line 1", "unsafe"),
        ("a: {{ tenant.instances.append('x') }}", "t.j2, line 1", "unsafe"),
        ("a: {{ config.update({}) }}", "t.j2, line 1", "unsafe"),
        ("{% set p %}x{% endset %}a: {{ p.binding.values }}", "t.j2, line 1", "unsafe"),
        ("a: {{ ([] | tojson).value }}", "t.j2, line 1", "unsafe"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "t.j2, line 1", "Range too big"),
        ("a: {% for i in range(99999) %}[{% endfor %}", "t.j2, rendered line 1", "nesting"),
        # what a template renders
        ("- a", "t.j2", "renders a list, not a mapping"),
        ("", "t.j2", "renders a NoneType, not a mapping"),
        ("a: 1\na: 2", "t.j2, rendered line 2", "the key 'a' is there twice"),
        ("{{ 'a' }}: 1\n{{ 'a' }}: 2", "t.j2", "two keys of one mapping become 'a'"),
        ("a: &x { b: *x }", "t.j2", "holds itself"),
        ("{{ [1] }}: 1", "t.j2", "where a key is expected"),
        ("? [a]\n: 1", "t.j2, rendered line 1", "unhashable"),
        ("a: 2025-99-99", "t.j2", "month must be in"),
        ("a: !!int x", "t.j2", "invalid literal"),
        ("a: !!python/object:os.system x", "t.j2, rendered line 1", "python/object"),
        ("a: !!set { b }", "t.j2, rendered line 1", "tag"),
        ("a: !<tag:dbgear,2025:value> x", "t.j2, rendered line 1", "the loader's own"),
        ("a: 1\n---\nb: 2", "t.j2, rendered line 2", "single document"),
        ("a: \x07", "t.j2", "control characters"),
    ],
)
def test_errors_say_where(make_engine, tenant, source, where, problem):
    templates = make_engine(
        {
            "t.j2": source,
            "bad.j2": "\n{% endif %}",
            "undefined.j2": "{{ nope }}",
            "sub/m.j2": "{% macro fails() %}\n{{ nope }}\n{% endmacro %}",
        }
    )
    with pytest.raises(TemplateError) as caught:
        templates.render_schema(tenant, {"nan": float("nan")}, "main", "t.j2")
    assert caught.value.details["where"] == where
    assert problem in caught.value.details["problem"]


def test_a_missing_template_lists_those_that_exist(make_engine, tenant):
    templates = make_engine({"t.j2": "\n{% include 'nope.j2' %}", "mine.j2": ""})
    with pytest.raises(TemplateError) as caught:
        templates.render_schema(tenant, {}, "main", "nope.j2")
    assert caught.value.details["where"] == "nope.j2"
    assert {"mine.j2", "schema.j2", "environment.j2"} <= set(caught.value.details["allowed"])
    with pytest.raises(TemplateError, match=r"t\.j2, line 2: there is no template 'nope\.j2'"):
        templates.render_schema(tenant, {}, "main", "t.j2")


@pytest.mark.parametrize("name", ["../secret.j2", "/etc/passwd", "sub/../../secret.j2"])
def test_a_template_outside_the_folder_is_not_found(tmp_path, tenant, name):
    (tmp_path / "secret.j2").write_text("a: 1")
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "t.j2").write_text("{% include config.name %}")
    with pytest.raises(TemplateError, match="there is no template"):
        TenantTemplateEngine(folder, None).render_schema(tenant, {"name": name}, "main", "t.j2")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(TemplateError, match="no such folder"):
        TenantTemplateEngine(tmp_path / "nope", None)


def test_invalid_yaml_is_shown_without_values(render):
    with pytest.raises(TemplateError) as caught:
        render("a: 1\nb: {{ config.secret }}\nc: {{ config.secret }}: d\ne: 2\n", secret="hunter2")
    assert caught.value.details["where"] == "t.j2, rendered line 3"
    assert "> 3 | c: <value 1>: d" in str(caught.value).replace(">    3", "> 3")
    assert "hunter2" not in str(caught.value)


def test_a_key_may_override_a_merged_one(render):
    assert render("a: &x { k: 1, l: 2 }\nb: { <<: *x, k: {{ 'v' }} }\n")["b"] == {"k": "v", "l": 2}
