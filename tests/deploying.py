"""The DAG `tenant_deploy_schema` without an Airflow that runs: its tasks, one after the other, as a test says."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from dbgear_airflow_provider.core.fleet import FleetStore, RolloutMember, RolloutStore

DAG_FILE = Path(__file__).resolve().parents[1] / "dags" / "tenant_deploy_schema.py"
HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy\n"
Answer = TypeVar("Answer")


class Deploy:
    """A project of a few tenants, the DAG that is made of it, and its tasks.

    folder: for the project; reports go to its `reports`, the fleet store is its `fleet.db`. project: text of the
    project file. xcoms: {(task id, key): value}; skipped: {task id: the tasks that it has skipped}.
    """

    def __init__(self, folder: Path, project: str) -> None:
        self.folder = folder
        self.migrations = folder / "migrations"
        self.migrations.mkdir()
        (folder / "project.yaml").write_text(project)
        self.dag: Any = runpy.run_path(str(DAG_FILE))["dag"]
        self.run_id = "run:1"
        self.xcoms: dict[tuple[str, str], Any] = {}
        self.skipped: dict[str, Sequence[Any]] = {}

    def tenants(self, codes: dict[str, str], tier: str = "basic") -> None:
        """Write the tenant list of {tenant_id: customer code}."""
        rows = [f"{id_},顧客,{code},jp,{tier},active,2026-01-01,2026-01-01,schema\n" for id_, code in codes.items()]
        (self.folder / "tenants.csv").write_text(HEADER + "".join(rows))

    def script(self, version: str, up: str, down: str = "") -> None:
        """Write a script."""
        text = f"-- migrate:up\n{up}\n" + (f"\n-- migrate:down\n{down}\n" if down else "")
        (self.migrations / f"v{version}.sql").write_text(text)

    @property
    def rollout_id(self) -> str:
        """The id of the rollout that this run begins."""
        return f"{self.dag.dag_id}/{self.run_id}"

    def again(self, run_id: str) -> None:
        """Go on in another run of the DAG."""
        self.run_id, self.xcoms, self.skipped = run_id, {}, {}

    def context(self, task: Any, **params: Any) -> Any:
        """Return what Airflow gives to a task."""

        def pull(task_ids: str, key: str = "return_value") -> Any:
            return self.xcoms.get((task_ids, key))

        def push(key: str, value: Any) -> None:
            self.xcoms[task.task_id, key] = json.loads(json.dumps(value))

        ti = SimpleNamespace(id="ti", try_number=1, map_index=-1, xcom_pull=pull, xcom_push=push)
        params = {**{name: self.dag.params[name] for name in self.dag.params}, **params}
        return {"dag": self.dag, "run_id": self.run_id, "ti": ti, "task_instance": ti, "params": params, "task": task}

    def task(self, task_id: str, batch: Any = None, **params: Any) -> tuple[Any, Any]:
        """Return a task, its templates rendered, and its context. batch: of a mapped task."""
        task = self.dag.get_task(task_id)
        task = task.unmap({"batch": batch}) if batch is not None else task.prepare_for_execution()
        context = self.context(task, **params)
        task.render_template_fields(context)
        return task, context

    def run(self, task_id: str, batch: Any = None, **params: Any) -> Any:
        """Run a task to its end; return its result. Raises what it raises, unless that is how it skips others."""
        from airflow.sdk.exceptions import DownstreamTasksSkipped

        task, context = self.task(task_id, batch, **params)
        try:
            result = asyncio.run(task.aexecute(context))
        except DownstreamTasksSkipped as skipped:
            self.skipped[task_id] = skipped.tasks
            return None
        if result is not None:
            context["ti"].xcom_push("return_value", result)
        return result

    def report(self, name: str = "rollout") -> dict[str, Any]:
        """Return a report of this run."""
        path = self.folder / "reports" / self.dag.dag_id / self.run_id.replace(":", "_") / f"{name}.json"
        report: dict[str, Any] = json.loads(path.read_text())
        return report

    def ask(self, question: Callable[[RolloutStore], Awaitable[Answer]]) -> Answer:
        """Return the answer of the fleet store's rollouts."""

        async def answer() -> Answer:
            store = FleetStore(f"sqlite+aiosqlite:///{self.folder / 'fleet.db'}")
            await store.prepare()
            try:
                return await question(store.rollouts)
            finally:
                await store.aclose()

        return asyncio.run(answer())

    def status(self) -> str:
        """Return the status of this run's rollout."""
        return self.ask(lambda rollouts: rollouts.require(self.rollout_id)).status

    def members(self) -> dict[str, str]:
        """Return {tenant_id: status of its one instance} of this run's rollout."""
        return {item.tenant_id: item.status for item in self.ask(lambda store: store.members(self.rollout_id))}

    def begun(self, stages: Sequence[dict[str, Any]], members: Sequence[RolloutMember], **options: Any) -> None:
        """Have a rollout of this run, as its plan would have begun it."""

        async def begin(rollouts: RolloutStore) -> None:
            options.setdefault("migrations", str(self.migrations))
            await rollouts.create(
                self.rollout_id,
                version="2.0",
                query="status = 'active'",
                stages=stages,
                options={"out_of_order": False, **options},
            )
            await rollouts.add_members(self.rollout_id, members)

        self.ask(begin)
        self.xcoms["plan", "summary"] = {"rollout": self.rollout_id, "action": "deploy"}
