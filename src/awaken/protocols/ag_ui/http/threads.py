"""History of a thread as AG-UI messages, stopping it, and what the server can do."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from awaken.domain.agent import AgentSpec
from awaken.domain.submission import Stop
from awaken.errors import RequestError
from awaken.ports.store import MessageFilter
from awaken.protocols.ag_ui.history import ag_ui_messages
from awaken.protocols.native.http import cursors
from awaken.protocols.native.http.params import ERRORS, JsonRoute, PageQuery, ThreadId
from awaken.protocols.native.http.params import Query as Parameters
from awaken.protocols.native.http.services import Asking, Served
from awaken.protocols.native.http.threads import existing_thread

_VERSION: Final = version("awaken-server")

router = APIRouter(prefix="/v1/ag-ui", tags=["ag-ui"], route_class=JsonRoute, responses=ERRORS)


class AgUiMessages(BaseModel):
    """Messages as AG-UI has them, oldest first."""

    messages: list[dict[str, Any]]
    next_cursor: str | None = None
    has_more: bool = False


class AgUiStopped(BaseModel):
    """What a stop came to, and how many runs it met."""

    status: str
    thread_id: str
    runs: int


class CapabilitiesQuery(Parameters):
    agent_id: str = Field(default="default", alias="agentId", description="Whose capabilities.")


_IDLE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": AgUiStopped, "description": "Nothing ran, waited or was queued."}
}


@router.get("/threads/{thread_id}/messages", response_model_exclude_none=True)
async def list_ag_ui_messages(
    thread_id: ThreadId,
    query: Annotated[PageQuery, Query()],
    services: Served,
    caller: Asking,
) -> AgUiMessages:
    """The messages of a thread, for `agent.setMessages(…)`; `limit` counts stored messages."""
    await existing_thread(services, caller, thread_id)
    filters = ("ag-ui messages", thread_id)
    key = cursors.unseal(query.cursor, *filters)
    page = await services.store.messages(
        caller.tenant, thread_id, MessageFilter(), query.limit, key
    )
    return AgUiMessages(
        messages=ag_ui_messages(page.items),
        next_cursor=cursors.seal(page.next_key, *filters),
        has_more=page.next_key is not None,
    )


@router.post("/threads/{thread_id}/cancel", status_code=202, responses=_IDLE)
async def cancel_ag_ui_thread(
    thread_id: ThreadId, services: Served, caller: Asking, response: Response
) -> AgUiStopped:
    """Stop what runs, waits and is queued on the thread; 200 `nothing_to_stop` when it is idle.

    `abortRun()` of the client only drops its connection; the run goes on.
    """
    stop, count = await services.mailbox.cancel_thread(caller.tenant, thread_id, by=caller.actor)
    if stop is not Stop.requested:
        response.status_code = 200
    return AgUiStopped(status=stop.value, thread_id=thread_id, runs=count)


@router.get("/capabilities")
async def read_ag_ui_capabilities(
    query: Annotated[CapabilitiesQuery, Query()], services: Served, caller: Asking
) -> dict[str, Any]:
    """What an agent can do, as AG-UI's `AgentCapabilities`."""
    try:
        _, spec = services.resolver.resolve(caller.tenant, query.agent_id)
    except RequestError:
        if query.agent_id != "default":
            raise
        spec = None  # a server may have no default agent
    agents = services.resolver.agents(caller.tenant)
    return {**_ALWAYS, "identity": _identity(spec), "tools": _tools(spec), **_of(spec, agents)}


def _identity(spec: AgentSpec | None) -> dict[str, Any]:
    server = {"type": "awaken", "version": _VERSION}
    if spec is None:
        return server
    return {"name": spec.agent_id, "description": spec.description, **server}


def _tools(spec: AgentSpec | None) -> dict[str, Any]:
    return {
        "supported": True,
        "items": [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in (spec.tools if spec else ())
        ],
        "parallelCalls": spec is None or not spec.sequential,
        "clientProvided": True,
    }


def _of(spec: AgentSpec | None, agents: Any) -> dict[str, Any]:
    """What depends on the agent, and who else there is."""
    rounds = spec.limits.max_rounds if spec else None
    execution = {} if rounds is None else {"maxIterations": rounds}
    named = [{"id": each.agent_id, "description": each.description} for each in agents]
    return {"execution": execution, "custom": {"awaken": {"agents": named}}}


_ALWAYS: Final[dict[str, Any]] = {
    "transport": {
        "streaming": True,
        "websocket": False,
        "httpBinary": False,
        "pushNotifications": False,
        "resumable": True,
    },
    "output": {"structuredOutput": False},
    "state": {"snapshots": True, "deltas": True, "memory": False, "persistentState": True},
    "reasoning": {"supported": True, "streaming": True, "encrypted": True},
    "multimodal": {
        "input": {"image": True, "audio": True, "video": True, "pdf": True, "file": True}
    },
    "humanInTheLoop": {
        "supported": True,
        "approvals": True,
        "interventions": False,
        "feedback": False,
        "interrupts": True,
        "approveWithEdits": True,
    },
}
