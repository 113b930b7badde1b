"""One HTTP request: what its log lines are about, what has been answered, and what that costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextvars import Token
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import unquote

from awaken.domain.ids import is_client_id
from awaken.protocols.native.decode import request_id
from awaken.protocols.native.http.asgi import ASGIMessage, Scope, Send, header, route_path
from awaken.server import logs
from awaken.server.metrics import METRICS_KEY, Metrics

ROUTE_KEY: Final = "awaken.route"
"""Where the pattern of a route is left that FastAPI does not know of."""
KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
REQUEST_ID: Final = b"x-request-id"

_ABOUT: Final = re.compile(r"/v1/(run|thread|ticket)s/(?!(?:wait|background|summaries)$)([^/]+)")


class TracedRequest(Protocol):
    """A request that is being traced."""

    def end(self, route: str, status: int | None, error: BaseException | None) -> None:
        """It is over; `status` is what it was answered with, if it was."""
        ...


TraceRequest = Callable[[Scope], TracedRequest | None]
"""Begins the trace of a request, or goes on with its client's; None for one that is not traced."""


class Request:
    """Counted while inside; a stream is timed to its first byte, anything else to its end."""

    __slots__ = (
        *("_began", "_id", "_lines", "_method", "_metrics", "_scope", "_send", "_stream"),
        *("_traced", "status"),
    )

    def __init__(self, scope: Scope, send: Send, metrics: Metrics) -> None:
        scope[METRICS_KEY] = metrics
        self.status: int | None = None
        self._scope = scope
        self._send = send
        self._metrics = metrics
        self._method = scope["method"]
        self._began = metrics.clock.monotonic()
        self._stream = False
        self._id: str | None = None
        self._lines: Token[dict[str, str] | None] | None = None
        self._traced: TracedRequest | None = None

    def __enter__(self) -> Self:
        http = self._metrics.http
        http.in_flight.inc()
        self._id = request_id(header(self._scope, REQUEST_ID))
        if self._id is None and http.new_id is not None:
            self._id = http.new_id()
        self._lines = logs.bind(request_id=self._id, **_about(self._scope))
        if http.trace is not None:
            self._traced = http.trace(self._scope)
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
        if self._traced is not None:
            self._traced.end(self._pattern(), self.status, error)
        if self._lines is not None:
            logs.unbind(self._lines)

    async def send(self, message: ASGIMessage) -> None:
        """Pass on a part of the answer."""
        if message["type"] == "http.response.start":
            self._started(message)
        await self._send(message)

    def _started(self, message: ASGIMessage) -> None:
        self.status = message["status"]
        self._stream = (b"content-type", b"text/event-stream") in message["headers"]
        if self._id is not None:
            message["headers"] = [*message["headers"], (REQUEST_ID, self._id.encode())]
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


def _about(scope: Scope) -> dict[str, str]:
    """The run, thread or ticket a request is about, by its path."""
    found = _ABOUT.match(route_path(scope))
    if found is None:
        return {}
    kind, identifier = found[1], unquote(found[2])
    return {f"{kind}_id": identifier} if is_client_id(identifier) else {}
