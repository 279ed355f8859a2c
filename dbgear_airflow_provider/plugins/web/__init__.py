"""What the provider serves inside Airflow's API server, under /dbgear. Imports nothing heavy before the first request.

Airflow mounts it without any authentication: `application` asks for it on every route, and metrics for their token.
"""

from __future__ import annotations

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request, as an ASGI application."""
    from .application import application  # noqa: PLC0415 - of use to the API server alone

    await application()(scope, receive, send)
