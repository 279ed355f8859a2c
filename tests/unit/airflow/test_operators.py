"""Operators, as far as they can be asked without an Airflow that runs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dbgear_airflow_provider.core.errors import (
    InvalidInputError,
    LockTimeoutError,
    TenantsFailedError,
    TenantsRetryableError,
)


@pytest.fixture
def base():
    from dbgear_airflow_provider.operators import base

    return base


@pytest.fixture
def provision():
    from dbgear_airflow_provider.operators.provision import DbgearProvisionOperator

    return DbgearProvisionOperator


def decision(operator, error):
    return operator.retry_policy.evaluate(error, 1, 3).action.value


@pytest.mark.parametrize("given", [{}, {"retry_policy": None}])
def test_terminal_errors_fail_at_once_and_transient_ones_are_retried(provision, given):
    # None is what a mapped operator is given where its author left the policy out.
    operator = provision(task_id="a", batch={}, **given)
    assert decision(operator, TenantsFailedError("x")) == "fail"
    assert decision(operator, InvalidInputError("x", where="y")) == "fail"
    assert decision(operator, TenantsRetryableError("x")) == "default"
    assert decision(operator, LockTimeoutError("x")) == "default"
    assert decision(operator, OSError("x")) == "default"


def test_a_task_is_called_as_its_tenants_in_the_grid(provision):
    one = provision(task_id="a", batch={"tenant_ids": ["T0001"]})
    assert one.batch_label == "T0001"
    many = provision(task_id="b", batch={"tenant_ids": ["T0001", "T0002", "T0003"]})
    assert many.batch_label == "T0001 to T0003 (3 tenants)"


def test_a_kill_cancels_the_work(base):
    stopped = []

    class Slow(base.DbgearOperator):
        async def work(self, context):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                stopped.append(True)
                raise

    operator = Slow(task_id="a")

    async def run():
        threading.Timer(0.1, operator.on_kill).start()  # as the signal handler would, from outside the loop
        await operator.aexecute({})

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert stopped == [True]


def test_a_kill_before_or_after_the_work_is_harmless(base):
    base.DbgearOperator(task_id="a").on_kill()


@pytest.mark.parametrize(("value", "expected"), [(True, True), ("True", True), ("false", False), (False, False)])
def test_flags(base, value, expected):
    assert base.as_bool(value, "dry_run") is expected


@pytest.mark.parametrize("value", ["", "yes", "1", "None"])
def test_what_is_no_flag_is_never_taken_for_one(base, value):
    with pytest.raises(InvalidInputError, match="dry_run: not a flag.*allowed: true, false"):
        base.as_bool(value, "dry_run")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", []), ("[]", []), ("['schema', 'table']", ["schema", "table"]), ('["schema"]', ["schema"]), ((), [])],
)
def test_lists(base, value, expected):
    assert base.as_list(value, "isolation") == expected


@pytest.mark.parametrize("value", ["0", "-1", "x", "", "1.5", 0])
def test_what_is_no_positive_number(base, value):
    with pytest.raises(InvalidInputError, match="tenants_in_flight: not a number"):
        base.as_int(value, "tenants_in_flight")


def test_a_report_may_have_the_longest_name_that_a_file_may_have(base, tmp_path):
    from airflow.sdk import ObjectStoragePath

    path = tmp_path / "run" / f"{'x' * 250}.yaml"
    for text in ("first", "顧客"):
        base.write_text(ObjectStoragePath(path.as_uri()), text)
        assert path.read_text(encoding="utf-8") == text
    assert list(path.parent.iterdir()) == [path]
