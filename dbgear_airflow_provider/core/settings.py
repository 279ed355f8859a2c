"""The project file, `project.yaml`: what is configured for a fleet, in one place.

`${NAME}` in a value is replaced by the environment variable NAME, `${NAME:-default}` by the default where it is
not set, `$${` stands for `${`. Values are put into the parsed YAML, never into its text: a password with a colon
or a quote stays a password.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from .errors import DbgearError, QueryError, SettingsError
from .tenants import TenantInfo, TenantQuery

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<wrong>\$\{)")
_VARIABLE_FORMS = ("${NAME}", "${NAME:-default}", "$${ for ${")
_SAFE_NAME = r"^[a-z][a-z0-9_]*$"

Keys = tuple[str, ...]  # where a value stands: ("multi_tenant", "targets", "main")
NonEmpty = Annotated[str, Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CsvRegistrySettings(_Section):
    """A CSV file of tenants. Paths are absolute once loaded."""

    path: Path
    config_dir: Path | None = None
    watch_changes: bool = True


class RegistryConfig(_Section):
    """The settings of each kind of registry; the one that `provider` names is used."""

    csv: CsvRegistrySettings | None = None


class RegistrySettings(_Section):
    """Where the list of tenants comes from: an Airflow connection, or the section of `config` that provider names.

    Without Airflow there are no connections: the core on its own needs the section.
    """

    provider: Literal["csv"] = "csv"
    connection_id: NonEmpty | None = None
    config: RegistryConfig = RegistryConfig()

    @model_validator(mode="after")
    def _has_a_source(self) -> RegistrySettings:
        if self.connection_id is None and getattr(self.config, self.provider) is None:
            raise ValueError(f"neither connection_id nor config.{self.provider} is given")
        return self


class TargetSettings(_Section):
    """A server that holds tenants. connection_id names the Airflow connection with its address and password.

    max_connections: sessions that one worker process opens on this server at the most.
    """

    connection_id: NonEmpty
    max_connections: Annotated[int, Field(ge=1, le=1000)] = 8


class _Selection(_Section):
    query: str | None = None

    @field_validator("query")
    @classmethod
    def _parses(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                _parsed(value)
            except QueryError as error:
                # What was received stays out: the query may hold a value of the environment.
                told = {key: error.details[key] for key in ("where", "problem", "allowed")}
                raise PydanticCustomError("query", "{where}: {problem}", told) from None
        return value

    def selects(self, tenant: TenantInfo) -> bool:
        """Tell whether the tenant matches; without a query every tenant does."""
        return self.query is None or _parsed(self.query).matches(tenant)


@lru_cache(maxsize=256)
def _parsed(query: str) -> TenantQuery:
    # Every tenant of the fleet is asked of every rule.
    return TenantQuery.parse(query)


class PlacementRule(_Selection):
    """Tenants that match `query` live on `target`; without a query, all that no earlier rule took."""

    target: str


class SchemaTemplate(_Selection):
    """A schema template and the tenants that it is for."""

    name: str
    file: NonEmpty


class TemplateSettings(_Section):
    """Templates. base_dir is absolute once loaded; None means the templates shipped with the provider."""

    base_dir: Path | None = None
    environment: str = "environment.j2"
    schema_templates: Annotated[list[SchemaTemplate], Field(min_length=1)] = [
        SchemaTemplate(name="schema", file="schema.j2")
    ]


class AutomationSettings(_Section):
    """Limits of bulk operations.

    max_parallel_operations: tenants that one process works on at once, at the most.
    operation_timeout: seconds for one tenant, retries included.
    retry_attempts: tries of one tenant on transient errors, the first included.
    max_mapped_tasks: batches that one DAG run is cut into, at the most.
    tenants_in_flight: tenants that one batch task works on at once, and the pool slots that it takes.
    """

    max_parallel_operations: Annotated[int, Field(ge=1, le=1000)] = 20
    operation_timeout: Annotated[float, Field(gt=0)] = 300
    retry_attempts: Annotated[int, Field(ge=1, le=20)] = 3
    max_mapped_tasks: Annotated[int, Field(ge=1, le=1000)] = 100
    tenants_in_flight: Annotated[int, Field(ge=1, le=100)] = 2


class MonitoringSettings(_Section):
    """What is told about the fleet, and where."""

    enabled: bool = True
    metrics_endpoint: str = "/metrics"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class MultiTenantSettings(_Section):
    """The section `multi_tenant`."""

    enabled: bool = True
    scale: str = "standard"
    tenant_registry: RegistrySettings
    targets: Annotated[dict[Annotated[str, Field(pattern=_SAFE_NAME)], TargetSettings], Field(min_length=1)]
    placement: list[PlacementRule] = []
    templates: TemplateSettings = TemplateSettings()
    automation: AutomationSettings = AutomationSettings()
    monitoring: MonitoringSettings = MonitoringSettings()

    @field_validator("placement")
    @classmethod
    def _placed_on_targets(cls, rules: list[PlacementRule], info: Any) -> list[PlacementRule]:
        targets = info.data.get("targets", {})
        for index, rule in enumerate(rules):
            if targets and rule.target not in targets:
                told = {"field": (str(index), "target"), "allowed": list(targets)}
                raise PydanticCustomError("target", "no such target", told)
        return rules

    def target(self, name: str) -> TargetSettings:
        """Return the settings of a target. Raises SettingsError where there is none of that name."""
        if name not in self.targets:
            raise SettingsError(
                "no such target", where="multi_tenant.targets", received=name, allowed=list(self.targets)
            )
        return self.targets[name]

    def target_of(self, tenant: TenantInfo) -> str:
        """Return the name of the tenant's target: the first rule that matches, else the only target there is.

        Raises SettingsError where several targets exist and no rule matches.
        """
        for rule in self.placement:
            if rule.selects(tenant):
                return rule.target
        if len(self.targets) == 1:
            return next(iter(self.targets))
        raise SettingsError(
            "no placement rule matches the tenant",
            where="multi_tenant.placement",
            received=tenant.tenant_id,
            allowed="a last rule without a query takes every tenant that is left",
        )

    def schema_template_of(self, tenant: TenantInfo) -> SchemaTemplate:
        """Return the first schema template whose query matches. Raises SettingsError where none does."""
        for template in self.templates.schema_templates:
            if template.selects(tenant):
                return template
        raise SettingsError(
            "no schema template matches the tenant",
            where="multi_tenant.templates.schema_templates",
            received=tenant.tenant_id,
            allowed="a last template without a query takes every tenant that is left",
        )


class ProjectSettings(BaseModel):
    """A whole project.yaml. Keys of DBGear that are not ours are ignored, as DBGear does."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    project_name: str = "dbgear"
    description: str = ""
    multi_tenant: MultiTenantSettings


