"""Carrying out a rollout from a terminal: stage by stage, with the gates between them."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from getpass import getuser

from ..core.automation import OperationResult, RolloutWork, end_rollout, estimate_text, rollout_table
from ..core.errors import SourceUnavailableError
from ..core.fleet import Run
from ..core.rollout import RolloutReport, Verdict, build_report
from ..hooks.project import Fleet
from ..hooks.rollout import rollout_work
from . import terminal
from .output import as_json, print_rows, progress, tell, write_report
from .running import Exit


class Course:
    """A running rollout of the fleet store on its way. run: where results are kept. in_flight: tenants at once."""

    def __init__(self, fleet: Fleet, rollout_id: str, run: Run, args: Namespace, *, in_flight: int | None) -> None:
        self._fleet, self._id, self._run, self._args, self._in_flight = fleet, rollout_id, run, args, in_flight
        self._store = fleet.store.rollouts

    async def carry_out(self) -> Exit:
        """Go through the stages; print what became of every instance. Whatever breaks it off, the rollout is paused."""
        try:
            waits = await self._stages()
        except BaseException:
            with suppress(SourceUnavailableError):  # then it stays as it is, and can be resumed all the same
                await asyncio.shield(self._store.set_status(self._id, "paused", of=["running"]))
            tell(f"rollout {self._id} is paused; go on with --resume {self._id}")
            raise
        if not waits:
            await end_rollout(self._store, self._id)
        report = await self._report()
        self._tell(report)
        if waits:
            tell(f"nobody to ask: go on with --resume {self._id} --approve")
            return Exit.WAITING
        if not report.is_done:
            tell(f"go on with --resume {self._id}, and with --retry-failed to try again what has failed")
        return Exit.OK if report.is_done else Exit.FAILED

    async def _stages(self) -> bool:
        """Return whether a person has to be waited for; otherwise it went through, or has stopped."""
        for index, stage in enumerate((await self._store.require(self._id)).stages):
            members = await (await self._work()).to_do(index)
            if members:
                tenants = len({member.tenant_id for member in members})
                with progress(stage["name"], tenants) as on_result:
                    await (await self._work(on_result)).migrate(index, members)
            verdict = await self._judged(index)
            if verdict.action == "stop":
                tell(f"{stage['name']}: stop: {'; '.join(verdict.reasons)}")
                await self._store.set_status(self._id, "stopped", of=["running"])
            elif verdict.action == "ask" and not await self._approved(index):
                return (await self._store.require(self._id)).status == "paused"
            if (await self._store.require(self._id)).status != "running":
                return False
            tell(f"{stage['name']}: {estimate_text((await self._report()).estimate)}")
        return False

    async def _judged(self, index: int) -> Verdict:
        """Return the verdict on a stage, after its soak time."""
        while True:
            work = await self._work()
            verdict = await work.judge(index, await self._store.members(self._id))
            if verdict.action != "wait" or verdict.until is None:
                return verdict
            tell("; ".join(verdict.reasons))
            await asyncio.sleep((verdict.until - datetime.now(UTC)).total_seconds())

    async def _approved(self, index: int) -> bool:
        """Ask whether it goes on after a stage. No stops the rollout; where nobody can be asked it is paused."""
        if self._args.approve:
            await self._store.approve(self._id, index, getuser())
            return True
        if not terminal.is_there():
            await self._store.set_status(self._id, "paused", of=["running"])
            return False
        report = await self._report()
        tell(rollout_table(report))
        this, following = (item.stage.name for item in report.stages[index : index + 2])
        if await terminal.confirm(f"Rollout to version {report.record.version}: go on from {this} to {following}?"):
            await self._store.approve(self._id, index, getuser())
            return True
        await self._store.set_status(self._id, "stopped", of=["running"])
        return False

    async def _work(self, tell: Callable[[OperationResult], None] | None = None) -> RolloutWork:
        """Return what can be done to the rollout as it is now. tell: told of each result; with it, they are kept."""
        return await rollout_work(
            self._fleet,
            self._id,
            run=None if tell is None else self._run,
            tell=tell or (lambda _: None),
            in_flight=self._in_flight,
        )

    async def _report(self) -> RolloutReport:
        record, members = await self._store.require(self._id), await self._store.members(self._id)
        return build_report(record, members, now=datetime.now(UTC))

    def _tell(self, report: RolloutReport) -> None:
        names = [item.stage.name for item in report.stages]
        rows = [
            {
                "tenant": member.tenant_id,
                "instance": member.instance,
                "stage": None if member.stage is None else names[member.stage],
                "result": member.status,
                "from": member.from_version,
                "to": member.to_version,
                "seconds": None if member.duration_s is None else round(member.duration_s, 3),
                "error": member.error,
            }
            for member in sorted(report.members, key=lambda member: member.status == "failed")
        ]
        print_rows(rows, self._args.output)
        is_page = str(self._args.report).endswith(".html")
        write_report(self._args.report, report.html if is_page else lambda: as_json(report.document()))
        tell(rollout_table(report))
