"""Prometheus metrics: what there is, and looking up what is only known when it is asked for.

Measured is by wrappers (`measured.py`, `measure.py`, `attempts.py`): nothing below the server knows
of it. Each application has a registry of its own, so that several can live in one process. Label
values are bounded: none is an id, and of names that others choose (`Names`) the first hundred
count.

The names of `docs/observability.md` are those of this file; `metrics_table` makes its table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio.to_thread
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector

from awaken.leftovers import LEFTOVERS
from awaken.ports.clock import Clock, SystemClock
from awaken.ports.store import Store
from awaken.protocols.native.http.services import Services
from awaken.server.pulse import Pulse
from awaken.tools import THREADS

if TYPE_CHECKING:
    from awaken.server.measure import TraceRequest

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METRICS_KEY: Final = "awaken.metrics"
LOOK_SECONDS: Final = 5.0
"""How old what is looked up may be: the depths of the queue, files, the process."""
MAX_NAMES: Final = 100
MAX_NAME: Final = 100
OTHER: Final = "other"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG_SECONDS: Final = (*_SECONDS, 60, 300, 1800, 3600)
_DEPTHS: Final = ("queued", "claimed", "acked", "cancelled", "superseded", "dead_letter")


class Described(NamedTuple):
    """One metric, as the documentation lists it; `name` is that of its samples."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


