"""The exit codes of all commands. They are part of the public API; `docs/cli.md` lists them."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Why a command ends; 2 is also how a wrong use of a command ends."""

    done = 0
    failed = 1
    """The start failed; the run that was followed failed; the doctor has warnings."""
    usage = 2
    sick = 2
    """The doctor has found problems."""
    waiting = 3
    """The run that was followed waits for somebody."""
    stopped = 4
    """The run that was followed was cancelled, superseded, or stopped by a limit."""
    unreachable = 10
    no_access = 11
    not_found = 12
    refused = 13
    server_error = 14
