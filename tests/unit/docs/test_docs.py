"""The documentation says what the code does, as far as a test can tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from sqlalchemy.dialects import postgresql

from dbgear_airflow_provider.core import (
    CSVTenantProvider,
    MacroProcessor,
    TenantInfo,
    TenantQuery,
    TenantTemplateEngine,
    load_project,
)
from dbgear_airflow_provider.core.fleet.tables import (
    migration_scripts,
    operations,
    rollout_members,
    rollouts,
    tenant_instances,
)
from dbgear_airflow_provider.core.migrations import RULES
from dbgear_airflow_provider.core.migrations.macros import INSTANCE_MACROS
from dbgear_airflow_provider.core.rollout import windows_of
from dbgear_airflow_provider.core.rollout.stages import Reason
from dbgear_airflow_provider.core.schema import Namespace, SchemaDocument, build_metadata
from dbgear_airflow_provider.core.schema.types import parse_type
from dbgear_airflow_provider.core.settings import ProjectSettings, RolloutSettings, check_section
from dbgear_airflow_provider.core.templating.filters import FILTERS
from dbgear_airflow_provider.core.tenants.fields import closed_set

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PAGE_IDS = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MAX_IMAGE_BYTES = 300_000


@lru_cache
def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text(name)) if kind == language]


def headings(page: str) -> list[str]:
    return re.findall(r"^#+ .*$", FENCE.sub("", page), re.MULTILINE)


def rows(name: str, heading: str | None = None) -> list[list[str]]:
    """Return the cells of the tables below a heading, those without a code word in the first cell left out."""
    page = text(name)
    if heading is not None:
        (page,) = re.findall(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", page, re.DOTALL | re.MULTILINE)
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def word(cell: str) -> str:
    return cell.split("`")[1]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lstrip("# ").lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_links_and_images_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        path, _, fragment = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if fragment:
            assert fragment in {anchor(heading) for heading in headings(target.read_text(encoding="utf-8"))}, link


@pytest.mark.parametrize("page", PAGES, ids=PAGE_IDS)
def test_fences_are_closed(page: Path) -> None:
    assert len(re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.MULTILINE)) % 2 == 0


def test_every_page_is_in_the_index_and_every_image_is_used() -> None:
    docs = ROOT / "docs"
    linked = {(docs / link.partition("#")[0]).resolve() for link in LINK.findall(text("docs/index.md"))}
    assert {page for page in docs.rglob("*.md") if page.name != "index.md"} <= linked
    shown = {link for page in PAGES for link in LINK.findall(page.read_text(encoding="utf-8"))}
    for image in (docs / "images").iterdir():
        assert image.stat().st_size < MAX_IMAGE_BYTES
        assert f"docs/images/{image.name}" in shown


def test_the_japanese_readme_has_the_same_headings_code_images_and_links() -> None:
    english, japanese = text("README.md"), text("README.ja.md")
    levels = [[heading.split()[0] for heading in headings(page)] for page in (english, japanese)]
    assert levels[0] == levels[1]
    assert FENCE.findall(english) == FENCE.findall(japanese)
    assert sorted(LINK.findall(english)) == sorted(LINK.findall(japanese))


def sections(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield (what stands between its key and its own keys, section) of each section in an annotation."""
    origin = get_origin(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
    elif origin is dict:
        yield from ((".<name>" + more, section) for more, section in sections(get_args(annotation)[1]))
    elif origin is list:
        yield from (("[]" + more, section) for more, section in sections(get_args(annotation)[0]))
    elif origin in (Union, UnionType) or hasattr(annotation, "__metadata__"):
        for argument in get_args(annotation):
            yield from sections(argument)


def keys(
    model: type[BaseModel], prefix: str = "", seen: set[type[BaseModel]] | None = None
) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, field) of all keys of a section and the sections in it; a section's own keys once."""
    seen = set() if seen is None else seen
    for name, field in model.model_fields.items():
        yield prefix + (field.alias or name), field
        for between, section in sections(field.annotation):
            if section not in seen:
                seen.add(section)
                yield from keys(section, f"{prefix}{name}{between}.", seen)


def test_every_key_of_the_project_file_is_told() -> None:
    told = [word(row[0]) for row in rows("docs/project-file.md", "Keys")]
    assert sorted(told) == sorted(key for key, _ in keys(ProjectSettings))


