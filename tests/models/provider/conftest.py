"""The simulated providers, and models that ask them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from awaken.models.provider import ProviderModel
from tests.models.provider.aimock import KEY, Aimock, install, serving

Ask = Callable[..., ProviderModel]


@pytest.fixture(scope="session")
def aimock_url() -> Iterator[str]:
    """One server for the tests of a worker; started with the first that needs it."""
    install()
    with serving() as url:
        yield url


@pytest.fixture
def aimock(aimock_url: str) -> Iterator[Aimock]:
    """The server, with nothing to say yet and an empty journal."""
    control = Aimock(aimock_url)
    control.reset()
    yield control
    control.close()


@pytest.fixture
async def provider() -> AsyncIterator[Ask]:
    """Makes models, and closes their connections after the test."""
    made: list[ProviderModel] = []

    def make(name: str, url: str, **options: Any) -> ProviderModel:
        base_url = url + "/v1" if name.startswith("openai") else url
        model = ProviderModel(name, **{"base_url": base_url, "api_key": KEY, **options})
        made.append(model)
        return model

    yield make
    for model in made:
        await model.aclose()
