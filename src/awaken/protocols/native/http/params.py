"""Path and query parameters of the JSON routes, and how their bodies are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from fastapi import Path, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from awaken.errors import RequestError
from awaken.protocols.native import wire
from awaken.protocols.native.decode import json_value
from awaken.protocols.native.wire import MAX_TIME

RunId = Annotated[str, BeforeValidator(unquote), Path(description="The run's id.")]
ThreadId = Annotated[str, BeforeValidator(unquote), Path(description="The thread's id.")]


class _JsonRequest(Request):
    """A request whose body is read by our rules, not by those of the `json` module."""

    async def json(self) -> Any:
        try:
            return json_value(await self.body())
        except RequestError as error:
            raise json.JSONDecodeError(str(error.__cause__), "", 0) from error


class JsonRoute(APIRoute):
    """A route for `_JsonRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


class Query(BaseModel):
    """Base of query parameters: a misspelt filter must not look like none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PageQuery(Query):
    """Which part of a list."""

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")


class RunsOfThreadQuery(PageQuery):
    status: Literal["created", "running", "waiting", "done"] | None = None
    agent_id: str | None = None


class RunsQuery(RunsOfThreadQuery):
    thread_id: str | None = None


class ThreadsQuery(PageQuery):
    resource_id: str | None = None
    parent_thread_id: str | None = None


class MessagesQuery(PageQuery):
    visibility: Literal["external", "internal", "all"] = Field(
        default="external", description="`internal` are those that only the model sees."
    )
    after: int | None = Field(default=None, ge=0, le=MAX_TIME, description="Only later numbers.")
    before: int | None = Field(default=None, ge=0, le=MAX_TIME, description="Only earlier numbers.")
    order: Literal["asc", "desc"] = "asc"
    run_id: str | None = None


class EventsQuery(PageQuery):
    after: int = Field(default=0, ge=0, le=MAX_TIME, description="Only entries after this one.")


class WaitQuery(Query):
    timeout_ms: int = Field(
        default=300_000, ge=0, le=3_600_000, description="Then the answer is 202 with the run."
    )


ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": wire.ErrorAnswer, "description": "A refusal, in the one shape"},
    422: {"model": wire.ErrorAnswer, "description": "Wrong type, unknown field or parameter"},
}
"""What every route may answer besides."""
