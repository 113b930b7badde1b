"""A conversation with an agent of a running server, in the terminal.

Asking and following take turns. At a prompt nothing runs here, so a line is read as any program
reads one; while the agent works, an event loop follows its events. What the agent did is on the
server: this program can be ended at any time, and goes on where it was with `--thread`.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, TypeVar

import anyio
from anyio.abc import TaskStatus

from awaken.cli.screen import Lines, Screen, exactly
from awaken.cli.session import api_key, told
from awaken.cli.show import complain
from awaken.client import DEFAULT_URL, Agent, Client, ClientError, EventStream, Fold, RunView
from awaken.client.patience import OnPause, say_nothing

T = TypeVar("T")

GIVE_UP_SECONDS: Final = 60.0
_FAVOURITES: Final = ("default", "chat", "assistant")
"""Who is talked to when nobody is named, if there are several."""

_CLOSED: Final = frozenset({"ticket_closed", "ticket_expired", "ticket_not_found"})

Decision = tuple[Literal["resume", "cancel"], Any]
"""The action, and its payload."""


class Leave(Exception):
    """The user has no more to say."""


def chat(url: str, agent_id: str | None, thread_id: str | None) -> int:
    """Talk until the user leaves; the exit code."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # an answer may have what this terminal cannot
    return Chat(url, agent_id, thread_id, Screen()).run()


class Chat:
    """One conversation."""

    def __init__(
        self, url: str, agent_id: str | None, thread_id: str | None, screen: Screen
    ) -> None:
        self._url = url
        self._agent_id = agent_id
        self._thread_id = thread_id
        self._screen = screen
        self._lines = Lines(screen)
        self._fold = Fold()
        self._run_id: str | None = None

    def run(self) -> int:
        """Talk until the user leaves; the exit code."""
        try:
            self._greet(_call(self._agents()))
            self._take_up()
            while True:
                text = self._read("> ")
                if text.strip():
                    self._say(text)
        except ClientError as error:
            message, code = told(self._url, error)
            self._screen.end_line()
            complain(message)
            return code
        except (Leave, KeyboardInterrupt):
            self._part()
            return 0

    def _client(
        self, give_up_seconds: float = GIVE_UP_SECONDS, on_pause: OnPause = say_nothing
    ) -> Client:
        return Client(
            self._url,
            give_up_seconds=give_up_seconds,
            on_pause=on_pause,
            api_key=api_key(),
        )

    # --- coming and going

    async def _agents(self) -> list[Agent]:
        async with self._client(0) as client:
            return await client.agents()

    def _greet(self, agents: list[Agent]) -> None:
        """Choose whom to talk to, and say so.

        Raises:
            ClientError: there is no such agent.
        """
        names = [agent["agent_id"] for agent in agents]
        if self._agent_id is None and self._thread_id is None:
            self._agent_id = next((n for n in (*_FAVOURITES, *names) if n in names), None)
        if self._agent_id is not None and self._agent_id not in names:
            there = f"there are: {', '.join(names)}"
            raise ClientError("agent_not_found", f"no agent {self._agent_id!r}; {there}")
        who = self._agent_id or "the agent of the thread"
        others = ", ".join(name for name in names if name != self._agent_id)
        self._screen.note(f"{who} at {self._url}" + (f" (others: {others})" if others else ""))
        self._screen.note("Ctrl-C stops the agent; at the prompt, Ctrl-C or Ctrl-D leaves.")

    def _take_up(self) -> None:
        """Follow what goes on in the thread that was named."""
        thread_id = self._thread_id
        if thread_id is None:
            return
        run = _call(self._active(thread_id))
        if run is not None:
            run_id = run["run_id"]
            self._screen.note(f"taking up run {run_id}, which is {run['status']}")
            self._follow_and_decide(lambda client: client.stream(run_id))

    async def _active(self, thread_id: str) -> Any:
        async with self._client(0) as client:
            return await client.active_run(thread_id)

    def _part(self) -> None:
        self._screen.end_line()
        if self._view().status == "waiting":
            self._screen.note("The agent waits for an answer; it can be given later, or elsewhere.")
        if self._thread_id is not None:
            place = "" if self._url == DEFAULT_URL else f" --url {self._url}"
            self._screen.note(f"Go on with: awaken chat --thread {self._thread_id}{place}")

    def _read(self, prompt: str, suggestion: str = "") -> str:
        """A line.

        Raises:
            Leave: there are no more.
        """
        line = self._lines.read(prompt, suggestion)
        if line is None:
            raise Leave
        return line

    # --- a turn

    def _say(self, text: str) -> None:
        self._follow_and_decide(
            lambda client: client.run(self._agent_id, text, thread_id=self._thread_id)
        )

    def _follow_and_decide(self, start: Callable[[Client], EventStream]) -> None:
        """Follow a run to its end, asking the user whatever it asks."""
        over = _call(self._turn(start))
        while over and (tickets := self._view().open_tickets):
            for ticket in tickets:
                self._decide(ticket)
            over = _call(self._turn(self._go_on))

    def _go_on(self, client: Client) -> EventStream:
        assert self._run_id is not None, "it has asked something"
        return client.stream(self._run_id, after=self._fold.cursor)

    def _view(self) -> RunView:
        return self._fold.run(self._run_id or "")

    async def _turn(self, start: Callable[[Client], EventStream]) -> bool:
        """Whether the run was followed to where it ends or waits."""
        turn = Turn(self._fold, self._screen)
        async with self._client(on_pause=turn.paused) as client:
            events = start(client)
            await turn.follow(client, events)
            self._run_id = events.run_id
            self._thread_id = events.thread_id or self._thread_id
        return turn.over

    # --- tickets

    def _decide(self, ticket: dict[str, Any]) -> None:
        """Ask until there is a decision that the server takes, or that somebody else has made."""
        permission = ticket["resume_mode"] == "replay_tool_call"
        self._show_question(ticket, permission)
        while True:
            action, payload = self._permission(ticket) if permission else self._answer(ticket)
            try:
                _call(self._send(ticket, action, payload))
            except ClientError as error:
                self._screen.trouble(error.message)
                if error.code not in _CLOSED:
                    continue
            return

    def _show_question(self, ticket: dict[str, Any], permission: bool) -> None:
        call = f"{ticket['tool_name']} {exactly(ticket['arguments'])}"
        if permission:
            self._screen.ask(f"May it call {call}?")
            self._screen.note("y allows it, n denies it (n and a reason), e edits the arguments")
            return
        if ticket["reason"] == "external_event":
            self._screen.ask(f"What is the result of {call}?")
        else:
            self._screen.ask(ticket["message"] or call)
        schema = ticket["response_schema"]
        form = f"an answer that fits {exactly(schema)}" if schema else "any answer"
        self._screen.note(f"{form}; /no declines")

    def _permission(self, ticket: dict[str, Any]) -> Decision:
        while True:
            word, _, reason = self._read("y/n/e> ").strip().partition(" ")
            match word.lower():
                case "y" | "yes":
                    return "resume", None
                case "n" | "no":
                    return "cancel", {"reason": reason} if reason else None
                case "e" | "edit":
                    edited = self._edited(ticket["arguments"])
                    if edited is not None:
                        return "resume", {"arguments": edited}
                case _:
                    self._screen.note("y, n or e")

    def _edited(self, arguments: Any) -> dict[str, Any] | None:
        """Other arguments; None, and why, when they are none."""
        text = self._read("arguments> ", json.dumps(arguments, ensure_ascii=False))
        try:
            edited = json.loads(text)
        except ValueError as error:
            self._screen.trouble(f"that is not JSON: {error}")
            return None
        if isinstance(edited, dict):
            return edited
        self._screen.trouble("arguments are a JSON object")
        return None

    def _answer(self, ticket: dict[str, Any]) -> Decision:
        text = self._read("answer> ")
        word, _, reason = text.strip().partition(" ")
        if word == "/no":
            return "cancel", {"reason": reason} if reason else None
        return "resume", meaning(ticket, text)

    async def _send(self, ticket: dict[str, Any], action: Any, payload: Any) -> None:
        async with self._client() as client:
            await client.decide(
                ticket["ticket_id"], action, payload, arguments_hash=ticket["arguments_hash"]
            )


