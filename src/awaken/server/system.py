"""What is running: health, metrics, agents, capabilities. The page for people is `page`."""

from __future__ import annotations

from typing import Final

import anyio
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse

from awaken.errors import StoreFault
from awaken.protocols.native.http.params import ERRORS
from awaken.protocols.native.http.services import Asking, Served, Services
from awaken.server.metrics import CONTENT_TYPE, METRICS_KEY, Metrics

router = APIRouter(tags=["system"], responses=ERRORS)

PROBE_SECONDS = 5.0


class Health(BaseModel):
    """`status` is `healthy`, `draining` or `unhealthy`."""

    status: str
    components: dict[str, str]


class Agent(BaseModel):
    """An agent that a client may start."""

    agent_id: str
    description: str
    model: str
    tools: list[str]


class Agents(BaseModel):
    items: list[Agent]


class Capabilities(BaseModel):
    """What this server can do; a client asks instead of guessing by version."""

    protocols: list[str]
    features: list[str]
    limits: dict[str, int]


class SystemInfo(BaseModel):
    name: str
    version: str
    worker_id: str
    uptime_seconds: int
    draining: bool


PROTOCOLS: Final = ["native", "ai-sdk", "ag-ui"]
FEATURES = [
    "background_runs",
    "wait",
    "resumable_streams",
    "thread_streams",
    "thread_snapshot",
    "on_busy",
    "on_disconnect",
    "delayed_runs",
    "dedupe_key",
    "explain",
    "tickets",
    "approval_rules",
    "schedules",
]


@router.get("/health/live", responses={200: {"content": None}})
async def is_alive() -> Response:
    """The process answers."""
    return Response(status_code=200)


@router.get("/health/ready", response_model=Health, responses={503: {"model": Health}})
@router.get("/health", response_model=Health, responses={503: {"model": Health}})
async def is_ready(services: Served) -> Response:
    """Work is taken: the store makes a round trip, and the server is not shutting down."""
    store = await _probe(services)
    draining = services.mailbox.draining
    ready = store == "ok" and not draining
    status = "healthy" if ready else "draining" if draining else "unhealthy"
    body = Health(
        status=status,
        components={"store": store, "mailbox": "draining" if draining else "ok"},
    )
    headers = None if ready else {"retry-after": "2"}
    return JSONResponse(body.model_dump(), 200 if ready else 503, headers)


async def _probe(services: Services) -> str:
    try:
        with anyio.fail_after(PROBE_SECONDS):
            await services.store.check()
    except StoreFault:
        return "error"
    except TimeoutError:
        return "timeout"
    return "ok"


@router.get("/metrics", response_class=Response)
async def read_metrics(request: Request, services: Served) -> Response:
    """Prometheus metrics."""
    metrics: Metrics = request.scope[METRICS_KEY]
    await metrics.refresh(services)
    return Response(metrics.render(), media_type=CONTENT_TYPE)


@router.get("/v1/agents")
async def list_agents(services: Served, caller: Asking) -> Agents:
    """The agents a client may start."""
    return Agents(
        items=[
            Agent(
                agent_id=spec.agent_id,
                description=spec.description,
                model=spec.model,
                tools=[tool.name for tool in spec.tools],
            )
            for spec in services.resolver.agents(caller.tenant)
        ]
    )


@router.get("/v1/capabilities")
async def read_capabilities() -> Capabilities:
    """What this server can do."""
    limits = {"body_bytes": 16 * 1024 * 1024, "page": 200, "client_id": 128}
    return Capabilities(protocols=PROTOCOLS, features=FEATURES, limits=limits)


@router.get("/v1/system/info")
async def read_system_info(request: Request, services: Served) -> SystemInfo:
    """What is running, since when."""
    statistics = services.mailbox.statistics()
    return SystemInfo(
        name="awaken",
        version=request.app.version,
        worker_id=statistics.worker_id,
        uptime_seconds=int(services.clock.monotonic() - services.started_at),
        draining=statistics.draining,
    )
