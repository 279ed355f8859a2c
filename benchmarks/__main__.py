"""Run all measurements, or those that are named: `python -m benchmarks [provision ...]`."""

from __future__ import annotations

import sys
from importlib import import_module

MEASUREMENTS = ("provision", "migrate", "health", "registry", "fingerprints", "airflow")

for name in sys.argv[1:] or MEASUREMENTS:
    import_module(f".{name}", __package__).main()