class Turn:
    """Following one run, with Ctrl-C as its stop."""

    def __init__(self, fold: Fold, screen: Screen) -> None:
        self.over = False
        self._fold = fold
        self._screen = screen
        self._away = False
        self._stopping = False

    def paused(self, error: ClientError, seconds: float) -> None:
        """The connection is lost, or there was none yet."""
        if not self._away:
            self._away = True
            self._screen.note("(the server does not answer; trying again, Ctrl-C gives up)")

    async def follow(self, client: Client, events: EventStream) -> None:
        """Show the events to the end of the stream; `over` when it was reached."""
        heard = True
        async with anyio.create_task_group() as tasks, events:
            await tasks.start(self._obey, client, events, tasks.cancel_scope)
            try:
                await self._show_all(events)
                self.over = True
            except ClientError as error:
                self._screen.trouble(error.message)
                heard = error.retryable or events.run_id is not None
            tasks.cancel_scope.cancel()
        if heard and not self.over:
            self._screen.note("(no longer following; if the server heard of it, it goes on there)")

    async def _show_all(self, events: EventStream) -> None:
        async for event in events:
            if self._away:
                self._away = False
                self._screen.note("(it is back)")
            self._fold.add(event)
            self._screen.show(event, self._fold.run(event.run_id or ""))

    async def _obey(
        self,
        client: Client,
        events: EventStream,
        turn: anyio.CancelScope,
        *,
        task_status: TaskStatus[None],
    ) -> None:
        """The first Ctrl-C stops the run; the next one, or one while nobody answers, the turn."""
        async with anyio.create_task_group() as tasks:
            with anyio.open_signal_receiver(signal.SIGINT) as signals:
                task_status.started()
                async for _ in signals:
                    if self._stopping or self._away or events.run_id is None:
                        turn.cancel()
                        return
                    self._stopping = True
                    tasks.start_soon(self._stop, client, events.run_id)

    async def _stop(self, client: Client, run_id: str) -> None:
        try:
            await client.cancel(run_id)
        except ClientError as error:
            self._screen.trouble(error.message)


def meaning(ticket: dict[str, Any], text: str) -> Any:
    """What a typed answer is: the JSON it spells, unless a text is what was asked for."""
    schema = ticket["response_schema"]
    asks_for_text = (schema or {}).get("type") == "string"
    asks_freely = schema is None and ticket["resume_mode"] == "pass_decision_to_tool"
    if asks_for_text or asks_freely:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # the server says what is wrong with it, if anything is


def _call(work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to, in an event loop of its own."""

    async def run() -> T:
        return await work

    return anyio.run(run)
