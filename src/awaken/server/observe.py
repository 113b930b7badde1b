"""What watches a running application, put round its ports: measuring always, tracing when it is on.

The business below knows of neither. A wrapper is made once for each model and each agent's tools;
without tracing there is none of it, and its library is not even imported.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    nullcontext,
)
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from awaken.domain.agent import AgentSpec
from awaken.domain.state import StateKey
from awaken.domain.submission import Accepted, Submission
from awaken.mailbox.service import Mailbox
from awaken.models.retry import RetryingModel
from awaken.ports.clock import Clock, Ids
from awaken.ports.events import OpenWriter
from awaken.ports.model import Model
from awaken.ports.resolver import Resolver
from awaken.ports.runner import Runner
from awaken.ports.store import Store
from awaken.ports.tool import Tool
from awaken.registry.registry import Registry
from awaken.server import logs
from awaken.server.attempts import Attempts
from awaken.server.measured import Measuring
from awaken.server.metrics import Metrics
from awaken.server.settings import Settings, SettingsError
from awaken.server.stores import MEMORY, SQLITE, sqlite_path

if TYPE_CHECKING:
    from awaken.server.tracing import Tracing

Carry = Callable[[Submission], AbstractContextManager[Submission]]
"""Gives a submission what is to go with its run, for as long as it is being submitted."""


class Wrapper(Protocol):
    """What is put round the parts of an attempt."""

    def model(self, name: str, inner: Model) -> Model:
        """Round the model of that name."""
        ...

    def tries(self, name: str, inner: Model) -> Model:
        """Round the model that a retrying one of that name asks."""
        ...

    def tool(self, inner: Tool) -> Tool:
        """Round a tool."""
        ...

    def runner(self, spec: AgentSpec, inner: Runner) -> Runner:
        """Round the runner of one attempt."""
        ...


class ObservedResolver:
    """The registry, with wrappers round the code it gives out; the last is the outermost."""

    def __init__(self, registry: Registry, wrappers: Sequence[Wrapper]) -> None:
        self.clock = registry.clock
        self.ids = registry.ids
        self.resolve = registry.resolve
        self.agents = registry.agents
        self.keys: Callable[[str], Mapping[str, StateKey]] = registry.keys
        self._registry = registry
        self._wrappers = wrappers
        self._models: dict[str, Model] = {}
        self._tools: dict[str, dict[str, Tool]] = {}

    def bind(self, spec: AgentSpec) -> Runner:
        runner = self._registry.bind(spec, self)
        for wrapper in self._wrappers:
            runner = wrapper.runner(spec, runner)
        return runner

    def model(self, name: str) -> Model:
        if name not in self._models:
            self._models[name] = self._wrapped(name, self._registry.model(name))
        return self._models[name]

    def tools(self, agent_id: str) -> Mapping[str, Tool]:
        if agent_id not in self._tools:
            tools = dict(self._registry.tools(agent_id))
            for wrapper in self._wrappers:
                tools = {name: wrapper.tool(tool) for name, tool in tools.items()}
            self._tools[agent_id] = tools
        return self._tools[agent_id]

    def _wrapped(self, name: str, model: Model) -> Model:
        if isinstance(model, RetryingModel):
            model, tried = copy.copy(model), model.inner
            for wrapper in self._wrappers:
                tried = wrapper.tries(name, tried)
            model.inner = tried
        for wrapper in self._wrappers:
            model = wrapper.model(name, model)
        return model


def as_it_is(submission: Submission) -> AbstractContextManager[Submission]:
    """Nothing goes with the run."""
    return nullcontext(submission)


class ObservedMailbox(Mailbox):
    """A mailbox whose submissions know the request and the trace they came from."""

    carry: Carry = staticmethod(as_it_is)

    async def submit(self, submission: Submission) -> Accepted:
        logs.note(run_id=submission.run_id, thread_id=submission.thread_id)
        if submission.transport_request_id is None:
            request_id = logs.noted("request_id")
            submission = replace(submission, transport_request_id=request_id)
        with self.carry(submission) as carried:
            accepted = await super().submit(carried)
        logs.note(run_id=accepted.run_id, thread_id=accepted.thread_id)
        return accepted


class Observation:
    """All that watches one application."""

    def __init__(self, metrics: Metrics, wrappers: Sequence[Wrapper], carry: Carry) -> None:
        self._following = Attempts(metrics)
        self._measuring = Measuring(metrics, self._following)
        self._wrappers = (self._measuring, *wrappers)
        self.carry = carry
        self.attempt_ended = self._following.ended

    def store(self, inner: Store) -> Store:
        """The store as the mailbox shall see it."""
        return self._measuring.store(inner)

    def resolver(self, registry: Registry) -> Resolver:
        """The registry as the mailbox shall see it."""
        return ObservedResolver(registry, self._wrappers)

    def open_writer(self, inner: OpenWriter) -> OpenWriter:
        """What opens the writers of attempts."""
        return self._following.following(inner)


def _files(store_url: str) -> tuple[tuple[str, str], ...]:
    """The files of a store that has some, and what they are called."""
    path = sqlite_path(store_url) if store_url.startswith(SQLITE) else MEMORY
    return () if path == MEMORY else (("database", path), ("wal", f"{path}-wal"))


def _tracing() -> Callable[[Clock, str], AbstractAsyncContextManager[Tracing]]:
    try:
        from awaken.server.tracing import open_tracing
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise SettingsError(
            "AWAKEN_TRACING: it needs the extra otel: pip install 'awaken-server[otel]'"
        ) from error
    return open_tracing


@asynccontextmanager
async def observing(
    settings: Settings, metrics: Metrics, clock: Clock, ids: Ids, worker_id: str
) -> AsyncIterator[Observation]:
    """Watch while the context lasts; leaving sends what is left to send.

    Raises:
        SettingsError: tracing is on, and its library is not installed or cannot be set up.
    """
    metrics.machine.files = _files(settings.store_url)
    metrics.http.new_id = ids.new
    if not settings.tracing:
        yield Observation(metrics, (), as_it_is)
        return
    open_tracing = _tracing()
    async with open_tracing(clock, worker_id) as tracing:
        metrics.http.trace = tracing.request
        try:
            yield Observation(metrics, (tracing,), tracing.carry)
        finally:
            metrics.http.trace = None
