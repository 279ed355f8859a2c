"""What a rollout is going to do: its scripts, read and linted, what they change in each tenant, and its stages."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..errors import DbgearError, InvalidInputError, MigrationError, SettingsError, TenantsFailedError
from ..fleet import RolloutRecord
from ..migrations import Finding, Migration, MigrationSet, ServerFacts, lint
from ..rollout import Cut, cut
from ..rollout.report import counted
from ..settings import RolloutSettings, check_section
from ..tenants import TenantInfo
from .engine import TenantAutomationEngine
from .migrations import FleetMigration
from .rehearsal_report import RehearsalReport
from .results import OperationResult, OperationStatus, failure_text
from .tables import text_table

Approval = Literal["stages", "always", "never"]


@dataclass(frozen=True, kw_only=True)
class RolloutRequest:
    """What a rollout is asked to be. migrations: a folder, or one script. to: a version; None: the newest.

    stages: instead of those of the settings, as they are written there. approval: whether a person is asked after each
    stage, after none, or as the stages say.
    """

    query: str
    migrations: str
    to: str | None = None
    stages: Sequence[Mapping[str, Any]] | None = None
    out_of_order: bool = False
    approval: Approval = "stages"

    def settings(self, settings: RolloutSettings) -> RolloutSettings:
        """Return the project's settings with what is asked for. Raises SettingsError."""
        stages = settings.stages
        if self.stages is not None:
            stages = check_section(RolloutSettings, {"stages": list(self.stages)}, "params").stages
        if self.approval != "stages":
            asked = self.approval == "always"
            stages = [stage.model_copy(update={"approval": asked}) for stage in stages]
        return settings.model_copy(update={"stages": stages})

    def options(self) -> dict[str, Any]:
        """Return, as JSON, what the fleet store has no column for."""
        return {name: value for name, value in vars(self).items() if name not in {"query", "to"}}

    @classmethod
    def resumed(cls, record: RolloutRecord) -> RolloutRequest:
        """Return the request of a rollout that goes on. Raises InvalidInputError where it is undone."""
        if record.status == "undone":
            raise InvalidInputError("it is undone", where=f"rollout {record.id}", allowed="a new one: deploy")
        return cls.of(record.query, record.version, record.options or {})

    @classmethod
    def of(cls, query: str, version: str | None, options: Mapping[str, Any]) -> RolloutRequest:
        """Return the request of a rollout that the store has; options: what `options` gave."""
        known = {name: value for name, value in options.items() if name in cls.__dataclass_fields__}
        return cls(query=query, to=version, **known)


