"""A client of the native HTTP API, for programs that talk to a running server.

    async with Client("http://127.0.0.1:8080") as client:
        async for event in client.run("assistant", "weather in Paris"):
            if event.type == "text_delta":
                print(event.data["delta"], end="")

It depends on nothing of the server. What it promises is in `docs/client.md`.
"""

from awaken.client.answers import Accepted, Agent, Decided, Message, Run, Ticket
from awaken.client.client import DEFAULT_URL, Client
from awaken.client.errors import ClientError
from awaken.client.event import Event
from awaken.client.fold import CallView, Fold, RunView
from awaken.client.stream import EventStream

__all__ = [
    "DEFAULT_URL",
    "Accepted",
    "Agent",
    "CallView",
    "Client",
    "ClientError",
    "Decided",
    "Event",
    "EventStream",
    "Fold",
    "Message",
    "Run",
    "RunView",
    "Ticket",
]
