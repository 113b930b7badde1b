"""Which web pages may use the server, and how a browser is told so.

A page of another origin must be named. It is answered with its own origin and never with `*`, and
without `access-control-allow-credentials`: there are no cookies to send. Every route is alike, the
streaming ones included, because this happens before any of them. A page that is not named is
refused, not merely left without headers: a browser sends some requests before it looks at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from awaken.errors import RequestError
from awaken.protocols.native.http.asgi import ASGIMessage, Scope, Send, header
from awaken.server.security import check_caller

MAX_AGE_SECONDS: Final = 600
METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
REQUEST_HEADERS: Final = (
    b"authorization, content-type, if-match, last-event-id, traceparent, tracestate, x-api-key, "
    b"x-correlation-id, x-request-id"
)
RESPONSE_HEADERS: Final = (
    b"awaken-run-id, awaken-thread-id, content-location, retry-after, www-authenticate, "
    b"x-request-id"
)
_VARY: Final = (b"vary", b"origin")


class Cors:
    """The origins that may use a server, whose callers show keys or (`local`) need none."""

    def __init__(self, origins: Sequence[str], *, local: bool) -> None:
        self._origins = frozenset(origins)
        self._local = local

    def check(self, scope: Scope) -> None:
        """Refuse a page that may not use the server; without keys, also a Host that is not local.

        Raises:
            RequestError: `forbidden_host` or `forbidden_origin`, status 403.
        """
        if self._local:
            check_caller(scope)
            return
        origin = header(scope, b"origin")
        if origin is None or origin in self._origins or _is_own(origin, header(scope, b"host")):
            return
        raise RequestError(
            "forbidden_origin",
            "pages of this origin may not use the server",
            status=403,
            details={"origin": origin},
        )

    def is_preflight(self, scope: Scope) -> bool:
        """Whether a browser asks what it may send."""
        return (
            scope["method"] == "OPTIONS"
            and header(scope, b"origin") is not None
            and header(scope, b"access-control-request-method") is not None
        )

    async def answer_preflight(self, send: Send) -> None:
        """Tell a browser what it may send; `answering` adds the origin."""
        headers = [
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", REQUEST_HEADERS),
            (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
        ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body"})

    def answering(self, scope: Scope, send: Send) -> Send:
        """A `send` that puts the origin into the head of the answer, refusals included."""
        if not self._origins:
            return send
        origin = header(scope, b"origin")
        added = [_VARY]
        if origin in self._origins:
            added += [
                (b"access-control-allow-origin", str(origin).encode("latin-1")),
                (b"access-control-expose-headers", RESPONSE_HEADERS),
            ]

        async def send_with_origin(message: ASGIMessage) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        return send_with_origin


def _is_own(origin: str, host: str | None) -> bool:
    """Whether the page came from this very server, by the name the client calls it.

    Only the authority is compared: a proxy that ends TLS leaves `Host` alone, and we see http.
    """
    parts = urlsplit(origin)
    if host is None or parts.scheme not in ("http", "https"):
        return False
    usual = ":443" if parts.scheme == "https" else ":80"
    return parts.netloc.lower().removesuffix(usual) == host.lower().removesuffix(usual)