@dataclass(frozen=True, kw_only=True)
class RolloutPlan:
    """What a rollout would do.

    version: which all are brought to; None: nobody was selected. scripts: those that a tenant needs. findings: of lint,
    about those. results: of the dry run, one for each tenant. versions: {(tenant_id, instance): what it has now}.
    rehearsal: None where there was none.
    """

    rollout_id: str
    request: RolloutRequest
    version: str | None
    cut: Cut
    scripts: Sequence[Migration]
    findings: Sequence[Finding]
    results: Sequence[OperationResult]
    versions: Mapping[tuple[str, str], str] = field(default_factory=dict)
    rehearsal: RehearsalReport | None = None

    def refuse_findings(self) -> None:
        """Raise MigrationError where lint has found an error that no script overrides."""
        errors = [finding for finding in self.findings if finding.severity == "error"]
        if errors:
            told = "; ".join(f"{item.file}, line {item.line}: {item.rule}: {item.text}" for item in errors)
            raise MigrationError(
                f"lint has found {len(errors)} errors: {told}",
                where=self.request.migrations,
                allowed="-- dbgear:allow <rule>: <reason>, above the statement",
            )

    def refuse_failing(self) -> None:
        """Raise TenantsFailedError where a tenant is going to fail."""
        failing = [(item.tenant_id, item.error) for item in self.failing]
        if failing:
            ids = [tenant_id for tenant_id, _ in failing]
            raise TenantsFailedError(f"dry run: {failure_text(failing, len(self.results))}", tenant_ids=ids)

    @property
    def failing(self) -> list[OperationResult]:
        """The results of those that are going to fail; who is left out is not going to."""
        going = {tenant_id for tenant_id, _ in self.cut.members}
        return [item for item in self.results if item.status is OperationStatus.ERROR and item.tenant_id in going]

    def document(self) -> dict[str, Any]:
        """Return it as JSON: what would be done, tenant by tenant, with the exact statements."""
        return {
            "rollout": self.rollout_id,
            "query": self.request.query,
            "version": self.version,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "scripts": self.scripts_told(),
            "findings": [vars(finding) for finding in self.findings],
            "stages": [
                {**stage.details(), "tenants": tenants, "instances": instances}
                for stage, (tenants, instances) in zip(self.cut.stages, self._sizes(), strict=True)
            ],
            "left_out": [vars(item) for item in self.cut.left_out],
            "rehearsal": self.rehearsal.details() if self.rehearsal else None,
            "tenants": [self._tenant(result) for result in self.results],
        }

    def scripts_told(self) -> list[dict[str, Any]]:
        """Return the scripts as JSON: which, how long, and whether they can be undone."""
        return [
            {
                "version": item.version,
                "name": item.name,
                "file": str(item.file),
                "statements": len(item.up.statements),
                "undoable": item.down is not None,
            }
            for item in self.scripts
        ]

    def text(self) -> str:
        """Return it as text for a log: scripts, findings and stages."""
        lines = [f"rollout {self.rollout_id} to version {self.version}: {self.request.query}"]
        for item in self.scripts_told():
            undoable = "" if item["undoable"] else "; cannot be undone"
            lines.append(f"script {item['file']}: {counted(item['statements'], 'statement')}{undoable}")
        lines += [
            f"lint: {item.severity}: {item.file}, line {item.line}: {item.rule}: {item.reason or item.text}"
            for item in self.findings
        ]
        rows = [
            (stage.name, str(tenants), str(instances), "yes" if stage.approval else "", f"{stage.soak_s:g}")
            for stage, (tenants, instances) in zip(self.cut.stages, self._sizes(), strict=True)
        ]
        lines.append(text_table(("stage", "tenants", "instances", "approval", "soak s"), rows))
        reasons = Counter(item.reason for item in self.cut.left_out)
        lines += [f"left out, {reason}: {counted(count, 'instance')}" for reason, count in reasons.most_common()]
        lines += [f"tenant {result.tenant_id} is going to fail: {result.error}" for result in self.failing]
        return "\n".join(lines)

    def _sizes(self) -> list[tuple[int, int]]:
        tenants: dict[int, set[str]] = defaultdict(set)
        for (tenant_id, _), stage in self.cut.members.items():
            tenants[stage].add(tenant_id)
        instances = Counter(self.cut.members.values())
        return [(len(tenants[index]), instances[index]) for index in range(len(self.cut.stages))]

    def _tenant(self, result: OperationResult) -> dict[str, Any]:
        instances = (result.details or {}).get("instances", {})
        told = {
            name: {
                "stage": self.cut.members.get((result.tenant_id, name)),
                "from": item["version"],
                "versions": item["versions"],
                "statements": item.get("statements", []),
            }
            for name, item in instances.items()
        }
        kind = (result.details or {}).get("error_kind")
        return {"tenant_id": result.tenant_id, "instances": told, "error_kind": kind, "error": result.error}


