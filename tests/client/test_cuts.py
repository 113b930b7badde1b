"""I7, for the client: cut the stream at any byte, as often as you like; each event comes once."""

from __future__ import annotations

import anyio
import httpx
from hypothesis import given
from hypothesis import strategies as st

from awaken.client import Client
from awaken.testing.clock import SequentialIds
from tests.client.fake import CUT, entry, finish, refusal, stream, text
from tests.client.test_patience import SteppingClock

LOG = [
    entry(1, "run_start", activation=1, agent_id="a"),
    *(text(seq, f"word{seq} ü\u2028 ") for seq in range(2, 9)),
    finish(9),
]
HEARTBEAT = b": heartbeat\n\n"


class CuttingServer:
    """Serves the log behind the cursor, and breaks the connection after so many bytes.

    A cut of None is a refused connection, a negative one a 503.
    """

    def __init__(self, cuts: list[int | None]) -> None:
        self._cuts = cuts

    def answer(self, request: httpx.Request) -> httpx.Response:
        cut = self._cuts.pop(0) if self._cuts else 10**6
        if cut is None:
            raise httpx.ConnectError("refused")
        if cut < 0:
            return refusal(503, "draining")
        cursor = int(request.headers.get("last-event-id", 0))
        body = HEARTBEAT + HEARTBEAT.join(LOG[cursor:])
        if cut >= len(body):
            return stream(body)
        return stream(body[: cut // 2], body[cut // 2 : cut], CUT)


CUTS = st.lists(st.none() | st.integers(-1, 400), max_size=12)


@given(CUTS)
def test_each_event_comes_once_wherever_the_stream_is_cut(cuts: list[int | None]) -> None:
    async def read() -> list[int]:
        server = CuttingServer(list(cuts))
        client = Client(
            "http://127.0.0.1:1",
            transport=httpx.MockTransport(server.answer),
            clock=SteppingClock(),
            ids=SequentialIds(),
        )
        async with client:
            return [event.seq async for event in client.run("a", "hi")]

    assert anyio.run(read) == list(range(1, len(LOG) + 1))
