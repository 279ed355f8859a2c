"""The FastAPI application under /dbgear."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from ... import __version__
from ...core.errors import InvalidInputError, SourceUnavailableError
from .. import metrics
from .api import router


@cache
def application() -> FastAPI:
    """Return the application of this process."""
    # FastAPI's own pages would answer anybody, and load scripts from elsewhere: the description is a route of ours.
    app = FastAPI(
        title="DBGear", version=__version__, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.include_router(router)
    app.add_exception_handler(InvalidInputError, _invalid)
    app.add_exception_handler(SourceUnavailableError, _unavailable)
    app.router.default = _metrics  # their path is a setting of the project, which may change
    return app


async def _metrics(scope: Any, receive: Any, send: Any) -> None:
    await (await metrics.respond(scope))(scope, receive, send)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidInputError)  # noqa: S101  registered for no other
    return JSONResponse({"detail": error.message}, 400)


def _unavailable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SourceUnavailableError)  # noqa: S101  registered for no other
    return JSONResponse({"detail": error.message}, 503)
