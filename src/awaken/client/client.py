"""The client: the routes of the native API as methods that survive a restart of the server.

Every request is one that may be repeated: messages and decisions are given their ids here, so a try
whose answer was lost is answered from the record, and never counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx

from awaken.client.answers import Accepted, Agent, Decided, Message, Run, Ticket
from awaken.client.errors import ClientError
from awaken.client.http import Http
from awaken.client.management import Management
from awaken.client.management import segment as _segment
from awaken.client.patience import OnPause, Patience, say_nothing
from awaken.client.stream import EventStream, Until
from awaken.ports.clock import Clock, Ids, SystemClock, SystemIds

DEFAULT_URL: Final = "http://127.0.0.1:8080"
_ID_NAMES: Final = frozenset({"id", "message_id", "messageId"})

Said = str | Sequence[Mapping[str, Any]]
"""What is said to an agent: a text, or messages as `POST /v1/runs` takes them."""


OnBusy = Literal["interrupt", "enqueue", "steer", "rollback", "reject"]
"""What a new run does to a thread that is busy."""


class Client(Management):
    """Talks to one server.

    Args:
        base_url: where it is.
        give_up_seconds: how long a request or a stream goes on trying while the server does not
            answer; 0 tries once.
        api_key: the server's key or token for this client, if it wants one.
        headers: sent with every request.
        on_pause: told of each trouble that is waited out, and for how long.
        transport: how requests get there; by default over the network.
        clock: measures and waits; the machine's by default.
        ids: makes ids; UUIDv7 by default.

    All methods raise `ClientError`: at once when the server refuses, and when it was not reached in
    time.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        give_up_seconds: float = 60.0,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        on_pause: OnPause = say_nothing,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        self._ids = ids or SystemIds()
        self._clock = clock or SystemClock()
        self._give_up_seconds = give_up_seconds
        self._on_pause = on_pause
        authorization = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._http = Http(
            base_url,
            patience=self._patience,
            headers={**(headers or {}), **authorization},
            transport=transport,
        )

    def _patience(self) -> Patience:
        return Patience(self._clock, self._ids, self._give_up_seconds, self._on_pause)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; runs go on."""
        await self._http.aclose()

    # --- runs

    def run(
        self,
        agent_id: str | None,
        messages: Said,
        *,
        thread_id: str | None = None,
        on_busy: OnBusy | None = None,
        on_disconnect: Literal["continue", "cancel"] | None = None,
        priority: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> EventStream:
        """Start a run, and follow it until it ends or waits.

        Nothing is sent before the first event is asked for. `agent_id` None means the thread's
        previous agent, else `default`; without a thread the run gets a new one.
        """
        body = self._submission(
            agent_id,
            messages,
            thread_id,
            on_busy=on_busy,
            on_disconnect=on_disconnect,
            priority=priority,
            metadata=metadata,
        )
        return EventStream(self._http, submission=body)

    async def start(
        self,
        agent_id: str | None,
        messages: Said,
        *,
        thread_id: str | None = None,
        on_busy: OnBusy | None = None,
        priority: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        available_at: int | None = None,
        dedupe_key: str | None = None,
    ) -> Accepted:
        """Start a run in the background: not before `available_at` (epoch ms), if that is given."""
        body = self._submission(
            agent_id,
            messages,
            thread_id,
            on_busy=on_busy,
            priority=priority,
            metadata=metadata,
            available_at=available_at,
            dedupe_key=dedupe_key,
        )
        accepted: Accepted = await self._http.json("POST", "/v1/runs/background", body=body)
        return accepted

    def stream(
        self, run_id: str, *, after: str | int | None = None, until: Until = "settled"
    ) -> EventStream:
        """Follow a run, from its beginning or strictly behind the cursor `after`.

        It ends when the run is done, or waits with nothing queued; with `until="done"` only then.
        """
        cursor = None if after is None else str(after)
        return EventStream(self._http, run_id=run_id, after=cursor, until=until)

    async def wait(self, run_id: str, *, until: Until = "settled") -> Run:
        """The run, once it is done or waits; with `until="done"` only once it is done."""
        async with self.stream(run_id, until=until) as events:
            async for _ in events:
                pass
        return await self.get_run(run_id)

    async def get_run(self, run_id: str) -> Run:
        """The run as it is now."""
        run: Run = await self._http.json("GET", f"/v1/runs/{_segment(run_id)}")
        return run

    async def active_run(self, thread_id: str) -> Run | None:
        """The run that has the thread, or waits in it; None when there is none, or no thread."""
        path = f"/v1/threads/{_segment(thread_id)}/runs/active"
        try:
            answer = await self._http.json("GET", path)
        except ClientError as error:
            if error.code == "thread_not_found":
                return None
            raise
        run: Run | None = answer["active_run"]
        return run

    async def cancel(self, run_id: str, *, reason: str | None = None) -> str:
        """Stop a run wherever it is: `cancel_requested`, or `already_finished`."""
        body = {} if reason is None else {"reason": reason}
        try:
            answer = await self._http.json("POST", f"/v1/runs/{_segment(run_id)}/cancel", body=body)
        except ClientError as error:
            if error.code == "already_finished":
                return error.code
            raise
        return str(answer["status"])

    async def steer(self, run_id: str, messages: Said) -> Accepted:
        """Give messages to a run that goes on, to be read at its next step or its natural end.

        If it ends first, the run `fallback_run_id` starts with them. Repeating it is harmless.
        """
        body = self._submission(None, messages, None)
        del body["thread_id"]
        path = f"/v1/runs/{_segment(run_id)}/inputs"
        accepted: Accepted = await self._http.json("POST", path, body=body)
        return accepted

    # --- tickets

    async def tickets(
        self,
        *,
        status: str = "open",
        run_id: str | None = None,
        thread_id: str | None = None,
        limit: int | None = None,
    ) -> list[Ticket]:
        """Tickets, latest first; `status` may be `all`."""
        where = {"status": status, "run_id": run_id, "thread_id": thread_id}
        return await self._all("/v1/tickets", where, limit)

    async def decide(
        self,
        ticket_id: str,
        action: Literal["resume", "cancel"] = "resume",
        payload: Any = None,
        *,
        decision_id: str | None = None,
        arguments_hash: str | None = None,
    ) -> Decided:
        """Answer a ticket.

        `resume` goes on with the call: `payload` is what its `resume_mode` asks for. `cancel`
        denies it. `arguments_hash` is that of the ticket as it was seen.
        """
        body = {
            "action": action,
            "payload": payload,
            "decision_id": decision_id or self._ids.new(),
            "arguments_hash": arguments_hash,
        }
        path = f"/v1/tickets/{_segment(ticket_id)}/decision"
        decided: Decided = await self._http.json("POST", path, body=body)
        return decided

    # --- threads, and the server

    async def messages(
        self, thread_id: str, *, after: int | None = None, limit: int | None = None
    ) -> list[Message]:
        """The committed messages of a thread, by number; only those behind number `after`."""
        return await self._all(
            f"/v1/threads/{_segment(thread_id)}/messages", {"after": after}, limit
        )

    async def agents(self) -> list[Agent]:
        """The agents that can be started."""
        answer = await self._http.json("GET", "/v1/agents")
        agents: list[Agent] = answer["items"]
        return agents

    # --- how

    def _submission(
        self, agent_id: str | None, messages: Said, thread_id: str | None, **fields: Any
    ) -> dict[str, Any]:
        """The body of a submission that may be repeated: thread and messages have their ids."""
        said = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        named = [
            message if _ID_NAMES & message.keys() else {**message, "id": self._ids.new()}
            for message in said
        ]
        fields |= {"agent_id": agent_id}
        given = {name: value for name, value in fields.items() if value is not None}
        return {**given, "thread_id": thread_id or self._ids.new(), "messages": named}
