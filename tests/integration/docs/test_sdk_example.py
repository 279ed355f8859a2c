"""The Python example of the README runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from dbgear_airflow_provider.sandbox.postgres import PostgresServer

ROOT = Path(__file__).parents[3]


def test_the_example_of_the_readme_runs(postgres: PostgresServer, database: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    script = tmp_path / "dry_run.py"
    script.write_text(example)
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=ROOT,
        env={
            **os.environ,
            "PGHOST": postgres.host,
            "PGPORT": str(postgres.port),
            "PGUSER": postgres.user,
            "PGPASSWORD": postgres.password or "",
            "PGDATABASE": database,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    left_out, results = [], []
    for line in done.stdout.splitlines():
        (left_out if line.startswith("left out:") else results).append(line)
    assert len(left_out) == 2
    assert len(results) == 8
    assert all(re.fullmatch(r"T\d{4} success \d+ objects to create", line) for line in results), results
    with postgres.connect(database) as connection:
        rows = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE '%main'").fetchall()
    assert rows == []
