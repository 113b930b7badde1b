"""OpenTelemetry traces: one per run, from the request that started it to its end.

The trace of a run goes with it: where a run is submitted, its context is put into the run's
metadata as `traceparent`, next to whatever the client keeps there. Every attempt, in whatever
process and however much later, begins its span below it. A run that has none, since it was
submitted while tracing was off, has a trace whose id is made of the run's. So no trace depends on
the memory of a process.

Spans hold ids, names, counts and codes. They hold nothing of what was said.

Imported only where tracing is on: it needs the extra `otel`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from typing import Final
from weakref import WeakSet

import anyio
import anyio.to_thread
from msgspec.structs import replace
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from awaken import __version__
from awaken.domain.agent import AgentSpec
from awaken.domain.run import Run
from awaken.domain.submission import Submission
from awaken.errors import AwakenError
from awaken.ports.clock import Clock
from awaken.ports.model import Model
from awaken.ports.runner import Runner
from awaken.ports.tool import Tool
from awaken.protocols.native.http.asgi import Scope
from awaken.server import tracing_names as names
from awaken.server.settings import SettingsError
from awaken.server.tracing_http import RequestSpan, begin_request
from awaken.server.tracing_spans import (
    TracedModel,
    TracedRunner,
    TracedTool,
    TracedTries,
    fail,
)

TRACEPARENT: Final = "traceparent"
CLOSE_SECONDS: Final = 5.0
"""How long sending the last spans may take when the server stops."""

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_ours: WeakSet[TracerProvider] = WeakSet()


class Tracing:
    """Makes the wrappers that trace one application."""

    def __init__(self, tracer: Tracer, clock: Clock) -> None:
        self._tracer = tracer
        self._clock = clock

    def model(self, name: str, inner: Model) -> Model:
        """`inner`, known as `name`, with a span for each call."""
        return TracedModel(inner, name, self._tracer, self._clock)

    def tries(self, name: str, inner: Model) -> Model:
        """`inner`, asked by a model that retries: what fails is an event of the call's span."""
        return TracedTries(inner)

    def tool(self, inner: Tool) -> Tool:
        """`inner`, with a span for each execution."""
        return TracedTool(inner, self._tracer)

    def runner(self, spec: AgentSpec, inner: Runner) -> Runner:
        """`inner`, with a span for the attempt and its steps."""
        return TracedRunner(inner, self._tracer, parent_of)

    def request(self, scope: Scope) -> RequestSpan | None:
        """The span of an HTTP request, below that of its client."""
        return begin_request(self._tracer, _PROPAGATOR, scope)

    @contextmanager
    def carry(self, submission: Submission) -> Iterator[Submission]:
        """The submission with its trace, within the span that all attempts are below of."""
        known = {names.THREAD: submission.thread_id, names.AGENT: submission.agent_id}
        attributes = {name: value for name, value in known.items() if value is not None}
        attributes[names.RUN] = submission.run_id
        with self._tracer.start_as_current_span(
            names.SUBMIT,
            kind=SpanKind.PRODUCER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            carrier: dict[str, str] = {}
            _PROPAGATOR.inject(carrier)
            try:
                yield replace(submission, metadata={**submission.metadata, **carrier})
            except AwakenError as error:
                fail(span, error.code)
                raise


def parent_of(run: Run) -> Context:
    """What the attempts at `run` are below of."""
    kept = {name: value for name, value in run.metadata.items() if isinstance(value, str)}
    context = _PROPAGATOR.extract(kept, Context())
    if trace.get_current_span(context).get_span_context().is_valid:
        return context
    return set_span_in_context(NonRecordingSpan(_made_of(run.run_id)), Context())


def _made_of(run_id: str) -> SpanContext:
    """A context that every process makes of the same run. Hashed: samplers want chance in it."""
    digest = hashlib.sha256(run_id.encode()).digest()
    return SpanContext(
        trace_id=int.from_bytes(digest[:16], "big"),
        span_id=int.from_bytes(digest[16:24], "big"),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


# --- where traces go -----------------------------------------------------------------------------


@asynccontextmanager
async def open_tracing(
    clock: Clock, worker_id: str, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Tracing]:
    """Trace while the context lasts.

    A provider that the program has set up is used as it is, and left to it. Without one, one is
    made as the variables `OTEL_*` say, and is the program's: libraries that trace go with it.

    Raises:
        SettingsError: a variable names what there is not.
    """
    found = trace.get_tracer_provider()
    if isinstance(found, TracerProvider) and found not in _ours:
        yield Tracing(found.get_tracer("awaken", __version__), clock)
        return
    provider = await anyio.to_thread.run_sync(make_provider, worker_id, environ)
    _ours.add(provider)
    if not isinstance(found, TracerProvider):
        trace.set_tracer_provider(provider)
    try:
        yield Tracing(provider.get_tracer("awaken", __version__), clock)
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await anyio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)


def make_provider(worker_id: str, environ: Mapping[str, str]) -> TracerProvider:
    """The provider of a process; sampling is as `OTEL_TRACES_SAMPLER` says."""
    ours = {
        "service.name": "awaken",
        "service.version": __version__,
        "service.instance.id": worker_id,
    }
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in environ.get("OTEL_TRACES_EXPORTER", "otlp").split(","):
        exporter = make_exporter(name.strip(), environ)
        if exporter is not None:
            provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def make_exporter(name: str, environ: Mapping[str, str]) -> SpanExporter | None:
    """The exporter that `OTEL_TRACES_EXPORTER` calls `name`."""
    match name:
        case "otlp" | "":
            return _otlp(environ)
        case "console":
            return ConsoleSpanExporter()
        case "none":
            return None
        case _:
            raise SettingsError(
                f"OTEL_TRACES_EXPORTER: expected otlp, console or none, got {name!r}"
            )


def _otlp(environ: Mapping[str, str]) -> SpanExporter:
    variables = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environ[name] for name in variables if environ.get(name)), "http/protobuf")
    if protocol not in ("http/protobuf", "grpc"):
        raise SettingsError(f"{variables[1]}: expected http/protobuf or grpc, got {protocol!r}")
    package = f"opentelemetry-exporter-otlp-proto-{protocol.partition('/')[0]}"
    try:
        module = import_module(f"{package.replace('-', '.')}.trace_exporter")
    except ImportError as error:
        raise SettingsError(f"{variables[1]}: {protocol} needs: pip install {package}") from error
    exporter: SpanExporter = module.OTLPSpanExporter()
    return exporter
