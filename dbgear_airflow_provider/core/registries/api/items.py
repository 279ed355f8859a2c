"""Items of an API's answers as records: JMESPath expressions say where an item keeps each field."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ...errors import RegistryRecordError
from ...settings import FieldMapping
from ...tenants import TenantInfo
from ..records import Record
from .expressions import Expression


class ItemReader:
    """Reads items by a mapping, whose `fields` are JMESPath expressions. Raises SettingsError for one that is none."""

    def __init__(self, mapping: FieldMapping) -> None:
        self._mapping = mapping
        self._names: Mapping[str, str] = {str(name): text for name, text in mapping.fields.items()}
        self._expressions = {
            name: Expression(mapping.source_name(name), where=f"api.mapping.fields.{name}")
            for name in TenantInfo.model_fields
        }

    def record(self, item: Any, where: str, fields: Collection[str] | None = None) -> Record | RegistryRecordError:
        """Return an item as a record, or the error that it is none. fields: those asked for; None: all."""
        if not isinstance(item, dict):
            return RegistryRecordError("no tenant", where=where, received=item, allowed="a JSON object")

        def value_of(name: str) -> Any:
            return self._expressions[name].of(item, where=f"{where}, field {self._names.get(name, name)}")

        try:
            return Record(self._mapping.read(value_of, fields), where, "field", self._names)
        except RegistryRecordError as error:
            return error
