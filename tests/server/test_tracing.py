"""Traces: the spans of a run, one trace across waits and crashes, and nothing at all when off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from awaken import ScriptedModel
from awaken.domain.run import Run
from awaken.loop.runner import LoopRunner
from awaken.ports.clock import SystemClock
from awaken.server import tracing
from awaken.server.measured import MeasuredModel, MeasuredRunner
from awaken.server.settings import SettingsError
from awaken.server.tracing import Tracing, make_exporter, make_provider, open_tracing, parent_of
from tests.e2e.harness import Server
from tests.server.watched import SECRET_TEXT, USAGE, watched

CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{CLIENT_TRACE}-b7ad6b7169203331-01"


class Spans:
    """What was exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> list[ReadableSpan]:
        """The spans that have ended, those that began first in front."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def below(self, span: ReadableSpan) -> list[str]:
        """The names of the children of `span`."""
        mine = context_of(span).span_id
        return [child.name for child in self.all if child.parent and child.parent.span_id == mine]


def context_of(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


def trace_of(span: ReadableSpan) -> str:
    return format(context_of(span).trace_id, "032x")


def facts(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """What applications with tracing export, into memory."""
    spans = Spans()

    @asynccontextmanager
    async def into_memory(clock: SystemClock, worker_id: str) -> AsyncIterator[Tracing]:
        yield Tracing(spans.provider.get_tracer("awaken"), clock)

    monkeypatch.setattr(tracing, "open_tracing", into_memory)
    return spans


# --- what a trace looks like ---------------------------------------------------------------------


async def test_a_run_has_spans_for_request_submission_attempt_step_and_model(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        run = await app.run("talker")
    request = spans.one("POST /v1/runs/wait")
    submit, attempt = spans.one("submit"), spans.one("invoke_agent talker")
    step, chat = spans.one("step"), spans.one("chat talk")
    assert spans.below(request) == ["submit"]
    assert spans.below(submit) == ["invoke_agent talker"]
    assert spans.below(attempt) == ["step"]
    assert spans.below(step) == ["chat talk"]
    assert len({trace_of(span) for span in spans.all}) == 1
    assert (request.kind, submit.kind) == (SpanKind.SERVER, SpanKind.PRODUCER)
    assert (attempt.kind, chat.kind) == (SpanKind.INTERNAL, SpanKind.CLIENT)
    told = facts(attempt)
    assert told["gen_ai.operation.name"] == "invoke_agent"
    assert told["gen_ai.agent.name"] == "talker"
    assert told["gen_ai.conversation.id"] == run["thread_id"]
    assert told["gen_ai.request.model"] == "talk"
    assert told["awaken.run.id"] == run["run_id"]
    assert (told["awaken.activation"], told["awaken.attempt.failures"]) == (1, 0)
    assert told["awaken.outcome"] == "completed"
    assert told["gen_ai.usage.input_tokens"] == USAGE.input_tokens
    assert told["gen_ai.usage.output_tokens"] == USAGE.output_tokens
    assert facts(request)["http.response.status_code"] == 200
    assert facts(request)["http.route"] == "/v1/runs/wait"


async def test_a_model_call_follows_the_conventions(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        run = await app.run("talker")
    told = dict(facts(spans.one("chat talk")))
    assert 0 <= told.pop("gen_ai.response.time_to_first_chunk") < 5
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "talk",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": run["thread_id"],
        "gen_ai.agent.name": "talker",
        "gen_ai.response.model": "talk-1",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.cache_write.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "awaken.run.id": run["run_id"],
    }


async def test_tools_are_below_the_step_that_called_them(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        await app.run("adder")
    first, second = spans.named("step")
    assert sorted(spans.below(first)) == ["chat adder", "execute_tool add", "execute_tool crash"]
    assert spans.below(second) == ["chat adder"]
    assert [facts(step)["awaken.step"] for step in (first, second)] == [1, 2]
    good, bad = spans.one("execute_tool add"), spans.one("execute_tool crash")
    assert facts(good)["gen_ai.tool.name"] == "add"
    assert facts(good)["gen_ai.tool.call.id"] == "call-0"
    assert facts(good)["gen_ai.tool.type"] == "function"
    assert good.status.status_code is StatusCode.UNSET
    assert bad.status.status_code is StatusCode.ERROR
    assert facts(bad)["error.type"] == "ValueError"
    assert [facts(span)["awaken.outcome"] for span in (good, bad)] == ["completed", "failed"]


async def test_what_is_cut_off_says_so_and_is_no_error(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        await app.run("sleeper")
    span = spans.one("execute_tool doze")
    assert facts(span)["awaken.outcome"] == "cut_off"
    assert span.status.status_code is StatusCode.UNSET


async def test_failures_have_their_code_and_retries_are_events(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        for agent in ("broken", "shaky", "stubborn"):
            await app.run(agent)
    for name in ("invoke_agent broken", "chat broken"):
        assert facts(spans.one(name))["error.type"] == "out_of_order"
        assert spans.one(name).status.status_code is StatusCode.ERROR
    first, second = spans.named("invoke_agent shaky")
    assert facts(first)["error.type"] == "busy"
    assert facts(second)["awaken.attempt.failures"] == 1
    assert trace_of(first) == trace_of(second)
    assert first.parent == second.parent
    tried = spans.one("chat stubborn")
    assert [event.name for event in tried.events] == ["try failed"] * 2
    assert tried.status.status_code is StatusCode.UNSET


async def test_a_foreign_agent_is_traced_by_what_it_tells(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        await app.run("outsider")
    assert spans.below(spans.one("step")) == ["execute_tool lookup"] * 2
    good, bad = spans.named("execute_tool lookup")
    assert good.status.status_code is StatusCode.UNSET
    assert facts(bad)["error.type"] == "gone"
    told = facts(spans.one("invoke_agent outsider"))
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (7, 3)


async def test_spans_hold_nothing_of_what_was_said(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        for agent in ("talker", "adder", "broken", "outsider"):
            await app.run(agent)
    assert len(spans.all) > 15
    for span in spans.all:
        assert SECRET_TEXT not in span.to_json()
        assert "there" not in str(facts(span).values())


# --- one trace -----------------------------------------------------------------------------------


async def test_a_run_that_waited_goes_on_in_its_trace(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        await app.decide(await app.run("payer"))
    first, second = spans.named("invoke_agent payer")
    assert trace_of(first) == trace_of(second)
    assert facts(first)["awaken.outcome"] == "suspended"
    assert facts(second)["awaken.activation"] == 2
    # The second one goes on with the step of the first.
    assert [facts(step)["awaken.step"] for step in spans.named("step")] == [1, 1, 2]
    assert "execute_tool pay" in spans.below(spans.named("step")[1])


async def test_another_process_goes_on_in_the_trace_of_the_run(
    spans: Spans, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path}/a.db"
    async with watched(store=store, tracing=True) as before:
        run = await before.run("payer")
    async with watched(store=store, tracing=True) as after:
        await after.decide(run)
    first, second = spans.named("invoke_agent payer")
    assert trace_of(first) == trace_of(second)


async def test_the_trace_of_a_client_goes_on(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        run = await app.run("talker", traceparent=TRACEPARENT)
        shown = (await app.client.get(f"/v1/runs/{run['run_id']}")).json()
    request, attempt = spans.one("POST /v1/runs/wait"), spans.one("invoke_agent talker")
    assert request.parent is not None
    assert format(request.parent.span_id, "016x") == "b7ad6b7169203331"
    assert trace_of(request) == trace_of(attempt) == CLIENT_TRACE
    assert shown["metadata"]["traceparent"].split("-")[1] == CLIENT_TRACE


async def test_a_trace_that_a_client_does_not_sample_is_not_recorded(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        await app.run("talker", traceparent=TRACEPARENT[:-1] + "0")
    assert spans.all == []


async def test_a_run_from_before_tracing_has_one_trace_too(spans: Spans, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/a.db"
    async with watched(store=store) as before:
        run = await before.run("payer")
    async with watched(store=store, tracing=True) as after:
        await after.decide(run)
    attempt = spans.one("invoke_agent payer")
    record = Run(
        tenant="default",
        run_id=run["run_id"],
        thread_id="t",
        agent_id="payer",
        resolution_id="",
        created_at=0,
        updated_at=0,
    )
    made = trace.get_current_span(parent_of(record)).get_span_context()
    assert trace_of(attempt) == format(made.trace_id, "032x")


async def test_polling_for_health_is_not_traced(spans: Spans) -> None:
    async with watched(tracing=True) as app:
        for path in ("/health", "/metrics", "/"):
            await app.client.get(path)
        await app.client.get("/v1/runs/nope")
    assert [span.name for span in spans.all] == ["GET /v1/runs/{run_id}"]


async def test_requests_that_fail_are_errors(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with watched(tracing=True) as app:
        assert app.app.services is not None
        monkeypatch.setattr(app.app.services.store, "run", fail, raising=False)
        await app.client.get("/v1/runs/x")
    span = spans.one("GET /v1/runs/{run_id}")
    assert facts(span)["error.type"] == "500"
    assert span.status.status_code is StatusCode.ERROR


# --- where they go -------------------------------------------------------------------------------


class Collector:
    """An OTLP collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self._arrived = Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        with self._arrived:
            for group in request.resource_spans:
                attributes = group.resource.attributes
                self.resources.append({item.key: item.value.string_value for item in attributes})
                for scope in group.scope_spans:
                    self.spans += scope.spans
            self._arrived.notify_all()

    def wait_for(self, name: str) -> Any:
        """The first span of that name."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: name in {span.name for span in self.spans}, 10)
            return next(span for span in self.spans if span.name == name)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.mark.slow
def test_one_trace_arrives_over_a_crash_and_a_resume(collector: Collector, tmp_path: Path) -> None:
    env = {
        "AWAKEN_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_SERVICE_NAME": "the-office",
    }
    with Server(tmp_path, env=env) as server:
        accepted = server.post(
            "/v1/runs/background",
            {
                "agent_id": "worker",
                "messages": [{"role": "user", "content": "do=a,b seconds=2"}],
            },
        )
        run_id = accepted["run_id"]
        with server.stream("GET", f"/v1/runs/{run_id}/stream") as stream:
            next(event for event in stream if event.event == "tool_call_ready")
        submit = collector.wait_for("submit")
        collector.wait_for("chat worker")
        server.kill()
        server.start()
        with server.stream("GET", f"/v1/runs/{run_id}/stream") as stream:
            assert [event.event for event in stream][-1] == "run_finish"
        server.stop()
    named = [span for span in collector.spans if span.name == "invoke_agent worker"]
    assert len(named) == 1, "the first attempt died, and its span with it"
    (attempt,) = named
    assert attempt.parent_span_id == submit.span_id
    mine = [span for span in collector.spans if span.trace_id == attempt.trace_id]
    counts = {name: sum(span.name == name for span in mine) for name in {s.name for s in mine}}
    assert counts == {
        "POST /v1/runs/background": 1,
        "submit": 1,
        "invoke_agent worker": 1,
        "step": 3,
        # The model had been asked before the crash; the tool that was cut off was begun again.
        "chat worker": 3,
        "execute_tool record_effect": 2,
    }
    assert {resource["service.name"] for resource in collector.resources} == {"the-office"}
    assert len({resource["service.instance.id"] for resource in collector.resources}) == 2


def test_exporters_are_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_exporter("otlp", {}), OTLPSpanExporter)
    assert isinstance(make_exporter("console", {}), ConsoleSpanExporter)
    assert make_exporter("none", {}) is None
    with pytest.raises(SettingsError, match="expected otlp, console or none, got 'jaeger'"):
        make_exporter("jaeger", {})
    with pytest.raises(SettingsError, match="expected http/protobuf or grpc, got 'carrier'"):
        make_exporter("otlp", {"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier"})
    with pytest.raises(SettingsError, match="pip install opentelemetry-exporter-otlp-proto-grpc"):
        make_exporter("otlp", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_the_resource_is_ours_unless_the_environment_names_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environ = {"OTEL_TRACES_EXPORTER": "none"}
    resource = make_provider("w1", environ).resource.attributes
    assert (resource["service.name"], resource["service.instance.id"]) == ("awaken", "w1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    assert make_provider("w1", environ).resource.attributes["service.name"] == "mine"


async def test_a_provider_of_the_program_is_used_and_left_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans = Spans()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: spans.provider)
    async with watched(tracing=True) as app:
        await app.run("talker")
    assert spans.named("invoke_agent talker")
    assert len(spans.named("POST /v1/runs/wait")) == 1, "FastAPI makes none of its own"
    with spans.provider.get_tracer("after").start_as_current_span("still open"):
        pass
    assert spans.named("still open")


async def test_what_is_left_is_sent_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(trace, "set_tracer_provider", lambda provider: None)
    monkeypatch.setattr(tracing, "make_exporter", lambda name, environ: exporter)
    async with open_tracing(SystemClock(), "w1", {}) as opened, watched() as app:
        monkeypatch.setattr(app.app._metrics.http, "trace", opened.request)
        await app.client.get("/v1/runs")
    assert [span.name for span in exporter.get_finished_spans()] == ["GET /v1/runs"]


# --- off -----------------------------------------------------------------------------------------

OFF = """
import asyncio, sys
from awaken.server.app import create_app
from awaken.server.settings import Settings
from tests.server.watched import agents

async def main():
    app = create_app(agents(), Settings(store="sqlite://:memory:"))
    async with app.lifespan():
        assert app.services is not None

asyncio.run(main())
print([name for name in sys.modules if name.startswith("opentelemetry.sdk")])
"""


@pytest.mark.slow
def test_off_not_even_the_library_is_loaded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFF], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == ["[]"]


async def test_off_there_is_no_wrapper_for_it() -> None:
    async with watched() as app:
        assert app.app.services is not None
        resolver = app.app.services.mailbox._resolver
        _, spec = resolver.resolve("default", "talker")
        runner = resolver.bind(spec)
        assert isinstance(runner, MeasuredRunner)
        assert isinstance(runner._inner, LoopRunner)
        assert isinstance(runner._inner._model, MeasuredModel)
        assert isinstance(runner._inner._model._inner, ScriptedModel)
        assert app.app._metrics.http.trace is None
        run = await app.run("talker")
        shown = (await app.client.get(f"/v1/runs/{run['run_id']}")).json()
        assert "traceparent" not in shown.get("metadata", {})


async def test_on_without_the_library_the_server_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "awaken.server.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SettingsError, match=r"pip install 'awaken-server\[otel\]'"):
        async with watched(tracing=True):
            pass
