"""Drift: which instances hold what their documents say, read in bulk and grouped by what they hold."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from ..engines import Server, Session
from ..errors import DbgearError, ServerUnavailableError, StatementError, TransientError
from ..fleet import FingerprintRecord
from ..schema import Difference, Namespace, Snapshot, differences
from .instance import Instance, timeouts
from .reference import References, Wanted

log = logging.getLogger(__name__)

# Instances whose catalogs are read at once: what a chunk holds is all that is in memory.
CHUNK = 500
# The server reads for one while we look at the other.
CHUNKS_AT_ONCE = 2
SAMPLES = 10


@dataclass(frozen=True, kw_only=True, order=True)
class InstanceId:
    """One instance of one tenant."""

    tenant_id: str
    instance: str

    def __str__(self) -> str:
        return f"{self.tenant_id}/{self.instance}"


@dataclass(frozen=True, kw_only=True)
class DriftGroup:
    """Instances on one target that should hold the same and do hold the same.

    wanted, fingerprint: of what they should hold, and hold. members: ordered. differences: of the first member.
    """

    target: str
    template: str
    wanted: str
    fingerprint: str
    members: Sequence[InstanceId]
    differences: Sequence[Difference] = ()

    @property
    def as_wanted(self) -> bool:
        """Whether they hold what they should."""
        return self.fingerprint == self.wanted

    def details(self) -> dict[str, Any]:
        """Return it as JSON, with SAMPLES of its members and differences as text."""
        return {
            "target": self.target,
            "template": self.template,
            "wanted": self.wanted,
            "fingerprint": self.fingerprint,
            "as_wanted": self.as_wanted,
            "count": len(self.members),
            "instances": [str(member) for member in self.members[:SAMPLES]],
            "differences": [str(difference) for difference in self.differences],
        }


@dataclass(frozen=True, kw_only=True)
class Unread:
    """An instance that could not be looked at, and why.

    target: empty where no rule places it. error_kind: name of the error's class. transient: whether a retry may help.
    """

    member: InstanceId
    target: str
    error_kind: str
    error: str
    transient: bool

    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "tenant_id": self.member.tenant_id,
            "instance": self.member.instance,
            "target": self.target,
            "error_kind": self.error_kind,
            "error": self.error,
            "transient": self.transient,
        }


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """What was found. groups: the largest first. missing: nothing is there, in order. unread: in order."""

    groups: Sequence[DriftGroup]
    missing: Sequence[InstanceId]
    unread: Sequence[Unread]

    @property
    def drifted(self) -> list[InstanceId]:
        """The instances that do not hold what they should, without the missing ones; in order."""
        return sorted(member for group in self.groups if not group.as_wanted for member in group.members)

    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "groups": [group.details() for group in self.groups],
            "missing": [str(member) for member in self.missing],
            "unread": [item.details() for item in self.unread],
        }

    def text(self) -> str:
        """Return it for people: a line for each target and document, then what is not as it should be.

        Of what is missing or was not read, SAMPLES each.
        """
        lines, letters = [], {group: _letter(number) for group, number in zip(map(id, self.groups), count())}
        by_target: dict[tuple[str, str], list[DriftGroup]] = defaultdict(list)
        for group in self.groups:
            by_target[group.target, group.template].append(group)
        for (target, template), groups in by_target.items():
            first, *others = (f"{len(group.members):,} are at {letters[id(group)]}" for group in groups)
            told = ", ".join([first, *(text.replace(" are at ", " at ") for text in others)])
            lines.append(f"{target}, {template}: {told}")
        for group in self.groups:
            if group.as_wanted:
                continue
            more = len(group.members) - SAMPLES
            told = ", ".join(map(str, group.members[:SAMPLES])) + (f" and {more:,} more" if more > 0 else "")
            lines.append(f"{letters[id(group)]} is not as it should be: {told}")
            lines += [f"  {difference}" for difference in group.differences]
        lines += _sampled("missing", list(map(str, self.missing)))
        lines += _sampled("not read", [f"{item.member}: {item.error}" for item in self.unread])
        return "\n".join(lines)


class DriftCheck:
    """Reads instances in chunks and groups what it reads.

    servers: by name. Add instances, then `report`. One database that is away does not stop the others.
    """

    def __init__(self, servers: Mapping[str, Server], references: References) -> None:
        self._servers = servers
        self._references = references
        self._members: dict[tuple[str, str, str, str], list[InstanceId]] = defaultdict(list)
        self._differences: dict[tuple[str, str, str, str], list[Difference]] = {}
        self._dead: dict[str, ServerUnavailableError] = {}
        self._missing: list[InstanceId] = []
        self._unread: dict[InstanceId, Unread] = {}
        self._checked: list[FingerprintRecord] = []

    async def add(self, instances: Sequence[Instance]) -> list[FingerprintRecord]:
        """Look at instances, any number of them; hand over some hundreds at once. Return what the store keeps."""
        by_database: dict[tuple[str, str], list[Instance]] = defaultdict(list)
        for instance in instances:
            server = self._servers[instance.place.target]
            database = server.address.database if server.schemas_are_databases else instance.place.database
            by_database[server.name, database].append(instance)
        width = {name: asyncio.Semaphore(server.max_connections) for name, server in self._servers.items()}
        async with asyncio.TaskGroup() as tasks:
            for (name, database), some in by_database.items():
                for start in range(0, len(some), CHUNK):
                    chunk = some[start : start + CHUNK]
                    tasks.create_task(self._try(self._servers[name], database, chunk, width[name]))
        checked, self._checked = self._checked, []
        return checked

    async def _try(
        self, server: Server, database: str, instances: Sequence[Instance], width: asyncio.Semaphore
    ) -> None:
        async with width:
            try:
                if server.name in self._dead:
                    raise self._dead[server.name]
                try:
                    await self._look(server, database, instances)
                except TransientError as error:
                    log.info("%s; once more", error)
                    await self._probe(server)
                    await self._look(server, database, instances)
            except DbgearError as error:
                for instance in instances:
                    self.leave_out(member_of(instance), server.name, error)

    async def _probe(self, server: Server) -> None:
        """Ask for a sign of life: thousands of databases need not wait for a dead server one by one."""
        try:
            await server.version()
        except ServerUnavailableError as error:
            self._dead[server.name] = error
            raise

    def leave_out(self, member: InstanceId, target: str, error: DbgearError) -> None:
        """Note that an instance cannot be looked at. The first cause is kept: what comes after may hang on it."""
        told = Unread(
            member=member,
            target=target,
            error_kind=error.kind,
            error=str(error),
            transient=isinstance(error, TransientError),
        )
        self._unread.setdefault(member, told)

    def report(self) -> DriftReport:
        """Return what was found so far."""
        groups = [
            DriftGroup(
                target=target,
                template=template,
                wanted=wanted,
                fingerprint=fingerprint,
                members=sorted(members),
                differences=self._differences.get((target, template, wanted, fingerprint), ()),
            )
            for (target, template, wanted, fingerprint), members in self._members.items()
        ]
        return DriftReport(
            groups=sorted(groups, key=lambda group: (-len(group.members), group.target, group.fingerprint)),
            missing=sorted(self._missing),
            unread=sorted(self._unread.values(), key=lambda item: item.member),
        )

    async def _look(self, server: Server, database: str, instances: Sequence[Instance]) -> None:
        wanted = [(instance, await self._wanted(instance, server)) for instance in instances]
        readable = [(instance, item) for instance, item in wanted if item is not None]
        lives = await self._read(server, database, [instance.namespaces for instance, _ in readable])
        for (instance, item), live in zip(readable, lives, strict=True):
            self._compare(instance, item, live)

    async def _wanted(self, instance: Instance, server: Server) -> Wanted | None:
        try:
            return await self._references.wanted(instance, server)
        except TransientError:
            raise
        except DbgearError as error:  # of this one's document
            self.leave_out(member_of(instance), server.name, error)
            return None

    async def _read(self, server: Server, database: str, groups: Sequence[Sequence[Namespace]]) -> list[Snapshot]:
        try:
            async with server.session(database) as session:
                return await describe(session, groups)
        except StatementError:
            if database == server.address.database or await server.database_exists(database):
                raise
            return [Snapshot() for _ in groups]

    def _compare(self, instance: Instance, wanted: Wanted, live: Snapshot) -> None:
        member = member_of(instance)
        if not live.objects:
            self._missing.append(member)
            self._checked.append(_record(member, None))
            return
        fingerprint, should = wanted.neutral(live).fingerprint, wanted.snapshot.fingerprint
        key = (instance.place.target, instance.template, should, fingerprint)
        if fingerprint != should and key not in self._differences:
            self._differences[key] = differences(wanted.told, live)
        self._members[key].append(member)
        self._checked.append(_record(member, fingerprint))


async def describe(session: Session, groups: Sequence[Sequence[Namespace]]) -> list[Snapshot]:
    """Return what groups of namespaces hold, changing nothing."""
    async with session.read_only(timeouts()):
        return await session.describe(groups)


def member_of(instance: Instance) -> InstanceId:
    """Return which one it is."""
    return InstanceId(tenant_id=instance.tenant_id, instance=instance.name)


def _record(member: InstanceId, fingerprint: str | None) -> FingerprintRecord:
    return FingerprintRecord(
        tenant_id=member.tenant_id, instance=member.instance, fingerprint=fingerprint, checked_at=datetime.now(UTC)
    )


def _sampled(what: str, told: Sequence[str]) -> list[str]:
    more = len(told) - SAMPLES
    return [f"{what}: {text}" for text in told[:SAMPLES]] + ([f"{what}: and {more:,} more"] if more > 0 else [])


def _letter(number: int) -> str:
    """Return A, B, ... Z, AA, AB, ..."""
    text = ""
    while number >= 0:
        text = chr(ord("A") + number % 26) + text
        number = number // 26 - 1
    return text
