"""`DBGearTenantProvider`: tenants from a DBGear project's own `tenant.yaml`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import yaml
from pydantic.alias_generators import to_camel
from typing_extensions import override
from yaml.constructor import SafeConstructor

from ...errors import RegistryRecordError
from ...settings.mapping import FieldMapping
from ...tenants.fields import FIELDS, Field, excerpt
from ..records import Record
from .configs import at, yaml_errors, yaml_node
from .provider import FileTenantProvider
from .storage import FileLocation, StoredFile
from .table import PLAIN, needed_fields

logger = logging.getLogger(__name__)

LIMIT_BYTES = 64 * 2**20
FILE_NAME = "tenant.yaml"
_SUFFIXES = (".yaml", ".yml")

_TENANT_KEYS = frozenset({"ref", "databases", "dataArgs", "data_args", "prefix"})
_DATABASE_KEYS = frozenset({"name", "database", "description", "active"})
_ENTRY = "{database: ..., description: ..., active: true}"
_ENTRIES = f"a list of {_ENTRY}"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_camel = lru_cache(maxsize=256)(to_camel)
_TEXT_FIELDS = frozenset(name for name in FIELDS if Field.find((name,), where=name).kind == "text")

Keys = Mapping[str, yaml.Node]


class DBGearTenantProvider(FileTenantProvider):
    """Tenants from the `tenant.yaml` of a DBGear environment: each entry of `databases` is one.

    path: the file, or the folder of the environment that holds it.
    mapping: of which key of an entry each field is, what it is where there is none, and in which words.

    DBGear knows a tenant's database, description and whether it is active, and ignores other keys. So an entry may
    have keys named as the fields of `TenantInfo`, in snake_case or camelCase, and these come first. Without them:

    - tenant_id is `database`. (The name above `databases` stands for as many databases as there are.)
    - customer_name is `description`, else mapping.defaults', else the name above `databases`.
    - status is `active` or `inactive`, as the key `active` says; without that, mapping.defaults', else `active`.
    - isolation_strategy is mapping.defaults', else `database`.
    - customer_code and database_prefix are `database`, unless the entry has a customer_code or mapping.defaults has.
    - updated_at is mapping.defaults', else created_at.
    - region, tier and created_at are mapping.defaults': where no entry has them either, the file is refused.

    Databases that a Python module lists are refused: no code of the project is run.
    """

    def __init__(self, path: FileLocation, *, mapping: FieldMapping = PLAIN) -> None:
        super().__init__(_file(path), None, True, mapping, LIMIT_BYTES)
        self.path = self.file.location

    @override
    def _parse(self, content: bytes, fields: Collection[str] | None) -> Iterator[Record | RegistryRecordError]:
        root = yaml_node(content, self.source)
        with yaml_errors(self.source):
            tenants = _keys(root, self.source).get("tenants")
            records = [] if tenants is None else list(self._records(tenants, fields))
        if tenants is None:
            raise RegistryRecordError("no tenants", where=self.source, allowed="tenants: {name: {databases: [...]}}")
        good = [record for record in records if isinstance(record, Record)]
        asked = [name for name in needed_fields(self.mapping, fields) if good and name in good[0].fields]
        missing = [name for name in asked if all(record.fields[name] is None for record in good)]
        if missing:
            raise RegistryRecordError(
                f"no entry has {', '.join(self.mapping.source_name(name) for name in missing)}",
                where=self.source,
                allowed=f"such keys in the entries of databases, or mapping.defaults: {', '.join(missing)}",
            )
        yield from records

    def _records(self, tenants: yaml.Node, fields: Collection[str] | None) -> Iterator[Record | RegistryRecordError]:
        unknown: dict[str, None] = {}
        for name, tenant in _keys(tenants, self.source).items():
            try:
                keys = _keys(tenant, self.source)
                entries = _entries(keys.get("databases"), f"{at(tenant, self.source)}, tenants.{name}.databases")
            except RegistryRecordError as error:
                yield error
                continue
            unknown |= dict.fromkeys(key for key in keys if key not in _TENANT_KEYS)
            for number, entry in enumerate(entries):
                where = f"{at(entry, self.source)}, tenants.{name}.databases.{number}"
                try:
                    record, left_out = _Entry(self.source, name, _keys(entry, self.source), where, self.mapping).record(
                        fields
                    )
                    unknown |= dict.fromkeys(left_out)
                    yield record
                except RegistryRecordError as error:
                    yield error
        if unknown:
            logger.warning("%s: keys left out: %s; fields: %s", self.source, list(unknown), ", ".join(FIELDS))


@runtime_checkable
class _Folder(Protocol):
    def joinpath(self, name: str, /) -> StoredFile: ...


class _Entry:
    """An entry of `databases`, below a tenant's name, in a file of that source."""

    def __init__(self, source: str, tenant: str, keys: Keys, where: str, mapping: FieldMapping) -> None:
        self.source = source
        self.tenant = tenant
        self.keys = keys
        self.where = where
        self.mapping = mapping

    def record(self, fields: Collection[str] | None) -> tuple[Record, list[str]]:
        """Return the record, and the keys that are left out. Raises RegistryRecordError."""
        database = self._text("database")
        if database is None:
            raise RegistryRecordError("no database", where=self.where, allowed=_ENTRY)
        if not isinstance(database, str):
            raise RegistryRecordError("no text", where=f"{self.where}, key database", received=excerpt(database))
        own = {name: key for name in FIELDS if (key := self._key(name)) is not None}
        # What DBGear's own keys say of a field, then what a field is that nothing says anything of.
        told = {"tenant_id": "database", "customer_name": "description", "status": "active"}
        last: dict[str, str | None] = {"customer_name": self.tenant, "status": "active"}
        last["isolation_strategy"] = "database"
        if "customer_code" not in own and "customer_code" not in self.mapping.defaults:
            last |= dict.fromkeys(("customer_code", "database_prefix"), database)

        def value_of(name: str) -> Any:
            key = own.get(name, told.get(name))
            if key is None:
                return None
            if name == "status" and key == "active":
                return self._status()
            return self._text(key) if name in _TEXT_FIELDS else self._value(key)

        values = self.mapping.read(value_of, fields)
        if "updated_at" in values:
            last["updated_at"] = self.mapping.read(value_of, ["created_at"])["created_at"]
            told["updated_at"] = own.get("created_at", "created_at")
        values = {name: last.get(name) if value is None else value for name, value in values.items()}
        known = {*_DATABASE_KEYS, *own.values()}
        return Record(values, self.where, "key", told | own), [key for key in self.keys if key not in known]

    def _key(self, field: str) -> str | None:
        """Return the key that holds a field, None where there is none."""
        name = self.mapping.source_name(field)
        return next((key for key in (name, _camel(name)) if key in self.keys), None)

    def _text(self, key: str) -> Any:
        """Return the text of a key as it is written: 00123 is no number here. What is no text is told by the check."""
        node = self.keys.get(key)
        if isinstance(node, yaml.ScalarNode) and node.tag != _NULL:
            return node.value.strip() or None
        return self._value(key)

    def _value(self, key: str) -> Any:
        node = self.keys.get(key)
        with yaml_errors(self.source):
            return None if node is None else _Constructor().construct_document(node)

    def _status(self) -> str | None:
        active = self._value("active")
        if active is not None and not isinstance(active, bool):
            raise RegistryRecordError(
                "neither true nor false", where=f"{self.where}, key active", received=excerpt(active)
            )
        return None if active is None else "active" if active else "inactive"


