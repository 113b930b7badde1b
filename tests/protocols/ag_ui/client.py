"""A client that folds a stream into messages and state, as `@ag-ui/client` 1.0 does.

The stock client itself is driven in `tests/interop/ag_ui`; this one is quick enough for a cut at
every frame.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

Told = dict[str, Any]


class Client:
    """What a client has; `last_id` is the cursor of the last frame with one."""

    def __init__(self) -> None:
        self.messages: list[Told] = []
        self.state: Any = {}
        self.interrupts: list[Told] = []
        self.ended_with: Told | None = None

    def copy(self) -> Client:
        return copy.deepcopy(self)

    @classmethod
    def with_messages(cls, messages: list[Told]) -> Client:
        """A client that was given a history."""
        client = cls()
        client.messages = copy.deepcopy(messages)
        return client

    def read(self, events: Iterable[Told]) -> Client:
        for event in events:
            getattr(self, f"_{event['type'].lower()}", lambda event: None)(event)
        return self

    def plain(self, *, activities: bool = True) -> list[Told]:
        """The messages, without what is empty, and without calls that were dropped."""
        dropped = {
            each["toolCallId"] for each in self.messages if each["id"].startswith("dropped-")
        }
        found = [self._plain(each, dropped) for each in self.messages]
        return [
            each
            for each in found
            if (each["role"] not in ("assistant", "reasoning") or len(each) > 2)
            and not each["id"].startswith("dropped-")
            and (activities or each["role"] != "activity")
        ]

    def _plain(self, message: Told, dropped: set[str]) -> Told:
        told = {name: value for name, value in message.items() if value not in ("", [], None)}
        if "toolCalls" in told:
            calls = [_plain_call(call) for call in told["toolCalls"] if call["id"] not in dropped]
            told["toolCalls"] = calls
            if not calls:
                del told["toolCalls"]
        return told

    # --- events

    def _named(self, name: str) -> Told | None:
        return next((each for each in self.messages if each["id"] == name), None)

    def _begin(self, name: str, role: str) -> None:
        if self._named(name) is None:
            self.messages.append({"id": name, "role": role, "content": ""})

    def _grow(self, event: Told) -> None:
        message = self._named(event["messageId"])
        assert message is not None
        message["content"] = (message.get("content") or "") + event["delta"]

    def _text_message_start(self, event: Told) -> None:
        self._begin(event["messageId"], event["role"])

    def _reasoning_message_start(self, event: Told) -> None:
        self._begin(event["messageId"], "reasoning")

    _text_message_content = _reasoning_message_content = _grow

    def _reasoning_encrypted_value(self, event: Told) -> None:
        message = self._named(event["entityId"])
        assert message is not None
        message["encryptedValue"] = event["encryptedValue"]

    def _call(self, call_id: str) -> Told | None:
        calls = [call for each in self.messages for call in each.get("toolCalls", ())]
        return next((call for call in calls if call["id"] == call_id), None)

    def _tool_call_start(self, event: Told) -> None:
        if self._call(event["toolCallId"]) is not None:
            return
        name = event["parentMessageId"]
        if self._named(name) is None:
            self.messages.append({"id": name, "role": "assistant"})
        message = self._named(name)
        assert message is not None
        function = {"name": event["toolCallName"], "arguments": ""}
        call = {"id": event["toolCallId"], "type": "function", "function": function}
        message.setdefault("toolCalls", []).append(call)

    def _tool_call_args(self, event: Told) -> None:
        call = self._call(event["toolCallId"])
        assert call is not None
        call["function"]["arguments"] += event["delta"]

    def _tool_call_result(self, event: Told) -> None:
        call_id = event["toolCallId"]
        told = {"id": event["messageId"], "role": "tool", "toolCallId": call_id}
        told["content"] = event["content"]
        for index, each in enumerate(self.messages):
            if any(call["id"] == call_id for call in each.get("toolCalls", ())):
                place = index + 1
                while place < len(self.messages) and self.messages[place]["role"] == "tool":
                    place += 1
                self.messages.insert(place, told)
                return
        self.messages.append(told)

    def _state_snapshot(self, event: Told) -> None:
        self.state = event["snapshot"]

    def _state_delta(self, event: Told) -> None:
        for operation in event["delta"]:
            name = operation["path"].removeprefix("/")
            assert "/" not in name, "patches are of whole members"
            if operation["op"] == "remove":
                del self.state[name]
            else:
                self.state[name] = operation["value"]

    def _messages_snapshot(self, event: Told) -> None:
        given = {each["id"]: copy.deepcopy(each) for each in event["messages"]}
        thinks = any(each["role"] == "reasoning" for each in given.values())
        kept = [
            each
            for each in self.messages
            if each["id"] in given
            or each["role"] == "activity"
            or (each["role"] == "reasoning" and not thinks)
        ]
        self.messages = [given.pop(each["id"], each) for each in kept]
        self.messages += given.values()

    def _activity_snapshot(self, event: Told) -> None:
        told = {"id": event["messageId"], "role": "activity", "content": event["content"]}
        found = self._named(event["messageId"])
        if found is None:
            self.messages.append(copy.deepcopy(told))
        else:
            found.update(copy.deepcopy(told))

    def _activity_delta(self, event: Told) -> None:
        found = self._named(event["messageId"])
        for operation in event["patch"] if found else ():
            assert operation["path"] == "/chunks/-"
            found["content"]["chunks"].append(operation["value"])  # type: ignore[index]

    def _run_finished(self, event: Told) -> None:
        self.ended_with = event
        self.interrupts = event["outcome"].get("interrupts", [])

    def _run_error(self, event: Told) -> None:
        self.ended_with = event


def _plain_call(call: Told) -> Told:
    """A call, its arguments as the value that they are, if they are whole."""
    arguments = call["function"]["arguments"]
    with suppress(json.JSONDecodeError):
        arguments = json.loads(arguments)
    return {"id": call["id"], "name": call["function"]["name"], "arguments": arguments}
