"""The description of the API: FastAPI's, and by hand the streams it does not know of."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from awaken.protocols.ag_ui.http.openapi import describe_ag_ui
from awaken.protocols.ai_sdk.http.openapi import describe_chat
from awaken.protocols.native.encode import FIELDS
from awaken.protocols.native.http.streams import JOIN_RUN, JOIN_THREAD, START_RUN
from awaken.server.auth.policy import ROUTES, Rights

_ABOUT: Final = (
    "Every run is durable and every stream resumes. Refusals have one shape, "
    '`{"error": {"code", "message", "details"?}}`. Times are epoch milliseconds. Where keys are '
    "configured, each operation names the scopes of which one is needed."
)
_ENDS: Final = (
    "A stream that ends without its last chunk is unfinished: reconnect with the last id. When the "
    "server is stopped it first sends `event: reconnect`."
)


def describe(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document."""
    if api.openapi_schema is None:
        document = get_openapi(
            title=api.title, version=api.version, description=_ABOUT, routes=api.routes
        )
        paths = document["paths"]
        paths.setdefault(START_RUN.pattern, {})["post"] = _START
        paths.setdefault(JOIN_RUN.pattern, {})["get"] = _JOIN_RUN
        paths.setdefault(JOIN_THREAD.pattern, {})["get"] = _JOIN_THREAD
        schemas = document["components"]["schemas"]
        describe_chat(paths, schemas)
        describe_ag_ui(paths, schemas)
        schemas["StreamEntry"] = _ENTRY
        schemas["ErrorBody"]["required"].remove("details")
        document["components"]["securitySchemes"] = _SCHEMES
        for path, operations in paths.items():
            for method, operation in operations.items():
                _secure(operation, ROUTES.get(path, {}).get(method.upper()))
        api.openapi_schema = document
    return api.openapi_schema


def _secure(operation: dict[str, Any], rights: Rights) -> None:
    """Say what opens the operation; nothing is asked where there are no `rights`."""
    names = sorted(rights or ())
    operation["security"] = [{scheme: names} for scheme in _SCHEMES] if names else []


def _parameter(name: str, place: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": text,
        "schema": schema,
    }


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def _refusals(*statuses: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ErrorAnswer"}
    content = {"application/json": {"schema": schema}}
    return {
        status: {"description": "A refusal, in the one shape", "content": content}
        for status in (*statuses, "default")
    }


def _stream(text: str, headers: dict[str, Any] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": text,
        "content": {
            "text/event-stream": {
                "x-event-data": {"$ref": "#/components/schemas/StreamEntry"},
            }
        },
    }
    return answer | ({"headers": headers} if headers else {})


_SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, or a token (JWT) of the configured issuer.",
    },
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "An API key.",
    },
}
_INTEGER: Final = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}
_AFTER: Final = _parameter("after", "query", "Only entries after this one.", _INTEGER)
_LAST_ID: Final = _parameter(
    "Last-Event-ID",
    "header",
    "The id of the last event that was read: only what comes after it is sent. Wins over `after`.",
    _INTEGER,
)
_NAMES: Final = {
    "awaken-run-id": _header("The run."),
    "awaken-thread-id": _header("Its thread."),
}
_ENTRY: Final = {
    "title": "StreamEntry",
    "description": "The `data` of an event; `event_type` is also its `event`, `seq` its `id`.",
    "type": "object",
    "required": ["seq", "thread_id", "run_id", "at", "event"],
    "properties": {
        "seq": {"type": "integer"},
        "thread_id": {"type": "string"},
        "run_id": {"type": ["string", "null"]},
        "at": {"type": "integer", "description": "Epoch ms."},
        "event": {
            "type": "object",
            "required": ["event_type"],
            "properties": {
                "event_type": {
                    "type": "string",
                    "enum": [str(kind.__struct_config__.tag) for kind in FIELDS],
                }
            },
        },
    },
}
_START: Final = {
    "tags": ["runs"],
    "summary": "Start Run",
    "description": f"Start a run and stream it until it ends or waits. {_ENDS} A client that "
    "disconnects leaves the run alone unless it asked for `on_disconnect: cancel`.",
    "operationId": "start_run",
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RunRequest"}}},
    },
    "responses": {
        "200": _stream(
            "The run's events.",
            {"content-location": _header("Where the run is."), **_NAMES},
        ),
        **_refusals("400", "404", "409", "413", "415", "422", "503"),
    },
}
_JOIN_RUN: Final = {
    "tags": ["runs"],
    "summary": "Join Run",
    "description": "Stream a run, living or ended, from its beginning or after a cursor, until it "
    f"ends or waits with nothing queued. {_ENDS}",
    "operationId": "join_run",
    "parameters": [
        _parameter("run_id", "path", "The run's id.", {"type": "string"}),
        _AFTER,
        _parameter(
            "until",
            "query",
            "`done`: stay while the run waits.",
            {"type": "string", "enum": ["settled", "done"], "default": "settled"},
        ),
        _LAST_ID,
    ],
    "responses": {
        "200": _stream("The run's events.", _NAMES),
        **_refusals("400", "404", "409", "410", "422"),
    },
}
_JOIN_THREAD: Final = {
    "tags": ["threads"],
    "summary": "Join Thread",
    "description": f"Stream a thread across its runs, without an end. {_ENDS}",
    "operationId": "join_thread",
    "parameters": [
        _parameter("thread_id", "path", "The thread's id.", {"type": "string"}),
        _AFTER,
        _parameter(
            "from",
            "query",
            "`start`, `now`, or the number of the first entry to send.",
            {"type": "string", "default": "now"},
        ),
        _parameter(
            "snapshot",
            "query",
            "First a `thread_snapshot` event with the thread and its latest messages; the stream "
            "then goes on where the open step began, so that nothing is missing.",
            {"type": "boolean", "default": False},
        ),
        _LAST_ID,
    ],
    "responses": {
        "200": _stream("The thread's events."),
        **_refusals("400", "404", "409", "410", "422"),
    },
}
