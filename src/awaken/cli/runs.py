"""`awaken runs`: look at runs, follow them, stop them, and try failed ones again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from awaken.cli import show
from awaken.cli.options import All, Json, Limit, Url, group
from awaken.cli.session import ask
from awaken.cli.show import Column

if TYPE_CHECKING:
    from awaken.client import Run
    from awaken.client.answers import Explanation

app = group()

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")]
DEFAULT_LIMIT: Final = 20


@app.command("ls")
def list_runs(
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="created, running, waiting or done.")
    ] = None,
    agent: Annotated[str | None, typer.Option(metavar="AGENT", help="Only of this agent.")] = None,
    thread: Annotated[
        str | None, typer.Option(metavar="THREAD", help="Only of this thread.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    everything: All = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """List runs, newest first."""
    runs = ask(
        url,
        lambda client: client.runs(
            status=status,
            agent_id=agent,
            thread_id=thread,
            limit=None if everything else limit,
        ),
    )
    if json:
        show.as_json(runs)
        return
    show.table(runs, _columns(), empty="no runs")


def _columns() -> list[Column]:
    from awaken.ports.clock import SystemClock

    now = SystemClock().now()
    return [
        Column("RUN", lambda run: run["run_id"], whole=True),
        Column("STATUS", standing),
        Column("AGENT", lambda run: run["agent_id"]),
        Column("AGE", lambda run: show.age(run["created_at"], now)),
    ]


def standing(run: Run) -> str:
    """Where a run is, and why it waits or how it ended."""
    if run["termination"] is not None:
        return str(run["termination"]["type"])
    if run["waiting"] is not None:
        return f"waiting: {run['waiting']['reason']}"
    return {"created": "queued"}.get(run["status"], run["status"])


@app.command("show")
def show_run(run: RunId, url: Url = None, json: Json = False) -> None:
    """Show a run and its answer."""
    found = ask(url, lambda client: client.get_run(run))
    if json:
        show.as_json(found)
        return
    show.sheet(_facts(found))


def _facts(run: Run) -> list[tuple[str, str | None]]:
    usage, result = run["usage"], run["result"]
    tokens = f"{usage['input_tokens']} in, {usage['output_tokens']} out"
    return [
        ("run", run["run_id"]),
        ("status", standing(run)),
        ("why", _reason(run)),
        ("agent", run["agent_id"]),
        ("thread", run["thread_id"]),
        ("retry of", run["retry_of"]),
        ("child of", run["parent_run_id"]),
        ("created", show.moment(run["created_at"])),
        ("started", show.moment(run["started_at"])),
        ("finished", show.moment(run["finished_at"])),
        ("active", show.duration(run["active_ms"])),
        ("steps", str(run["steps"])),
        ("tokens", tokens),
        *(("asks", _question(ticket)) for ticket in (run["waiting"] or {"tickets": []})["tickets"]),
        ("answer", result["response"] if result else None),
    ]


def _reason(run: Run) -> str | None:
    end: dict[str, Any] = run["termination"] or {}
    parts = [end.get("code"), end.get("message") or end.get("detail"), end.get("reason")]
    parts += [f"by {end['by']}" if "by" in end else None, end.get("by_run_id")]
    return ": ".join(str(part) for part in parts if part) or None


def _question(ticket: Any) -> str:
    from awaken.cli.screen import exactly, shortened

    call = f"{ticket['tool_name']} {shortened(exactly(ticket['arguments']))}"
    return f"{call}  (awaken tickets approve {ticket['ticket_id']})"


@app.command()
def tail(
    run: RunId,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="Stay while the run waits for somebody.")
    ] = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Follow a run to its end.

    From its beginning to where it ends or waits, over restarts of the server. The exit code tells
    how it ended: 0 by itself, 1 it failed, 3 it waits for somebody, 4 it was stopped. With --json
    each event is one line.
    """
    from awaken.cli.tail import follow

    raise typer.Exit(follow(url, run, until_done=until_done, as_json=json))


@app.command()
def cancel(
    run: RunId,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; it is kept with the run.")
    ] = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Stop a run, wherever it is.

    One that has finished already is no error.
    """
    status = ask(url, lambda client: client.cancel(run, reason=reason))
    if json:
        show.as_json({"run_id": run, "status": status})
        return
    late = status == "already_finished"
    show.say(f"run {run} had finished already" if late else f"run {run} is being stopped")


@app.command()
def steer(
    run: RunId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to tell it.")],
    url: Url = None,
    json: Json = False,
) -> None:
    """Tell a run something while it goes on.

    It reads it at its next step or its end; if it ends first, another run answers it.
    """
    accepted = ask(url, lambda client: client.steer(run, text))
    if json:
        show.as_json(accepted)
        return
    if accepted["run_id"] == run:
        show.say(f"run {run} is told; if it ends first, run {accepted['fallback_run_id']} answers")
    else:
        show.say(f"run {run} has ended; run {accepted['run_id']} answers")


@app.command()
def explain(run: RunId, url: Url = None, json: Json = False) -> None:
    """Say why a run is where it is."""
    told = ask(url, lambda client: client.explain(run))
    if json:
        show.as_json(told)
        return
    show.sheet(_explained(told))


def _explained(told: Explanation) -> list[tuple[str, str | None]]:
    calls = [f"{call['name']} ({call['status']})" for call in told["tool_calls"]]
    return [
        ("run", told["run_id"]),
        ("status", told["status"]),
        ("now", told["summary"]),
        ("next", told["next_step"]),
        ("when", show.moment(told["next_at"])),
        ("waits for", ", ".join(told["waits_for"]) or None),
        ("behind run", told["blocked_by_run_id"]),
        ("position", str(told["position"]) if told["position"] else None),
        ("attempts", str(told["attempts"]) if told["attempts"] else None),
        ("expiries", str(told["expiries"]) if told["expiries"] else None),
        ("last error", told["last_error"]),
        ("worker", told["lease_holder"]),
        ("lease until", show.moment(told["lease_until"])),
        ("calls", ", ".join(calls) or None),
        ("dispatch", told["dispatch_id"]),
    ]


@app.command()
def retry(run: RunId, url: Url = None, json: Json = False) -> None:
    """Try a failed run again, as a new run."""
    accepted = ask(url, lambda client: client.retry_run(run))
    if json:
        show.as_json(accepted)
        return
    show.say(f"run {run} is tried again as run {accepted['run_id']}")
