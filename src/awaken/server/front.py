"""Before everything: who is answered, which routes are streams, how large a body may be.

Whoever may not pass is refused here, for all routes alike (`auth/gate.py`). Event streams must not
pass through FastAPI: its routing alone costs more memory than a whole idle stream. So the front
hands a request to a streaming route, or, with its body read, to the JSON API.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from awaken.errors import AwakenError, Fault, Refusal
from awaken.protocols.ag_ui.http.routes import find_ag_ui_route
from awaken.protocols.ai_sdk.http.chat import find_chat_route
from awaken.protocols.native.http.asgi import (
    BODY_METHODS,
    ASGIApp,
    ASGIMessage,
    ClientGone,
    Receive,
    Scope,
    Send,
    check_content_type,
    has_body,
    read_body,
    replayed,
    route_path,
    send_error,
)
from awaken.protocols.native.http.services import SCOPE_KEY, Services
from awaken.protocols.native.http.streams import StreamRoute, find_stream_route
from awaken.server.auth.errors import Challenge
from awaken.server.auth.gate import check_size
from awaken.server.auth.setup import Security
from awaken.server.measure import Request
from awaken.server.metrics import Metrics

log = logging.getLogger(__name__)


class Front:
    """The ASGI application before the JSON API."""

    def __init__(
        self,
        api: ASGIApp,
        services: Callable[[], Services | None],
        metrics: Metrics,
        security: Security,
    ) -> None:
        self._api = api
        self._services = services
        self._metrics = metrics
        self._security = security

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        send = self._security.cors.answering(scope, send)
        with Request(scope, send, self._metrics) as request:
            try:
                await self._answer(scope, receive, request.send)
            except ClientGone:
                return
            except AwakenError as error:
                await _refuse(request, error)
            except Exception:  # the last resort: a client gets an answer, and the log the stack
                log.exception("request failed", extra={"path": scope["path"]})
                await _refuse(request, internal())

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        cors = self._security.cors
        check_size(scope)
        cors.check(scope)
        if cors.is_preflight(scope):
            await cors.answer_preflight(send)
            return
        found = await self._admit(scope)
        if found is None:
            await self._call_api(scope, receive, send)
        else:
            route, identifier = found
            await route.endpoint(scope, receive, send, identifier)

    async def _admit(self, scope: Scope) -> tuple[StreamRoute, str] | None:
        """The streaming route of a request that may pass, or None when it is for the API."""
        services = self._services()
        if services is None:
            raise _not_running()
        scope[SCOPE_KEY] = services
        await self._security.gate.admit(scope)
        path = route_path(scope)
        found = find_stream_route(path) or find_chat_route(path) or find_ag_ui_route(path)
        return None if found is None or scope["method"] in found[0].left_to_api else found

    async def _call_api(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Ids stay percent-encoded until their route decodes them: one with a `/` is one segment.
        scope["path"] = scope.get("root_path", "") + route_path(scope)
        if scope["method"] in BODY_METHODS and has_body(scope):
            check_content_type(scope)
            receive = replayed(await read_body(scope, receive), receive)
        if scope["method"] == "HEAD":
            await self._call_head(scope, receive, send)
        else:
            await self._api(scope, receive, send)

    async def _call_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A copy: the server looks into its scope to know that no body belongs to this answer.
        as_get = {**scope, "method": "GET"}
        await self._api(as_get, receive, _without_body(send))
        scope["route"] = as_get.get("route")


async def _refuse(request: Request, error: AwakenError) -> None:
    """Answer with a refusal, unless the answer has begun: then no other status can be sent."""
    if request.status is not None:
        return
    challenges = [("www-authenticate", error.challenge)] if isinstance(error, Challenge) else []
    await send_error(request.send, error, challenges)


def _without_body(send: Send) -> Send:
    async def send_head(message: ASGIMessage) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head


def internal() -> Fault:
    """The answer to what nobody expected: nothing of it is told (I11)."""
    return Fault("internal", "unexpected", retryable=False)


def _not_running() -> Refusal:
    return Refusal(
        "not_running",
        "the server is starting or has stopped; try again",
        status=503,
        retry_after_seconds=1,
    )
