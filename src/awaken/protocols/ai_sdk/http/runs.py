"""Which run of a thread a client means, and what is known of it besides its log."""

from __future__ import annotations

from awaken.domain.event import RunFinish, RunStart
from awaken.domain.run import Run, RunStatus
from awaken.domain.termination import SuspendedEnd
from awaken.domain.thread import Thread
from awaken.domain.ticket import WaitingReason
from awaken.errors import RequestError
from awaken.protocols.ai_sdk.encode import AiSdkEncoder
from awaken.protocols.ai_sdk.http.respond import log_of
from awaken.protocols.native.http.services import Services


def is_live(run: Run | None) -> bool:
    """Whether more of the run is to come without anybody's answer."""
    if run is None or run.status is RunStatus.done:
        return False
    resuming = run.waiting is not None and run.waiting.reason is WaitingReason.resuming
    return run.status is not RunStatus.waiting or resuming


async def live_run(services: Services, thread: Thread) -> Run | None:
    """The run whose stream a page attaches to: the latest, or else what has the thread.

    One that nobody waits for is attached to once it has begun, and not before.
    """
    head = await services.store.head(thread.tenant, thread.thread_id)
    active = head.active_run if head else None
    for run_id in (thread.latest_run_id, active, head.waiting_run if head else None):
        run = await services.store.run(thread.tenant, run_id) if run_id else None
        if run is not None and is_live(run) and await _is_awaited(services, run):
            return run
    return None


async def _is_awaited(services: Services, run: Run) -> bool:
    if run.status is not RunStatus.created or run.dispatch_id is None:
        return True
    dispatch = await services.store.dispatch(run.tenant, run.dispatch_id)
    return dispatch is not None and dispatch.foreground


def client_tools(services: Services, tenant: str, agent_id: str) -> frozenset[str]:
    """The tools of an agent that the client executes; none of an agent that there is no more."""
    try:
        _, spec = services.resolver.resolve(tenant, agent_id)
    except RequestError:
        return frozenset()
    return frozenset(tool.name for tool in spec.tools if tool.frontend)


def encoder_of(services: Services, run: Run, message_id: str | None = None) -> AiSdkEncoder:
    """An encoder for a stream of the run."""
    tools = client_tools(services, run.tenant, run.agent_id)
    return AiSdkEncoder(run.run_id, message_id=message_id, client_tools=tools)


async def activation_start(services: Services, run: Run) -> int:
    """Behind which entry the run's latest activation begins; 0 for its first one."""
    start = suspended = 0
    async for entry in log_of(services, run):
        match entry.event:
            case RunFinish(termination=SuspendedEnd()):
                suspended = entry.seq
            case RunStart(resumed=True):
                start = suspended
            case _:
                pass
    return start
