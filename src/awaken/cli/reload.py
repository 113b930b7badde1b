"""`awaken serve --reload`: the server as a child process that is started anew when code changes.

Runs survive that, since they are durable: the old process hands them over at once, the new one
goes on with them, and a stream that broke off is taken up by its client where it was. Code that
cannot be imported is told, and the server that runs is left alone until the next change.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer
from watchfiles import PythonFilter, watch

from awaken.cli.show import complain, fail
from awaken.server.stores import MEMORY

if TYPE_CHECKING:
    from awaken.server.settings import Settings

STOP_SECONDS: Final = 10.0
"""How long the old process may take to end; what it leaves is as after a crash, and goes on."""
LOOK_MS: Final = 300
"""How often the child is looked at while no file changes."""

_SERVE: Final = (sys.executable, "-m", "awaken.cli", "serve")
_FRESH: Final = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Compiled code is known by the second in which its source was written: too coarse for us."""
_OWN_GROUP: Final = None if os.name == "nt" else 0
_TRY: Final = "import sys; from awaken.cli.reload import try_to_load; try_to_load(sys.argv[1])"


def serve_and_reload(target: str | None, settings: Settings, given: Mapping[str, Any]) -> int:
    """Serve until a signal; the exit code. `given` is what the command line said, by setting."""
    if settings.store_url.endswith(MEMORY):
        complain("a store in memory is empty after each change; runs need a file to survive it")
    child = Child(target, _environment(settings, given))
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        child.start()
        for changed in _changes(target):
            if changed:
                child.restart(changed)
            else:
                child.look()
    except KeyboardInterrupt:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        child.stop()
    return 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _changes(target: str | None) -> Iterator[list[str]]:
    """The files that changed, each time some do; an empty list every now and then."""
    interesting = PythonFilter(extra_extensions=(".toml",))
    places = _places(target)
    typer.echo(f"watching {', '.join(map(str, places))} for changes of Python files", err=True)
    for changes in watch(
        *places,
        watch_filter=interesting,
        debounce=400,
        rust_timeout=LOOK_MS,
        yield_on_timeout=True,
        raise_interrupt=True,
    ):
        yield sorted({_short(path) for _, path in changes})


def _places(target: str | None) -> list[Path]:
    """This directory, and that of the agents' file if it is elsewhere."""
    here = Path.cwd()
    name = (target or "").rpartition(":")[0] or target or ""
    file = Path(name).resolve()
    if not name.endswith(".py") or file.is_relative_to(here):
        return [here]
    return [here, file.parent]


def _short(path: str) -> str:
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path


class Child:
    """The process that serves."""

    def __init__(self, target: str | None, environ: Mapping[str, str]) -> None:
        self._target = target
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, out of reach of the terminal's Ctrl-C: it is stopped by us, and once."""
        command = [*_SERVE, *([self._target] if self._target else [])]
        self._process = subprocess.Popen(
            command, env=self._environ, stdin=subprocess.DEVNULL, process_group=_OWN_GROUP
        )

    def restart(self, changed: list[str]) -> None:
        """Start it anew, unless the code cannot be loaded as it is now."""
        typer.echo(f"changed: {', '.join(changed[:5])}", err=True)
        if self._loads():
            self.stop()
            self.start()
        elif self._process is not None:
            complain("the server before this change goes on; waiting for the next one")
        else:
            complain("waiting for the next change")

    def look(self) -> None:
        """Tell it when the child has ended by itself."""
        if self._process is None or self._process.poll() is None:
            return
        code, self._process = self._process.returncode, None
        complain(f"the server has ended ({code}); waiting for the next change")

    def stop(self) -> None:
        """End it, in order if it does not take too long."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _loads(self) -> bool:
        """Whether the agents can be loaded; a process of its own tries, and tells why not."""
        if self._target is None:
            return True
        command = [sys.executable, "-c", _TRY, self._target]
        tried = subprocess.run(command, env=self._environ, check=False)
        return tried.returncode == 0


def try_to_load(target: str) -> None:
    """Load the agents of `target`, or end the process with the reason."""
    from awaken.registry.specs import AgentError
    from awaken.server.loading import LoadError, load_agents

    try:
        load_agents(target)
    except (LoadError, AgentError) as error:
        try:
            fail(str(error))
        except typer.Exit as end:
            sys.exit(end.exit_code)


def _environment(settings: Settings, given: Mapping[str, Any]) -> dict[str, str]:
    """The child's environment.

    What the command line said stands there, where nobody else can read it. Whoever develops does
    not wait for runs to end: unless the environment says otherwise they are handed over at once.
    """
    environ = {"AWAKEN_DRAIN_SECONDS": "0", **os.environ, **_FRESH}
    said = {key: str(value) for key, value in given.items() if value is not None}
    if settings.port == 0:
        said["port"] = str(_free_port(settings.host))
    return environ | {f"AWAKEN_{key.upper()}": value for key, value in said.items()}


def _free_port(host: str) -> int:
    """A port that is free now; each child takes the same, so that clients find it again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host.strip("[]"), 0))
        port: int = probe.getsockname()[1]
    return port
