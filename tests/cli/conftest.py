"""One server for all tests of a file that do it no harm."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.harness import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("cli")) as server:
        yield server
