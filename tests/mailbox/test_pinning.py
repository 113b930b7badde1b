"""What a run is pinned to, as it stands in the database (I12)."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from awaken.agent import Agent
from awaken.domain.agent import AgentSpec, Limits, ToolSpec
from awaken.stores.sqlite.store import SqliteStore
from awaken.testing.clock import FakeClock

from .lab import Lab
from .tools import Bench


@asynccontextmanager
async def on_file(path: Path, agent: Agent) -> AsyncIterator[Lab]:
    clock = FakeClock()
    store = await SqliteStore.open(path, clock=clock, worker_id="w1")
    try:
        yield Lab(store, clock, [agent])
    finally:
        await store.aclose()


def pinned(path: Path) -> tuple[str, bytes]:
    """The id and the bytes of the one specification that is stored."""
    database = sqlite3.connect(path)
    [(resolution_id, data)] = database.execute("select resolution_id, data from resolutions")
    database.close()
    return resolution_id, data


async def test_what_a_run_is_pinned_to_is_stored_with_every_field(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with on_file(path, Bench().agent) as here:
        await here.submit("do(label=a)", agent_id="tooled")
    stored = msgspec.json.decode(pinned(path)[1])
    assert set(stored) == set(AgentSpec.__struct_fields__)
    assert set(stored["limits"]) == set(Limits.__struct_fields__)
    assert all(set(tool) == set(ToolSpec.__struct_fields__) for tool in stored["tools"])


async def test_a_run_goes_on_that_was_pinned_before_every_field_was_stored(tmp_path: Path) -> None:
    path, made = tmp_path / "a.db", Bench()
    async with on_file(path, made.agent) as here:
        run_id = (await here.submit("do(label=a)", agent_id="tooled")).run_id
    resolution_id, data = pinned(path)
    whole = msgspec.json.decode(data)
    whole["limits"] = {"max_rounds": 50}
    whole["tools"] = [{"name": tool["name"]} for tool in whole["tools"]]
    old = {key: whole[key] for key in ("agent_id", "model", "limits", "tools")}
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "update resolutions set data = ? where resolution_id = ?",
            (msgspec.json.encode(old), resolution_id),
        )
    database.close()
    async with on_file(path, made.agent) as here:
        await here.work()
        assert await here.done(run_id) == "natural_end"
        assert made.effects == ["a"]
