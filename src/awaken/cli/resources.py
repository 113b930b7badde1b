"""`awaken resources`: all that belongs to one user of the application, at once."""

from __future__ import annotations

from typing import Annotated

import typer

from awaken.cli import show
from awaken.cli.files import save
from awaken.cli.options import Json, Url, Yes, group
from awaken.cli.session import ask
from awaken.cli.threads import Output, counted, told_where

app = group()

ResourceId = Annotated[
    str, typer.Argument(metavar="ID", help="The `resource_id` that threads were made with.")
]


@app.command()
def export(
    resource: ResourceId, output: Output = None, url: Url = None, json: Json = False
) -> None:
    """Write all that is held of a resource.

    Its threads and those below them, as JSON lines.
    """
    size = save(url, lambda client: client.export_resource(resource), output)
    told_where(size, output, json)


@app.command("rm")
def remove(resource: ResourceId, yes: Yes = False, url: Url = None, json: Json = False) -> None:
    """Delete all threads of a resource.

    And those below them, for good.
    """
    show.confirm(f"Delete all that belongs to {resource} for good?", yes=yes)
    answer = ask(url, lambda client: client.delete_resource(resource), bounded=False)
    if json:
        show.as_json({"resource_id": resource, **answer})
        return
    show.say(f"all that belongs to {resource} is deleted: {counted(answer)}")
