"""The JSON API: routes on FastAPI, refusals in the one shape, and its description."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from awaken.errors import AwakenError, RequestError
from awaken.protocols.ag_ui.http import threads as ag_ui_threads
from awaken.protocols.ai_sdk.http import threads as chat_threads
from awaken.protocols.native.decode import refused
from awaken.protocols.native.http import (
    data,
    mailbox,
    pending,
    rules,
    runs,
    schedules,
    threads,
    tickets,
)
from awaken.protocols.native.http.asgi import (
    error_body,
    error_headers,
    route_not_found,
)
from awaken.server import apidocs, doctor, page, system
from awaken.server.front import internal
from awaken.server.openapi import describe

_NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
# In this order they are tried, so what is asked for often comes first.
ROUTERS: Final = (
    system.router,
    runs.router,
    threads.router,
    pending.router,
    schedules.router,
    tickets.router,
    rules.router,
    mailbox.router,
    data.router,
    chat_threads.router,
    ag_ui_threads.router,
    doctor.router,
    page.router,
    apidocs.router,
)


def make_api(version: str) -> FastAPI:
    """The application behind the front."""
    # Requests are measured and traced before FastAPI sees them (`measure.py`). What it would add
    # itself holds what a client sent: it records values that are not valid.
    # `/docs` is ours: FastAPI's own would load scripts from another server.
    api = FastAPI(
        title="Awaken",
        version=version,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        docs_url=None,
        redoc_url=None,
    )
    for router in ROUTERS:
        api.include_router(router)
    api.add_exception_handler(AwakenError, _refuse)
    api.add_exception_handler(RequestValidationError, _refuse_invalid)
    api.add_exception_handler(HTTPException, _refuse_http)
    api.add_exception_handler(Exception, _refuse_unexpected)
    api.openapi = lambda: describe(api)  # type: ignore[method-assign]  # FastAPI's documented way
    return api


def _answer(error: AwakenError) -> Response:
    headers = dict(error_headers(error))
    return JSONResponse(error_body(error), status_code=error.status, headers=headers)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, AwakenError)
    return _answer(error)


async def _refuse_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _answer(refused([_below_source(problem) for problem in error.errors()]))


def _below_source(problem: Any) -> dict[str, Any]:
    """The problem with its field's name, without where FastAPI read it from (body, query, path)."""
    return {**problem, "loc": problem["loc"][1:]}


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405):  # the policy knows of routes that the routers do not
        return _answer(route_not_found())
    code = "bad_request" if error.status_code < 500 else "internal"
    return _answer(RequestError(code, str(error.detail), status=error.status_code))


async def _refuse_unexpected(request: Request, error: Exception) -> Response:
    """The stack goes to the log (the front writes it), nothing of it to the client (I11)."""
    return _answer(internal())
