"""One HTTP request: what has been answered, and what it costs by the pattern of its route."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from awaken.protocols.native.http.asgi import ASGIMessage, Scope, Send
from awaken.server.metrics import METRICS_KEY, Metrics

ROUTE_KEY: Final = "awaken.route"
"""Where the pattern of a route is left that FastAPI does not know of."""
KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Request:
    """Counted while inside; a stream is timed to its first byte, anything else to its end."""

    __slots__ = ("_began", "_method", "_metrics", "_scope", "_send", "_stream", "status")

    def __init__(self, scope: Scope, send: Send, metrics: Metrics) -> None:
        scope[METRICS_KEY] = metrics
        self.status: int | None = None
        self._scope = scope
        self._send = send
        self._metrics = metrics
        self._method = scope["method"]
        self._began = metrics.clock.monotonic()
        self._stream = False

    def __enter__(self) -> Self:
        self._metrics.http.in_flight.inc()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._metrics.http.in_flight.dec()
        if self._stream:
            self._metrics.http.streams.dec()
        elif self.status is not None:
            self._count()

    async def send(self, message: ASGIMessage) -> None:
        """Pass on a part of the answer."""
        if message["type"] == "http.response.start":
            self._started(message)
        await self._send(message)

    def _started(self, message: ASGIMessage) -> None:
        self.status = message["status"]
        self._stream = (b"content-type", b"text/event-stream") in message["headers"]
        if self._stream:
            self._metrics.http.streams.inc()
            self._count()

    def _count(self) -> None:
        method = self._method if self._method in KNOWN_METHODS else "other"
        labels = (method, self._pattern(), str(self.status))
        seconds = self._metrics.clock.monotonic() - self._began
        self._metrics.http.requests.labels(*labels).inc()
        self._metrics.http.seconds.labels(*labels).observe(seconds)

    def _pattern(self) -> str:
        pattern = self._scope.get(ROUTE_KEY) or getattr(self._scope.get("route"), "path", None)
        return pattern or "unmatched"
