"""A small client of Airflow's REST API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

_PAGE = 100  # the most that Airflow gives at once
_TIMEOUT_S = 30.0


class AirflowClient:
    """Airflow's REST API, as the admin of the simple auth manager. Answers are Airflow's own JSON.

    passwords: file of the simple auth manager, read at the first call that needs a login.
    """

    def __init__(self, url: str, passwords: Path) -> None:
        self.url = url
        self._passwords = passwords
        # Without trust_env: the API of our own machine is not asked through a proxy.
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        """Close all connections; the client cannot be used any more."""
        self._http.close()

    @property
    def password(self) -> str:
        """The password of `admin`."""
        return str(json.loads(self._passwords.read_text())["admin"])

    def request(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON of /api/v2<path>; None where there is none.

        Raises httpx.HTTPStatusError whose text ends with Airflow's answer.
        """
        if "Authorization" not in self._http.headers:
            login = {"username": "admin", "password": self.password}
            token = _checked(self._http.post("/auth/token", json=login)).json()["access_token"]
            self._http.headers["Authorization"] = f"Bearer {token}"
        response = _checked(self._http.request(method, f"/api/v2{path}", **options))
        return response.json() if response.content else None

    def healthy(self) -> bool:
        """Tell whether API, scheduler and DAG processor are up. False as well while nothing answers."""
        try:
            health = self._http.get("/api/v2/monitor/health").raise_for_status().json()
        except httpx.HTTPError:
            return False
        return all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor"))

    def import_pools(self, pools: Mapping[str, Mapping[str, Any]]) -> None:
        """Create or overwrite pools, given in the form of `airflow pools import`. Safe to repeat."""
        entities = [{"name": name, **pool} for name, pool in pools.items()]
        action = {"action": "create", "action_on_existence": "overwrite", "entities": entities}
        self.request("PATCH", "/pools", json={"actions": [action]})

    def delete_pool(self, name: str) -> None:
        """Delete a pool."""
        self.request("DELETE", f"/pools/{name}")

    def import_errors(self) -> list[dict[str, Any]]:
        """Return the DAG files that failed to import: filename, stack_trace, timestamp."""
        return list(self._pages("/importErrors", "import_errors"))

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return a DAG; None where there is none."""
        try:
            return dict(self.request("GET", f"/dags/{dag_id}"))
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return None
            raise

    def unpause(self, dag_id: str) -> None:
        """Let the scheduler run a DAG."""
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Start a run and return its run id."""
        body = {"logical_date": None, "conf": conf}
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return queued, running, success or failed."""
        return str(self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def outcome(self, dag_id: str, run_id: str) -> str | None:
        """Return success or failed; None while the run goes on."""
        state = self.run_state(dag_id, run_id)
        return state if state in {"success", "failed"} else None

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a run."""
        return list(self._pages(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances"))

    def xcom(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, key: str = "return_value") -> Any:
        """Return the value that a task pushed."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.request("GET", path, params={"map_index": map_index})["value"]

    def clear(self, dag_id: str, run_id: str, *, tasks: Sequence[str | tuple[str, int]] | None = None) -> None:
        """Run the failed task instances of a run again, with all that stands behind them.

        tasks: task ids, or (task id, map index); None means all that failed.
        """
        body: dict[str, Any] = {
            "dry_run": False,
            "dag_run_id": run_id,
            "only_failed": True,
            "include_downstream": True,
        }
        if tasks is not None:
            body["task_ids"] = tasks
        self.request("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def _pages(self, path: str, key: str) -> Iterator[dict[str, Any]]:
        offset = 0
        while page := self.request("GET", path, params={"limit": _PAGE, "offset": offset})[key]:
            yield from page
            offset += len(page)


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        message = f"{response.request.method} {response.url}: {response.status_code} {response.text}"
        raise httpx.HTTPStatusError(message, request=response.request, response=response)
    return response
