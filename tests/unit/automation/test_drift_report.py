"""The report of drift, as people read it."""

from __future__ import annotations

from dbgear_airflow_provider.core.automation.drift import DriftReport, InstanceId, Unread


def test_ten_that_are_missing_or_not_read_are_named_and_how_many_more_there_are():
    members = [InstanceId(tenant_id=f"T{number:04}", instance="main") for number in range(1012)]
    unread = [
        Unread(member=member, target="main", error_kind="StatementError", error="no", transient=False)
        for member in members[:11]
    ]
    lines = DriftReport(groups=[], missing=members, unread=unread).text().splitlines()
    assert lines == [
        *(f"missing: T000{number}/main" for number in range(10)),
        "missing: and 1,002 more",
        *(f"not read: T000{number}/main: no" for number in range(10)),
        "not read: and 1 more",
    ]
    assert DriftReport(groups=[], missing=members[:10], unread=[]).text().count("\n") == 9
