"""What the system says of processes: which one listens on a port, and what it does. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTEN: Final = "0A"
_STATES: Final = {"T": "stopped", "t": "stopped", "D": "waiting for a disk", "Z": "dead"}


def are_known() -> bool:
    """Whether the system tells."""
    return _TABLES[0].exists()


def listener(port: int) -> int | None:
    """The process that listens on `port` of this machine; None when that cannot be found out."""
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    with suppress(OSError):
        for folder in Path("/proc").iterdir():
            if sockets and folder.name.isdigit() and _has_one(folder, sockets):
                return int(folder.name)
    return None


def _listening(port: int) -> Iterator[str]:
    """The sockets that listen on `port`, as inodes."""
    for table in _TABLES:
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _has_one(folder: Path, sockets: set[str]) -> bool:
    with suppress(OSError):  # it is somebody else's, or has just ended
        return any(os.readlink(entry) in sockets for entry in (folder / "fd").iterdir())
    return False


def state(pid: int) -> str | None:
    """What a process does, when that is nothing usual; None when it is, or cannot be found out."""
    with suppress(OSError, IndexError):
        # The name before the state is in brackets, and may have any character.
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return _STATES.get(text.rpartition(")")[2].split()[0])
    return None
