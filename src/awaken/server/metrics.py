"""Prometheus metrics, measured by wrappers: nothing below the server knows that it is measured.

Each application has a registry of its own, so that several can live in one process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from awaken.domain.claim import Claim
from awaken.domain.dispatch import Effect
from awaken.domain.event import InferenceComplete
from awaken.domain.outcome import (
    CancelledOutcome,
    Completed,
    Failed,
    Interrupted,
    Lost,
    Outcome,
    Retry,
    SupersededOutcome,
    Suspended,
)
from awaken.mailbox.settle import Settled
from awaken.ports.clock import Clock
from awaken.ports.hints import Hint, LogGrew
from awaken.ports.store import Store
from awaken.protocols.native.http.services import Services
from awaken.stores.instrumented import InstrumentedStore

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METRICS_KEY: Final = "awaken.metrics"
DEPTH_SECONDS: Final = 5.0
"""How old the counted depths of the queue may be."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LONG_SECONDS: Final = (*_SECONDS, 60, 300, 1800, 3600)
_DEPTHS: Final = ("queued", "claimed", "acked", "cancelled", "superseded", "dead_letter")
_TOKENS: Final[Mapping[str, str]] = {
    "prompt_tokens": "input",
    "completion_tokens": "output",
    "total_tokens": "total",
    "thinking_tokens": "thinking",
    "cache_read_tokens": "cache_read_input",
    "cache_creation_tokens": "cache_creation_input",
}
_OUTCOMES: Final[Mapping[type[Outcome], str]] = {
    Completed: "completed",
    Suspended: "suspended",
    Retry: "transient_error",
    Failed: "permanent_error",
    CancelledOutcome: "cancelled",
    SupersededOutcome: "superseded",
    Interrupted: "handed_over",
    Lost: "lost",
}


class Metrics:
    """The metrics of one application."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._counted_at = float("-inf")
        self.registry = CollectorRegistry()
        self.http = HttpMetrics(self.registry)
        self._runs = RunMetrics(self.registry)
        self._operations = Counter(
            "awaken_mailbox_operations",
            "Store operations of the mailbox",
            ["operation", "result"],
            registry=self.registry,
        )
        self._operation_seconds = Histogram(
            "awaken_mailbox_operation_duration_seconds",
            "How long they took, their commit included",
            ["operation", "result"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._depth = Gauge(
            "awaken_mailbox_dispatch_depth",
            "Dispatches by state",
            ["status"],
            registry=self.registry,
        )
        self._queued = Gauge(
            "awaken_mailbox_queue_depth", "Queued dispatches", registry=self.registry
        )

    def render(self) -> bytes:
        """All of it, as text."""
        return generate_latest(self.registry)

    async def refresh(self, services: Services) -> None:
        """Set what is looked up when it is asked for."""
        self._runs.active.set(services.mailbox.statistics().executing)
        now = self.clock.monotonic()
        if now - self._counted_at < DEPTH_SECONDS:
            return
        self._counted_at = now
        counts = await services.store.counts()
        for status in _DEPTHS:
            self._depth.labels(status).set(getattr(counts, status))
        self._queued.set(counts.queued)

    def measured(self, store: Store) -> Store:
        """`store` with its operations counted and timed."""
        return InstrumentedStore(store, self._operation_ended, self.clock)

    def hear(self, hints: Sequence[Hint]) -> None:
        """The store's listener: counts what the log tells of models."""
        for hint in hints:
            if isinstance(hint, LogGrew):
                for item in hint.segment.items:
                    if type(item.event) is InferenceComplete:
                        self._runs.inference_ended(item.event)

    def attempt_ended(self, claim: Claim, outcome: Outcome, settled: Settled | None) -> None:
        """The mailbox's observer."""
        self._runs.attempt_ended(claim, outcome, settled, self.clock.now())

    def _operation_ended(self, name: str, result: str, seconds: float) -> None:
        self._operations.labels(name, result).inc()
        self._operation_seconds.labels(name, result).observe(seconds)


class HttpMetrics:
    """Requests and streams."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "awaken_http_requests",
            "Answered requests",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "awaken_http_request_duration_seconds",
            "How long they took; a stream counts to its first byte",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "awaken_http_requests_in_flight",
            "Requests being answered, streams included",
            registry=registry,
        )
        self.streams = Gauge("awaken_sse_connections", "Open event streams", registry=registry)


class RunMetrics:
    """Attempts and their models."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=_LONG_SECONDS, registry=registry)

        start = "awaken_mailbox_dispatch"
        self.active = Gauge("awaken_active_runs", "Attempts being executed", registry=registry)
        self.runs = Counter("awaken_runs", "Attempts that ended", ["outcome"], registry=registry)
        self.runtime = histogram("awaken_run_duration_seconds", "How long attempts took", "outcome")
        self.enqueued = histogram(
            f"{start}_enqueue_to_start_seconds", "From the submission to the claim"
        )
        self.eligible = histogram(
            f"{start}_eligible_to_start_seconds", "The same without intended delay"
        )
        self.completed = histogram(
            f"{start}_enqueue_to_complete_seconds", "From the submission to the end", "outcome"
        )
        self.inferences = Counter(
            "awaken_inference_requests",
            "Model calls that ended well",
            ["model", "provider", "status"],
            registry=registry,
        )
        self.inference_seconds = histogram(
            "awaken_inference_duration_seconds",
            "How long they took",
            "model",
            "provider",
            "status",
        )
        self.tokens = Counter(
            "awaken_inference_tokens",
            "Tokens, as counted by the provider",
            ["model", "provider", "type"],
            registry=registry,
        )

    def attempt_ended(
        self, claim: Claim, outcome: Outcome, settled: Settled | None, now: int
    ) -> None:
        """Count an attempt."""
        label = _OUTCOMES[type(outcome)]
        if isinstance(outcome, Retry) and settled and settled.effect is Effect.fail_run:
            label = "dead_letter"
        self.runs.labels(label).inc()
        self.runtime.labels(label).observe(max(0, now - claim.claimed_at) / 1000)
        self.completed.labels(label).observe(max(0, now - claim.enqueued_at) / 1000)
        self.enqueued.observe(max(0, claim.claimed_at - claim.enqueued_at) / 1000)
        self.eligible.observe(max(0, claim.claimed_at - claim.eligible_at) / 1000)

    def inference_ended(self, event: InferenceComplete) -> None:
        """Count a model call."""
        provider, colon, name = event.model.partition(":")
        labels = (name, provider) if colon else (event.model, "")
        self.inferences.labels(*labels, "ok").inc()
        self.inference_seconds.labels(*labels, "ok").observe(event.duration_ms / 1000)
        for key, count in (event.usage or {}).items():
            if key in _TOKENS:
                self.tokens.labels(*labels, _TOKENS[key]).inc(count)
