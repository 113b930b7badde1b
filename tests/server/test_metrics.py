"""What `/metrics` says after a scenario in which everything happens once, and its pages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from awaken.errors import StoreFault
from awaken.leftovers import attend
from awaken.ports.clock import SystemClock
from awaken.ports.store import Transaction
from awaken.server.measured import MeasuredStore
from awaken.server.metrics import (
    MAX_NAMES,
    OTHER,
    Metrics,
    Names,
    metrics_table,
    with_metrics_table,
)
from awaken.stores.sqlite.store import SqliteStore
from awaken.testing.faulty import Fault, FaultyStore
from awaken.tools import threads_used
from tests.server.live import wait_until
from tests.server.watched import Watched, gate, watched

ROOT = Path(__file__).parents[2]


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name that have these labels."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found)

    def values(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if sample.name == name}


async def scrape(app: Watched) -> Scrape:
    response = await app.client.get("/metrics")
    assert response.status_code == 200
    return Scrape(response.text)


async def happen(app: Watched) -> None:
    """Everything once."""
    await app.run("talker")
    for agent in ("broken", "shaky", "stubborn", "adder", "guesser", "outsider"):
        await app.run(agent)
    await app.decide(await app.run("payer"))
    await app.decide(await app.run("asker"), "Ada")


async def test_a_scenario_is_counted() -> None:
    async with watched() as app:
        await happen(app)
        found = await scrape(app)

    assert found.values("awaken_runs_total", "outcome") == {
        *("completed", "permanent_error", "transient_error", "suspended"),
    }
    assert found("awaken_runs_total", outcome="completed") == 8
    assert found("awaken_runs_total", outcome="permanent_error") == 1
    assert found("awaken_runs_total", outcome="transient_error") == 1
    assert found("awaken_runs_total", outcome="suspended") == 2
    for name in ("awaken_run_duration", "awaken_mailbox_dispatch_enqueue_to_complete"):
        assert found(f"{name}_seconds_count") == 11  # the failed attempt ended no dispatch
    assert found("awaken_mailbox_dispatch_runtime_seconds_count") == 12
    assert found("awaken_mailbox_dispatch_enqueue_to_start_seconds_count") == 11
    assert found("awaken_mailbox_dispatch_eligible_to_start_seconds_count") == 12
    assert found("awaken_mailbox_dispatch_claim_to_start_seconds_count") == 12
    assert found("awaken_errors_total", **{"class": "out_of_order"}) == 1
    assert found("awaken_errors_total", **{"class": "busy"}) == 1
    assert found("awaken_active_runs") == 0
    assert found("awaken_run_slots") == 256


async def test_models_are_measured_with_their_tokens_errors_and_retries() -> None:
    async with watched() as app:
        await happen(app)
        found = await scrape(app)

    requests, talk = "awaken_inference_requests_total", {"model": "talk", "provider": "scripted"}
    assert found(requests, **talk, status="ok") == 1
    assert found("awaken_inference_duration_seconds_count", **talk, status="ok") == 1
    assert found("awaken_inference_first_chunk_seconds_count", **talk) == 1
    tokens = {
        kind: found("awaken_inference_tokens_total", **talk, type=kind)
        for kind in found.values("awaken_inference_tokens_total", "type")
    }
    assert tokens == {
        "input": 100,
        "output": 20,
        "total": 120,
        "thinking": 5,
        "cache_read_input": 60,
        "cache_creation_input": 10,
    }
    errors = "awaken_inference_errors_total"
    assert found(errors, model="broken", **{"class": "out_of_order"}) == 1
    assert found(requests, model="broken", status="error") == 1
    assert found(requests, model="shaky", status="error") == 1
    assert found(requests, model="shaky", status="ok") == 1
    # What is asked again within one call is one call, and several tries.
    assert found(requests, model="stubborn") == found(requests, model="stubborn", status="ok") == 1
    tries = "awaken_inference_tries_total"
    assert found(tries, model="stubborn", result="overloaded") == 2
    assert found(tries, model="stubborn", result="ok") == 1
    # A foreign agent's calls are known by what it tells.
    acme = {"model": "large", "provider": "acme"}
    assert found(requests, **acme) == 1
    assert found("awaken_inference_duration_seconds_sum", **acme) == 1.5
    assert found("awaken_inference_tokens_total", **acme, type="total") == 10


async def test_tools_and_suspensions_are_measured() -> None:
    async with watched() as app:
        await happen(app)
        found = await scrape(app)

    calls, errors = "awaken_tool_calls_total", "awaken_tool_errors_total"
    assert found(calls, tool="add", status="ok") == 1
    assert found("awaken_tool_duration_seconds_count", tool="add", status="ok") == 1
    assert found(calls, tool="crash", status="error") == 1
    assert found(errors, tool="crash", **{"class": "tool_failed"}) == 1
    assert found(calls, tool="no_such_tool") == 0
    assert found(errors, tool="no_such_tool", **{"class": "unknown_tool"}) == 1
    assert found(calls, tool="pay") == found(calls, tool="pay", status="ok") == 1
    assert found(calls, tool="ask_name", status="suspended") == 1
    assert found(calls, tool="ask_name", status="ok") == 1
    assert found(calls, tool="lookup", status="ok") == 1
    assert found(errors, tool="lookup", **{"class": "gone"}) == 1
    suspensions = "awaken_agent_suspensions_total"
    for action in ("suspended", "resumed"):
        assert found(suspensions, action=action, resume_mode="replay_tool_call") == 1
        assert found(suspensions, action=action, resume_mode="pass_decision_to_tool") == 1


async def test_the_queue_the_store_and_requests_are_measured(tmp_path: Path) -> None:
    async with watched(store=f"sqlite:///{tmp_path}/a.db") as app:
        await app.run("talker")
        await app.run("payer")
        found = await scrape(app)

    assert found("awaken_mailbox_dispatch_depth", status="acked") == 2
    assert found("awaken_mailbox_queue_depth") == 0
    assert found("awaken_mailbox_oldest_due_seconds") == 0
    operations = "awaken_mailbox_operations_total"
    assert found(operations, operation="submit", result="ok") == 2
    assert found(operations, operation="settle", result="ok") == 2
    seconds = "awaken_mailbox_operation_duration_seconds_count"
    assert found(seconds, operation="submit", result="ok") == 2
    assert found("awaken_store_file_bytes", file="database") >= 4096
    assert found("awaken_store_file_bytes", file="wal") > 4096
    assert found("process_resident_memory_bytes") > 1_000_000
    route = {"method": "POST", "route": "/v1/runs/wait", "status": "200"}
    assert found("awaken_http_requests_total", **route) == 2
    assert found("awaken_http_request_duration_seconds_count", **route) == 2
    assert found("awaken_http_requests_in_flight") == 1


async def test_what_is_looked_up_is_looked_up_only_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with watched() as app:
        asked = 0
        assert app.app.services is not None
        counts = app.app.services.store.counts

        async def counting(tenant: str | None = None) -> Any:
            nonlocal asked
            asked += 1
            return await counts(tenant)

        monkeypatch.setattr(app.app.services.store, "counts", counting, raising=False)
        for _ in range(5):
            await scrape(app)
        assert asked == 1


@pytest.fixture
def _gate() -> Iterator[None]:
    gate.open.clear()
    gate.passed.clear()
    yield
    gate.open.set()
    assert gate.passed.wait(5)


@pytest.mark.usefixtures("_gate")
async def test_a_thread_that_a_tool_left_behind_is_seen_until_it_ends() -> None:
    async with watched() as app:
        await app.run("hanger")
        found = await scrape(app)
        assert found("awaken_tool_calls_total", tool="hang", status="cancelled") == 1
        assert found("awaken_tool_errors_total", tool="hang", **{"class": "timeout"}) == 1
        assert found("awaken_tool_threads") == 1
        assert found("awaken_tool_threads_abandoned") == 1
        gate.open.set()
        await wait_until(lambda: threads_used() == 0)
        found = await scrape(app)
        assert found("awaken_tool_threads_abandoned") == 0


async def test_a_task_that_ignored_its_stop_is_seen_until_it_ends() -> None:
    let_go, ended = anyio.Event(), anyio.Event()

    async def shielded() -> None:
        with anyio.CancelScope(shield=True):
            await let_go.wait()
        ended.set()

    async with watched() as app:
        with anyio.move_on_after(0.01):
            await attend(shielded, "tool mule", 0.01)
        assert (await scrape(app))("awaken_tasks_left_behind") == 1
        let_go.set()
        await ended.wait()
        assert (await scrape(app))("awaken_tasks_left_behind") == 0


async def test_faults_of_the_store_are_counted_by_their_code() -> None:
    async def nothing(tx: Transaction) -> None:
        return

    metrics = Metrics(SystemClock())
    inner = await SqliteStore.open(":memory:")
    store = MeasuredStore(FaultyStore(inner, Fault.before, nth=1), metrics)
    try:
        with pytest.raises(StoreFault) as raised:
            await store.transact(nothing)
        await store.transact(nothing)
    finally:
        await store.aclose()
    found = Scrape(metrics.render().decode())
    operation = {"operation": "nothing"}
    assert found("awaken_mailbox_operations_total", **operation, result="error") == 1
    assert found("awaken_mailbox_operations_total", **operation, result="ok") == 1
    assert found("awaken_errors_total", **{"class": raised.value.code}) == 1


# --- what may stand on them ----------------------------------------------------------------------


async def test_no_label_is_an_id() -> None:
    async with watched() as app:
        await happen(app)
        found = await scrape(app)
    names = {metric.name: set(metric.labels) for metric in Metrics(SystemClock()).described}
    uuid = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-")
    for sample in found.samples:
        name = re.sub(r"_(bucket|count|sum|created)$", "", sample.name)
        known = names.get(sample.name, names.get(name, names.get(f"{name}_total")))
        assert known is not None, sample
        assert set(sample.labels) - {"le"} == known, sample
        assert not any(uuid.search(value) for value in sample.labels.values()), sample


def test_names_that_others_choose_are_bounded() -> None:
    names = Names()
    assert [names.label(f"n{nth}") for nth in range(MAX_NAMES)][-1] == f"n{MAX_NAMES - 1}"
    assert names.label("one more") == OTHER
    assert names.label("n0") == "n0"
    assert Names().label("x" * 1000) == OTHER


# --- where they are written ----------------------------------------------------------------------


def test_the_page_lists_every_metric_as_it_is() -> None:
    page = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    assert metrics_table() in page, "run make docs"
    assert with_metrics_table(page) == page


def test_the_alarms_of_the_page_name_metrics_that_exist() -> None:
    page = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    assert named(page) <= existing()


def test_every_metric_on_the_dashboard_exists() -> None:
    dashboard = json.loads((ROOT / "docs/grafana/awaken.json").read_text(encoding="utf-8"))
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    variables = dashboard["templating"]["list"]
    expressions += [variable["query"] for variable in variables if variable["type"] == "query"]
    used = named("\n".join(map(str, expressions)))
    assert used <= existing()
    assert len(used) > 25
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert all(panel.get("description") for panel in panels)


def named(text: str) -> set[str]:
    """The metrics a text names; that of a histogram without what its samples add."""
    found = re.findall(r"\b(?:awaken|process)_[a-z0-9_]+\b(?!\.)", text)
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


def existing() -> set[str]:
    return {metric.name for metric in Metrics(SystemClock()).described}
