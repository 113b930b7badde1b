"""Where the time of a short run goes, part by part."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

from bench.figure import Figure, Measure, Values
from bench.http import BadAnswer
from bench.rig import Rig

ROOT: Final = Path(__file__).resolve().parent.parent.parent


async def measure(rig: Rig) -> AsyncGenerator[Values]:
    while True:
        yield await _once(rig)


async def _once(rig: Rig) -> Values:
    source = [str(rig.source)] if rig.source is not None else []
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.parts",
        str(rig.directory),
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*source, str(ROOT)])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        told = errors.decode(errors="replace").strip().splitlines()
        raise BadAnswer(f"the parts cannot be measured: {told[-1] if told else 'no reason given'}")
    values: Values = json.loads(out)
    return values


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
        Figure(
            key="part_run_us",
            label="a short run: body, submit, prepare, loop, settle (of 64), frames",
            unit="µs",
        ),
    ),
    run=measure,
    repetitions=5,
)