async def plan_rollout(
    engine: TenantAutomationEngine, rollout_id: str, tenants: Sequence[TenantInfo], request: RolloutRequest
) -> RolloutPlan:
    """Return what a rollout of migrations to these tenants would do. Connects and reads, changes nothing.

    engine: connected to all that the tenants live on. Tenants that have all of it are in no stage. One that cannot be
    looked at is, and fails there under its own name. Raises MigrationError for scripts that cannot be read, and
    SettingsError for wrong stages; findings of lint are in the plan.
    """
    settings = request.settings(engine.settings.rollout)
    results = await engine.bulk_migrate_tenants(
        {"tenant_id": [tenant.tenant_id for tenant in tenants]},
        request.migrations,
        request.to,
        dry_run=True,
        out_of_order=request.out_of_order,
        verify=True,
    )
    looked = [result for result in results if result.status is OperationStatus.SUCCESS]
    instances = [item for result in looked for item in (result.details or {})["instances"].values()]
    pending = {version for item in instances for version in item["versions"]}
    sets = await _scripts(engine, tenants, request.migrations)
    scripts: dict[tuple[int, ...], Migration] = {}
    findings: dict[Finding, None] = {}
    newest: Migration | None = None
    for migrations, facts in sets:
        wanted = migrations.upto(request.to)
        newest = max([*wanted.migrations, *filter(None, [newest])], key=lambda item: item.order)
        needed = replace(wanted, migrations=[item for item in wanted.migrations if item.version in pending])
        scripts = {**{item.order: item for item in needed.migrations}, **scripts}
        findings |= dict.fromkeys(await asyncio.to_thread(lint, needed, facts))
    configs, wrong = await _configs(engine, tenants)

    def target_of(tenant: TenantInfo) -> str:
        if tenant.tenant_id in wrong:
            raise SettingsError(wrong[tenant.tenant_id], where=f"settings of tenant {tenant.tenant_id}")
        return engine.settings.target_of(tenant)

    stages = cut(
        rollout_id,
        tenants,
        settings,
        target_of=target_of,
        now=datetime.now(UTC),
        configs=configs,
        current={result.tenant_id for result in looked if not (result.details or {})["changed"]},
    )
    return RolloutPlan(
        rollout_id=rollout_id,
        request=request,
        version=newest.version if newest else request.to,
        cut=stages,
        scripts=[scripts[order] for order in sorted(scripts)],
        findings=list(findings),
        results=results,
        versions={
            (result.tenant_id, name): item["version"] or ""
            for result in looked
            for name, item in (result.details or {})["instances"].items()
        },
    )


async def rehearse_rollout(engine: TenantAutomationEngine, plan: RolloutPlan, *, rows: int) -> RolloutPlan:
    """Return the plan with what became of its scripts on clones of its tenants. engine: that of the plan.

    rows: of each table, copied into a clone. Whether a failure is one of the rollout is the caller's to say.
    """
    members = {tenant_id for tenant_id, _ in plan.cut.members}
    report = await engine.rehearse_migrations(
        {"tenant_id": sorted(members)},
        plan.request.migrations,
        plan.request.to,
        rows=rows,
        out_of_order=plan.request.out_of_order,
        planned=[result for result in plan.results if result.tenant_id in members],
    )
    return replace(plan, rehearsal=report)


async def _scripts(
    engine: TenantAutomationEngine, tenants: Sequence[TenantInfo], migrations: str
) -> list[tuple[MigrationSet, ServerFacts]]:
    """Return the scripts for each target that tenants live on, with what lint asks of it."""
    on_targets: dict[str, list[TenantInfo]] = defaultdict(list)
    for tenant in tenants:
        try:
            on_targets[engine.settings.target_of(tenant)].append(tenant)
        except SettingsError:  # the tenant is left out for it
            continue
    work = FleetMigration(engine, Path(migrations), instances=None, dry_run=True, parallel_limit=None)
    found = []
    for target, those in sorted(on_targets.items()):
        if (server := engine.servers.get(target)) is not None:
            prefixed = any(tenant.isolation_strategy == "table" for tenant in those)
            scripts = await work._set_of(server, those[0])
            found.append((scripts, ServerFacts(dialect=server.dialect, prefixed=prefixed)))
    return found


async def _configs(
    engine: TenantAutomationEngine, tenants: Sequence[TenantInfo]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Return {tenant_id: its own settings}, and {tenant_id: why} of those whose settings cannot be read."""
    width = asyncio.Semaphore(engine.max_parallel)
    configs: dict[str, Mapping[str, Any]] = {}
    wrong: dict[str, str] = {}

    async def read(tenant_id: str) -> None:
        async with width:
            try:
                configs[tenant_id] = await engine.registry.get_tenant_config(tenant_id)
            except DbgearError as error:
                wrong[tenant_id] = error.message

    async with asyncio.TaskGroup() as tasks:
        for tenant in tenants:
            tasks.create_task(read(tenant.tenant_id))
    return configs, wrong
