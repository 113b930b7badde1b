"""Running commands: in this process, which is quick, or in one of their own, which is real."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from typer.testing import CliRunner

from awaken.cli.app import cli
from awaken.client import Client, Run
from awaken.client.answers import Waiting
from tests.e2e.harness import AWAKEN, Server, run_body

SECONDS = 20


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


def awaken(
    *args: str, server: Server | None = None, env: Mapping[str, str] | None = None, **named: str
) -> Result:
    """A command in this process; its environment has no settings but those that are given."""
    place = {} if server is None else {"AWAKEN_URL": server.base_url}
    foreign = {name: None for name in os.environ if name.startswith("AWAKEN_")}
    given = {**foreign, **place, **(env or {}), **named}
    done = CliRunner().invoke(cli, list(args), env=given, prog_name="awaken")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Result(done.exit_code, done.stdout, done.stderr)


def process(
    *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, **named: str
) -> Result:
    """A command in a process of its own, between pipes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWAKEN_")}
    done = subprocess.run(
        [str(AWAKEN), *args],
        cwd=cwd,
        env={**kept, **(env or {}), **named},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def begin(server: Server, agent_id: str, text: str, **fields: Any) -> dict[str, Any]:
    """Start a run in the background; what was accepted."""
    accepted: dict[str, Any] = server.post(
        "/v1/runs/background", run_body(agent_id, text, **fields)
    )
    return accepted


def settled(server: Server, agent_id: str, text: str, **fields: Any) -> Run:
    """A run that is done, or waits."""
    run_id = begin(server, agent_id, text, **fields)["run_id"]
    run: Run = follow(server, lambda client: client.wait(run_id))
    return run


def asked(run: Run) -> Waiting:
    """What a run waits for; it does."""
    assert run["waiting"] is not None
    return run["waiting"]


def follow(server: Server, work: Callable[[Client], Any]) -> Any:
    """What `work` comes to, with a client of the server."""

    async def run() -> Any:
        async with Client(server.base_url, give_up_seconds=10) as client:
            return await work(client)

    return anyio.run(run)