def test_the_defaults_of_the_project_file_are_told() -> None:
    told = {word(row[0]): row[2] for row in rows("docs/project-file.md", "Keys")}
    for key, field in keys(ProjectSettings):
        if field.is_required():
            assert told[key] == "required", key
        elif isinstance(field.default, bool | int | float) or (isinstance(field.default, str) and field.default):
            assert told[key].strip("`") == (
                json.dumps(field.default) if not isinstance(field.default, str) else field.default
            ), key
        else:
            assert told[key] != "required", key


def test_the_ranges_of_the_project_file_are_told() -> None:
    told = {word(row[0]): row[1] for row in rows("docs/project-file.md", "Keys")}
    for key, field in keys(ProjectSettings):
        match [getattr(rule, name) for name in ("ge", "le") for rule in field.metadata if hasattr(rule, name)]:
            case [least, most]:
                assert f"{least} to {most}" in told[key], key
            case [least]:
                assert f"{least} or more" in told[key], key


def test_the_smallest_project_file_loads(tmp_path: Path) -> None:
    (block,) = blocks("docs/project-file.md", "yaml")
    path = tmp_path / "project.yaml"
    path.write_text(block)
    assert set(load_project(path).multi_tenant.targets) == {"main"}


def test_every_column_of_the_tenant_list_is_told() -> None:
    told = {word(row[0]): row for row in rows("docs/tenant-list.md", "Columns")}
    assert list(told) == list(TenantInfo.model_fields)
    for name, field in TenantInfo.model_fields.items():
        assert told[name][1] == ("yes" if field.is_required() else "no"), name
        for value in closed_set(name):
            assert f"`{value}`" in told[name][2], name


@pytest.mark.parametrize("query", blocks("docs/query-language.md", "sql")[0].strip().splitlines())
def test_queries_are_queries(query: str) -> None:
    TenantQuery.parse(query)


@pytest.mark.parametrize("row", rows("docs/schema-documents.md", "Types on PostgreSQL"), ids=lambda row: row[0])
def test_types_become_what_is_told(row: list[str]) -> None:
    kind, _ = parse_type(word(row[0]))
    assert kind.compile(dialect=postgresql.dialect()) == word(row[1])


@pytest.mark.parametrize("block", blocks("docs/schema-documents.md", "yaml"))
def test_schema_documents_are_valid(block: str) -> None:
    document = SchemaDocument.load(yaml.safe_load(block), where="docs")
    assert list(document.unknown_keys()) == []
    assert build_metadata(document, {"main": Namespace("main")}).tables


def test_every_filter_and_shipped_template_is_told() -> None:
    told = {re.findall(r"\| (\w+)", word(row[0]))[0] for row in rows("docs/templates.md", "Filters")}
    jinjas_own = {"indent", "trim"}  # changed inside, the same outside
    assert told == set(FILTERS) - jinjas_own
    assert {word(row[0]) for row in rows("docs/templates.md")} >= {path.name for path in ROOT.glob("templates/*.j2")}


async def test_the_template_of_the_documentation_renders(tmp_path: Path) -> None:
    (block,) = blocks("docs/templates.md", "jinja")
    (tmp_path / "example.j2").write_text(block)
    registry = CSVTenantProvider(ROOT / "include" / "registry" / "tenants.csv")
    tenant = (await registry.get_tenant("T0002")).model_copy(update={"customer_name": "a: {{ b }}\n'${X}\", c: d"})
    document = TenantTemplateEngine(tmp_path, registry).render_schema(tenant, {}, template="example.j2")
    tables = document["schemas"]["hoshino_japan_main"]["tables"]
    assert tables["settings"]["displayName"] == tenant.customer_name
    assert tables["settings"]["columns"][1]["defaultValue"] == "'T0002'"


async def test_the_macros_of_the_documentation_are_known() -> None:
    tenant = await CSVTenantProvider(ROOT / "include" / "registry" / "tenants.csv").get_tenant("T0002")
    macros = MacroProcessor.for_tenant(tenant, "main")
    found = [macro for row in rows("docs/templates.md", "Macros") for macro in re.findall(r"`(\$\{.*?\})`", row[0])]
    assert len(found) > len(macros.macro_functions)
    for macro in found:
        assert "$" not in macros.process_string(macro)
    told = {re.findall(r"\w+", macro)[0].lower() for macro in found}
    assert told == {*macros.context, *macros.macro_functions}


