"""At the end of its lifespan an application closes the models of its agents."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from awaken import Agent
from awaken.ports.model import Finish, ModelEvent, ModelRequest
from awaken.server.app import create_app
from awaken.server.settings import Settings


class Closable:
    """A model that counts how often it is closed."""

    def __init__(self, name: str, trouble: Exception | None = None) -> None:
        self.name = f"closable:{name}"
        self.closed = 0
        self._trouble = trouble

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        yield Finish(reason="stop")

    async def aclose(self) -> None:
        self.closed += 1
        if self._trouble is not None:
            raise self._trouble


async def test_models_are_closed_once_though_one_of_them_fails_to(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    shared, failing, last = Closable("a"), Closable("b", OSError("stuck")), Closable("c")
    models = {"one": shared, "two": shared, "three": failing, "four": last}
    app = create_app([Agent(name, model=model) for name, model in models.items()], settings)
    async with app.lifespan():
        assert shared.closed == 0
    assert [model.closed for model in (shared, failing, last)] == [1, 1, 1]
    assert "could not be closed" in caplog.text
