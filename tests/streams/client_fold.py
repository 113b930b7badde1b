"""The fold of the client package, fed with frames, and compared by what a user is shown."""

from __future__ import annotations

from typing import Any

from awaken.client import Event, RunView
from awaken.client import Fold as ClientFold


class Fold:
    """What a client makes of a native event stream (`awaken/client/fold.py`)."""

    def __init__(self) -> None:
        self._fold = ClientFold()

    @property
    def cursor(self) -> int:
        """Behind which the client goes on."""
        return int(self._fold.cursor or 0)

    def feed(self, frame_id: str | None, data: dict[str, Any]) -> None:
        """Take in one frame."""
        self._fold.add(Event.of(frame_id, data))

    def view(self) -> dict[str, Any]:
        """What is shown to the user: the same for every reader of the same log."""
        return {
            "messages": self._fold.messages,
            "runs": {run_id: _shown(run) for run_id, run in self._fold.runs.items()},
        }


def _shown(run: RunView) -> dict[str, Any]:
    calls = [
        (call.id, call.name, call.ready, call.arguments, call.outcome, call.result)
        for call in run.calls.values()
    ]
    return {
        "status": run.status,
        "activation": run.activation,
        "termination": run.termination,
        "response": run.response,
        "text": run.text,
        "reasoning": run.reasoning,
        "parts": run.parts(),
        "calls": calls,
        "tickets": run.tickets,
        "state": run.state,
    }
