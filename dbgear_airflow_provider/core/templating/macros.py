"""`MacroProcessor`: `${NAME}` in a schema document."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ValidationError

from ..errors import TemplateError
from ..tenants import TenantInfo, naming
from .documents import rebuild

MACRO = re.compile(r"\$(?P<escape>\$?)\{(?P<name>[A-Z_][A-Z0-9_]*)(?::(?P<argument>[^{}]*))?\}")

Model = TypeVar("Model", bound=BaseModel)

# The fields of a tenant that are macros too; "" where the tenant has none.
FIELDS = (
    "tenant_id",
    "customer_name",
    "customer_code",
    "region",
    "tier",
    "status",
    "isolation_strategy",
    "database_prefix",
    "schema_suffix",
    "table_prefix",
)


class MacroProcessor:
    """Replaces `${NAME}` and `${NAME:argument}` by text; `$${NAME}` stays as `${NAME}`.

    A name is looked up in lower case, in `context` first and then among the functions TENANT_PREFIX,
    DB_NAME[:instance], SCHEMA_NAME[:instance] and TABLE_NAME:table, which give the names of `core.tenants.naming`.
    What a macro gives is not searched for macros again. An unknown macro raises TemplateError.

    context: {name: text}; the functions take customer_code, region, instance, database_prefix, schema_suffix and
    table_prefix from it.
    tenant: whose names the functions give instead.
    where: the document, for errors.
    """

    def __init__(self, context: Mapping[str, str], *, tenant: TenantInfo | None = None, where: str = "macros") -> None:
        self.context = {name.lower(): text for name, text in context.items()}
        named: dict[str, Any] = {name: self.context.get(name, "") for name in FIELDS}
        self._tenant = tenant or TenantInfo.model_construct(**named)
        self._where = where
        self.macro_functions: dict[str, Callable[[str | None], str]] = {
            "tenant_prefix": self._tenant_prefix,
            "db_name": self._db_name,
            "schema_name": self._schema_name,
            "table_name": self._table_name,
        }

    @classmethod
    def for_tenant(
        cls,
        tenant: TenantInfo,
        instance: str,
        extra: Mapping[str, str] | None = None,
        *,
        where: str = "macros",
    ) -> MacroProcessor:
        """Return the macros of one instance of a tenant: its fields, INSTANCE and what `extra` adds or replaces."""
        fields = {name: getattr(tenant, name) or "" for name in FIELDS}
        return cls({**fields, **(extra or {}), "instance": instance}, tenant=tenant, where=where)

    @overload
    def process_schema_manager(self, document: Model) -> Model: ...

    @overload
    def process_schema_manager(self, document: Mapping[str, Any]) -> dict[str, Any]: ...

    def process_schema_manager(self, document: BaseModel | Mapping[str, Any]) -> BaseModel | dict[str, Any]:
        """Return a deep copy of a schema document with the macros in its keys and texts replaced.

        A tree gives a tree, a SchemaDocument a SchemaDocument, and the original is as it was. Raises TemplateError for
        an unknown macro, where two keys become one, and where a SchemaDocument would no longer be one.
        """
        if isinstance(document, BaseModel):
            tree = document.model_dump(by_alias=True, exclude_unset=True)
            try:
                return document.model_validate(rebuild(tree, self._leaf, self._where))
            except ValidationError as error:
                item = error.errors(include_url=False)[0]
                path = ".".join(map(str, item["loc"]))
                problem = f"no document any more with the macros replaced: {item['msg']}"
                raise TemplateError(problem, where=f"{self._where}, {path}") from None
        processed: dict[str, Any] = rebuild(dict(document), self._leaf, self._where)
        return processed

    def process_string(self, text: str) -> str:
        """Return the text with its macros replaced."""
        return MACRO.sub(self.expand, text)

    def expand(self, match: re.Match[str], bind: Callable[[str], str] = str) -> str:
        """Return what takes the place of a match of MACRO; `bind` is applied to text taken over from the match."""
        if match["escape"]:
            return bind(match[0][1:])
        name, argument = match["name"], match["argument"]
        known = self.context.get(name.lower())
        if known is not None:
            if argument is not None:
                raise self._error(name, "this macro takes no argument")
            return known
        function = self.macro_functions.get(name.lower())
        if function is None:
            names = sorted(known.upper() for known in {*self.context, *self.macro_functions})
            raise self._error(name, "there is no such macro", allowed=names)
        try:
            return function(bind(argument) if argument is not None else None)
        except ValueError as error:
            raise self._error(name, str(error)) from error

    def _leaf(self, value: Any) -> Any:
        return self.process_string(value) if isinstance(value, str) else deepcopy(value)

    def _tenant_prefix(self, argument: str | None) -> str:
        if argument is not None:
            raise ValueError("this macro takes no argument")
        return naming.tenant_prefix(self._tenant)

    def _db_name(self, instance: str | None) -> str:
        return naming.database_name(self._tenant, instance or self._instance())

    def _schema_name(self, instance: str | None) -> str:
        return naming.schema_name(self._tenant, instance or self._instance())

    def _table_name(self, table: str | None) -> str:
        if not table:
            raise ValueError("this macro takes the table's name: ${TABLE_NAME:users}")
        return naming.table_name(self._tenant, table)

    def _instance(self) -> str:
        try:
            return self.context["instance"]
        except KeyError:
            raise ValueError("this macro takes an instance: ${DB_NAME:main}") from None

    def _error(self, name: str, problem: str, allowed: list[str] | None = None) -> TemplateError:
        return TemplateError(f"${{{name}}}: {problem}", where=self._where, allowed=allowed)
