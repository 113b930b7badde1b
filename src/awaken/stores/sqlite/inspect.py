"""Looking at a file from beside its server: who has it, and what schema it has. Changes nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from urllib.parse import quote

import msgspec

from awaken.errors import StoreFault
from awaken.stores.sqlite import faults, lock
from awaken.stores.sqlite.lock import Holder
from awaken.stores.sqlite.migrate import version


def holder_of(path: str) -> Holder | None:
    """The process that holds the lock of the file `path`; None when nobody does.

    Raises:
        StoreFault: `store_unavailable`, this user may not look.
    """
    try:
        descriptor = os.open(f"{path}.lock", os.O_RDWR)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise faults.unavailable() from error
    try:
        holder = _written(descriptor)
        # To ask is to take it for a moment. A process that starts in that moment must not find it
        # taken, so nobody asks about the lock of one that is known to be dead.
        if holder is None or not _lives(holder.pid) or lock.take_nowait(descriptor):
            return None
        return _written(descriptor)
    finally:
        os.close(descriptor)


def _written(descriptor: int) -> Holder | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with suppress(msgspec.MsgspecError):
        return msgspec.json.decode(os.read(descriptor, 4096), type=Holder)
    return None


def _lives(pid: int) -> bool:
    if os.name == "nt":
        return True  # there, signal 0 is none
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def schema_of(path: str) -> int | None:
    """The schema of the file `path`; None when there is no file.

    Raises:
        StoreFault: it cannot be read, or is no database.
    """
    if not os.path.exists(path):
        return None
    try:
        connection = sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, timeout=1)
        with closing(connection):  # one that may write: it leaves no file behind when it closes
            connection.execute("pragma query_only = on")
            return version(connection)
    except sqlite3.Error as error:
        fault = faults.for_caller(error)
        assert isinstance(fault, StoreFault), "it is one of SQLite"
        raise fault from error