def load_project(path: str | Path, environ: Mapping[str, str] = os.environ) -> ProjectSettings:
    """Read a project file. Relative paths in it are relative to its folder.

    Raises SettingsError that names file, line and field.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.safe_load(text)
    except RecursionError:
        raise SettingsError("nested too deeply", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot be read: {error}", where=str(path)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise SettingsError(f"no valid YAML: {getattr(error, 'problem', error)}", where=place) from error
    if not isinstance(tree, dict):
        raise SettingsError("not a mapping", where=str(path), allowed="project_name, multi_tenant, ...")

    try:
        lines = dict(_lines(yaml.compose(text), path))
        where = partial(_where, path, lines)
        ours = {key: value for key, value in tree.items() if key in ProjectSettings.model_fields}
        project = ProjectSettings.model_validate(_expand(ours, (), environ, where))
    except RecursionError:
        raise SettingsError("an anchor holds itself, or it is nested too deeply", where=str(path)) from None
    except ValidationError as error:
        raise _settings_error(error, where, tree) from None
    return _absolute(project, path.resolve().parent)


def _lines(node: yaml.Node | None, path: Path, field: Keys = ()) -> Iterator[tuple[Keys, int]]:
    """Yield (field, line) for every node of the file, lines counted from 1. Raises where a key is there twice."""
    if node is None:
        return
    yield field, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            inner, line = (*field, str(key.value)), key.start_mark.line + 1
            if inner[-1] in seen:
                place = f"{path}, line {line}, {'.'.join(inner)}"
                raise SettingsError("the key is there twice", where=place, allowed=f"line {seen[inner[-1]]} has it")
            seen[inner[-1]] = line
            if not isinstance(value, yaml.ScalarNode):
                yield from _lines(value, path, inner)
            yield inner, line  # after its value, which may begin on a later line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, path, (*field, str(index)))


def _where(path: Path, lines: Mapping[Keys, int], field: Keys) -> str:
    known = field
    while known not in lines:
        known = known[:-1]
    return f"{path}, line {lines[known]}, {'.'.join(field) or 'top'}"


def _expand(node: Any, field: Keys, environ: Mapping[str, str], where: Callable[[Keys], str]) -> Any:
    if isinstance(node, dict):
        return {key: _expand(value, (*field, str(key)), environ, where) for key, value in node.items()}
    if isinstance(node, list):
        return [_expand(value, (*field, str(index)), environ, where) for index, value in enumerate(node)]
    if not isinstance(node, str):
        return node

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if match["wrong"]:
            raise SettingsError("not a variable", where=where(field), received=node, allowed=_VARIABLE_FORMS)
        if name is None:
            return "${"
        value = environ.get(name, match["default"])
        if value is None:
            raise SettingsError(
                f"environment variable {name} is not set", where=where(field), allowed=f"${{{name}:-default}}"
            )
        return value

    return _VARIABLE.sub(replace, node)


def _settings_error(error: ValidationError, where: Callable[[Keys], str], tree: Any) -> SettingsError:
    """Return the first problem as an error, with the others behind it.

    Values are shown as the file has them, before expansion: what the environment holds may be a secret.
    """
    first, *others = (_problem(item, where, tree) for item in error.errors(include_url=False, include_input=False))
    for other in others:
        DbgearError.__init__(first, f"{first.message}; {other.message}", **first.details)
    return first


def _problem(item: Any, where: Callable[[Keys], str], tree: Any) -> SettingsError:
    context = item.get("ctx", {})
    is_key = item["loc"][-1:] == ("[key]",)
    field = (*(str(part) for part in item["loc"] if part != "[key]"), *context.get("field", ()))
    problem, allowed = item["msg"], context.get("allowed", context.get("expected"))
    if item["type"] == "extra_forbidden":
        problem, allowed = "no such key", _keys(field[:-1])
    elif item["type"] == "literal_error":
        problem = "no such value"
    received = field[-1] if is_key else _received(tree, field)
    return SettingsError(problem, where=where(field), received=received, allowed=allowed)


def _keys(field: Keys) -> list[str]:
    """Return the keys that the section at `field` may have."""
    section: type[BaseModel] = ProjectSettings
    for part in field:
        if part in section.model_fields:  # else the name of a target or a place in a list: no other section
            section = _section(section.model_fields[part].annotation) or section
    return list(section.model_fields)


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section, get_args(annotation))), None)


def _received(tree: Any, field: tuple[str, ...]) -> str | None:
    for part in field:
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return None if isinstance(tree, dict | list) else str(tree)


def _absolute(project: ProjectSettings, base: Path) -> ProjectSettings:
    def absolute(path: Path | None) -> Path | None:
        return None if path is None else base / path

    settings = project.multi_tenant
    registry, templates = settings.tenant_registry, settings.templates
    if registry.config.csv is not None:
        csv = registry.config.csv
        csv = csv.model_copy(update={"path": absolute(csv.path), "config_dir": absolute(csv.config_dir)})
        config = registry.config.model_copy(update={"csv": csv})
        registry = registry.model_copy(update={"config": config})
    templates = templates.model_copy(update={"base_dir": absolute(templates.base_dir)})
    settings = settings.model_copy(update={"tenant_registry": registry, "templates": templates})
    return project.model_copy(update={"multi_tenant": settings})
