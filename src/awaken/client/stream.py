"""The events of a run, each once, however often the connection breaks or the server dies.

The cursor is the last id that was seen; a reconnect goes on strictly behind it. A clean end is
believed only when the run's end was seen, or its record says so: whatever stands between us and the
server may end a stream politely too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Final, Literal, Self, cast
from urllib.parse import quote

import anyio
import httpx
import msgspec

from awaken.client.errors import ClientError
from awaken.client.event import Event
from awaken.client.http import Http, unexpected, unreachable
from awaken.client.sse import Decoder, Frame, FrameTooLarge

Until = Literal["settled", "done"]

_RECONNECT: Final = "reconnect"
_DELETED: Final = "thread_deleted"


class EventStream:
    """An async iterator of `Event`.

    Leaving it early stops nothing on the server. It then holds a connection until `aclose`, the end
    of its `async with`, or the end of its client.
    """

    def __init__(
        self,
        http: Http,
        *,
        run_id: str | None = None,
        submission: dict[str, Any] | None = None,
        after: str | None = None,
        until: Until = "settled",
    ) -> None:
        assert (run_id is None) != (submission is None), "a run there is, or one to be started"
        self.run_id = run_id
        """The run; None until the server has accepted it."""
        self.thread_id: str | None = None if submission is None else submission["thread_id"]
        """The run's thread; None until it is known."""
        self.cursor = after
        """The id of the last event that was given; `Client.stream(run_id, after=…)` goes on."""
        self._http = http
        self._submission = submission
        self._until = until
        self._patience = http.patience()
        self._ready: deque[Event] = deque()
        self._response: httpx.Response | None = None
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self._decoder = Decoder()
        self._submits = 0
        self._sent_away = False
        self._last: Event | None = None
        self._over = False

    # --- for the reader

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event.

        Raises:
            StopAsyncIteration: the run is done, or waits with nothing queued for it.
            ClientError: the server refused, or did not come back in time.
        """
        while not self._ready:
            if self._over:
                raise StopAsyncIteration
            await self._advance()
        event = self._ready.popleft()
        self._last = event
        self.cursor = event.id or self.cursor
        return event

    async def aclose(self) -> None:
        """Let go of the connection; the run goes on."""
        self._over = True
        self._ready.clear()
        await self._drop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.aclose()

    # --- one turn

    async def _advance(self) -> None:
        """Get more, or find out that there is none, or wait before the next try."""
        try:
            chunk = await self._read()
        except ClientError as error:
            await self._lost(error)
        except BaseException:  # cancelled in the middle: this connection cannot be read on
            await self._drop()
            raise
        else:
            await (self._ended() if chunk is None else self._take(chunk))

    async def _read(self) -> bytes | None:
        """More bytes; None at a clean end."""
        if self._chunks is None:
            await self._connect()
        assert self._chunks is not None, "connected"
        try:
            return await anext(self._chunks, None)
        except httpx.ReadTimeout as error:
            self._patience.heard()  # it had answered: silent for so long, but perhaps not dead
            raise unreachable("it is silent") from error
        except httpx.TransportError as error:
            raise unreachable(error) from error

    async def _take(self, chunk: bytes) -> None:
        self._patience.heard()
        try:
            self._ready.extend(
                Event.of(frame.id, msgspec.json.decode(frame.data))
                for frame in self._decoder.feed(chunk)
                if not self._is_advice(frame)
            )
        except (FrameTooLarge, msgspec.DecodeError, KeyError, TypeError) as error:
            response = self._response
            await self.aclose()
            assert response is not None, "it was read from"
            raise unexpected(response, f"that is no event: {error}") from error

    def _is_advice(self, frame: Frame) -> bool:
        """Whether the frame is about the connection, not of the log."""
        if frame.retry_ms is not None:
            self._patience.asked_for(frame.retry_ms / 1000)
        if frame.event == _RECONNECT:
            self._sent_away = True
        return frame.event in (_RECONNECT, _DELETED)

    # --- connections

    async def _connect(self) -> None:
        self._sent_away = False
        response = await (self._submit() if self.run_id is None else self._join(self.run_id))
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            await response.aclose()
            raise unexpected(response, "that is no event stream")
        self._response = response
        self._chunks = cast("AsyncGenerator[bytes, None]", response.aiter_bytes())

    async def _submit(self) -> httpx.Response:
        """Start the run, or find the one that an earlier try has started unheard.

        The ids of its messages make the server answer a repeat with the run that has them.
        """
        self._submits += 1
        response = await self._http.open("POST", "/v1/runs", body=self._submission)
        run_id = response.headers.get("awaken-run-id")
        if run_id is None:
            await response.aclose()
            raise unexpected(response, "the run is not named")
        self.run_id = run_id
        self.thread_id = response.headers.get("awaken-thread-id", self.thread_id)
        if self._submits == 1:
            return response
        # That of a repeat ends with the first activation of its run, which may be over long since.
        await response.aclose()
        return await self._join(run_id)

    async def _join(self, run_id: str) -> httpx.Response:
        return await self._http.open(
            "GET",
            f"/v1/runs/{quote(run_id, safe='')}/stream",
            params={"until": "done"} if self._until == "done" else None,
            headers={} if self.cursor is None else {"last-event-id": self.cursor},
        )

    async def _drop(self) -> None:
        response, chunks = self._response, self._chunks
        self._response, self._chunks = None, None
        self._decoder = Decoder()
        with anyio.CancelScope(shield=True):
            if chunks is not None:
                await chunks.aclose()
            if response is not None:
                await response.aclose()

    # --- ends

    async def _ended(self) -> None:
        """The connection was closed in order."""
        await self._drop()
        if self._sent_away:
            await self._lost(unreachable("it is being stopped"))
        elif self._saw_end(suspended_too=self._until == "settled") or await self._is_settled():
            self._over = True
        else:
            await self._lost(unreachable("the stream ended before the run did"))

    async def _lost(self, error: ClientError) -> None:
        """The connection broke: come back, unless nothing can follow."""
        await self._drop()
        if self._saw_end(suspended_too=False):
            self._over = True
        else:
            await self._patience.wait_after(error)

    def _saw_end(self, *, suspended_too: bool) -> bool:
        last = self._last
        if last is None or last.type != "run_finish":
            return False
        return suspended_too or last.data["termination"]["type"] != "suspended"

    async def _is_settled(self) -> bool:
        """Whether the run's record says that nothing will follow as things are."""
        assert self.run_id is not None, "it was joined"
        run = await self._http.json("GET", f"/v1/runs/{quote(self.run_id, safe='')}")
        waits = run["status"] == "waiting" and run["waiting"]["reason"] != "resuming"
        return run["status"] == "done" or (waits and self._until == "settled")
