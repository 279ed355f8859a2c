"""Alerts through Airflow's own notifiers: by mail, to a real server, and by notifiers of two other kinds."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from dbgear_airflow_provider.core.errors import NotificationError, SettingsError
from dbgear_airflow_provider.core.fleet import FleetStore
from dbgear_airflow_provider.core.fleet.tables import health
from tests.servers.smtp import MailServer, mail_server

REPOSITORY = Path(__file__).resolve().parents[3]
MAIL = {
    "class": "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
    "arguments": {
        "from_email": "dbgear@example.com",
        "to": "ops@example.com",
        "subject": "{{ dbgear.subject }}",
        "html_content": "{{ dbgear.html }}",
    },
}
TOLD: list[str] = []  # what the notifiers below were given


def plain_notifier() -> type[Any]:
    from airflow.sdk import BaseNotifier

    class Plain(BaseNotifier):
        """As most are: without an async_notify. wrong: it fails."""

        template_fields = ("text",)

        def __init__(self, text: str, wrong: bool = False) -> None:
            super().__init__()
            self.text = text
            self.wrong = wrong

        def notify(self, context: Any) -> None:
            if self.wrong:
                raise ConnectionError("the chat is down")
            TOLD.append(self.text)

    return Plain


class Project:
    """A project with a rule, and a fleet store on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notifiers: dict[str, Any] = {}
        self.rules: list[dict[str, Any]] = [{"name": "down", "measure": "tenants_unreachable"}]
        self.late_after: dict[str, float] = {}

    def write(self) -> None:
        alerts = {"notifiers": self.notifiers, "rules": self.rules, "late_after": self.late_after}
        registry = {"config": {"csv": {"path": "tenants.csv"}}}
        targets = {"main": {"connection_id": "main"}}
        document = {"tenant_registry": registry, "targets": targets, "alerts": alerts}
        text = yaml.safe_dump({"project_name": "shop", "multi_tenant": document})
        (self.folder / "project.yaml").write_text(text)

    def health(self, **statuses: str) -> None:
        """Let the last look at each tenant have been so."""

        async def record() -> None:
            store = FleetStore(f"sqlite+aiosqlite:///{self.folder / 'fleet.db'}")
            await store.prepare()
            fixed = {"instance": "main", "target": "main", "checked_at": datetime.now(UTC)}
            problems = [{"kind": "unreachable", "severity": "critical", "text": "no <answer>"}]
            async with store._begin() as connection:
                await connection.execute(sa.delete(health))
                rows = [{**fixed, "tenant_id": id_, "status": it, "problems": problems} for id_, it in statuses.items()]
                await connection.execute(sa.insert(health), rows)
            await store.aclose()

        asyncio.run(record())

    def look(self) -> dict[str, Any]:
        """Run the operator."""
        from dbgear_airflow_provider.operators.alert import DbgearAlertOperator

        self.write()
        ti = SimpleNamespace(log_url="http://airflow.example/log")
        found: dict[str, Any] = asyncio.run(DbgearAlertOperator(task_id="tell").aexecute({"ti": ti}))  # type: ignore[typeddict-item]
        return found


@pytest.fixture
def project(tmp_path: Path, connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(tmp_path / "project.yaml"))
    connection("dbgear_fleet", conn_type="sqlite", host=str(tmp_path / "fleet.db"))
    monkeypatch.setattr(f"{__name__}.Plain", plain_notifier(), raising=False)
    TOLD.clear()
    return Project(tmp_path)


@pytest.fixture
def mail(connection: Callable[..., None]) -> Iterator[MailServer]:
    with mail_server() as server:
        extra = {"disable_ssl": True, "disable_tls": True}
        connection("smtp_default", conn_type="smtp", host="127.0.0.1", port=server.port, extra=extra)
        yield server


def test_a_mail_comes_once_when_tenants_are_away_and_once_when_they_are_back(
    project: Project, mail: MailServer
) -> None:
    project.notifiers = {"mail": MAIL}
    project.health(T1="unreachable", T2="ok", T3="unreachable")
    assert project.look() == {"broken": {"down": "tenants_unreachable: 2 of 3 tenants, the limit is 0"}, "told": 1}
    assert project.look()["told"] == 0
    project.health(T1="ok", T2="ok", T3="ok")
    assert project.look() == {"broken": {}, "told": 1}
    assert project.look()["told"] == 0
    assert [mail["subject"] for mail in mail.mails] == ["[shop] CRITICAL: down", "[shop] OVER: down"]
    (part,) = mail.mails[0].iter_parts()
    body = part.get_content()
    assert "2 of 3 tenants" in body
    assert "T1/main: no &lt;answer&gt;" in body
    assert "http://airflow.example/log" in body


