"""Values take their places after the YAML is parsed, whatever they hold and wherever the template puts them."""

from __future__ import annotations

import re
from collections import OrderedDict
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

SURROGATE = re.compile("[\ud800-\udfff]")
NASTY = [
    "",
    "007",
    "null",
    "yes",
    "~",
    "1e3",
    "2025-01-01",
    "a: b",
    "- a",
    "a\n  evil: 1\n",
    "\r\n\t \x85\u2028",
    "'",
    '"',
    '\\", evil: "',
    "''",
    "#",
    " # c",
    "{{ tenant }}",
    "{% raw %}",
    "{# c #}",
    "${TENANT_ID}",
    "$${X}",
    "${TABLE_NAME:a}",
    "&a",
    "*a",
    "!!int 3",
    "|",
    ">",
    "%YAML",
    "---",
    "...",
    "@",
    "`",
    "[",
    "]",
    "{",
    "}",
    ",",
    "?",
    "? a",
    "<<",
    "=",
    "<b>&amp;</b>",
    "株式会社テスト",
    "🦀",
    "\ue0000\ue001",
    "\ue000",
    "\ue0019\ue001",
    "\x00",
    "\ud800",
    "\ufeff",
]
VALUES = (
    st.sampled_from(NASTY)
    | st.text(st.characters(exclude_categories=()))
    | st.lists(st.sampled_from(NASTY)).map("".join)
)

EVERYWHERE = """\
{% set v = config.v %}
{% macro same(x) %}{{ x }}{% endmacro %}
{% macro wrap() %}{{ caller() }}{% endmacro %}
{% set captured %}{{ v }}{% endset %}
{% set pattern %}{{ "{}" }}!{% endset %}
# {{ v }}
double: "{{ v }}"
single: '{{ v }}'
plain: {{ v }}
between: a{{ v }}b
twice: "{{ v }}{{ v }}"
flow: [{{ v }}, "{{ v }}", { key: {{ v }}, other: 1 }]
block: |-
  x{{ v }}
folded: >-
  x{{ v }}
  y
list:
  - {{ v }}
plain_key: { {{ v }}: 1 }
quoted_key: { "{{ v }}x": 1 }
in_list: {{ [v, 1] }}
in_map: {{ {v: v} }}
tilde: "{{ 'a' ~ v }}"
plus: {{ 'a' + v }}
percent: "{{ '%s!' % v }}"
format: {{ "{}!".format(v) }}
joined: {{ [v, "a", v] | join(", ") }}
safe: {{ v | safe }}
mixed: {{ "a" | string ~ v }}
macro: {{ same(v) }}
call: {% call wrap() %}{{ v }}{% endcall %}

captured: "{{ captured }}"
of_captured: {{ captured ~ "!" }}
of_macro: {{ same(v) + "!" }}
format_of_captured: {{ pattern.format(v) }}
format_of_json: {{ ("{}" | tojson).format(v) }}
filtered: {% filter replace("no such text", "") %}{{ v }}{% endfilter %}

indented: {% filter indent(4) %}"{{ v }}"{% endfilter %}

recursive: [{% for x in [v, [v]] recursive -%}
  {% if x is string %}{{ x }}{% else %}[{{ loop(x) }}]{% endif %},
{%- endfor %}]
included: {% include "included.j2" %}

block_call: {{ self.b() }}
block_itself: {% block b %}{{ config.v }}{% endblock %}

{% autoescape true %}
escaped: "{{ v }}"
escaped_macro: {{ same(v) }}
{% endautoescape %}
"""


@pytest.fixture(scope="module")
def everywhere(make_engine):
    return make_engine({"t.j2": EVERYWHERE, "included.j2": "{{ config.v }}"})


