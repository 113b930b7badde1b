"""One server per file: a lock on `<file>.lock` that ends with the process that holds it.

The lock is what tells the living from the dead. Who holds it knows that no other process writes to
the file, so whatever other workers have claimed there, they claimed before they died.
"""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec

from awaken.domain.record import Record
from awaken.errors import StoreFault
from awaken.stores.sqlite import faults

# Windows lets nobody read what is locked, so a byte far behind the text is locked there.
_LOCKED_BYTE: Final = 1 << 30


class Holder(Record, omit_defaults=False):
    """What a lock file says about the process that holds it."""

    pid: int
    started_at: int
    worker: str


class FileLock:
    """A held lock. `release` is idempotent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: str, holder: Holder) -> FileLock:
        """Take the lock file `path`, and write `holder` into it.

        Raises:
            StoreFault: `store_in_use`, naming the process that has it; `store_unavailable` when the
                file cannot be opened.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise faults.unavailable() from error
        try:
            if not take_nowait(descriptor):
                raise _in_use(descriptor)
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, msgspec.json.encode(holder))
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let another process have it. The file stays: removing it could remove another's lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _in_use(descriptor: int) -> StoreFault:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = msgspec.json.decode(os.read(descriptor, 4096), type=Holder)
        who = f"process {holder.pid} (worker {holder.worker})"
    except msgspec.MsgspecError:  # it has just taken the lock, and not written yet
        who = "another process"
    return StoreFault(
        "store_in_use", f"the store is in use by {who}; one server per file", retryable=False
    )


if sys.platform == "win32":
    import msvcrt

    def take_nowait(descriptor: int) -> bool:
        """Whether the lock of an open lock file could be taken; closing the file lets it go."""
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def take_nowait(descriptor: int) -> bool:
        """Whether the lock of an open lock file could be taken; closing the file lets it go."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
