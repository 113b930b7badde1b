"""What a measure is given: how to start servers, and how much time it may take."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.server import MAIN, Launch, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """`directory` is for databases; `awaken` comes from `source` (None: as it is installed)."""

    directory: Path
    source: Path | None = None
    quick: bool = False
    profile: Path | None = None

    def scaled(self, full: int, quick: int) -> int:
        """How much of something: `full`, or `quick` in a quick run."""
        return quick if self.quick else full

    @asynccontextmanager
    async def server(self, *, prefix: Sequence[str] = (), **settings: int) -> AsyncIterator[Server]:
        """A fresh server with these settings (`max_concurrent_runs=…`); it ends with the block."""
        with tempfile.TemporaryDirectory(dir=self.directory, prefix="server-") as place:
            launch = Launch(
                directory=Path(place),
                source=self.source,
                settings={key: str(value) for key, value in settings.items()},
                prefix=prefix,
                main=self._main(),
            )
            server = Server(launch)
            try:
                await server.start()
                yield server
            finally:
                # Nothing of a server is needed afterwards, but for what its profiler writes.
                await (server.kill() if self.profile is None else server.stop())

    def _main(self) -> str:
        if self.profile is None:
            return MAIN
        here = str(Path(__file__).resolve().parent.parent)
        return (
            f"import sys; sys.path.append({here!r}); from bench.sampler import sampled; "
            f"from awaken.cli.app import main; sampled(main, {str(self.profile)!r})"
        )
