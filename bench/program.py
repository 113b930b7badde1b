"""Measures that run as programs of their own, against the `awaken` that a rig names."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

from bench.figure import Values
from bench.http import BadAnswer
from bench.rig import Rig

ROOT: Final = Path(__file__).resolve().parent.parent


async def values_of(rig: Rig, module: str, *arguments: object) -> Values:
    """What `python -m module DIRECTORY *arguments` prints: figures by key, as JSON.

    Raises:
        BadAnswer: it failed; the text has its last line.
    """
    source = [str(rig.source)] if rig.source is not None else []
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, str(rig.directory), *map(str, arguments)),
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
        raise BadAnswer(f"{module} failed: {told[-1] if told else 'no reason given'}")
    values: Values = json.loads(out)
    return values