@settings(deadline=None)  # the first example compiles the template
@given(v=VALUES)
@example(v="a: b\n- c")
def test_any_text_comes_out_as_it_is_and_adds_nothing(everywhere, tenant, v):
    assert everywhere.render_schema(tenant, {"v": v}, "main", "t.j2") == {
        "double": v,
        "single": v,
        "plain": v,
        "between": f"a{v}b",
        "twice": v + v,
        "flow": [v, v, {"key": v, "other": 1}],
        "block": f"x{v}",
        "folded": f"x{v} y",
        "list": [v],
        "plain_key": {v: 1},
        "quoted_key": {f"{v}x": 1},
        "in_list": [v, 1],
        "in_map": {v: v},
        "tilde": f"a{v}",
        "plus": f"a{v}",
        "percent": f"{v}!",
        "format": f"{v}!",
        "joined": f"{v}, a, {v}",
        "safe": v,
        "mixed": f"a{v}",
        "macro": v,
        "call": v,
        "captured": v,
        "of_captured": f"{v}!",
        "of_macro": f"{v}!",
        "format_of_captured": f"{v}!",
        "format_of_json": f'"{v}"',
        "filtered": v,
        "indented": v,
        "recursive": [v, [v]],
        "included": v,
        "block_call": v,
        "block_itself": v,
        "escaped": v,
        "escaped_macro": v,
    }


@settings(deadline=None)
@given(name=VALUES.filter(lambda text: text and not SURROGATE.search(text)))  # pydantic refuses surrogates
def test_every_field_of_a_tenant_comes_out_as_it_is(make_tenant, shipped, name):
    tenant = make_tenant(customer_name=name, tenant_id=name)
    environment = shipped.render_environment(tenant, {})
    assert environment["name"] == name
    assert environment["tenant_info"]["customer_name"] == name
    assert set(environment) == {
        "name",
        "type",
        "base",
        "tenant_info",
        "database_config",
        "isolation_config",
        "name_macros",
    }


@pytest.fixture(scope="module")
def shipped(make_engine):
    return make_engine({})


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "plain", "quoted"),
    [
        (None, None, "null"),
        (True, True, "true"),
        (False, False, "false"),
        (7, 7, "7"),
        (-7, -7, "-7"),
        (0.5, 0.5, "0.5"),
        (1e16, 1e16, "1.0e+16"),
        (1e-7, 1e-7, "1.0e-07"),
        (float("inf"), float("inf"), ".inf"),
        (float("-inf"), float("-inf"), "-.inf"),
        (Decimal("10.50"), 10.5, "10.50"),
        (Decimal("1E+3"), 1000, "1000"),
        (Decimal("Infinity"), float("inf"), ".inf"),
        (Level.HIGH, 3, "3"),
        (Colour.RED, "red", "red"),
        (date(2025, 1, 2), "2025-01-02", "2025-01-02"),
        (datetime(2025, 1, 2, 3, tzinfo=UTC), "2025-01-02T03:00:00+00:00", "2025-01-02T03:00:00+00:00"),
        (UUID(int=1), str(UUID(int=1)), str(UUID(int=1))),
        ([], [], "[]"),
        ((1, "a: b"), [1, "a: b"], '[1, "a: b"]'),
        (OrderedDict(a=[None, date(2025, 1, 2)]), {"a": [None, "2025-01-02"]}, '{"a": [null, "2025-01-02"]}'),
        ({1: Decimal("1.5")}, {1: 1.5}, '{"1": 1.5}'),
    ],
)
def test_a_value_keeps_its_type_where_it_stands_alone_and_is_text_in_quotes(render, value, plain, quoted):
    document = render('plain: {{ config.v }}\nquoted: "{{ config.v }}"\n', v=value)
    assert document == {"plain": plain, "quoted": quoted}
    assert type(document["plain"]) is type(plain)


def test_numbers_are_written_as_text_of_the_document(render):
    assert render("a: -{{ config.n }}\nb: VARCHAR({{ config.n }})\n", n=5) == {"a": -5, "b": "VARCHAR(5)"}


def test_results_are_plain_strings(render):
    document = render(
        "{% macro m() %}{{ 'x' }}{% endmacro %}\na: {{ 'x' | safe }}\nb: {{ m() }}\nc: {{ ['x' | safe] }}\n"
    )
    assert {type(document["a"]), type(document["b"]), type(document["c"][0])} == {str}


