"""Demo agents with tools: assistant, clerk, worker, helper.

Their model follows a script: what it does next depends only on what has been said since the last
user message, so a run that is taken up again goes on the same way.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import msgspec

from awaken.agent import Agent
from awaken.demo.steering import decimal, explaining, last_words, number, options_of, words
from awaken.domain.agent import Limits
from awaken.domain.message import Message, Role
from awaken.models.scripted import ScriptedModel, Step
from awaken.ports.clock import Clock, SystemClock
from awaken.ports.model import (
    CallChunk,
    CallEnd,
    CallStart,
    Finish,
    ModelRequest,
    ReasoningChunk,
)
from awaken.ports.tool import Tool
from awaken.tools import FrontendTool, tool

MAX_LABELS: Final = 1_000
MAX_SECONDS: Final = 60

_WEATHER: Final = {"paris": 18, "oslo": 7, "cairo": 34, "lima": 19, "tokyo": 22}
_OPERATORS: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def office_agents(clock: Clock | None, data_dir: Path) -> list[Agent]:
    """The agents that work with tools."""
    waiting = clock or SystemClock()

    def made(agent_id: str, description: str, script: Any, tools: Sequence[Tool]) -> Agent:
        return Agent(
            agent_id,
            model=ScriptedModel(explaining(script), name=agent_id, clock=waiting),
            description=description,
            tools=tools,
            limits=Limits(max_rounds=MAX_LABELS + 1),
        )

    return [
        made(
            "assistant",
            "Looks up the weather and calculates: weather in Paris and 6 * 7.",
            _assist,
            [get_weather, calculate],
        ),
        made(
            "clerk",
            "Refunds, when somebody allows it: refund order 17 amount=20.",
            _refund,
            [refund],
        ),
        made(
            "worker",
            "Does things one by one: do=a,b,c seconds=1.",
            _work,
            [_recorder(data_dir / "effects.log", waiting)],
        ),
        made("helper", "Asks your client to pick a colour.", _help, [pick_color]),
    ]


# --- tools ---------------------------------------------------------------------------------------


@tool
async def get_weather(city: str) -> dict[str, Any]:
    """Current weather for a city.

    Args:
        city: name of the city.
    """
    return {"city": city, "celsius": _WEATHER.get(city.lower(), 15), "sky": "clear"}


@tool
def calculate(expression: str) -> float:
    """Work out an arithmetic expression.

    Args:
        expression: numbers, + - * / and parentheses.
    """
    return _value(ast.parse(expression, mode="eval").body)


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case _:
            raise ValueError("only numbers, + - * / and parentheses")


@tool(approval=True)
async def refund(order: str, amount: float) -> dict[str, Any]:
    """Refund an order.

    Args:
        order: the order's number.
        amount: how much to give back.
    """
    return {"order": order, "amount": amount, "refunded": True}


def _recorder(log_file: Path, clock: Clock) -> Tool:
    @tool(on_crash="retry")
    async def record_effect(label: str, seconds: float) -> str:
        """Wait, then write the label down, so that an effect that happens twice can be seen.

        Args:
            label: what to write.
            seconds: how long to wait before.
        """
        await clock.sleep(seconds)
        async with await anyio.open_file(log_file, "a") as file:
            await file.write(label + "\n")
        return f"{label} is done"

    return record_effect


pick_color = FrontendTool(
    "pick_color",
    description="Let the user pick a colour.",
    parameters={
        "type": "object",
        "properties": {"question": {"type": "string"}},
        "required": ["question"],
    },
    response_schema={
        "type": "object",
        "properties": {"color": {"type": "string"}},
        "required": ["color"],
    },
)


# --- scripts -------------------------------------------------------------------------------------


def _assist(request: ModelRequest) -> Iterator[Step]:
    done = _results(request)
    if done:
        return _say("Here is what I found: " + "; ".join(done) + ".")
    text = last_words(request)
    wanted: list[tuple[str, dict[str, Any]]] = []
    city = next((name for name in _WEATHER if name in text.lower()), None)
    if city or "weather" in text.lower():
        wanted.append(("get_weather", {"city": (city or "Paris").title()}))
    sum_ = re.search(r"[\d(][\d\s.()+*/-]*[+*/-][\d\s.()+*/-]*[\d)]", text)
    if sum_:
        wanted.append(("calculate", {"expression": sum_[0].strip()}))
    if not wanted:
        return _say("Ask me for the weather in Paris, or for 6 * 7.")
    return _call(request, wanted, thought="Let me look that up. ")


def _refund(request: ModelRequest) -> Iterator[Step]:
    done = _results(request)
    if done:
        result = _as_json(done[0])
        if isinstance(result, dict) and result.get("refunded"):
            return _say(f"I refunded {result['amount']} for order {result['order']}.")
        reason = result["error"]["message"] if isinstance(result, dict) else done[0]
        return _say(f"I did not refund anything: {reason}.")
    options = options_of(request)
    order = options.get("order") or next(iter(re.findall(r"\d+", last_words(request))), "1")
    amount = number("amount", options.get("amount", "10"), 1, 1_000_000)
    return _call(request, [("refund", {"order": order, "amount": amount})])


def _work(request: ModelRequest) -> Iterator[Step]:
    options = options_of(request)
    labels = [label for label in options.get("do", "a,b,c").split(",") if label][:MAX_LABELS]
    seconds = decimal("seconds", options.get("seconds", "1"), 0, MAX_SECONDS)
    done = len(_results(request))
    if done >= len(labels):
        return _say(f"All {len(labels)} are done.")
    return _call(request, [("record_effect", {"label": labels[done], "seconds": seconds})])


def _help(request: ModelRequest) -> Iterator[Step]:
    done = _results(request)
    if done:
        answer = _as_json(done[0])
        color = answer.get("color") if isinstance(answer, dict) else None
        return _say(f"You picked {color}." if color else "You picked nothing.")
    return _call(request, [("pick_color", {"question": "Which colour do you like?"})])


# --- how -----------------------------------------------------------------------------------------


def _say(text: str) -> Iterator[Step]:
    return iter(words(text))


def _call(
    request: ModelRequest, wanted: list[tuple[str, dict[str, Any]]], thought: str = ""
) -> Iterator[Step]:
    """Call tools, the arguments in two pieces, ids unlike those of other steps."""
    for word in words(thought):
        yield ReasoningChunk(text=word)
    for nth, (name, arguments) in enumerate(wanted):
        call_id = f"call_{len(request.messages)}_{nth}"
        text = msgspec.json.encode(arguments).decode()
        half = len(text) // 2
        yield CallStart(id=call_id, name=name)
        yield CallChunk(id=call_id, text=text[:half])
        yield CallChunk(id=call_id, text=text[half:])
        yield CallEnd(id=call_id)
    yield Finish(reason="tool_calls")


def _results(request: ModelRequest) -> list[str]:
    """The texts of the tool results since the last user message."""
    latest: list[Message] = []
    for message in reversed(request.messages):
        if message.role is Role.user:
            break
        latest.append(message)
    return [m.text for m in reversed(latest) if m.role is Role.tool]


def _as_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
