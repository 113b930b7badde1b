"""The policy: every route of the server with the scopes that open it. What is not here is refused.

A route that is added to a router and not here does not exist for clients: the policy point looks
the request up in this table before any router sees it. `tests/server/test_walk.py` compares both.

A path is matched as the client sent it, percent-encoded. Literal segments come before parameters,
so a path means one thing: `/v1/runs/wait` is no run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

from awaken.protocols.native.http.identity import Right

OPEN: Final = None
"""Answered to everyone: nothing is asked of the caller."""
READ: Final = frozenset({Right.invoke, Right.approve})
INVOKE: Final = frozenset({Right.invoke})
APPROVE: Final = frozenset({Right.approve})
ADMIN: Final = frozenset({Right.admin})
ANY: Final = frozenset(Right)
"""Any of these opens a route; a key has at least one."""

Rights = frozenset[Right] | None
Routes = Mapping[str, Mapping[str, Rights]]

ROUTES: Final[Routes] = {
    "/health": {"GET": OPEN},
    "/health/live": {"GET": OPEN},
    "/health/ready": {"GET": OPEN},
    # the page, where people enter their key: static files, the same for everyone
    "/": {"GET": OPEN},
    "/page/{digest}/{name}": {"GET": OPEN},
    "/page/{digest}/{folder}/{name}": {"GET": OPEN},
    # what describes the server, the same for everyone
    "/docs": {"GET": ANY},
    "/openapi.json": {"GET": ANY},
    # operating it
    "/metrics": {"GET": ADMIN},
    "/v1/system/info": {"GET": ADMIN},
    "/v1/system/doctor": {"GET": ADMIN},
    "/v1/mailbox/stats": {"GET": ADMIN},
    "/v1/mailbox/dead-letters": {"GET": ADMIN},
    "/v1/mailbox/dead-letters/{dispatch_id}/requeue": {"POST": ADMIN},
    "/v1/mailbox/dead-letters/{dispatch_id}/discard": {"POST": ADMIN},
    "/v1/resources/{resource_id}": {"DELETE": ADMIN},
    "/v1/resources/{resource_id}/export": {"GET": ADMIN},
    # using it
    "/v1/agents": {"GET": READ},
    "/v1/capabilities": {"GET": READ},
    "/v1/runs": {"GET": READ, "POST": INVOKE},
    "/v1/runs/wait": {"POST": INVOKE},
    "/v1/runs/background": {"POST": INVOKE},
    "/v1/runs/{run_id}": {"GET": READ},
    "/v1/runs/{run_id}/explain": {"GET": READ},
    "/v1/runs/{run_id}/events": {"GET": READ},
    "/v1/runs/{run_id}/stream": {"GET": READ},
    "/v1/runs/{run_id}/cancel": {"POST": INVOKE},
    "/v1/runs/{run_id}/decision": {"POST": APPROVE},
    "/v1/runs/{run_id}/retry": {"POST": INVOKE},
    "/v1/threads": {"GET": READ, "POST": INVOKE},
    "/v1/threads/summaries": {"GET": READ},
    "/v1/threads/{thread_id}": {"GET": READ, "PATCH": INVOKE, "DELETE": INVOKE},
    "/v1/threads/{thread_id}/export": {"GET": INVOKE},
    "/v1/runs/{run_id}/inputs": {"POST": INVOKE},
    "/v1/threads/{thread_id}/pending": {"GET": READ},
    "/v1/threads/{thread_id}/pending/reorder": {"POST": INVOKE},
    "/v1/threads/{thread_id}/pending/{message_id}": {"PATCH": INVOKE, "DELETE": INVOKE},
    "/v1/threads/{thread_id}/messages": {"GET": READ, "POST": INVOKE},
    "/v1/threads/{thread_id}/runs": {"GET": READ},
    "/v1/threads/{thread_id}/runs/active": {"GET": READ},
    "/v1/threads/{thread_id}/runs/latest": {"GET": READ},
    "/v1/threads/{thread_id}/events": {"GET": READ},
    "/v1/threads/{thread_id}/stream": {"GET": READ},
    "/v1/threads/{thread_id}/mailbox": {"GET": READ},
    "/v1/threads/{thread_id}/cancel": {"POST": INVOKE},
    "/v1/threads/{thread_id}/interrupt": {"POST": INVOKE},
    "/v1/threads/{thread_id}/decision": {"POST": APPROVE},
    "/v1/approval-rules": {"GET": APPROVE, "POST": APPROVE},
    "/v1/approval-rules/{rule_id}": {"DELETE": APPROVE},
    "/v1/schedules": {"GET": READ, "POST": INVOKE},
    "/v1/schedules/{schedule_id}": {"GET": READ, "PATCH": INVOKE, "DELETE": INVOKE},
    "/v1/schedules/{schedule_id}/trigger": {"POST": INVOKE},
    # the AI SDK: a call is approved only by those who may approve (`ai_sdk/http/answering.py`)
    "/v1/ai-sdk/chat": {"POST": INVOKE},
    "/v1/ai-sdk/chat/{thread_id}/stream": {"GET": READ},
    "/v1/ai-sdk/chat/{thread_id}/messages": {"GET": READ},
    "/v1/ai-sdk/chat/{thread_id}/cancel": {"POST": INVOKE},
    "/v1/ai-sdk/threads/{thread_id}/runs": {"POST": INVOKE},
    "/v1/ai-sdk/threads/{thread_id}/stream": {"GET": READ},
    "/v1/ai-sdk/threads/{thread_id}/cancel": {"POST": INVOKE},
    "/v1/ai-sdk/threads/{thread_id}/messages": {"GET": READ},
    "/v1/ai-sdk/agents/{agent_id}/runs": {"POST": INVOKE},
    "/v1/ai-sdk/agents/{agent_id}/runs/{thread_id}/stream": {"GET": READ},
    # AG-UI: an interrupt is answered only by those who may approve (`ag_ui/http/answering.py`)
    "/v1/ag-ui/run": {"POST": INVOKE},
    "/v1/ag-ui/capabilities": {"GET": READ},
    "/v1/ag-ui/agents/{agent_id}/runs": {"POST": INVOKE},
    "/v1/ag-ui/threads/{thread_id}/runs": {"POST": INVOKE},
    "/v1/ag-ui/threads/{thread_id}/connect": {"GET": READ},
    "/v1/ag-ui/threads/{thread_id}/messages": {"GET": READ},
    "/v1/ag-ui/threads/{thread_id}/cancel": {"POST": INVOKE},
    "/v1/tickets": {"GET": READ},
    "/v1/tickets/{ticket_id}": {"GET": READ},
    "/v1/tickets/{ticket_id}/decision": {"POST": APPROVE},
}


class Match(NamedTuple):
    """A route that a request means; `parameters` are decoded."""

    pattern: str
    rights: Rights
    parameters: Mapping[str, str]


class _Node:
    """One segment of the tree of patterns."""

    __slots__ = ("children", "methods", "parameter", "pattern")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.pattern = ""
        self.methods: Mapping[str, Rights] = {}


class Policy:
    """Looks requests up in a table of routes."""

    def __init__(self, routes: Routes = ROUTES) -> None:
        self._root = _Node()
        for pattern, methods in routes.items():
            node = self._root
            for segment in pattern.split("/"):
                node = _child(node, segment)
            node.pattern, node.methods = pattern, methods

    def find(self, method: str, path: str) -> Match | None:
        """The route of a request; None when there is none. HEAD is a GET."""
        wanted = "GET" if method == "HEAD" else method
        segments = path.split("/")
        node = self._resource(segments)
        if node is None or wanted not in node.methods:
            return None
        names = zip(node.pattern.split("/"), segments, strict=True)
        parameters = {name[1:-1]: unquote(got) for name, got in names if name[:1] == "{"}
        return Match(node.pattern, node.methods[wanted], parameters)

    def methods(self, path: str) -> set[str]:
        """The methods of a path; none when there is nothing."""
        node = self._resource(path.split("/"))
        methods = set(node.methods) if node is not None else set()
        return methods | {"HEAD"} if "GET" in methods else methods

    def _resource(self, segments: list[str]) -> _Node | None:
        return next((node for node in _nodes(self._root, segments, 0) if node.methods), None)


def _child(node: _Node, segment: str) -> _Node:
    if not segment.startswith("{"):
        return node.children.setdefault(segment, _Node())
    node.parameter = node.parameter or _Node()
    return node.parameter


def _nodes(node: _Node, segments: list[str], depth: int) -> Iterator[_Node]:
    """The ends of all patterns that fit, literal segments first."""
    if depth == len(segments):
        yield node
        return
    segment = segments[depth]
    steps: Iterable[_Node | None] = (
        node.children.get(segment),
        node.parameter if segment else None,
    )
    for step in steps:
        if step is not None:
            yield from _nodes(step, segments, depth + 1)
