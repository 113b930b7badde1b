"""Writes docs/events.md and docs/python.md from the code: fields, signatures and docstrings."""

from __future__ import annotations

import enum
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args

import docstring_parser
import msgspec

import awaken
import awaken.client
from awaken.domain.event import Event
from awaken.protocols.native.encode import FIELDS, INSIDE

# --- events --------------------------------------------------------------------------------------

EVENTS_HEAD = """# Events

What a [stream](http.md#streams) tells of [the event log](event-log.md): the `event` of a frame, by
its `event_type`. What has its default may be left out. This page is made from
`awaken/domain/event.py`.
"""


def events_page() -> str:
    """The page: one section for each event that clients are told, one for each record inside."""
    inner: dict[str, type[Any]] = {}
    parts = [EVENTS_HEAD]
    for kind in get_args(Event):
        if kind in FIELDS:
            parts.append(_record(str(kind.__struct_config__.tag), kind))
            inner.update(_records_in(kind))
    parts.append("## Records inside of events\n")
    parts += [_record(name, inner[name], level=3) for name in sorted(inner)]
    return "\n".join(parts)


def _record(title: str, kind: type[Any], level: int = 2) -> str:
    about = inspect.cleandoc(kind.__doc__ or "")
    lines = [f"{'#' * level} {title}", "", about, ""]
    fields = _told(kind)
    tag = kind.__struct_config__
    tagged = [f"| `{tag.tag_field}` | `{tag.tag!r}` |  |"] if level > 2 and tag.tag_field else []
    if fields or tagged:
        lines += [
            "| Field | Type | Default |",
            "|---|---|---|",
            *tagged,
            *(
                f"| `{field.name}` | {_type_of(kind, field)} | {_default(field)} |"
                for field in fields
            ),
            "",
        ]
    return "\n".join(lines)


def _told(kind: type[Any]) -> list[Any]:
    """The fields that clients are told."""
    names = FIELDS.get(kind) or INSIDE.get(kind)
    return [each for each in msgspec.structs.fields(kind) if names is None or each.name in names]


def _type_of(kind: type[Any], field: Any) -> str:
    """The annotation as it is written, wherever the field was inherited from."""
    written = next(
        base.__annotations__[field.name]
        for base in kind.__mro__
        if field.name in getattr(base, "__annotations__", {})
    )
    return f"`{written}`".replace("|", "\\|")


def _default(field: Any) -> str:
    if field.default is not msgspec.NODEFAULT:
        value = field.default
        return f"`{value.value if isinstance(value, enum.Enum) else value!r}`"
    return "empty" if field.default_factory is not msgspec.NODEFAULT else ""


def _records_in(kind: type[Any]) -> dict[str, type[Any]]:
    """The records in the fields of a record, and theirs."""
    found: dict[str, type[Any]] = {}
    for field in _told(kind):
        for each in _types(field.type):
            if each.__name__ not in found:
                found[each.__name__] = each
                found.update(_records_in(each))
    return found


def _types(annotation: Any) -> Iterator[type[Any]]:
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        yield annotation
    for part in get_args(annotation):
        yield from _types(part)


# --- the Python API ------------------------------------------------------------------------------

PYTHON_HEAD = """# The Python API

What a program may use and rely on; other names are ours to change. This page is made from the
docstrings. [Agents with tools](agents.md), [agents of others](foreign-agents.md) and
[the client](client.md) explain, with examples.
"""

LINE = 96
Home = tuple[str, str, tuple[str, ...]]
HOMES: tuple[Home, ...] = (
    ("awaken", "", tuple(name for name in awaken.__all__ if name != "__version__")),
    ("awaken.script", "What `run` gives back, and what `decide` may return.", ()),
    ("awaken.server.app", "The server as an ASGI application, to mount in another.", ()),
    ("awaken.client", "A client for programs that talk to a running server.", ()),
    ("awaken.net.guard", "What your own tools may ask before they fetch what others name.", ()),
    ("awaken.net.fetch", "", ()),
)
NAMES = {
    "awaken.script": ("RunResult", "Approve", "Deny", "Reply"),
    "awaken.server.app": ("create_app", "App"),
    "awaken.client": tuple(name for name in awaken.client.__all__ if name != "DEFAULT_URL"),
    "awaken.net.guard": ("Guard", "Forbidden"),
    "awaken.net.fetch": ("Fetcher", "Answer", "Unreachable"),
}