class Maker:
    """Makes metrics in a registry, and remembers what they are."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.described: list[Described] = []

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        self.described.append(Described(f"{name}_total", "counter", labels, text))
        return Counter(name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.described.append(Described(name, "gauge", labels, text))
        return Gauge(name, text, labels, registry=self.registry)

    def seconds(self, name: str, text: str, *labels: str, long: bool = False) -> Histogram:
        """A histogram of durations; `long` ones go up to an hour."""
        name = f"{name}_seconds"
        self.described.append(Described(name, "histogram", labels, text))
        buckets = _LONG_SECONDS if long else _SECONDS
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)


class Names:
    """Names that others choose, as label values: the first `MAX_NAMES` count, the rest is one."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        """`name`, or `other`."""
        if name in self._known:
            return name
        if len(self._known) >= MAX_NAMES or len(name) > MAX_NAME:
            return OTHER
        self._known.add(name)
        return name


class Metrics:
    """The metrics of one application."""

    def __init__(self, clock: Clock) -> None:
        make = Maker()
        self.clock = clock
        self.registry = make.registry
        self.http = HttpMetrics(make)
        self.mailbox = MailboxMetrics(make)
        self.runs = RunMetrics(make)
        self.models = ModelMetrics(make)
        self.tools = ToolMetrics(make)
        self.webhooks = make.counter(
            "awaken_webhooks",
            "Attempts at sending webhooks; `result` is `delivered`, `failed` (will be sent again) "
            "or `given_up`",
            "result",
        )
        self.machine = MachineMetrics(make)
        self.pulse = Pulse(clock)
        self.described = tuple(make.described)
        self._looked_at = float("-inf")

    def render(self) -> bytes:
        """All of it, as text."""
        return generate_latest(_WithoutCreation(self.registry))

    async def refresh(self, services: Services) -> None:
        """Set what is looked up when it is asked for."""
        statistics = services.mailbox.statistics()
        self.runs.active.set(statistics.executing)
        self.runs.slots.set(statistics.slots)
        self.tools.look()
        now = self.clock.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        await self.mailbox.look(services.store)
        await anyio.to_thread.run_sync(self.machine.look)


class _WithoutCreation(Collector):
    """A registry without the time at which each series began: a quarter of all samples, unused."""

    def __init__(self, inner: Collector) -> None:
        self._inner = inner

    def collect(self) -> Iterator[Metric]:
        for metric in self._inner.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric


class HttpMetrics:
    """Requests and streams.

    `trace` begins the span of a request, while requests are traced. `new_id` names those that come
    without a name, while the application runs.
    """

    def __init__(self, make: Maker) -> None:
        self.trace: TraceRequest | None = None
        self.new_id: Callable[[], str] | None = None
        self.requests = make.counter(
            "awaken_http_requests",
            "Answered requests, by the pattern of their route",
            *("method", "route", "status"),
        )
        self.seconds = make.seconds(
            "awaken_http_request_duration",
            "How long answers took; a stream counts to its first byte",
            *("method", "route", "status"),
        )
        self.in_flight = make.gauge(
            "awaken_http_requests_in_flight", "Requests being answered, streams included"
        )
        self.streams = make.gauge("awaken_sse_connections", "Open event streams")


class MailboxMetrics:
    """The queue, and the store behind it."""

    def __init__(self, make: Maker) -> None:
        self.operations = make.counter(
            "awaken_mailbox_operations",
            "Calls of the store; `result` is `ok`, `refused` by a rule, or `error`",
            *("operation", "result"),
        )
        self.operation_seconds = make.seconds(
            "awaken_mailbox_operation_duration",
            "How long they took, their commit included",
            *("operation", "result"),
        )
        self._queued = make.gauge("awaken_mailbox_queue_depth", "Queued dispatches, due or not")
        self._depth = make.gauge(
            "awaken_mailbox_dispatch_depth", "Dispatches in the store, by state", "status"
        )
        self._oldest = make.gauge(
            "awaken_mailbox_oldest_due_seconds",
            "How long the oldest dispatch that could start has been waiting; 0 when none is",
        )
        start = "awaken_mailbox_dispatch"
        self.enqueued = make.seconds(
            f"{start}_enqueue_to_start",
            "From the submission to its first claim, intended delay included",
            long=True,
        )
        self.eligible = make.seconds(
            f"{start}_eligible_to_start",
            "From the moment a dispatch could start to its claim, retries included",
            long=True,
        )
        self.prepared = make.seconds(
            f"{start}_claim_to_start", "From the claim to the first line of the agent"
        )
        self.completed = make.seconds(
            f"{start}_enqueue_to_complete",
            "From the submission to the end of its dispatch",
            "outcome",
            long=True,
        )
        self.runtime = make.seconds(
            f"{start}_runtime",
            "How long an attempt took, from claim to settle",
            "outcome",
            long=True,
        )

    async def look(self, store: Store) -> None:
        """Count the queue."""
        counts = await store.counts()
        for status in _DEPTHS:
            self._depth.labels(status).set(getattr(counts, status))
        self._queued.set(counts.queued)
        self._oldest.set((counts.oldest_due_ms or 0) / 1000)


class RunMetrics:
    """Attempts at runs, and how they ended."""

    def __init__(self, make: Maker) -> None:
        self.classes = Names()
        self.active = make.gauge("awaken_active_runs", "Attempts being executed by this process")
        self.slots = make.gauge(
            "awaken_run_slots", "How many attempts this process executes at most"
        )
        self.ended = make.counter(
            "awaken_runs",
            "Attempts that ended: `completed`, `suspended`, `transient_error` (will be retried), "
            "`permanent_error`, `dead_letter` (retried too often), `cancelled`, `superseded`, "
            "`handed_over` at shutdown, or `lost` to another worker",
            "outcome",
        )
        self.seconds = make.seconds(
            "awaken_run_duration",
            "How long a run was executed in all, when its end or its wait began; waiting and "
            "queueing do not count",
            "outcome",
            long=True,
        )
        self._errors = make.counter(
            "awaken_errors", "Failed attempts and faults of the store, by their code", "class"
        )
        self.suspensions = make.counter(
            "awaken_agent_suspensions",
            "Tool calls that began to wait for somebody (`suspended`) or went on (`resumed`)",
            *("action", "resume_mode"),
        )

    def failed(self, code: str) -> None:
        """Count an error."""
        self._errors.labels(self.classes.label(code)).inc()


class ModelMetrics:
    """Calls of models."""

    def __init__(self, make: Maker) -> None:
        self.names = Names()
        self.classes = Names()
        model = ("model", "provider")
        self.requests = make.counter(
            "awaken_inference_requests",
            "Model calls; `status` is `ok`, `error` or `cancelled`",
            *(*model, "status"),
        )
        self.seconds = make.seconds(
            "awaken_inference_duration",
            "How long they took, retries included",
            *(*model, "status"),
            long=True,
        )
        self.first = make.seconds(
            "awaken_inference_first_chunk", "From the call to the first piece of the answer", *model
        )
        self.tokens = make.counter(
            "awaken_inference_tokens",
            "Tokens as the provider counts them: `input`, `output`, `total`, and of these "
            "`thinking`, `cache_read_input`, `cache_creation_input`",
            *(*model, "type"),
        )
        self.errors = make.counter(
            "awaken_inference_errors", "Model calls that failed, by code", *(*model, "class")
        )
        self.tries = make.counter(
            "awaken_inference_tries",
            "Requests to a provider, retries of one call included; `result` is `ok`, `cancelled` "
            "or the code of the failure",
            *(*model, "result"),
        )

    def labels(self, name: str) -> tuple[str, str]:
        """(model, provider) of a model's full name."""
        provider, colon, model = name.partition(":")
        if not colon:
            provider, model = "", name
        return self.names.label(model), self.names.label(provider) if provider else ""


