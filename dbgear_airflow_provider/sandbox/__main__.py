"""`python -m dbgear_airflow_provider.sandbox`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

_DEFAULT_PORT = 8080
_INTERRUPTED = 130  # as shells report SIGINT


def main() -> int:
    """Run the sandbox as the command line says. Return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dbgear_airflow_provider.sandbox",
        description="Start PostgreSQL and Airflow, provision the sample fleet, and show the result.",
    )
    parser.add_argument("--once", action="store_true", help="stop when the fleet is provisioned")
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(os.environ.get("DBGEAR_SANDBOX_DIR") or ".sandbox"),
        help="folder of all data (default: $DBGEAR_SANDBOX_DIR, else .sandbox)",
    )
    parser.add_argument("--port", type=int, default=_DEFAULT_PORT, help="port of the UI (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        # Imported here: it takes a second, in which Ctrl-C should not print a traceback either.
        from .run import run  # noqa: PLC0415
    except KeyboardInterrupt:
        return _INTERRUPTED
    return run(arguments.dir, port=arguments.port, once=arguments.once)


if __name__ == "__main__":
    sys.exit(main())
