"""What the sources of a sync say, read and put together field by field."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ...errors import RegistryRecordError
from ...registries import Record, TenantRegistryProvider
from ...settings import SyncSettings
from ...tenants import TenantInfo

Source = tuple[TenantRegistryProvider, Collection[str] | None]

FIELDS = tuple(name for name in TenantInfo.model_fields if name != "tenant_id")
_TIMES = ("created_at", "updated_at")


@dataclass(slots=True)
class SourceRecords:
    """All that one source holds.

    records: {tenant_id: its present fields, checked}. rejected: bad records, in the source's order. doubtful:
    {tenant_id: what is wrong} of the tenants that have a bad record and no good one. unreadable: number of bad records
    of which not even the tenant is known. fields: those that the source knows. filled: those that it tells of itself:
    the fields that it is said to know, else those for which it has a value.
    """

    name: str
    fields: frozenset[str]
    filled: frozenset[str]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejected: list[RegistryRecordError] = field(default_factory=list)
    doubtful: dict[str, str] = field(default_factory=dict)
    unreadable: int = 0

    def knows(self, name: str) -> bool:
        """Tell whether the source knows a field."""
        return name in self.fields


async def read_source(name: str, source: Source, known_before: Collection[str] = ()) -> SourceRecords:
    """Read a source to its end. Where several good records have one tenant_id, the first stands.

    known_before: fields that it knew at the last sync. One that is not said to know other fields knows them still: a
    status that is empty all at once, because the CRM has renamed it, is none that nobody ever knew.

    Raises SourceUnavailableError, and RegistryRecordError where it is no list of tenants at all.
    """
    provider, fields = source
    said = frozenset(fields or ()) - {"tenant_id"}
    read = SourceRecords(name, said, said)
    places: dict[str, str] = {}
    present: set[str] = set()
    async for record in provider.records(fields):
        try:
            known = _known(record)
        except RegistryRecordError as error:
            bad = named(name, error)
            read.rejected.append(bad)
            tenant_id = record.fields.get("tenant_id") if isinstance(record, Record) else None
            if not isinstance(tenant_id, str | int) or not str(tenant_id).strip():
                read.unreadable += 1
            else:
                for spelling in (str(tenant_id), str(tenant_id).strip()):
                    read.doubtful.setdefault(spelling, bad.message)
            continue
        tenant_id = known.pop("tenant_id")
        assert isinstance(record, Record)  # noqa: S101
        if tenant_id in read.records:
            problem = f"{places[tenant_id]} has this tenant_id already"
            twice = RegistryRecordError(problem, where=f"{record.where}, {record.label} tenant_id", received=tenant_id)
            read.rejected.append(named(name, twice))
        else:
            read.records[tenant_id] = known if fields is None else {key: known[key] for key in known if key in fields}
            places[tenant_id] = record.where
            present.update(known)
    if fields is None:
        read.filled = frozenset(present)
        read.fields = read.filled | frozenset(known_before)
    for tenant_id in read.records:
        read.doubtful.pop(tenant_id, None)
    return read


def _known(record: Record | RegistryRecordError) -> dict[str, Any]:
    if isinstance(record, RegistryRecordError):
        raise record
    return record.known()


def named(source: str, error: RegistryRecordError) -> RegistryRecordError:
    """Return the error of a record with the name of its source before its place."""
    details = error.details
    return RegistryRecordError(
        details["problem"],
        where=f"{source}: {details['where']}",
        received=details["received"],
        allowed=details["allowed"],
    )


class Merge:
    """Several sources as one list of tenants.

    read: those that were asked. configured: {name: fields or None} of all sources of the sync, the first one before
    the others. now: stands for timestamps that nobody knows. order: {field: sources that know it, the first one before
    the others}.
    """

    def __init__(
        self,
        read: Mapping[str, SourceRecords],
        configured: Mapping[str, Collection[str] | None],
        settings: SyncSettings,
        now: datetime,
    ) -> None:
        self._read = read
        self.now = now
        self.order: dict[str, list[str]] = {
            name: [source for source in _order(settings, name, configured) if self._knows(source, name, configured)]
            for name in FIELDS
        }
        # Whether a tenant is there is said by those who know its status: billing keeps former customers for years.
        self.judges: list[str] = self.order["status"]
        self.unread: list[str] = [name for name in configured if name not in read]
        self.judges_read: bool = not set(self.judges) & set(self.unread)
        self.unreadable: int = sum(read[name].unreadable for name in self.judges if name in read)

    def _knows(self, source: str, name: str, configured: Mapping[str, Collection[str] | None]) -> bool:
        if source in self._read:
            return self._read[source].knows(name)
        fields = configured[source]
        return fields is None or name in fields

    def tenant_ids(self) -> Iterator[str]:
        """Yield the ids that at least one source has, ordered."""
        yield from sorted({tenant_id for source in self._read.values() for tenant_id in source.records})

    def knowing(self, tenant_id: str) -> list[str]:
        """Return the sources that have a good record of a tenant."""
        return [name for name, source in self._read.items() if tenant_id in source.records]

    def doubt(self, tenant_id: str) -> str | None:
        """Return what is wrong with the tenant's record in one of the sources; None: nothing."""
        doubts = (source.doubtful.get(tenant_id) for source in self._read.values())
        return next(filter(None, doubts), None)

    def is_judged(self, tenant_id: str) -> bool:
        """Tell whether one of the sources that know the status has the tenant."""
        return any(tenant_id in self._read[name].records for name in self.judges if name in self._read)

    def is_gone(self, tenant_id: str) -> bool:
        """Tell whether all sources that know the status were asked, and none has the tenant."""
        return bool(self.judges) and self.judges_read and not self.is_judged(tenant_id)

    def tenant(self, tenant_id: str, before: TenantInfo | None) -> TenantInfo:
        """Return what a tenant is to be. before: as the registry has it; None: not at all.

        Raises RegistryRecordError where too little is known of it.
        """
        values = {name: self._value(name, tenant_id, before) for name in FIELDS}
        try:
            return TenantInfo.model_validate(
                {"tenant_id": tenant_id, **{name: value for name, value in values.items() if value is not None}}
            )
        except ValidationError as error:
            missing = [str(details["loc"][0]) for details in error.errors(include_url=False)]
        unread = f"; not asked: {', '.join(self.unread)}" if self.unread else ""
        known_to = ", ".join(self.knowing(tenant_id))
        raise RegistryRecordError(
            f"no value for {', '.join(missing)}", where=f"tenant {tenant_id}, in {known_to}{unread}"
        )

    def _value(self, name: str, tenant_id: str, before: TenantInfo | None) -> Any:
        """Return a field's value: of the first source that has one, else of the registry where no source knows it."""
        own = None if before is None else getattr(before, name)
        order: Sequence[str] = self.order[name]
        for source in order:
            if source not in self._read:
                if before is not None:
                    return own  # what that source says, or would have said, stands in the registry
                continue
            value = self._read[source].records.get(tenant_id, {}).get(name)
            if value is not None:
                return value
        if name in _TIMES:
            return own or self.now
        return None if order else own


def _order(settings: SyncSettings, name: str, configured: Mapping[str, Any]) -> list[str]:
    first = settings.precedence.get(name, [])  # type: ignore[call-overload]
    return list(dict.fromkeys([*first, *configured]))
