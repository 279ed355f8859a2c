"""Roll migrations out over the tenants, in stages with a gate between them; go on with a rollout, or undo one.

Each stage of the project file's `rollout` has a group of tasks. Its gate judges the stage; where it stops the rollout,
later stages are not begun and the run fails. Then: `resume`, `retry` or `undo`, with the rollout's id from the report.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup

from dbgear_airflow_provider.dag_parts import active_tasks, in_flight_param, query_param
from dbgear_airflow_provider.hooks.project import project_settings
from dbgear_airflow_provider.notifications.dbgear import DbgearNotifier
from dbgear_airflow_provider.notifications.late import deadline
from dbgear_airflow_provider.operators.migrate import DbgearMigrateOperator
from dbgear_airflow_provider.operators.rollback import DbgearRollbackOperator
from dbgear_airflow_provider.operators.rollout import DbgearRolloutOperator
from dbgear_airflow_provider.operators.rollout_approval import DbgearRolloutApprovalOperator
from dbgear_airflow_provider.operators.rollout_batches import DbgearRolloutBatchesOperator
from dbgear_airflow_provider.operators.rollout_gate import DbgearRolloutGateOperator
from dbgear_airflow_provider.operators.rollout_report import DbgearRolloutReportOperator

# Read at parse time: there is a group of tasks for each stage and target, because a task's pool is fixed when it is
# parsed. With promotion a stage may become as many as it has instances.
SETTINGS = project_settings()
IN_FLIGHT = SETTINGS.automation.tenants_in_flight
COUNT = len(SETTINGS.rollout.stages) * max(1, len(SETTINGS.rollout.promotion))
STAGES = [f"stage_{number + 1}" for number in range(COUNT)]
ROLLOUT = "{{ (ti.xcom_pull(task_ids='plan', key='summary') or {}).get('rollout', '') }}"
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(seconds=15)}


def mapped(target: str) -> dict[str, Any]:
    """Return what tasks have that are mapped over batches of tenants of a target."""
    return {
        "tenants_in_flight": "{{ params.tenants_in_flight }}",
        "pool": f"dbgear_{target}",
        "pool_slots": IN_FLIGHT,
        "map_index_template": "{{ task.batch_label }}",
        **RETRIES,
    }


with DAG(
    "tenant_deploy_schema",
    description="Roll migrations out over the tenants, in stages",
    schedule=None,
    tags=["dbgear"],
    doc_md=__doc__,
    deadline=deadline("tenant_deploy_schema", SETTINGS.alerts),
    max_active_tasks=active_tasks(SETTINGS),
    params={
        "query": query_param(),
        "migration": Param(
            None,
            type=["null", "string"],  # the form takes no empty text
            title="Scripts",
            description="A folder of migration scripts, or one, on every worker. Empty: the project's folder.",
        ),
        "to_version": Param(
            None,
            type=["null", "string"],
            title="Up to version",
            description="Empty: the newest that there is now.",
        ),
        "dry_run": Param(
            True,
            type="boolean",
            title="Dry run",
            description="Connect and read, report stages and exact statements, change nothing.",
        ),
        "rehearse": Param(
            False,
            type="boolean",
            title="Rehearse",
            description="First run the scripts on clones, one for each group of tenants that are alike. A failure "
            "there stops the rollout.",
        ),
        "approval": Param(
            "stages",
            type="string",
            enum=["stages", "always", "never"],
            values_display={
                "stages": "where the project file says so",
                "always": "after each stage",
                "never": "never",
            },
            title="Ask a person",
            description="Whether somebody has to approve, on the page of required actions, what follows a stage.",
        ),
        "stages": Param(
            None,
            type=["null", "string"],
            format="multiline",
            title="Other stages",
            description_md="JSON, instead of the stages of the project file, no more than those:\n\n"
            '`[{"name": "canary", "count": 1}, {"name": "rest"}]`',
        ),
        "out_of_order": Param(
            False,
            type="boolean",
            title="Out of order",
            description="Also apply scripts that are older than the newest one that a tenant has.",
        ),
        "tenants_in_flight": in_flight_param(SETTINGS),
        "action": Param(
            "deploy",
            type="string",
            enum=["deploy", "resume", "retry", "undo"],
            values_display={
                "deploy": "begin a rollout",
                "resume": "go on with what was not begun",
                "retry": "go on, and try again what failed",
                "undo": "undo what a rollout has changed",
            },
            title="What to do",
            section="An existing rollout",
        ),
        "rollout": Param(
            None,
            type=["null", "string"],
            title="Rollout",
            description="Id of the rollout to go on with or to undo, as its report has it. It keeps its own query, "
            "scripts, version and stages.",
            section="An existing rollout",
        ),
    },
) as dag:
    plan = DbgearRolloutOperator(
        task_id="plan",
        stage_groups=STAGES,
        undo_group="undo",
        query="{{ params.query }}",
        migrations="{{ params.migration or '' }}",
        to_version="{{ params.to_version or '' }}",
        stages="{{ params.stages or '' }}",
        out_of_order="{{ params.out_of_order }}",
        approval="{{ params.approval }}",
        action="{{ params.action }}",
        rollout="{{ params.rollout or '' }}",
        is_dry_run="{{ params.dry_run }}",
        rehearse="{{ params.rehearse }}",
        **RETRIES,
    )
    summary = DbgearRolloutReportOperator(
        task_id="summarize",
        plan_task_id="plan",
        trigger_rule="all_done",
        on_failure_callback=DbgearNotifier(),
        **RETRIES,
    )

    before: list[Any] = [plan]
    for index, stage in enumerate(STAGES):
        with TaskGroup(stage):
            gate = DbgearRolloutGateOperator(
                task_id="gate",
                rollout=ROLLOUT,
                stage=index,
                list_task_ids=[f"{stage}.{target}.batches" for target in SETTINGS.targets],
                approval_task_id=f"{stage}.approval",
                trigger_rule="all_done",
                **RETRIES,
            )
            approval = DbgearRolloutApprovalOperator(task_id="approval", rollout=ROLLOUT, stage=index, **RETRIES)
            for target in SETTINGS.targets:
                with TaskGroup(target):
                    batches = DbgearRolloutBatchesOperator(
                        task_id="batches",
                        rollout=ROLLOUT,
                        stage=index,
                        target=target,
                        # Nobody may have had to be asked.
                        trigger_rule="none_failed_min_one_success",
                        **RETRIES,
                    )
                    migrated = DbgearMigrateOperator.partial(
                        task_id="migrate", rollout=ROLLOUT, stage=index, **mapped(target)
                    ).expand(batch=batches.output)
                    before >> batches
                    [batches, migrated] >> gate
            gate >> approval
        before = [gate, approval]
        before >> summary  # of each stage: the last ones may be skipped at once

    with TaskGroup("undo"):
        for target in SETTINGS.targets:
            with TaskGroup(target):
                changed = DbgearRolloutBatchesOperator(task_id="batches", rollout=ROLLOUT, target=target, **RETRIES)
                undone = DbgearRollbackOperator.partial(
                    task_id="undo",
                    rollout=ROLLOUT,
                    is_dry_run=False,  # after a dry run this is skipped
                    **mapped(target),
                ).expand(batch=changed.output)
                plan >> changed
                undone >> summary