def python_page() -> str:
    """The page: one section for each module, one for each of its names."""
    parts = [PYTHON_HEAD]
    for module, about, names in HOMES:
        parts.append(f"## {module}\n" + (f"\n{about}\n" if about else ""))
        home = importlib.import_module(module)
        parts += [_entry(name, getattr(home, name)) for name in names or NAMES[module]]
    return "\n".join(parts)


def _entry(name: str, thing: Any) -> str:
    lines = [f"### {name}", "", _code(name, thing), "", *_about(thing)]
    if inspect.isclass(thing):
        for member, value in _members(thing):
            lines += ["", _code(f"{name}.{member}", value), "", *_about(value)]
    return "\n".join(lines).rstrip() + "\n"


def _members(kind: type[Any]) -> list[tuple[str, Any]]:
    """The public methods and properties that a class itself describes, as they are written."""
    return [
        (name, _function(value))
        for name, value in vars(kind).items()
        if not name.startswith("_") and inspect.getdoc(_function(value)) and _is_member(value)
    ]


def _is_member(value: Any) -> bool:
    return isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)


def _function(value: Any) -> Any:
    return value.__func__ if isinstance(value, classmethod | staticmethod) else value


def _code(name: str, thing: Any) -> str:
    return f"```python\n{_signature(name, thing)}\n```"


def _signature(name: str, thing: Any) -> str:
    """How it is called, with the annotations as they are written."""
    if isinstance(thing, property):
        return f"{name}: {inspect.get_annotations(thing.fget)['return']}"  # type: ignore[arg-type]  # ours have a getter
    if inspect.isclass(thing) and getattr(thing, "_is_protocol", False):
        return f"class {name}(Protocol)"
    if inspect.isclass(thing) and issubclass(thing, dict):
        return f"class {name}(TypedDict)"
    try:
        told = inspect.signature(thing)
    except ValueError:
        return f"class {name}"
    kind = "class " if inspect.isclass(thing) else "async def " if _is_async(thing) else "def "
    written = _written(thing) if inspect.isclass(thing) else {}
    parts = list(_parameters(told, written))
    result = told.return_annotation
    answer = "" if inspect.isclass(thing) or result in ("None", told.empty) else f" -> {result}"
    line = f"{kind}{name}({', '.join(parts)}){answer}"
    if len(line) <= LINE:
        return line
    return "\n".join([f"{kind}{name}(", *(f"    {part}," for part in parts), f"){answer}"])


def _is_async(thing: Any) -> bool:
    return inspect.iscoroutinefunction(thing)


def _written(kind: type[Any]) -> dict[str, str]:
    """The annotations of a record's fields as the source has them."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        found.update(
            {name: str(value) for name, value in vars(base).get("__annotations__", {}).items()}
        )
    return found


def _parameters(told: inspect.Signature, written: dict[str, str]) -> Iterator[str]:
    starred = False
    for each in told.parameters.values():
        if each.name == "self":
            continue
        if each.kind is each.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        mark = "*" * (each.kind is each.VAR_POSITIONAL) + "**" * (each.kind is each.VAR_KEYWORD)
        annotation = written.get(each.name, each.annotation)
        typed = "" if annotation is each.empty else f": {annotation}"
        yield f"{mark}{each.name}{typed}{_given(each)}"


def _given(parameter: inspect.Parameter) -> str:
    """The default; what has no short way to be written is only said to be there."""
    value = parameter.default
    if value is parameter.empty:
        return ""
    if isinstance(value, enum.Enum):
        return f" = {value.value!r}"
    plain = isinstance(value, str | int | float | bool | tuple | None) and len(repr(value)) < 40
    return f" = {value!r}" if plain else " = …"


def _about(thing: Any) -> list[str]:
    """The docstring: its text, then a list of arguments, then what is raised."""
    parsed = docstring_parser.parse(inspect.getdoc(thing) or "", docstring_parser.Style.GOOGLE)
    lines = [text for text in (parsed.short_description, parsed.long_description) if text]
    lines = [line for text in lines for line in (text, "")]
    if parsed.params:
        lines += [_item(each.arg_name, each.description) for each in parsed.params] + [""]
    if parsed.returns and parsed.returns.description:
        lines += [f"Returns: {_line(parsed.returns.description)}", ""]
    if parsed.raises:
        lines += ["Raises:", ""]
        lines += [_item(each.type_name or "", each.description) for each in parsed.raises] + [""]
    return lines


def _item(name: str, text: str | None) -> str:
    return f"- `{name}`: {_line(text or '')}"


def _line(text: str) -> str:
    return " ".join(text.split())


PAGES: dict[str, Callable[[], str]] = {"events.md": events_page, "python.md": python_page}
