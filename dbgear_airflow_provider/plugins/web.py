"""What the provider serves inside Airflow's API server, under /dbgear. Imports nothing heavy before the first request.

Airflow mounts it without any authentication: whatever is added here has to ask for it itself.
"""

from __future__ import annotations

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request, as an ASGI application."""
    from .metrics import respond  # noqa: PLC0415 - of use to the API server alone

    await (await respond(scope))(scope, receive, send)
