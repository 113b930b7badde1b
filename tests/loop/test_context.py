from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.message import Message, MessageVisibility, Role, TextBlock, ToolCall
from awaken.loop.context import model_messages
from tests.loop.support import said, stored


def calling(*call_ids: str, text: str = "") -> Message:
    return Message(
        message_id="calls",
        role=Role.assistant,
        content=(TextBlock(text=text),) if text else (),
        tool_calls=tuple(ToolCall(id=call_id, name="look") for call_id in call_ids),
    )


def result(call_id: str, text: str = "found") -> Message:
    return replace(said(text, role=Role.tool), tool_call_id=call_id)


def sent(*messages: Message) -> tuple[Message, ...]:
    return model_messages(stored(messages))


def test_a_plain_conversation_is_sent_as_it_is() -> None:
    messages = (said("Hello"), said("Hello!", role=Role.assistant), said("Bye"))
    assert sent(*messages) == messages


def test_internal_messages_are_sent_and_replaced_ones_are_not() -> None:
    internal = replace(said("for the model"), visibility=MessageVisibility.internal)
    replaced = replace(said("gone"), visibility=MessageVisibility.replaced)
    assert sent(internal, replaced) == (internal,)


def test_calls_with_results_are_sent_with_them() -> None:
    messages = (said("Look"), calling("c1", "c2"), result("c1"), result("c2"))
    assert sent(*messages) == messages


def test_a_call_without_a_result_is_left_out_of_its_message() -> None:
    assert sent(calling("c1", "c2", text="Looking"), result("c1")) == (
        calling("c1", text="Looking"),
        result("c1"),
    )
    assert sent(calling("c1", text="Looking")) == (calling(text="Looking"),)


def test_a_message_of_nothing_but_unanswered_calls_is_left_out() -> None:
    assert sent(said("Look"), calling("c1")) == (said("Look"),)


def test_a_result_without_a_call_before_it_is_left_out() -> None:
    assert sent(result("c1"), said("Hello"), calling("c1")) == (said("Hello"),)


def test_of_two_results_for_a_call_the_first_is_sent() -> None:
    kept = result("c1", "first")
    assert sent(calling("c1"), kept, result("c1", "second")) == (calling("c1"), kept)


def test_a_result_whose_call_was_hidden_is_left_out() -> None:
    hidden = replace(calling("c1"), visibility=MessageVisibility.replaced)
    assert sent(hidden, result("c1"), said("Hello")) == (said("Hello"),)


def test_an_empty_answer_is_left_out() -> None:
    assert sent(said("Hello"), calling()) == (said("Hello"),)
