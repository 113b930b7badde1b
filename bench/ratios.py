"""Ratios of figures of one run: they compare parts, whatever the speed of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Ratio:
    """`above` over `below` (keys of figures; their best repetitions), and what it tells."""

    above: str
    below: str
    factor: float
    label: str
    meaning: str


RATIOS: Final = (
    Ratio(
        "runs_per_s_64",
        "runs_per_s_1",
        1,
        "runs/s of 64 clients : of 1",
        "what shared commits bring",
    ),
    Ratio(
        "requests_per_s_64",
        "runs_per_s_64",
        1,
        "bare requests/s : runs/s, 64 clients",
        "how many health checks one run costs",
    ),
    Ratio(
        "accept_p50_ms",
        "accept_undue_p50_ms",
        1,
        "accepting beside execution : alone",
        "what the run before costs the next one's caller",
    ),
    Ratio(
        "accept_undue_p50_ms",
        "sync_p50_us",
        1000,
        "accepting alone : one disk sync",
        "how much of it is not waiting for the disk",
    ),
    Ratio(
        "first_token_p50_ms",
        "first_byte_p50_ms",
        1,
        "first token : first byte",
        "what comes between acceptance and the first token",
    ),
    Ratio(
        "run_p50_ms",
        "first_token_p50_ms",
        1,
        "whole run : first token",
        "what the end of a short run costs",
    ),
    Ratio(
        "fanout_fast_per_s",
        "fanout_paced_per_s",
        1,
        "frames/s without delay : paced",
        "what many frames in one send bring",
    ),
    Ratio(
        "part_run_us",
        "cpu_us_per_run",
        1,
        "sum of the parts : server CPU a run",
        "how much of a run the parts explain; the rest is HTTP and the event loop",
    ),
)


def compute(values: Mapping[str, float]) -> list[tuple[Ratio, float]]:
    """The ratios whose figures are there."""
    return [
        (ratio, values[ratio.above] * ratio.factor / values[ratio.below])
        for ratio in RATIOS
        if values.get(ratio.below) and ratio.above in values
    ]
