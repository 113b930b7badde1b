"""Writing an export to a file, whole or not at all.

An export is JSON lines, and the last has the type `end`: without it something is missing.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from awaken.cli.codes import Code
from awaken.cli.session import ask
from awaken.cli.show import fail

if TYPE_CHECKING:
    from awaken.client import Client

Pieces = AbstractAsyncContextManager[AsyncIterator[bytes]]


def save(url: str | None, export: Callable[[Client], Pieces], output: Path | None) -> int:
    """Write to the file, or to standard output; returns how many bytes there were.

    A file takes its name when all of it is there: what broke off leaves nothing behind.
    """
    if output is None:
        return ask(url, lambda client: _copy(export(client), _STANDARD_OUTPUT), bounded=False)
    with _destination(output) as descriptor:
        return ask(url, lambda client: _copy(export(client), descriptor), bounded=False)


_STANDARD_OUTPUT = -1


@contextmanager
def _destination(output: Path) -> Iterator[int]:
    """A file to write to, which becomes `output` if all goes well."""
    part = output.with_name(f".{output.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            yield descriptor
            os.replace(part, output)
        finally:
            os.close(descriptor)
            part.unlink(missing_ok=True)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")


async def _copy(pieces: Pieces, descriptor: int) -> int:
    from anyio import to_thread

    size, end = 0, b""
    async with pieces as content:
        async for piece in content:
            size += len(piece)
            end = (end + piece)[-_END_BYTES:]
            await to_thread.run_sync(_write, descriptor, piece)
    if not _is_whole(end):
        fail("the export broke off before its end; try again", Code.server_error)
    return size


_END_BYTES = 1_000
"""More than the last line has."""


def _is_whole(end: bytes) -> bool:
    last = end.rstrip(b"\n").rpartition(b"\n")[2]
    try:
        line = json.loads(last)
    except ValueError:
        return False
    return isinstance(line, dict) and line.get("type") == "end"


def _write(descriptor: int, piece: bytes) -> None:
    if descriptor == _STANDARD_OUTPUT:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
