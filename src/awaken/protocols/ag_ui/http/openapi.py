"""The description of the streaming routes, which FastAPI does not know of."""

from __future__ import annotations

from typing import Any, Final

from awaken.protocols.ag_ui.http.routes import CONNECT, STREAMS
from awaken.protocols.ag_ui.wire import RunAgentInput
from awaken.protocols.native.http.streams import StreamRoute

_TEXTS: Final = {
    "/v1/ag-ui/run": (
        "Run",
        "What an AG-UI client posts: new messages, results of its own tools, or answers to "
        "interrupts (`resume`). The thread is `threadId`; it is made if there is none.",
    ),
    "/v1/ag-ui/threads/{thread_id}/runs": ("Run On Thread", "As a run, on a thread there is."),
    "/v1/ag-ui/agents/{agent_id}/runs": ("Run Agent", "As a run, with the agent named."),
    "/v1/ag-ui/threads/{thread_id}/connect": (
        "Connect",
        "The run of the thread that is under way, waits, or was last: RUN_STARTED, STATE_SNAPSHOT "
        "and MESSAGES_SNAPSHOT, then what follows.",
    ),
}
_STREAM: Final = {
    "description": "AG-UI events. A stream without RUN_FINISHED or RUN_ERROR was cut off.",
    "headers": {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in {
            "awaken-run-id": "The run, by our id.",
            "awaken-thread-id": "Its thread.",
        }.items()
    },
    "content": {"text/event-stream": {}},
}
_CURSOR: Final = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}


def describe_ag_ui(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Add the streaming routes, and what is posted to them."""
    posted = RunAgentInput.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(posted.pop("$defs", {}))
    schemas["RunAgentInput"] = posted
    for route in STREAMS:
        for method in route.methods - {"HEAD"}:
            paths.setdefault(route.pattern, {})[method.lower()] = _operation(route, method)


def _operation(route: StreamRoute, method: str) -> dict[str, Any]:
    summary, text = _TEXTS[route.pattern]
    operation: dict[str, Any] = {
        "tags": ["ag-ui"],
        "summary": summary,
        "description": text,
        "operationId": f"ag_ui_{summary.lower().replace(' ', '_')}",
        "parameters": [_in_path(part) for part in route.pattern.split("/") if part[:1] == "{"],
        "responses": {"200": _STREAM, **_refusals(method)},
    }
    if method == "POST":
        schema = {"$ref": "#/components/schemas/RunAgentInput"}
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    if route is CONNECT:
        operation["parameters"] += _OF_CONNECT
    return operation


def _parameter(name: str, place: str, text: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": text,
        "schema": schema,
    }


def _in_path(part: str) -> dict[str, Any]:
    name = part[1:-1]
    return _parameter(name, "path", f"The {name.removesuffix('_id')}'s id.", {"type": "string"})


_OF_CONNECT: Final = [
    _parameter("after", "query", "The last event id that was read.", _CURSOR),
    _parameter(
        "runId",
        "query",
        "What the run is called in the stream; the client's own id of it without one.",
        {"type": "string", "pattern": "^[!-~]{1,128}$"},
    ),
    _parameter("Last-Event-ID", "header", "As `after`, and wins over it.", _CURSOR),
]


def _refusals(method: str) -> dict[str, Any]:
    statuses = ("400", "403", "404", "409", "413", "415", "422", "503")
    wanted = statuses if method == "POST" else ("400", "404", "409", "422")
    answer = {
        "description": "A refusal, in the one shape",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}},
    }
    return dict.fromkeys((*wanted, "default"), answer)