class _Constructor(SafeConstructor):
    """Values of YAML; dates stay texts, as in JSON, and are checked where a field is a date."""


_text_of: Any = SafeConstructor.construct_yaml_str
_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _text_of)


def _file(path: FileLocation) -> FileLocation:
    """Return the file that a path means: a path that does not end as one is the environment's folder."""
    if isinstance(path, str):
        if "://" in path:
            return path if path.endswith(_SUFFIXES) else f"{path.rstrip('/')}/{FILE_NAME}"
        path = Path(path)
    if str(path).endswith(_SUFFIXES) or not isinstance(path, Path | _Folder):
        return path
    return path.joinpath(FILE_NAME)


def _entries(databases: yaml.Node | None, where: str) -> list[yaml.Node]:
    match databases:
        case None | yaml.ScalarNode(tag="tag:yaml.org,2002:null"):
            return []
        case yaml.SequenceNode():
            entries: list[yaml.Node] = databases.value
            return entries
        case yaml.ScalarNode():
            problem = "a Python module would list the databases, and none is run"
            raise RegistryRecordError(problem, where=where, received=excerpt(databases.value), allowed=_ENTRIES)
    raise RegistryRecordError("no list", where=where, received="a mapping", allowed=_ENTRIES)


def _keys(node: yaml.Node | None, source: str) -> dict[str, yaml.Node]:
    """Return {key: value} of a mapping, anchors merged. Raises RegistryRecordError, also where a key is there twice."""
    if not isinstance(node, yaml.MappingNode):
        received = excerpt(node.value) if isinstance(node, yaml.ScalarNode) else node and "a list"
        raise RegistryRecordError("no mapping", where=at(node, source), received=received, allowed="name: value")
    keys: dict[str, yaml.Node] = {}
    merged: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if key.tag == _MERGE:
            bases = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for base in reversed(bases):
                merged |= _keys(base, source)
        elif str(key.value) in keys:
            raise RegistryRecordError("the key is there twice", where=at(key, source), received=str(key.value))
        else:
            keys[str(key.value)] = value
    return merged | keys
