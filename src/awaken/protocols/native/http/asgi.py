"""The few lines of ASGI that the streaming routes and the front of the server need."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import quote

import msgspec

from awaken.errors import AwakenError, Fault, Refusal, RequestError

Scope = MutableMapping[str, Any]
ASGIMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class ClientGone(Exception):
    """The client closed the connection before its request was complete: nobody reads an answer."""


def header(scope: Scope, name: bytes) -> str | None:
    """The first header `name` (lower case), or None."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def route_path(scope: Scope) -> str:
    """The path below the mount point, percent-encoded as the client sent it.

    Undecoded, so that an id with a `/` in it stays one segment; who takes a segment decodes it.
    """
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"], safe="/!$&'()*+,;=:@~")
    root = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(root) else path


# --- bodies --------------------------------------------------------------------------------------


def check_content_type(scope: Scope) -> None:
    """Refuse a body that does not say it is JSON: a web page could send it without being asked.

    Raises:
        RequestError: `unsupported_media_type`, status 415.
    """
    kind = (header(scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(
            "unsupported_media_type",
            "the body must have the content-type application/json",
            status=415,
            details={"content_type": kind or None},
        )


def has_body(scope: Scope) -> bool:
    """Whether the request announces a body."""
    return (
        header(scope, b"content-length") not in (None, "0")
        or header(scope, b"transfer-encoding") is not None
    )


async def read_body(scope: Scope, receive: Receive, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body.

    Raises:
        RequestError: `body_too_large` (413), as soon as it is known.
        ClientGone: the connection was closed.
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


def _too_large(limit: int) -> RequestError:
    return RequestError(
        "body_too_large",
        f"the body may have at most {limit} bytes",
        status=413,
        details={"limit": limit},
    )


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` in one piece, then what `receive` gives."""
    pending = True

    async def receive_again() -> ASGIMessage:
        nonlocal pending
        if pending:
            pending = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return receive_again


# --- answers -------------------------------------------------------------------------------------


async def send_json(send: Send, status: int, value: Any, headers: Headers = ()) -> None:
    """Answer with a JSON value."""
    body = msgspec.json.encode(value)
    start: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: AwakenError, more: Iterable[tuple[str, str]] = ()) -> None:
    """Answer with a refusal in the one shape, with `more` headers than its own."""
    headers = [
        (key.encode("latin-1"), value.encode("latin-1"))
        for key, value in (*error_headers(error), *more)
    ]
    await send_json(send, error.status, error_body(error), headers)


def error_body(error: AwakenError) -> dict[str, Any]:
    """`{"error": {"code", "message", "details"?}}`; a fault's text only if it is for clients."""
    message = error.message
    if isinstance(error, Fault) and not error.public:
        message = "the server could not carry this out"
    told: dict[str, Any] = {"code": error.code, "message": message}
    if error.details:
        told["details"] = error.details
    return {"error": told}


def error_headers(error: AwakenError) -> list[tuple[str, str]]:
    """When to come back, where waiting helps; which methods there are, where it was wrong."""
    headers = []
    if isinstance(error, Refusal) and error.retry_after_seconds is not None:
        headers.append(("retry-after", str(error.retry_after_seconds)))
    elif isinstance(error, Fault) and error.retryable and error.status == 503:
        headers.append(("retry-after", "1"))
    allowed = error.details.get("allowed")
    if error.code == "method_not_allowed" and isinstance(allowed, list):
        headers.append(("allow", ", ".join(allowed)))
    return headers


def method_not_allowed(method: str, allowed: Iterable[str]) -> RequestError:
    """The 405 of all routes."""
    names = sorted(allowed)
    return RequestError(
        "method_not_allowed",
        f"{method} is not possible here, but {', '.join(names)}",
        status=405,
        details={"allowed": names},
    )


def route_not_found() -> RequestError:
    """The 404 of a path that is none of ours."""
    return RequestError(
        "route_not_found", "there is nothing at this path; /docs lists what there is", status=404
    )
