"""Histories that no provider would take as they are."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai.messages import (
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
    VideoUrl,
)

from awaken.domain.message import (
    Base64Source,
    DocumentBlock,
    ImageBlock,
    Message,
    Role,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    UrlSource,
    VideoBlock,
)
from awaken.models.provider_history import CONTINUE, NEXT, OPENING, Origin, history
from awaken.models.provider_seal import Seal, SealedItem, SealedThought, encode_seal
from tests.models.provider.asking import assistant, result, system, user

HERE = Origin("p", "here")
CALL = ToolCall(id="c1", name="tool", arguments={"a": 1})


def sent(*messages: Message, partial: str = "", prefill: bool = False) -> list[ModelMessage]:
    return history(messages, partial, HERE, prefill=prefill)


def outline(messages: list[ModelMessage]) -> list[tuple[str, Any]]:
    """Who says what: the parts of each message, one letter a kind."""
    letters = {
        SystemPromptPart: "s",
        UserPromptPart: "u",
        ToolReturnPart: "r",
        TextPart: "t",
        ThinkingPart: "h",
        ToolCallPart: "c",
    }
    found = []
    for message in messages:
        side = "model" if isinstance(message, ModelResponse) else "user"
        found.append((side, "".join(letters[type(part)] for part in message.parts)))
    return found


def contents(messages: list[ModelMessage]) -> list[Any]:
    return [getattr(part, "content", None) for message in messages for part in message.parts]


def test_messages_of_one_side_become_one_message() -> None:
    messages = sent(system("S"), user("1"), user("2"), assistant("3"), assistant("4"), user("5"))
    assert outline(messages) == [("user", "suu"), ("model", "tt"), ("user", "u")]


def test_results_stand_behind_their_calls_in_the_order_of_the_calls() -> None:
    other = ToolCall(id="c2", name="tool")
    messages = sent(
        user("1"),
        assistant("2", calls=[CALL, other]),
        user("3"),
        result("c2", "B"),
        result("c1", "A"),
    )
    assert outline(messages) == [("user", "u"), ("model", "tcc"), ("user", "rru")]
    assert contents(messages)[-3:] == ["A", "B", "3"]


def test_calls_without_a_result_and_results_without_a_call_are_left_out() -> None:
    messages = sent(
        user("1"), assistant("2", calls=[CALL]), user("3"), result("nobody", "X"), assistant("4")
    )
    assert outline(messages) == [
        ("user", "u"),
        ("model", "t"),
        ("user", "u"),
        ("model", "t"),
        ("user", "u"),
    ]


def test_a_second_result_of_a_call_is_left_out() -> None:
    messages = sent(user("1"), assistant(calls=[CALL]), result("c1", "A"), result("c1", "B"))
    assert contents(messages) == ["1", None, "A"]


def test_an_id_that_is_used_again_belongs_to_the_nearest_call() -> None:
    messages = sent(
        user("1"),
        assistant(calls=[CALL]),
        result("c1", "A"),
        assistant(calls=[CALL]),
        result("c1", "B"),
    )
    assert contents(messages) == ["1", None, "A", None, "B"]


def test_an_assistant_that_said_nothing_is_left_out() -> None:
    messages = sent(user("1"), assistant(" "), assistant(calls=[CALL]), user("2"))
    assert outline(messages) == [("user", "uu")]


def test_a_history_begins_with_a_user() -> None:
    messages = sent(system("S"), assistant("Hello!"), user("1"))
    assert outline(messages) == [("user", "su"), ("model", "t"), ("user", "u")]
    assert contents(messages)[1] == OPENING


def test_a_history_ends_with_a_user() -> None:
    assert contents(sent(user("1"), assistant("2")))[-1] == NEXT
    assert contents(sent())[-1] == NEXT
    assert contents(sent(system("S"))) == ["S", NEXT]


def test_blank_space_is_no_beginning_of_an_answer() -> None:
    assert contents(sent(user("1"), partial=" \n", prefill=True)) == ["1"]


def test_a_begun_answer_is_followed_by_the_request_to_go_on() -> None:
    messages = sent(user("1"), partial="Once")
    assert contents(messages) == ["1", "Once", CONTINUE]


def test_a_prefilled_answer_is_last() -> None:
    messages = sent(user("1"), assistant("2"), user("3"), partial="Once", prefill=True)
    assert contents(messages)[-1] == "Once"
    assert isinstance(messages[-1], ModelResponse)


def test_an_answer_that_begins_behind_a_result_is_its_own_message() -> None:
    messages = sent(user("1"), assistant(calls=[CALL]), result("c1", "A"), partial="So")
    assert outline(messages) == [
        ("user", "u"),
        ("model", "c"),
        ("user", "r"),
        ("model", "t"),
        ("user", "u"),
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"), [(None, {}), ({"a": 1}, {"a": 1}), ([1], "[1]"), ("x", '"x"')]
)
def test_arguments_of_any_kind_go_out(arguments: Any, expected: Any) -> None:
    call = ToolCall(id="c1", name="tool", arguments=arguments)
    messages = sent(user("1"), assistant(calls=[call]), result("c1", "A"))
    (part,) = messages[1].parts
    assert isinstance(part, ToolCallPart)
    assert part.args == expected


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"error":{"code":"timeout","message":"m"}}', "failed"),
        ('{"error":"timeout"}', "success"),
        ('{"error":{"message":"m"}}', "success"),
        ('{"error":{"code":"x"},"more":{}}', "success"),
        ('{"error":', "success"),
        ("fine", "success"),
    ],
)
def test_only_a_result_that_tells_an_error_is_a_failure(text: str, outcome: str) -> None:
    messages = sent(user("1"), assistant(calls=[CALL]), result("c1", text))
    (part,) = messages[-1].parts
    assert isinstance(part, ToolReturnPart)
    assert (part.outcome, part.content) == (outcome, text)


def test_a_result_may_hold_a_picture() -> None:
    picture = ImageBlock(source=Base64Source(media_type="image/png", data="AAAA"))
    message = Message(
        message_id="t",
        role=Role.tool,
        tool_call_id="c1",
        content=(TextBlock(text="Look:"), picture),
    )
    (part,) = sent(user("1"), assistant(calls=[CALL]), message)[-1].parts
    assert isinstance(part, ToolReturnPart)
    assert part.content == ["Look:", BinaryContent(b"\0\0\0", media_type="image/png")]


def media(*blocks: Any) -> list[Any]:
    (message,) = sent(user("", *blocks))
    (part,) = message.parts
    assert isinstance(part, UserPromptPart)
    return list(part.content)


def test_an_address_has_the_type_it_is_given_or_shows_or_one_that_is_likely() -> None:
    picture, film, document = media(
        ImageBlock(source=UrlSource(url="https://x/y.gif", media_type="image/webp")),
        VideoBlock(source=UrlSource(url="https://x/y.webm")),
        DocumentBlock(source=UrlSource(url="https://x/y")),
    )
    assert (type(picture), picture.media_type) == (ImageUrl, "image/webp")
    assert (type(film), film.media_type) == (VideoUrl, "video/webm")
    assert (type(document), document.media_type) == (DocumentUrl, "application/pdf")


def test_a_data_address_becomes_bytes() -> None:
    (picture,) = media(ImageBlock(source=UrlSource(url="data:image/png;base64,AAAA")))
    assert isinstance(picture, BinaryContent)
    assert (picture.data, picture.media_type) == (b"\0\0\0", "image/png")


def test_a_title_is_told_before_its_document() -> None:
    source = Base64Source(media_type="application/pdf", data="AAAA")
    title, _ = media(DocumentBlock(source=source, title="Report"))
    assert title == "Report:"


def test_bytes_that_cannot_be_decoded_are_an_error() -> None:
    with pytest.raises(ValueError, match="not valid base64"):
        media(ImageBlock(source=Base64Source(media_type="image/png", data="%")))


def sealed(thinking: str, **fields: Any) -> ThinkingBlock:
    defaults = {"origin": "here", "thoughts": (SealedThought(chars=len(thinking), id="r1"),)}
    return ThinkingBlock(thinking=thinking, signature=encode_seal(Seal(**{**defaults, **fields})))


def test_sealed_reasoning_is_taken_apart_again() -> None:
    thoughts = (
        SealedThought(chars=3, id="r1", signature="s1"),
        SealedThought(chars=0, id="r2", signature="s2"),
        SealedThought(chars=2, details={"k": "v"}),
    )
    block = sealed(
        "abcde",
        thoughts=thoughts,
        text=SealedItem(id="m1"),
        calls=(SealedItem(call="c1", id="fc1"),),
    )
    messages = sent(user("1"), assistant("Hm.", block, calls=[CALL]), result("c1", "A"))
    assert isinstance(messages[0], ModelRequest)
    assert messages[1].parts == [
        ThinkingPart("abc", id="r1", signature="s1", provider_name="p"),
        ThinkingPart("", id="r2", signature="s2", provider_name="p"),
        ThinkingPart("de", provider_name="p", provider_details={"k": "v"}),
        TextPart("Hm.", id="m1", provider_name="p"),
        ToolCallPart("tool", {"a": 1}, "c1", id="fc1", provider_name="p"),
    ]


@pytest.mark.parametrize(
    "block",
    [
        ThinkingBlock(thinking="abc"),
        ThinkingBlock(thinking="abc", signature="of another library"),
        ThinkingBlock(thinking="abc", signature='{"origin":1}'),
        ThinkingBlock(thinking="abc", signature="\ud800"),
        sealed("abc", origin="there"),
        sealed("abc", thoughts=(SealedThought(chars=4, id="r1"),)),
        sealed("abc", thoughts=(SealedThought(chars=-1), SealedThought(chars=4, id="r1"))),
    ],
)
def test_reasoning_whose_seal_is_not_ours_or_does_not_fit_is_left_out(block: ThinkingBlock) -> None:
    messages = sent(user("1"), assistant("Hm.", block), user("2"))
    assert outline(messages) == [("user", "u"), ("model", "t"), ("user", "u")]


def test_reasoning_alone_is_no_answer() -> None:
    assert outline(sent(user("1"), assistant("", sealed("abc")), user("2"))) == [("user", "uu")]
