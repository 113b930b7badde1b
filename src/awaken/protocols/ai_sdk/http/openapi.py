"""The description of the streaming routes, which FastAPI does not know of."""

from __future__ import annotations

from typing import Any, Final

from awaken.protocols.ai_sdk.http.chat import STREAMS
from awaken.protocols.ai_sdk.wire import ChatRequest, UIMessage
from awaken.protocols.native.http.streams import StreamRoute

_TEXTS: Final = {
    "/v1/ai-sdk/chat": (
        "Post Chat",
        "What `useChat` posts: new messages, an answer to be made anew (`trigger`), an edited "
        "message (`messageId`), or answers to calls that wait. The thread is `id`.",
    ),
    "/v1/ai-sdk/threads/{thread_id}/runs": ("Post To Thread", "As a chat, on a thread there is."),
    "/v1/ai-sdk/agents/{agent_id}/runs": ("Post To Agent", "As a chat, with the agent named."),
    "/v1/ai-sdk/chat/{thread_id}/stream": (
        "Attach To Chat",
        "The run under way, from its beginning. 204 when there is none, or the chat is new.",
    ),
    "/v1/ai-sdk/threads/{thread_id}/stream": (
        "Attach To Thread",
        "The run under way, from its beginning. 204 when there is none.",
    ),
    "/v1/ai-sdk/agents/{agent_id}/runs/{thread_id}/stream": (
        "Attach To Agent Chat",
        "As attaching to a chat: where a client whose `api` names an agent looks for it.",
    ),
}
_HEADERS: Final = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        "x-vercel-ai-ui-message-stream": "v1",
        "awaken-run-id": "The run.",
        "awaken-thread-id": "Its thread.",
    }.items()
}
_STREAM: Final = {
    "description": "A UI message stream; it ends with `[DONE]`. One that is cut off has no end.",
    "headers": _HEADERS,
    "content": {"text/event-stream": {}},
}


def describe_chat(paths: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Add the streaming routes, and what is posted to them."""
    schemas["UIMessage"] = UIMessage.model_json_schema()
    posted = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    posted.pop("$defs", None)
    posted["required"] = ["messages"]
    posted["properties"]["messages"]["minItems"] = 1
    schemas["ChatRequest"] = posted
    for route in STREAMS:
        for method in route.methods - {"HEAD"}:
            paths.setdefault(route.pattern, {})[method.lower()] = _operation(route, method)


def _operation(route: StreamRoute, method: str) -> dict[str, Any]:
    summary, text = _TEXTS[route.pattern]
    operation: dict[str, Any] = {
        "tags": ["ai-sdk"],
        "summary": summary,
        "description": text,
        "operationId": f"ai_sdk_{summary.lower().replace(' ', '_')}",
        "parameters": [_in_path(part) for part in route.pattern.split("/") if part[:1] == "{"],
        "responses": {"200": _STREAM, **_refusals(method)},
    }
    if method == "POST":
        schema = {"$ref": "#/components/schemas/ChatRequest"}
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    else:
        operation["responses"]["204"] = {"description": "Nothing is under way."}
        operation["parameters"].append(_LAST_ID)
    return operation


def _in_path(part: str) -> dict[str, Any]:
    name = part[1:-1]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": f"The {name.removesuffix('_id')}'s id.",
        "schema": {"type": "string"},
    }


def _refusals(method: str) -> dict[str, Any]:
    statuses = ("400", "403", "404", "409", "413", "415", "422", "503")
    wanted = statuses if method == "POST" else ("400", "404", "409")
    schema = {"$ref": "#/components/schemas/ErrorAnswer"}
    answer = {
        "description": "A refusal, in the one shape",
        "content": {"application/json": {"schema": schema}},
    }
    return dict.fromkeys((*wanted, "default"), answer)


_LAST_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that was read: only what comes after it is sent.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 10**15 - 1},
}
