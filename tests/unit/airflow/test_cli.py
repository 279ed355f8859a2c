"""What `airflow dbgear` understands, and what it costs every other command of Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from importlib import import_module
from typing import Any, get_args

import pytest

LINES = [
    ("tenant list", {"query": None, "output": "table"}),
    ("tenant show T0001 -o json", {"tenant_id": "T0001", "output": "json"}),
    ("tenant sync --source crm --source billing --dry-run", {"source": ["crm", "billing"], "dry_run": True}),
    ("tenant sync", {"source": None, "dry_run": False, "force": False, "report": None}),
    ("tenant provision --parallel 10 --output yaml", {"query": None, "parallel": 10, "output": "yaml"}),
    ("tenant provision --filter tier='basic' --config p.yaml", {"query": "tier='basic'", "config": "p.yaml"}),
    ("tenant render --directory out", {"directory": "out", "output": "yaml"}),
    ("batch deploy-schema --migration v2.1.sql --to 2.1", {"migration": "v2.1.sql", "to": "2.1", "approve": False}),
    ("batch deploy-schema --resume R --retry-failed", {"resume": "R", "retry_failed": True}),
    ("batch healthcheck --parallel 9 --report h.json", {"parallel": 9, "report": "h.json", "fail_on": "critical"}),
    ("monitor status --dashboard", {"dashboard": True}),
    ("fleet rebuild --dry-run", {"dry_run": True}),
]


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    from airflow.cli import cli_parser

    return cli_parser.get_parser()


@pytest.mark.parametrize(("line", "expected"), LINES, ids=[line for line, _ in LINES])
def test_lines_are_understood(parser: ArgumentParser, line: str, expected: dict[str, Any]) -> None:
    args = parser.parse_args(["dbgear", *line.split()])
    assert expected.items() <= vars(args).items()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "tenant",
        "tenant drop",
        "tenant show",
        "tenant provision --parallel 0",
        "tenant list -o xml",
        "monitor status --config x",
    ],
)
def test_other_lines_end_with_exit_code_2(parser: ArgumentParser, line: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["dbgear", *line.split()])
    assert ended.value.code == 2
    assert "command error" in capsys.readouterr().err


def commands(parser: ArgumentParser, *words: str) -> list[tuple[str, ...]]:
    """Return the words of all commands below some words."""
    for action in parser._actions:
        if isinstance(action.choices, dict):
            found = [commands(below, *words, name) for name, below in action.choices.items() if name]
            return [command for below in found for command in below]
    return [words]


def test_every_command_is_there_and_has_help(parser: ArgumentParser, capsys: Any) -> None:
    (dbgear,) = [action.choices["dbgear"] for action in parser._actions if isinstance(action.choices, dict)]
    for words in commands(dbgear):
        with pytest.raises(SystemExit):
            parser.parse_args(["dbgear", *words, "--help"])
        assert "--output" in capsys.readouterr().out
    from dbgear_airflow_provider.cli.definition import get_cli_commands

    (group,) = get_cli_commands()
    names = {(item.name, command.name): command.func for item in group.subcommands for command in item.subcommands}
    assert set(names) == set(commands(dbgear))
    for (module, _), function in names.items():
        assert callable(getattr(import_module(f"dbgear_airflow_provider.cli.{module}"), function.__name__))


def test_the_statuses_to_fail_on_are_those_of_the_core() -> None:
    from dbgear_airflow_provider.cli.definition import ARG_FAIL_ON
    from dbgear_airflow_provider.core.health import FailOn

    assert set(ARG_FAIL_ON.kwargs["choices"]) == set(get_args(FailOn))


def test_the_definition_imports_no_command() -> None:
    script = """
import json, sys
import airflow.cli.cli_config
before = set(sys.modules)
from dbgear_airflow_provider.cli.definition import get_cli_commands
get_cli_commands()
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    package = "dbgear_airflow_provider"  # which Airflow may have loaded as a plugin
    imported = set(json.loads(done.stdout.splitlines()[-1])) - {package}
    assert imported == {f"{package}.cli", f"{package}.cli.definition"}


def test_an_error_that_is_none_of_ours_is_not_hidden() -> None:
    from dbgear_airflow_provider.cli.running import command

    @command
    async def broken(args: Namespace) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken(Namespace())
