"""`awaken threads`: look at threads, stop, export and delete them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from awaken.cli import show
from awaken.cli.files import save
from awaken.cli.options import All, Json, Limit, Url, Yes, group
from awaken.cli.runs import DEFAULT_LIMIT
from awaken.cli.session import ask
from awaken.cli.show import Column

if TYPE_CHECKING:
    from awaken.client import Client, Message
    from awaken.client.answers import Thread

app = group()

ThreadId = Annotated[str, typer.Argument(metavar="THREAD", help="The thread's id.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Where to write; default standard output."),
]


@app.command("ls")
def list_threads(
    resource: Annotated[
        str | None, typer.Option(metavar="ID", help="Only those of this resource.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """List threads, latest change first."""
    threads = ask(
        url,
        lambda client: client.threads(resource_id=resource, limit=None if everything else limit),
    )
    if json:
        show.as_json(threads)
        return
    show.table(threads, _columns(), empty="no threads")


def _columns() -> list[Column]:
    from awaken.ports.clock import SystemClock

    now = SystemClock().now()
    return [
        Column("THREAD", lambda thread: thread["thread_id"], whole=True),
        Column("AGENT", lambda thread: thread["agent_id"] or ""),
        Column("CHANGED", lambda thread: show.age(thread["updated_at"], now)),
        Column("TITLE", lambda thread: thread["title"] or ""),
    ]


@app.command("show")
def show_thread(thread: ThreadId, url: Url = None, json: Json = False) -> None:
    """Show a thread and its messages."""

    async def look(client: Client) -> tuple[Thread, list[Message]]:
        return await client.thread(thread), await client.messages(thread)

    found, messages = ask(url, look)
    if json:
        show.as_json({**found, "messages": messages})
        return
    show.sheet(
        [
            ("thread", found["thread_id"]),
            ("title", found["title"]),
            ("agent", found["agent_id"]),
            ("resource", found["resource_id"]),
            ("child of", found["parent_thread_id"]),
            ("created", show.moment(found["created_at"])),
            ("changed", show.moment(found["updated_at"])),
        ]
    )
    for message in messages:
        show.say("")
        show.block(_heading(message), _text(message))


def _heading(message: Message) -> str:
    mark = ", interrupted" if message["interrupted"] else ""
    return f"[{message['message_seq']}] {message['role']}{mark}"


def _text(message: Message) -> str:
    from awaken.cli.screen import exactly
    from awaken.client.fold import message_text

    calls = [f"→ {call['name']} {exactly(call['arguments'])}" for call in message["tool_calls"]]
    media = [f"({part['type']})" for part in message["content"] if part["type"] not in _TEXTS]
    return "\n".join(part for part in (message_text(dict(message)), *media, *calls) if part)


_TEXTS = frozenset({"text", "thinking"})


@app.command()
def pending(thread: ThreadId, url: Url = None, json: Json = False) -> None:
    """List the messages of a thread that wait to be read."""
    from awaken.client.fold import message_text

    queue = ask(url, lambda client: client.pending(thread))
    if json:
        show.as_json(queue)
        return
    columns = [
        Column("MESSAGE", lambda entry: entry["message_id"], whole=True),
        Column("BOUNDARY", lambda entry: entry["boundary"]),
        Column("TEXT", lambda entry: message_text(dict(entry))),
    ]
    show.table(queue["items"], columns, empty="nothing waits to be read")


@app.command()
def cancel(
    thread: ThreadId,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why.")] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Stop what runs, waits and is queued in a thread."""
    stopped = ask(url, lambda client: client.cancel_thread(thread, reason=reason))
    if json:
        show.as_json(stopped)
        return
    count = show.plural(stopped["superseded_dispatches"], "run")
    idle = stopped["status"] == "nothing_to_stop"
    show.say(f"nothing to stop in {thread}" if idle else f"stopping {count} of {thread}")


@app.command("rm")
def remove(
    thread: ThreadId,
    children: Annotated[
        Literal["detach", "reject", "cascade"] | None,
        typer.Option(
            help="What becomes of the threads below it: they stay without a parent, they keep it "
            "from being deleted (default), or they go too."
        ),
    ] = None,
    yes: Yes = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Delete a thread, its messages, runs and log, for good."""
    show.confirm(f"Delete thread {thread} for good?", yes=yes)
    answer = ask(url, lambda client: client.delete_thread(thread, children=children), bounded=False)
    if json:
        show.as_json({"thread_id": thread, **answer})
        return
    show.say(f"thread {thread} is deleted: {counted(answer)}")


def counted(answer: dict[str, Any]) -> str:
    """What a deletion has deleted."""
    counts = {name: n for name, n in answer.get("deleted", {}).items() if n}
    told = [f"{n} {_ONE.get(name, name) if n == 1 else name}" for name, n in counts.items()]
    return ", ".join(told) or "nothing was left"


_ONE = {
    "threads": "thread",
    "runs": "run",
    "dispatches": "dispatch",
    "messages": "message",
    "tickets": "ticket",
    "events": "event",
    "specs": "spec",
}


@app.command()
def export(thread: ThreadId, output: Output = None, url: Url = None, json: Json = False) -> None:
    """Write all that is held of a thread.

    As JSON lines, of which the last one has the type `end`.
    """
    size = save(url, lambda client: client.export_thread(thread), output)
    told_where(size, output, json)


def told_where(size: int, output: Path | None, json: bool) -> None:
    """Say where it went, unless it is standard output itself that it went to."""
    if output is None:
        return
    if json:
        show.as_json({"file": str(output), "bytes": size})
        return
    show.say(f"{size} bytes written to {output}")