class ToolMetrics:
    """Tools, and the threads that sync ones run in."""

    def __init__(self, make: Maker) -> None:
        self.names = Names()
        self.classes = Names()
        self.calls = make.counter(
            "awaken_tool_calls",
            "Executions of tools; `status` is `ok`, `error`, `suspended` (it asked) or `cancelled` "
            "(its time limit, a stop)",
            *("tool", "status"),
        )
        self.seconds = make.seconds(
            "awaken_tool_duration", "How long they took", *("tool", "status"), long=True
        )
        self.errors = make.counter(
            "awaken_tool_errors",
            "Tool calls whose result is an error, by code; `denied`, `timeout` and calls that were "
            "not executed among them",
            *("tool", "class"),
        )
        self._threads = make.gauge(
            "awaken_tool_threads", "Threads in which sync tools run, in this process"
        )
        self._abandoned = make.gauge(
            "awaken_tool_threads_abandoned",
            "Of these, threads whose call was given up and that have not ended",
        )
        self._left_behind = make.gauge(
            "awaken_tasks_left_behind",
            "Tasks of tools, models and agents that ignored a stop and have not ended",
        )

    def look(self) -> None:
        """Count the threads."""
        abandoned = THREADS.given_up
        self._threads.set(THREADS.used)
        self._abandoned.set(abandoned)
        self._left_behind.set(max(0, LEFTOVERS.count() - abandoned))


class MachineMetrics:
    """The files of the store, and the process. `files` are (label, path)."""

    def __init__(self, make: Maker) -> None:
        self.files: Sequence[tuple[str, str]] = ()
        self._bytes = make.gauge(
            "awaken_store_file_bytes",
            "Size of the store's files: `database`, and its write-ahead log `wal`",
            "file",
        )
        self._process = _ProcessFigures()
        make.registry.register(self._process)
        make.described += PROCESS

    def look(self) -> None:
        """Blocks: it asks the file system."""
        for label, path in self.files:
            size = 0
            with suppress(OSError):  # there is no log yet
                size = os.stat(path).st_size
            self._bytes.labels(label).set(size)
        self._process.look()


class _ProcessFigures(Collector):
    """What the operating system says of this process, where it says anything (Linux)."""

    def __init__(self) -> None:
        self._collector = ProcessCollector(registry=None)
        self._found: list[Metric] = []

    def collect(self) -> list[Metric]:
        return self._found

    def look(self) -> None:
        self._found = list(self._collector.collect())


PROCESS: Final = (
    Described("process_cpu_seconds_total", "counter", (), "Processor time used"),
    Described("process_max_fds", "gauge", (), "How many files and sockets may be open"),
    Described("process_open_fds", "gauge", (), "How many are"),
    Described("process_resident_memory_bytes", "gauge", (), "Memory in use"),
    Described("process_start_time_seconds", "gauge", (), "When the process started (Unix time)"),
    Described("process_virtual_memory_bytes", "gauge", (), "Address space"),
)
"""Written by prometheus_client on Linux."""


# --- the documentation ---------------------------------------------------------------------------

TABLE_BEGIN: Final = "<!-- metrics: made by `make docs` -->\n"
TABLE_END: Final = "<!-- end of metrics -->\n"


def metrics_table() -> str:
    """The table of all metrics, in Markdown."""
    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{name}`' for name in metric.labels)} "
        f"| {metric.text} |"
        for metric in Metrics(SystemClock()).described
    ]
    return "\n".join(["| Name | Type | Labels | Meaning |", "|---|---|---|---|", *rows, ""])


def with_metrics_table(page: str) -> str:
    """`page` with the table as it is now between its marks."""
    before, _, rest = page.partition(TABLE_BEGIN)
    _, _, after = rest.partition(TABLE_END)
    return f"{before}{TABLE_BEGIN}{metrics_table()}{TABLE_END}{after}"