def test_a_notifier_that_is_down_is_told_later_and_keeps_nobody_from_being_told(project: Project) -> None:
    name = f"{__name__}.Plain"
    down = {"class": name, "arguments": {"text": "chat: {{ dbgear.subject }}", "wrong": True}}
    project.notifiers = {"pager": {"class": name, "arguments": {"text": "{{ dbgear.text }}"}}, "chat": down}
    project.health(T1="unreachable")
    for _ in range(2):
        with pytest.raises(NotificationError, match="down: chat: the chat is down"):
            project.look()
    assert len(TOLD) == 1
    assert TOLD[0].splitlines()[0] == "[shop] CRITICAL: down"
    down["arguments"] = {"text": "chat: {{ dbgear.subject }}"}
    assert project.look()["told"] == 1
    assert TOLD[1:] == ["chat: [shop] CRITICAL: down"]
    assert project.look()["told"] == 0


@pytest.mark.parametrize(
    ("notifier", "told"),
    [
        ({"class": "no.such.Notifier"}, "ops.class.*cannot be imported.*no.such.Notifier"),
        ({"class": "pathlib.Path"}, "ops.class.*no notifier.*pathlib.Path.*BaseNotifier"),
        ({"class": f"{__name__}.Plain", "arguments": {"colour": "red"}}, "ops.arguments.*colour"),
    ],
)
def test_a_notifier_that_cannot_be_made(project: Project, notifier: dict[str, Any], told: str) -> None:
    project.notifiers = {"ops": notifier}
    project.health(T1="unreachable")
    with pytest.raises(NotificationError, match=told):
        project.look()


def test_a_task_that_fails_tells_its_counts_and_first_tenants(project: Project) -> None:
    from dbgear_airflow_provider.notifications.dbgear import DbgearNotifier

    project.notifiers = {"pager": {"class": f"{__name__}.Plain", "arguments": {"text": "{{ dbgear.text }}"}}}
    project.write()
    ti = SimpleNamespace(dag_id="tenant_provision", task_id="summarize", log_url="http://airflow.example/log")
    error = NotificationError("3 of 40 tenants failed: T1: no answer; T2: no room; T3: locked")
    DbgearNotifier()({"ti": ti, "run_id": "r1", "exception": error})
    assert TOLD == [
        "[shop] FAILED: tenant_provision, task summarize, run r1\n"
        "3 of 40 tenants failed: T1: no answer; T2: no room; T3: locked\n"
        "http://airflow.example/log"
    ]
    with pytest.raises(SettingsError, match=r"no such notifier.*nobody.*pager"):
        DbgearNotifier(notifiers=["nobody"])({"ti": ti, "run_id": "r1", "exception": error})
    project.notifiers = {}
    project.write()
    DbgearNotifier()({"ti": ti, "run_id": "r1"})
    assert len(TOLD) == 1


def test_a_late_run_is_told_and_only_dags_with_a_limit_have_a_deadline(project: Project) -> None:
    project.notifiers = {"pager": {"class": f"{__name__}.Plain", "arguments": {"text": "{{ dbgear.text }}"}}}
    project.late_after = {"tenant_provision": 90}
    project.write()
    dags = {
        name: runpy.run_path(str(REPOSITORY / "dags" / f"{name}.py"))
        for name in ("tenant_provision", "tenant_drift_check")
    }
    (deadline,) = dags["tenant_provision"]["dag"].deadline
    assert deadline.interval == timedelta(minutes=90)
    assert not dags["tenant_drift_check"]["dag"].deadline
    # As Airflow's triggerer does it.
    from airflow.sdk._shared.module_loading import import_string

    callback = import_string(deadline.callback.path)
    run = {"dag_id": "tenant_provision", "dag_run_id": "r1"}
    asyncio.run(callback(**json.loads(json.dumps(deadline.callback.kwargs)), context={"dag_run": run}))
    assert TOLD == ["[shop] LATE: tenant_provision\nrun r1 has not ended 90 minutes after it was queued"]


def test_the_dag_is_there_where_there_are_rules(project: Project) -> None:
    project.write()
    file = str(REPOSITORY / "dags" / "tenant_alerts.py")
    dag = runpy.run_path(file)["dag"]
    assert [task.task_id for task in dag.tasks] == ["tell"]
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    project.rules = []
    project.write()
    assert "dag" not in runpy.run_path(file)
