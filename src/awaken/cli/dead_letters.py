"""`awaken dead-letters`: dispatches that were given up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from awaken.cli import show
from awaken.cli.options import All, Json, Limit, Url, Yes, group
from awaken.cli.runs import DEFAULT_LIMIT
from awaken.cli.session import ask, server_url, told
from awaken.cli.show import Column

if TYPE_CHECKING:
    from awaken.client import Client

app = group()

Dispatches = Annotated[
    list[str], typer.Argument(metavar="DISPATCH…", help="Ids from `awaken dead-letters ls`.")
]


@app.command("ls")
def list_dead_letters(
    limit: Limit = DEFAULT_LIMIT, everything: All = False, url: Url = None, json: Json = False
) -> None:
    """List dead letters, latest first."""
    letters = ask(url, lambda client: client.dead_letters(limit=None if everything else limit))
    if json:
        show.as_json(letters)
        return
    show.table(letters, _columns(), empty="no dead letters")


def _columns() -> list[Column]:
    from awaken.ports.clock import SystemClock

    now = SystemClock().now()
    return [
        Column("DISPATCH", lambda letter: letter["dispatch_id"], whole=True),
        Column("AGENT", lambda letter: letter["agent_id"]),
        Column("AGE", lambda letter: show.age(letter["finished_at"], now)),
        Column("WHY", _why),
    ]


def _why(letter: Any) -> str:
    if letter["retried_by"]:
        return f"tried again: {letter['retried_by']}"
    reasons = dict.fromkeys(part for part in (letter["reason"], letter["last_error"]) if part)
    return ": ".join(reasons)


@app.command()
def requeue(dispatch: Dispatches, url: Url = None, json: Json = False) -> None:
    """Try their runs again, as new runs."""
    _each(
        url,
        dispatch,
        lambda client, dispatch_id: client.requeue(dispatch_id),
        lambda dispatch_id, answer: f"{dispatch_id} is tried again as run {answer['run_id']}",
        json=json,
    )


@app.command()
def discard(dispatch: Dispatches, yes: Yes = False, url: Url = None, json: Json = False) -> None:
    """Take them out of the list.

    Their runs stay as they ended.
    """
    show.confirm(f"Discard {show.plural(len(dispatch), 'dead letter')} for good?", yes=yes)
    _each(
        url,
        dispatch,
        lambda client, dispatch_id: client.discard(dispatch_id),
        lambda dispatch_id, _: f"{dispatch_id} is discarded",
        json=json,
    )


def _each(
    url: str | None,
    dispatches: list[str],
    work: Callable[[Client, str], Awaitable[Any]],
    sentence: Callable[[str, Any], str],
    *,
    json: bool,
) -> None:
    """Do it to one after the other; what fails does not keep the rest from being done."""
    from awaken.client import ClientError

    done: dict[str, Any] = {}
    failed: list[ClientError] = []

    async def all_of_them(client: Client) -> None:
        for dispatch_id in dispatches:
            try:
                done[dispatch_id] = await work(client, dispatch_id)
            except ClientError as error:
                if error.status is None:
                    raise
                failed.append(error)

    ask(url, all_of_them)
    if json:
        show.as_json(list(done.values()))
    else:
        for dispatch_id, answer in done.items():
            show.say(sentence(dispatch_id, answer))
    _report(url, failed)


def _report(url: str | None, failed: list[Any]) -> None:
    for error in failed[:-1]:
        show.complain(told(server_url(url), error)[0])
    if failed:
        show.fail(*told(server_url(url), failed[-1]))
