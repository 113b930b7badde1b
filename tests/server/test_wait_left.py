"""Who waits in one request counts as a reader, and leaves like one."""

from __future__ import annotations

from typing import Any

import pytest

from awaken.domain.ids import DEFAULT_TENANT
from awaken.domain.run import RunStatus
from awaken.domain.termination import Cancelled
from awaken.ports.store import RunFilter
from tests.e2e.harness import run_body
from tests.server.live import Live, receive_until, request, wait_until


@pytest.fixture
def settings(settings: Any) -> Any:
    return settings.model_copy(update={"unattended_seconds": 0.2, "heartbeat_seconds": 1})


async def test_a_run_is_stopped_when_the_client_that_waited_for_it_left(live: Live) -> None:
    """Regression list of peers.md, 7: where `on_disconnect` asks for it."""
    services = live.app.services
    assert services is not None
    body = run_body("storyteller", "tokens=5000 delay_ms=20", on_disconnect="cancel")
    async with await live.connect() as stream:
        await stream.send(request("POST", "/v1/runs/wait", body))
        await receive_until(stream, b"1\r\n \r\n")  # a space, after a second: readers are seen
        assert services.mailbox.statistics().executing == 1, "it is read, so it goes on"
    await live.wait_quiet()
    await wait_until(lambda: services.mailbox.statistics().executing == 0)
    (run,) = (await services.store.runs(DEFAULT_TENANT, RunFilter(), 10, None)).items
    assert run.status is RunStatus.done
    assert run.outcome is not None
    assert isinstance(run.outcome.termination, Cancelled)
    assert run.outcome.termination.reason == "client_disconnected"
