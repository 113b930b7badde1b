"""Waiting for the end of a run in one request.

A space every 15 s keeps proxies from giving up. With the first one the status line is out: a run
that outlives the time limit comes with 202 before that, and with 200 after it.
"""

from __future__ import annotations

import anyio
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.event import RunFinish
from awaken.domain.run import RunStatus
from awaken.domain.submission import Accepted, Submission
from awaken.errors import Refusal, not_found
from awaken.protocols.native import views
from awaken.protocols.native.decode import Caller
from awaken.protocols.native.http.asgi import Receive, Scope, Send
from awaken.protocols.native.http.respond import abandoned, while_connected
from awaken.protocols.native.http.services import Services
from awaken.streams.subscription import StreamsClosed, Subscription

ENDED = (RunStatus.done, RunStatus.waiting)


class WaitResponse(Response):
    """Submits when it is called, so that the subscription lives as long as the answer."""

    def __init__(
        self, services: Services, caller: Caller, submission: Submission, seconds: float
    ) -> None:
        self.background = None
        self.status_code = 200
        self._services = services
        self._caller = caller
        self._submission = submission
        self._seconds = seconds
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, submission = self._services, self._submission
        thread_id = submission.thread_id or services.ids.new()
        reader = services.hub.subscribe(submission.tenant, thread_id, None, submission.run_id)
        with reader as subscription:
            submission = replace(submission, thread_id=thread_id)
            accepted = await services.submit(self._caller, submission)
            subscription.seek(accepted.cursor, accepted.run_id, accepted.thread_id)
            try:
                if accepted.status not in ENDED:
                    await while_connected(receive, lambda: self._wait_end(subscription, send))
            except StreamsClosed as closed:
                self._give_up(closed, accepted)
                return
        await self._send_run(accepted.run_id, send)

    async def _wait_end(self, subscription: Subscription, send: Send) -> None:
        """Until the activation ends, or the time is over; a space whenever it takes long."""
        clock, pause = self._services.clock, self._services.heartbeat_seconds
        until = clock.monotonic() + self._seconds
        while (left := until - clock.monotonic()) > 0:
            with anyio.move_on_after(min(pause, left)):
                await _activation_end(subscription)
                return
            if left > pause:
                await self._send_piece(send, b" ")

    async def _send_run(self, run_id: str, send: Send) -> None:
        run = await self._services.store.run(self._submission.tenant, run_id)
        if run is None:
            raise not_found("run", run_id)
        self.status_code = 200 if run.status in ENDED else 202
        told = views.run(run, await self._services.open_tickets(run))
        await self._send_piece(send, told.model_dump_json().encode())
        await send({"type": "http.response.body"})

    async def _send_piece(self, send: Send, piece: bytes) -> None:
        if not self._begun:
            self._begun = True
            headers = [(b"content-type", b"application/json")]
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": headers,
                }
            )
        await send({"type": "http.response.body", "body": piece, "more_body": True})

    def _give_up(self, closed: StreamsClosed, accepted: Accepted) -> None:
        """Drain: the run goes on elsewhere. The client is told so, or sees the connection break."""
        if not self._begun:
            raise Refusal(
                closed.code,
                f"the server is shutting down; run {accepted.run_id} will go on",
                status=closed.status,
                details={"run_id": accepted.run_id, "thread_id": accepted.thread_id},
                retry_after_seconds=closed.retry_after_seconds,
            ) from closed
        abandoned.set(True)


async def _activation_end(subscription: Subscription) -> None:
    while True:
        for delivered in await subscription.next():
            if isinstance(delivered.turn(), RunFinish):
                return
