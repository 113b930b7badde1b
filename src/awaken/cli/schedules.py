"""`awaken schedules`: what is submitted again and again; look, trigger, pause, delete."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from awaken.cli import show
from awaken.cli.options import Json, Url, Yes, group
from awaken.cli.session import ask
from awaken.cli.show import Column

app = group()

ScheduleId = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule's id.")]


@app.command("ls")
def list_schedules(url: Url = None, json: Json = False) -> None:
    """List schedules."""
    found = ask(url, lambda client: client.schedules())
    if json:
        show.as_json(found)
        return
    show.table(found, _columns(), empty="no schedules")


def _columns() -> list[Column]:
    return [
        Column("SCHEDULE", lambda each: each["schedule_id"], whole=True),
        Column("CRON", lambda each: each["cron"]),
        Column("AGENT", lambda each: each["agent_id"]),
        Column("NEXT", lambda each: _next(each)),
    ]


def _next(schedule: Any) -> str:
    if schedule["last_error"]:
        return f"failed: {schedule['last_error']}"
    return show.moment(schedule["next_at"]) or "paused"


@app.command()
def trigger(schedule: ScheduleId, url: Url = None, json: Json = False) -> None:
    """Submit the messages of a schedule now, besides its ticks."""
    accepted = ask(url, lambda client: client.trigger_schedule(schedule))
    if json:
        show.as_json(accepted)
        return
    show.say(f"schedule {schedule} is run now as run {accepted['run_id']}")


@app.command()
def pause(schedule: ScheduleId, url: Url = None, json: Json = False) -> None:
    """Let a schedule have no ticks until it is resumed."""
    _enable(schedule, url, json, enabled=False)


@app.command()
def resume(schedule: ScheduleId, url: Url = None, json: Json = False) -> None:
    """Let a paused schedule tick again."""
    _enable(schedule, url, json, enabled=True)


def _enable(schedule: str, url: str | None, json: bool, *, enabled: bool) -> None:
    changed = ask(url, lambda client: client.change_schedule(schedule, enabled=enabled))
    if json:
        show.as_json(changed)
        return
    show.say(f"schedule {schedule}: {'next at ' if enabled else ''}{_next(changed)}")


@app.command("rm")
def remove(schedule: ScheduleId, yes: Yes = False, url: Url = None, json: Json = False) -> None:
    """Delete a schedule; its runs stay."""
    show.confirm(f"Delete schedule {schedule}?", yes=yes)
    ask(url, lambda client: client.delete_schedule(schedule))
    if json:
        show.as_json({"schedule_id": schedule, "deleted": True})
        return
    show.say(f"schedule {schedule} is deleted")
