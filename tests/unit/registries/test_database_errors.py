"""What servers say that cannot be had here: by their numbers, as the driver passes them on."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from dbgear_airflow_provider.core.errors import SettingsError, SourceUnavailableError
from dbgear_airflow_provider.core.registries.database.errors import translated


@pytest.mark.parametrize(
    ("number", "words"), [(1047, "WSREP has not yet prepared node for application use"), (4031, "inactivity")]
)
def test_a_mysql_that_is_away_for_a_while_is_transient(number: int, words: str) -> None:
    with pytest.raises(SourceUnavailableError, match=f"crm: the database does not answer: {number}"), translated("crm"):
        raise OperationalError("SELECT 1", None, Exception(number, words))


def test_a_statement_that_mysql_does_not_know_is_not() -> None:
    with pytest.raises(SettingsError, match="1064"), translated("crm"):
        raise OperationalError("SELEC 1", None, Exception(1064, "syntax"))
