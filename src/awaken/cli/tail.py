"""Following one run in the terminal, or as lines of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import anyio

from awaken.cli import session, show
from awaken.cli.codes import Code
from awaken.cli.screen import Screen, exactly, shortened
from awaken.client import Client, ClientError, Event, Fold, RunView
from awaken.client.stream import Until

GIVE_UP_SECONDS: Final = 60.0
"""How long a server may be away in the middle of a run."""

_ENDS: Final = {
    "natural_end": Code.done,
    "behavior_requested": Code.done,
    "suspended": Code.waiting,
    "cancelled": Code.stopped,
    "superseded": Code.stopped,
    "stopped": Code.stopped,
}


def follow(url: str | None, run_id: str, *, until_done: bool, as_json: bool) -> int:
    """Follow a run; the exit code tells how it ended."""
    where = session.server_url(url)
    tail = Tail(run_id, as_json=as_json)
    try:
        return anyio.run(tail.follow, where, until_done)
    except ClientError as error:
        session.refuse(where, error)
    except KeyboardInterrupt:
        return 130  # as a shell says it: the run goes on, only nobody looks


class Tail:
    """What is shown of one run."""

    def __init__(self, run_id: str, *, as_json: bool) -> None:
        self._run_id = run_id
        self._as_json = as_json
        self._fold = Fold()
        self._screen = Screen()
        self._remarks = Screen(errors=True)
        self._away = False

    async def follow(self, url: str, until_done: bool) -> Code:
        """Show events until the run ends or waits."""
        async with Client(url, give_up_seconds=0, api_key=session.api_key()) as client:
            await client.get_run(self._run_id)  # whoever is not there now is not waited for
        async with self._client(url) as client:
            until: Until = "done" if until_done else "settled"
            async with client.stream(self._run_id, until=until) as events:
                async for event in events:
                    self._show(event)
            return self._end(await client.get_run(self._run_id))

    def _client(self, url: str) -> Client:
        return Client(
            url,
            give_up_seconds=GIVE_UP_SECONDS,
            api_key=session.api_key(),
            on_pause=self._paused,
        )

    def _paused(self, error: ClientError, seconds: float) -> None:
        if not self._away:
            self._away = True
            self._remarks.note("(the server does not answer; trying again)")

    def _show(self, event: Event) -> None:
        if self._away:
            self._away = False
            self._remarks.note("(it is back)")
        self._fold.add(event)
        if self._as_json:
            show.as_json_line(entry(event))
            return
        self._screen.show(event, self._fold.run(self._run_id))

    def _end(self, run: Mapping[str, Any]) -> Code:
        """Say what comes next, unless JSON has said it."""
        ended = run["termination"] or {"type": "suspended"}
        if not self._as_json:
            self._screen.end_line()
            self._tell(self._fold.run(self._run_id))
        return _ENDS.get(ended["type"], Code.failed)

    def _tell(self, view: RunView) -> None:
        for ticket in view.open_tickets:
            call = f"{ticket['tool_name']} {shortened(exactly(ticket['arguments']))}"
            self._remarks.note(f"it waits: {call}")
            self._remarks.note(f"  awaken tickets approve {ticket['ticket_id']}   (or deny)")


def entry(event: Event) -> dict[str, Any]:
    """An event as the stream has it, with its cursor as `id`."""
    return {
        "id": event.id,
        "seq": event.seq,
        "thread_id": event.thread_id,
        "run_id": event.run_id,
        "at": event.at,
        "event": event.data,
    }
