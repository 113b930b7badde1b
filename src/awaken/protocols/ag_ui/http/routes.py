"""Which path is which stream."""

from __future__ import annotations

from typing import Final

from awaken.protocols.ag_ui.http.attach import connect
from awaken.protocols.ag_ui.http.run import post_run, post_to_agent, post_to_thread
from awaken.protocols.native.http.streams import StreamRoute

_POST: Final = frozenset({"POST"})
_GET: Final = frozenset({"GET", "HEAD"})
_NONE: Final[frozenset[str]] = frozenset()

RUN: Final = StreamRoute("/v1/ag-ui/run", _POST, _NONE, post_run)
THREAD: Final = StreamRoute("/v1/ag-ui/threads/{thread_id}/runs", _POST, _NONE, post_to_thread)
AGENT: Final = StreamRoute("/v1/ag-ui/agents/{agent_id}/runs", _POST, _NONE, post_to_agent)
CONNECT: Final = StreamRoute("/v1/ag-ui/threads/{thread_id}/connect", _GET, _NONE, connect)
STREAMS: Final = (RUN, THREAD, AGENT, CONNECT)


def find_ag_ui_route(path: str) -> tuple[StreamRoute, str] | None:
    """The streaming route of `path` and the id in it, still percent-encoded."""
    if not path.startswith("/v1/ag-ui/"):
        return None
    match path.split("/"):
        case ["", "v1", "ag-ui", "run"]:
            return RUN, ""
        case ["", "v1", "ag-ui", "threads", thread_id, "runs"] if thread_id:
            return THREAD, thread_id
        case ["", "v1", "ag-ui", "agents", agent_id, "runs"] if agent_id:
            return AGENT, agent_id
        case ["", "v1", "ag-ui", "threads", thread_id, "connect"] if thread_id:
            return CONNECT, thread_id
        case _:
            return None
