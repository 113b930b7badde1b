"""Where the time of a short run goes, part by part."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from bench.figure import Figure, Measure, Values
from bench.program import values_of
from bench.rig import Rig


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    while True:
        yield await values_of(rig, "bench.parts")


def _stored(key: str, label: str) -> tuple[Figure, ...]:
    return tuple(
        Figure(key=f"part_{key}_{suffix}_us", label=f"{label}, {how}", unit="µs")
        for suffix, how in (
            ("alone", "on file, one at a time"),
            ("shared", "on file, each of 64"),
            ("cpu", "in memory, each of 64"),
        )
    )


MEASURE = Measure(
    name="micro",
    about="The parts of a run of 8 tokens inside one process, without HTTP. Operations of the "
    "store are commits: alone each waits for the disk, of 64 many share one.",
    figures=(
        Figure(key="part_parse_us", label="body to submission", unit="µs"),
        *_stored("submit", "commit: submit and claim"),
        *_stored("prepare", "read: prepare the attempt"),
        Figure(key="part_loop_us", label="agent loop with scripted model", unit="µs"),
        *_stored("append", "commit: append 2 events"),
        *_stored("settle", "commit: settle with 7 tokens"),
        *_stored("claim", "commit: claim from the line"),
        Figure(key="part_apply_us", label="domain: claim and settle", unit="µs"),
        Figure(key="part_fold_us", label="domain: fold 9 events", unit="µs"),
        Figure(key="part_id_us", label="a new id", unit="µs"),
        Figure(key="part_encode_us", label="encode 9 events for the log", unit="µs"),
        Figure(key="part_decode_us", label="decode them", unit="µs"),
        Figure(key="part_frames_us", label="9 events to SSE frames", unit="µs"),
        Figure(key="part_frame_us", label="one of them", unit="µs"),
        Figure(key="part_ai_sdk_delta_us", label="a text delta to an AI SDK frame", unit="µs"),
        Figure(key="part_ag_ui_delta_us", label="a text delta to an AG-UI frame", unit="µs"),
        Figure(
            key="part_run_us",
            label="a short run: body, submit, prepare, loop, settle (of 64), frames",
            unit="µs",
        ),
    ),
    run=measure,
    repetitions=5,
)
