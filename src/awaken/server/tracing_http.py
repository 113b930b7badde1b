"""The span of an HTTP request; it goes on with the trace of its client (W3C Trace Context)."""

from __future__ import annotations

from contextvars import Token
from typing import Any, Final

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from awaken.protocols.native.http.asgi import Scope, header, route_path
from awaken.server import logs
from awaken.server import tracing_names as names

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
UNTRACED: Final = ("/health", "/metrics", "/docs", "/openapi.json", "/page", "/favicon")
"""Where requests begin that say nothing of any run, and come all the time."""


class RequestSpan:
    """A span that is current until it ends."""

    __slots__ = ("_method", "_span", "_token")

    def __init__(self, span: Span, method: str, token: Token[Context]) -> None:
        self._span = span
        self._method = method
        self._token = token

    def end(self, route: str, status: int | None, error: BaseException | None) -> None:
        """The request is over."""
        span = self._span
        if route != "unmatched":
            span.update_name(f"{self._method} {route}")
            span.set_attribute("http.route", route)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        failed = type(error).__name__ if error is not None else str(status)
        if error is not None or (status or 0) >= 500:
            span.set_attribute(names.ERROR_TYPE, failed)
            span.set_status(Status(StatusCode.ERROR))
        span.end()
        detach(self._token)


def begin_request(
    tracer: Tracer, propagator: TraceContextTextMapPropagator, scope: Scope
) -> RequestSpan | None:
    """Begin the span of a request and make it current; None for one that is not traced."""
    path = route_path(scope)
    if path == "/" or path.startswith(UNTRACED):
        return None
    method = scope["method"] if scope["method"] in METHODS else "_OTHER"
    attributes: dict[str, Any] = {
        "http.request.method": method,
        "url.path": path,
        "url.scheme": scope.get("scheme", "http"),
    }
    request_id = logs.noted("request_id")
    if request_id is not None:
        attributes[names.REQUEST] = request_id
    parent = propagator.extract(_carried(scope), Context())
    span = tracer.start_span(method, parent, SpanKind.SERVER, attributes)
    logs.note(trace_id=trace_id_of(span))
    return RequestSpan(span, method, attach(set_span_in_context(span, parent)))


def trace_id_of(span: Span) -> str:
    """The id by which a trace is looked up."""
    return format(span.get_span_context().trace_id, "032x")


def _carried(scope: Scope) -> dict[str, str]:
    found = {name: header(scope, name.encode()) for name in ("traceparent", "tracestate")}
    return {name: value for name, value in found.items() if value is not None}
