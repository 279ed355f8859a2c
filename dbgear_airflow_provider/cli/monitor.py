"""`airflow dbgear monitor`: how the fleet stands."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..core.fleet import FleetStatus
from ..hooks.fleet import FleetStoreHook
from . import terminal
from .output import Row, print_tables
from .running import Exit, command

_EVERY_S = 2.0


@command
async def status(args: Namespace) -> Exit:
    """Print how the fleet stands, once or live."""
    store = await FleetStoreHook().get_store()
    try:
        is_live = args.dashboard and args.output == "table" and sys.stdout.isatty() and terminal.is_there()
        if not is_live:
            found = await store.status.read()
            print_tables(_tables(found), found.document(), args.output)
            return Exit.OK
        with terminal.single_keys(), Live(_screen(await store.status.read()), screen=True) as live:
            leaving = asyncio.create_task(terminal.pressed("q"))
            while not leaving.done():
                await asyncio.wait([leaving], timeout=_EVERY_S)
                live.update(_screen(await store.status.read()), refresh=True)
    finally:
        await store.aclose()
    return Exit.OK


def _tables(found: FleetStatus) -> Mapping[str, Sequence[Row]]:
    rollouts = [{**row, "progress": _progress(row)} for row in found.rollouts]
    return {"Instances": found.instances, "Health": found.health, "Last runs": found.runs, "Rollouts": rollouts}


def _progress(rollout: Row) -> str:
    total = rollout["instances"]
    return f"{100 * (rollout['done'] + rollout['failed']) // total} %" if total else ""


def _screen(found: FleetStatus) -> Group:
    parts: list[Table | Text] = [Text(f"Fleet at {found.read_at:%Y-%m-%d %H:%M:%S} UTC; q leaves", style="bold")]
    for title, rows in _tables(found).items():
        if not rows:
            parts.append(Text(f"{title}: nothing yet"))
            continue
        table = Table(title=title, title_justify="left", expand=False)
        for name in rows[0]:
            table.add_column(name)
        for row in rows:
            cells = ["" if value is None else str(value) for value in row.values()]
            table.add_row(*map(Text, cells), style=_style(row))
        parts.append(table)
    return Group(*parts)


def _style(row: Row) -> str | None:
    bad = row.get("error") or row.get("failed") or row.get("status") in {"critical", "unreachable", "stopped"}
    return "red" if bad else "yellow" if row.get("status") in {"warning", "running", "paused"} else None
