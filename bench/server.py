"""The server under measurement: a process of its own, on a SQLite file of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from bench.http import HOST, BadAnswer, connect, get

START_SECONDS: Final = 20.0
STOP_SECONDS: Final = 10.0
MAIN: Final = """
try:
    from awaken.cli.app import main
except ImportError:  # a revision of before the package of commands, to compare with
    from awaken.server.cli import main
main()
"""


class ServerFailed(Exception):
    """The server did not start; the text ends with its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a server is started.

    `source` is the directory that `awaken` is imported from; None: as it is installed. `prefix` is
    put before the command (a tracer), `main` is the code it runs.
    """

    directory: Path
    source: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    main: str = MAIN

    def command(self, port: int) -> list[str]:
        store = f"sqlite:///{self.directory / 'bench.db'}"
        serve = ["serve", "--host", HOST, "--port", str(port)]
        places = ["--store", store, "--data-dir", str(self.directory / "data")]
        return [*self.prefix, sys.executable, "-c", self.main, *serve, *places]

    def environment(self) -> dict[str, str]:
        """Ours, without the settings of whoever runs this."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("AWAKEN_")}
        if self.source is not None:
            kept["PYTHONPATH"] = str(self.source)
        # A test run may have these; they would slow the server down.
        for key in ("PYTHONDEVMODE", "PYTHONASYNCIODEBUG", "PYTHONTRACEMALLOC"):
            kept.pop(key, None)
        return kept | {f"AWAKEN_{key.upper()}": value for key, value in self.settings.items()}


class Server:
    """A running server. After `kill`, `start` runs it again on the same file and port."""

    def __init__(self, launch: Launch) -> None:
        self.port = _free_port()
        self.started_at = 0.0
        self.ready_at = 0.0
        self._launch = launch
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            ServerFailed: it ended, or was not ready in time.
        """
        with self._log().open("ab") as log:
            self.started_at = time.perf_counter()
            self._process = await asyncio.create_subprocess_exec(
                *self._launch.command(self.port),
                cwd=self._launch.directory,
                env=self._launch.environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
            )
        while not await self._answers():
            await self._check_alive()
            await asyncio.sleep(0.005)
        self.ready_at = time.perf_counter()

    def cpu_seconds(self) -> float:
        """Processor time it has used, all threads."""
        times = psutil.Process(self._pid).cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        """Its resident memory."""
        return int(psutil.Process(self._pid).memory_info().rss)

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def stop(self) -> None:
        """SIGTERM; SIGKILL when it does not end by itself."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
        await self.kill()

    @property
    def _pid(self) -> int:
        assert self._process is not None, "not running"
        return self._process.pid

    def _log(self) -> Path:
        return self._launch.directory / "server.log"

    async def _answers(self) -> bool:
        try:
            connection = await connect(self.port)
        except OSError:
            return False
        try:
            answer = await connection.ask(get("/health/ready"))
        except ConnectionError:
            return False
        finally:
            connection.close()
        if answer.status not in (200, 503):
            raise BadAnswer(f"/health/ready answered {answer.status}")
        return answer.status == 200

    async def _check_alive(self) -> None:
        assert self._process is not None
        ended = self._process.returncode is not None
        if ended or time.perf_counter() - self.started_at > START_SECONDS:
            await self.kill()
            log = self._log().read_text(encoding="utf-8", errors="replace")[-2_000:]
            raise ServerFailed(f"the server {'ended' if ended else 'was not ready'}:\n{log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
