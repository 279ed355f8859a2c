"""`TenantTemplateEngine`: a tenant's environment and schema documents from templates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from traceback import walk_tb
from typing import Any, Protocol

from jinja2 import ChoiceLoader, FileSystemLoader, TemplateNotFound, TemplateSyntaxError

from ..errors import TemplateError
from ..tenants import TenantInfo
from .binding import OPEN, TOKEN, Binding, JsonText
from .documents import LOAD_ERRORS, Slot, parse, rebuild, unparsable
from .macros import MACRO, MacroProcessor
from .sandbox import TemplateEnvironment, default_template_dir

_TREES_CACHED = 128
_TOKEN_OR_MACRO = re.compile(f"{TOKEN.pattern}|{MACRO.pattern}")


class TenantSource(Protocol):
    """The part of a tenant registry that templates need."""

    async def get_tenant(self, tenant_id: str) -> TenantInfo:
        """Return one tenant."""

    async def get_tenant_config(self, tenant_id: str) -> dict[str, Any]:
        """Return the tenant's own settings."""


class TenantTemplateEngine:
    """Renders templates to documents: Jinja2 -> YAML -> mapping.

    A template gets `tenant` (TenantInfo), `config` (the tenant's own settings), `instances` and, for a schema
    document, `instance`. What `{{ }}` writes is a value and never YAML: a string stays one string, quoted or not;
    a list or mapping that stands alone is that list or mapping. Templates run sandboxed, and a name that is not
    defined is an error. All methods are safe to repeat and for use by many threads.

    template_dir: the project's templates. A template that it lacks is taken from the shipped ones; None means
    those alone.
    registry: where `generate_*` take the tenant from.
    cache_enabled: keep compiled templates and parsed texts. A changed file is noticed all the same; a file that
    newly hides a shipped one is noticed by a new engine. False reads and compiles every time.
    environment_template: the name of the environment document's template.

    Everything wrong with a template raises TemplateError, with its name and line.
    """

    def __init__(
        self,
        template_dir: str | Path | None,
        registry: TenantSource,
        cache_enabled: bool = True,
        *,
        environment_template: str = "environment.j2",
    ) -> None:
        self.registry = registry
        self.environment_template = environment_template
        self._folders = [default_template_dir()]
        if template_dir is not None:
            self._folders.insert(0, Path(template_dir))
        for folder in self._folders:
            if not folder.is_dir():
                raise TemplateError("there is no such folder of templates", where=str(folder))
        loader = ChoiceLoader([FileSystemLoader(folder) for folder in self._folders])
        self._environment = TemplateEnvironment(loader, cache_enabled)
        self._parse = lru_cache(_TREES_CACHED)(parse) if cache_enabled else parse

    async def generate_environment_config(self, tenant_id: str) -> dict[str, Any]:
        """Return the environment document of a tenant. Raises TenantNotFoundError, TemplateError."""
        tenant = await self.registry.get_tenant(tenant_id)
        return self.render_environment(tenant, await self.registry.get_tenant_config(tenant_id))

    async def generate_schema_document(
        self, tenant_id: str, instance: str = "main", template: str = "schema.j2"
    ) -> dict[str, Any]:
        """Return the schema document of a tenant's instance. Raises TenantNotFoundError, TemplateError."""
        tenant = await self.registry.get_tenant(tenant_id)
        return self.render_schema(tenant, await self.registry.get_tenant_config(tenant_id), instance, template)

    def render_environment(self, tenant: TenantInfo, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the environment document of a tenant."""
        template = self.environment_template
        text, binding = self._text(template, tenant=tenant, config=config, instances=tenant.instances)
        return self._document(template, text, binding)

    def render_schema(
        self,
        tenant: TenantInfo,
        config: Mapping[str, Any],
        instance: str = "main",
        template: str = "schema.j2",
    ) -> dict[str, Any]:
        """Return the schema document of a tenant's instance.

        Macros in the template's own text are replaced (see `MacroProcessor`), those in values are not. The
        environment document's `name_macros` are macros too.
        """
        text, binding = self._text(
            template, tenant=tenant, config=config, instances=tenant.instances, instance=instance
        )
        macros = None
        if "${" in text:
            macros = MacroProcessor.for_tenant(tenant, instance, self.name_macros(tenant, config), where=template)
        return self._document(template, text, binding, macros)

    def name_macros(self, tenant: TenantInfo, config: Mapping[str, Any]) -> dict[str, str]:
        """Return the macros that a tenant's environment document adds."""
        macros = self.render_environment(tenant, config).get("name_macros") or {}
        if not isinstance(macros, dict) or not all(isinstance(text, str) for text in macros.values()):
            raise TemplateError("name_macros is no mapping of names to texts", where=self.environment_template)
        return macros

    def _text(self, template: str, **context: Any) -> tuple[str, Binding]:
        try:
            return self._environment.render(template, context)
        except TemplateNotFound as error:
            raise TemplateError(
                f"there is no template {error.name!r}",
                where=self._where(error, template),
                allowed=self._environment.list_templates(),
            ) from error
        except Exception as error:  # a template may raise anything
            problem = str(error) or type(error).__name__
            raise TemplateError(problem, where=self._where(error, template)) from error

    def _where(self, error: Exception, template: str) -> str:
        """Return the innermost place in a template that the error passed, or the template's name."""
        if isinstance(error, TemplateSyntaxError):
            return f"{error.name or template}, line {error.lineno}"
        where = template
        for frame, line in walk_tb(error.__traceback__):
            if "__jinja_exception__" in frame.f_globals:  # a frame by which Jinja shows the template's source
                file = Path(frame.f_code.co_filename)
                name = next((file.relative_to(f) for f in self._folders if file.is_relative_to(f)), file)
                where = f"{name.as_posix()}, line {line}"
        return where

    def _document(
        self, template: str, text: str, binding: Binding, macros: MacroProcessor | None = None
    ) -> dict[str, Any]:
        """Parse the text, which is the same for tenants of one shape, and put the values into a copy of the tree."""
        try:
            tree = self._parse(text)
        except LOAD_ERRORS as error:
            raise unparsable(error, text, template) from error

        def replace(match: re.Match[str]) -> str:
            if macros is None or match["value"] is not None:
                return binding.values[int(match["value"])]
            return macros.expand(match, binding.bind)

        pattern = _TOKEN_OR_MACRO if macros else TOKEN

        def leaf(value: Any) -> Any:
            if isinstance(value, str):
                return pattern.sub(replace, value) if OPEN in value or "$" in value else value
            if isinstance(value, Slot):
                bound = binding.values[value.number]
                return deepcopy(bound.value) if isinstance(bound, JsonText) else str.__str__(bound)
            return value

        try:
            document = rebuild(tree, leaf, template)
        except RecursionError as error:  # a YAML alias inside its anchor
            raise TemplateError("the document holds itself", where=template) from error
        except IndexError as error:  # a YAML escape in the template made what looks like a token
            raise TemplateError("U+E000 and U+E001 are reserved", where=template) from error
        if not isinstance(document, dict):
            raise TemplateError(f"renders a {type(document).__name__}, not a mapping", where=template)
        return document
