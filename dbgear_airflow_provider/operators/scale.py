"""`DbgearScaleOperator`: the pools of targets follow their load."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from ..core.automation.scaling import Load, operations_of, record_scaling, scale
from ..core.errors import SettingsError
from ..hooks.airflow_api import open_airflow_api
from ..hooks.project import open_store, project_settings
from .base import DbgearOperator


class DbgearScaleOperator(DbgearOperator):
    """Give the pools of the targets in the project file's `scaling` as many slots as their load asks for.

    Asks Airflow's API for the pools, and the fleet store for what has failed lately; changes what is to be changed, and
    keeps each change, with its reason, in the fleet store. Returns `{target: {slots, reason}}`.
    """

    async def work(self, context: Context) -> dict[str, Any]:
        """Measure, decide, change, keep."""
        settings = project_settings(self.project_file)
        scaling, step = settings.scaling, settings.automation.tenants_in_flight
        if scaling is None:
            raise SettingsError("no scaling", where="multi_tenant.scaling", allowed="connection_id and targets")
        done: dict[str, Any] = {}
        api = await open_airflow_api(scaling.connection_id, may="edit pools")
        try:
            async with open_store(self.fleet_conn_id) as store:
                for target, bounds in scaling.targets.items():
                    path = f"/api/v2/pools/dbgear_{target}"
                    pool = (await api.request("GET", path)).json()
                    finished, suffered = await operations_of(store, target, scaling.window)
                    waiting = int(pool["queued_slots"]) + int(pool["scheduled_slots"])
                    load = Load(
                        running=int(pool["running_slots"]), waiting=waiting, finished=finished, suffered=suffered
                    )
                    before = int(pool["slots"])
                    now = scale(before, bounds, load, step=step, suffering_percent=scaling.suffering)
                    if now.reason is not None:
                        body = {"pool": pool["name"], "slots": now.slots, "include_deferred": pool["include_deferred"]}
                        await api.request("PATCH", f"{path}?update_mask=slots", body)
                        await record_scaling(store, target, before, now, load)
                        self.log.info("pool of %s: %d -> %d slots: %s", target, before, now.slots, now.reason)
                    done[target] = {"slots": now.slots, "reason": now.reason}
        finally:
            await api.aclose()
        return done
