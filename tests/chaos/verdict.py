"""What must be true of a data directory, and of what clients were told, after any trouble."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import anyio

from awaken.domain.dispatch import Dispatch
from awaken.domain.event import Entry, RunFinish, RunRetry, Visibility, event_type, visibility
from awaken.domain.ids import DEFAULT_TENANT
from awaken.domain.run import Run, RunStatus
from awaken.stores.sqlite import SqliteStore
from awaken.testing.history import ThreadHistory, all_threads, read_history, violations

from .load import Told


def histories(data_dir: Path) -> list[ThreadHistory]:
    """The history of every thread; the server must not be running."""

    async def read() -> list[ThreadHistory]:
        store = await SqliteStore.open(data_dir / "awaken.db")
        try:
            threads = await all_threads(store, DEFAULT_TENANT)
            return [await read_history(store, DEFAULT_TENANT, thread_id) for thread_id in threads]
        finally:
            await store.aclose()

    return anyio.run(read)


def dispatches(found: Sequence[ThreadHistory]) -> list[Dispatch]:
    return [dispatch for history in found for dispatch in history.dispatches]


def check_all(data_dir: Path, told: Sequence[Told]) -> list[ThreadHistory]:
    """Every promise holds, and clients saw what the log says, each entry once."""
    found = histories(data_dir)
    for history in found:
        broken = violations(history)
        assert not broken, "\n".join(broken)
    runs = {run.run_id: run for history in found for run in history.runs}
    entries: dict[str | None, list[Entry]] = {}
    for history in found:
        for entry in history.entries:
            entries.setdefault(entry.run_id, []).append(entry)
    effects = _effects(data_dir)
    for one in told:
        assert one.run_id in runs, "a run that was accepted is gone"
        _check_run(runs[one.run_id], one, entries[one.run_id])
        _check_effects(one, entries[one.run_id], effects)
    return found


def _effects(data_dir: Path) -> Counter[str]:
    """How often each label was written down."""
    written = data_dir / "effects.log"
    return Counter(written.read_text().splitlines() if written.exists() else ())


def _check_effects(told: Told, entries: Sequence[Entry], effects: Counter[str]) -> None:
    """A finished call is never repeated; one that was cut off may have had its effect twice."""
    cuts = sum(isinstance(entry.event, RunRetry) for entry in entries)
    counts = [effects[label] for label in told.effects]
    assert all(count >= 1 for count in counts), counts
    assert sum(counts) <= len(counts) + cuts, f"{counts}, and cut off {cuts} times"


def _check_run(run: Run, told: Told, entries: Sequence[Entry]) -> None:
    assert run.status is RunStatus.done
    assert run.outcome is not None
    public = [entry for entry in entries if visibility(entry.event) is Visibility.public]
    logged = [(entry.seq, event_type(entry.event)) for entry in public]
    seen = [(event.entry["seq"], event.event) for event in told.events]
    assert seen == logged[: len(seen)], (
        f"run {run.run_id}: a reader missed entries or saw some twice"
    )
    assert len(seen) == len(logged) or not told.read_to_the_end
    ended = event_type_of_end(run)
    assert ended in ("natural_end", "cancelled", "superseded"), run.outcome
    said = run.outcome.text or ""
    if told.text is not None:
        assert told.text.startswith(said), f"run {run.run_id} said {said!r}"
        assert ended != "natural_end" or said == told.text
    if told.stopped:
        finish = entries[-1].event
        assert isinstance(finish, RunFinish)
        assert ended == "cancelled" or finish.cancel == "too_late", ended


def event_type_of_end(run: Run) -> str:
    """How the run ended, by its name on the wire."""
    assert run.outcome is not None
    return str(run.outcome.termination.__struct_config__.tag)
