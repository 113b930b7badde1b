"""What a step costs: commits, and that the hundredth costs no more than the tenth."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import pytest

from awaken.domain.agent import Limits
from awaken.domain.message import Message, Role, TextBlock
from awaken.domain.run import RunStatus
from awaken.domain.submission import Submission
from awaken.ports.clock import SystemIds
from bench.long_run import LEDGER, Caller, take, working

STEPS = 200


async def test_a_step_with_two_tools_costs_at_most_four_commits(tmp_path: Path) -> None:
    """Its plan, two results, its close; what a stream writes in between is no part of it."""
    _, commits = await take(20, 2, tmp_path)
    ledger = {name: count for name, count in commits.items() if name in LEDGER}
    assert ledger == {"plan_step": 20, "store_result": 40, "close_step": 20}


async def test_a_step_with_one_tool_costs_three(tmp_path: Path) -> None:
    _, commits = await take(20, 1, tmp_path)
    assert sum(count for name, count in commits.items() if name in LEDGER) == 60


class Counted(Caller):
    """Counts the Python calls, in all threads, until each step."""

    def __init__(self) -> None:
        super().__init__(STEPS, 1)
        self.calls = 0
        self.at: list[int] = []

    def stream(self, request: Any) -> Any:
        self.at.append(self.calls)
        return super().stream(request)

    def count(self, frame: FrameType, event: str, argument: object) -> None:
        self.calls += event == "call"


@pytest.mark.parametrize("max_context_tokens", [None, 1_000_000])
async def test_a_late_step_does_no_more_than_an_early_one(
    tmp_path: Path, max_context_tokens: int | None
) -> None:
    """Regression list of peers.md, 31."""
    limits = Limits(max_rounds=None, max_context_tokens=max_context_tokens)
    model = Counted()
    ids = SystemIds()
    said = Message(message_id=ids.new(), role=Role.user, content=(TextBlock(text="begin"),))
    threading.setprofile(model.count)
    sys.setprofile(model.count)
    try:
        async with working(model, tmp_path, limits) as (mailbox, store):
            submission = Submission(tenant="t", run_id=ids.new(), agent_id="it", messages=(said,))
            run_id = (await mailbox.submit(submission)).run_id
            while True:
                run = await store.run("t", run_id)
                if run is not None and run.status is RunStatus.done:
                    break
                await anyio.sleep(0.05)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    early = model.at[60] - model.at[20]
    late = model.at[STEPS - 10] - model.at[STEPS - 50]
    assert late < early * 1.15, (early, late)
