"""Synchronize the tenant registry with its sources, then provision the new tenants and shut out the suspended ones.

What follows the sync, only where it is switched on. Tenants that have become terminated are named in the log and in
the report of the task `sync`: removing what they have is for a person to decide.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param

from dbgear_airflow_provider.dag_parts import scheduled
from dbgear_airflow_provider.hooks.project import project_settings
from dbgear_airflow_provider.notifications.dbgear import DbgearNotifier
from dbgear_airflow_provider.notifications.late import deadline
from dbgear_airflow_provider.operators.revoke_access import DbgearRevokeAccessOperator
from dbgear_airflow_provider.operators.sync import DbgearSyncOperator
from dbgear_airflow_provider.operators.synced_tenants import DbgearSyncedTenantsOperator

# Read at parse time: the form lists the sources. A project without sources has nothing to synchronize, and no DAG.
SETTINGS = project_settings()
SOURCES = list(SETTINGS.synced_sources())
REPORT = "{{ ti.xcom_pull(task_ids='sync')['report'] }}"
RETRIES: dict[str, Any] = {"retries": 2, "retry_delay": timedelta(minutes=1)}


def query_of(selected: dict[str, Any]) -> str:
    """Return the query of one selection."""
    return str(selected["query"])


if SOURCES:
    with DAG(
        "tenant_sync",
        description="Synchronize the tenant registry with its sources",
        **scheduled("0 2 * * *"),
        doc_md=__doc__,
        deadline=deadline("tenant_sync", SETTINGS.alerts),
        params={
            "sources": Param(
                [],
                type="array",
                items={"type": "string", "enum": SOURCES},
                examples=SOURCES,
                title="Sources",
                description="Only these; none chosen means all. Who is in none of them becomes terminated only where "
                "all sources that know the status were read.",
            ),
            "dry_run": Param(
                SETTINGS.sync.dry_run,
                type="boolean",
                title="Dry run",
                description="Read and compare, report the exact differences, change nothing.",
            ),
            "force": Param(
                False,
                type="boolean",
                title="Force",
                description="Go on where max_change_percent would stop it. A source without any tenant still does.",
            ),
            "provision_new": Param(
                SETTINGS.sync.provision_new,
                type="boolean",
                title="Provision new tenants",
                description="Trigger tenant_provision for those that have become active; in a dry run, a dry run.",
            ),
            "revoke_suspended": Param(
                SETTINGS.sync.revoke_suspended,
                type="boolean",
                title="Revoke access of suspended tenants",
                description="And give it back to those that have become active again. In a dry run they are only told.",
            ),
        },
    ) as dag:
        synced = DbgearSyncOperator(
            task_id="sync",
            on_failure_callback=DbgearNotifier(),
            sources="{{ params.sources }}",
            is_dry_run="{{ params.dry_run }}",
            force="{{ params.force }}",
            **RETRIES,
        )
        activated = DbgearSyncedTenantsOperator(
            task_id="activated",
            report=REPORT,
            became="active",
            is_enabled="{{ params.provision_new }}",
            **RETRIES,
        )
        TriggerDagRunOperator.partial(
            task_id="provision_new",
            trigger_dag_id="tenant_provision",
            fail_when_dag_is_paused=True,  # the run would wait for ever, and nobody would know
        ).expand(conf=activated.output)
        suspended = DbgearSyncedTenantsOperator(
            task_id="suspended",
            report=REPORT,
            became="suspended",
            is_enabled="{{ params.revoke_suspended }}",
            access=True,
            **RETRIES,
        )
        DbgearRevokeAccessOperator.partial(
            task_id="revoke_suspended",
            is_dry_run=False,  # after a dry run nothing is selected
            **RETRIES,
        ).expand(query=suspended.output.map(query_of))
        reactivated = DbgearSyncedTenantsOperator(
            task_id="reactivated",
            report=REPORT,
            became="active",
            is_enabled="{{ params.revoke_suspended }}",
            access=True,
            **RETRIES,
        )
        DbgearRevokeAccessOperator.partial(
            task_id="restore_reactivated",
            is_dry_run=False,  # after a dry run nothing is selected
            restore=True,
            **RETRIES,
        ).expand(query=reactivated.output.map(query_of))
        synced >> [activated, suspended, reactivated]