def test_the_settings_of_the_page_on_rollouts_are_valid() -> None:
    project, tenant = blocks("docs/rollouts.md", "yaml")
    rollout = check_section(RolloutSettings, yaml.safe_load(project)["multi_tenant"]["rollout"], "docs")
    assert len(rollout.stages) == 4
    assert len(windows_of("T1", yaml.safe_load(tenant), [])) == 2


def test_the_reasons_to_be_left_out_are_told() -> None:
    assert [word(row[0]) for row in rows("docs/rollouts.md", "Who is left out")] == list(get_args(Reason))


@pytest.mark.parametrize(
    "table",
    [operations, tenant_instances, migration_scripts, rollouts, rollout_members],
    ids=lambda table: table.name,
)
def test_every_column_of_the_fleet_store_is_told(table: Any) -> None:
    assert [word(row[0]) for row in rows("docs/fleet-store.md", table.name)] == [column.name for column in table.c]


@pytest.mark.parametrize(
    "module",
    [
        *("list_tenants", "render", "provision", "summarize", "drift", "plan", "sync", "synced_tenants"),
        *("rollout", "rollout_batches", "migrate", "rollout_gate", "rollout_approval", "rollout_report", "rollback"),
    ],
)
def test_every_parameter_of_the_operators_is_told(module: str) -> None:
    name = "".join(part.capitalize() for part in module.split("_"))
    source = (ROOT / "dbgear_airflow_provider" / "operators" / f"{module}.py").read_text()
    (signature,) = re.findall(r"def __init__\(\s*self,\s*\*,(.*?)\*\*kwargs", source, re.DOTALL)
    fields = "".join(re.findall(r"template_fields: Sequence\[str\] = \((.*?)\)", source, re.DOTALL))
    parameters = re.findall(r"(\w+): ", signature)
    told = {word(row[0]): row[0].endswith("*") for row in rows("docs/operators.md", f"Dbgear{name}Operator")}
    assert sorted(told) == sorted(parameters)
    assert {name for name, is_template in told.items() if is_template} == set(re.findall(r'"(\w+)"', fields))


@pytest.mark.parametrize(
    ("dag", "page"),
    [("tenant_provision", "provisioning"), ("tenant_drift_check", "drift"), ("tenant_deploy_schema", "rollouts")],
)
def test_the_parameters_of_the_dag_are_told(dag: str, page: str) -> None:
    params = re.findall(r'^ +"(\w+)": (?:Param|\w+_param)\(', text(f"dags/{dag}.py"), re.MULTILINE)
    assert [word(row[0]) for row in rows(f"docs/{page}.md", f"The DAG {dag}")] == params


def test_the_example_of_the_operators_is_a_dag() -> None:
    (block,) = blocks("docs/operators.md", "python")
    names: dict[str, Any] = {}
    exec(compile(block, "operators.md", "exec"), names)  # noqa: S102
    dag = names["tenants"].dag
    assert {task.task_id for task in dag.tasks} == {"list_tenants", "render", "provision", "summarize"}
    assert names["summary"].upstream_task_ids == {"render", "provision"}


def test_every_lint_rule_is_told() -> None:
    told = {word(row[0]): row[1:] for row in rows("docs/migrations.md", "Lint")}
    assert told == {name: [rule.engines, rule.severity, rule.text] for name, rule in RULES.items()}


def test_every_macro_of_scripts_is_told() -> None:
    told = [word(row[0]) for row in rows("docs/migrations.md", "Macros")]
    assert told == [f"${{{name}}}" for name in INSTANCE_MACROS]


def test_the_script_of_the_documentation_passes_lint_and_its_manifest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (script,) = blocks("docs/migrations.md", "sql")
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "v1_plans.sql").write_text(script)
    monkeypatch.chdir(tmp_path)
    exec(compile("".join(blocks("docs/migrations.md", "python")), "migrations.md", "exec"), {})  # noqa: S102
    assert (tmp_path / "migrations" / "checksums.txt").read_text().endswith("  v1_plans.sql\n")
    (told,) = capsys.readouterr().out.splitlines()
    assert " allowed ban-drop-table " in told


def test_the_files_that_architecture_names_exist() -> None:
    package = ROOT / "dbgear_airflow_provider"
    for cells in re.findall(r"^\| .* \| (`.*) \|$", text("docs/architecture.md"), re.MULTILINE):
        folder = ""
        for path in re.findall(r"`([\w/]+\.py)`", cells):
            folder = path.rpartition("/")[0] or folder
            assert (package / folder / path.rpartition("/")[2]).exists(), path