def test_a_list_is_copied_into_the_document(render):
    config = [{"a": 1}]
    document = render("{% set twice %}{{ config.v }}{% endset %}\na: {{ twice }}\nb: {{ twice }}\n", v=config)
    document["a"][0]["a"] = 2
    assert document["b"] == config == [{"a": 1}]


def test_json_is_a_structure_alone_and_text_elsewhere(render):
    document = render(
        "a: {{ config.v | tojson }}\nb: '{{ config.v | tojson }}'\nc: {{ config.v | tojson | sql_literal }}\n"
        'd: {{ config.s | tojson }}\ne: "x{{ config.s | tojson }}"\nf: "{{ config.v | tojson(2) }}"\n',
        v={"k": "it's"},
        s='"',
    )
    assert document == {
        "a": {"k": "it's"},
        "b": '{"k": "it\'s"}',
        "c": "'{\"k\": \"it''s\"}'",
        "d": '"',
        "e": 'x"\\""',
        "f": '{\n  "k": "it\'s"\n}',
    }


def test_what_a_template_captures_is_a_string_in_expressions(render):
    document = render(
        "{% set p %}{{ config.a }}_x{% endset %}\n"
        "upper: {{ p | upper }}\nlength: {{ p | length }}\nequal: {{ p == 'v_x' }}\nin: {{ p in ['v_x'] }}\n"
        "identifier: {{ p | safe_identifier }}\nnamed: {{ tenant | db_name(p) }}\n",
        a="v",
    )
    assert document == {
        "upper": "V_X",
        "length": 3,
        "equal": True,
        "in": True,
        "identifier": "v_x",
        "named": "acme_asia_v_x",
    }


def test_macros_blocks_and_captures_may_write_structure(render):
    document = render(
        "{% macro column(name) %}\n- name: {{ name }}\n  type: TEXT\n{% endmacro %}\n"
        "{% macro columns() %}\n{{ column('a') }}{{ caller() }}\n{% endmacro %}\n"
        "columns:\n  {{ column(config.v) | indent(2) }}\n"
        "more:\n{% filter trim | indent(2, true) %}\n"
        "{% call columns() %}\n{{ column(config.v) }}{% endcall %}\n{% endfilter %}\n",
        v="x: y",
    )
    x, a = {"name": "x: y", "type": "TEXT"}, {"name": "a", "type": "TEXT"}
    assert document == {"columns": [x], "more": [a, x]}


def test_text_of_a_value_cannot_reach_the_document_through_a_layout_filter(render):
    assert render("a: {{ config.v | indent(2) }}\nb: {{ config.v | trim }}\n", v=" x\ny: 1 ") == {
        "a": " x\n  y: 1 ",
        "b": "x\ny: 1",
    }


def test_imported_macros_and_captures_bind_to_the_rendering_under_way(make_engine, make_tenant):
    engine = make_engine(
        {
            "t.j2": '{% import "m.j2" as m %}{% from "n.j2" import same with context %}\n'
            "a: {{ m.same(tenant.tenant_id) }}\nb: {{ same(tenant.region) }}\nc: {{ m.kept }}\nd: {{ m.kept ~ '!' }}\n",
            "n.j2": "{% macro same(x) %}{{ x }}{% endmacro %}\n",
            "m.j2": "{% macro same(x) %}{{ x }}{% endmacro %}\n{% set kept %}{{ 'kept' }}-{{ 'too' }}{% endset %}\n",
        }
    )
    for tenant_id in ("one", "two"):
        document = engine.render_schema(make_tenant(tenant_id=tenant_id), {}, "main", "t.j2")
        assert document == {"a": tenant_id, "b": "asia", "c": "kept-too", "d": "kept-too!"}


def test_inheritance(render):
    document = render(
        '{% extends "base.j2" %}{% block body %}{{ super() }}b: {{ config.v }}\n{% endblock %}',
        {"base.j2": "{% block body %}\na: {{ config.v }}\n{% endblock %}\nc: {{ config.v }}\n"},
        v="x: y",
    )
    assert document == {"a": "x: y", "b": "x: y", "c": "x: y"}


def test_an_if_expression_without_else_writes_nothing(render):
    assert render("a: x{{ 'y' if false }}\n{{ config.v if false }}\n") == {"a": "x"}
