"""Makes the pictures in docs/img: the demo server, a few runs, and a headless Chromium.

    python tools/screenshots.py [DIRECTORY]

Needs what the tests of the page need (docs/page.md, "Tests").
"""

from __future__ import annotations

import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.harness import Server, run_body  # noqa: E402  # needs the line above
from tests.page.webdriver import Driver, Tab, missing  # noqa: E402

MAX_BYTES = 200_000
WIDE = (1160, 800)
PHONE = (390, 780)

Scene = Callable[[Tab, Server], None]


def main(arguments: list[str]) -> int:
    """Make all pictures; the exit status says whether one is too large."""
    absent = missing()
    if absent:
        print(f"not found: {absent}; run: sh tools/install_browser.sh")
        return 1
    place = Path(arguments[0]) if arguments else ROOT / "docs" / "img"
    place.mkdir(parents=True, exist_ok=True)
    too_large = 0
    with tempfile.TemporaryDirectory() as data, Server(Path(data)) as server, Driver() as driver:
        furnish(server)
        for name, (scene, dark, size) in SCENES.items():
            with driver.tab() as tab:
                tab.look(*size, dark=dark, scale=2 if size == PHONE else 1)
                scene(tab, server)
                picture = smaller(tab.screenshot())
            (place / f"{name}.png").write_bytes(picture)
            too_large += len(picture) > MAX_BYTES
            print(f"{name}.png {len(picture) // 1024} KiB")
    return too_large


def furnish(server: Server) -> None:
    """A few runs of each kind."""
    for agent_id, text in (
        ("echo", "Good morning"),
        ("storyteller", "tokens=40 delay_ms=1"),
        ("flaky", "fail=permanent"),
        ("assistant", "weather in Oslo"),
        ("clerk", "refund order 17 amount=20"),
        ("helper", "Help me choose a colour for the door"),
        ("assistant", "weather in Paris and 6 * 7"),
    ):
        server.run(agent_id, text)
    server.run("flaky", "fail=transient:1 tokens=12", thread_id="flaky-thread")


# --- the scenes ----------------------------------------------------------------------------------


def start(tab: Tab, server: Server) -> None:
    tab.open(server.base_url)
    tab.wait_text(".card", "storyteller")
    tab.wait_text(".line .words", "Paris")


def chat(tab: Tab, server: Server) -> None:
    tab.open(f"{server.base_url}/#/chat/assistant")
    say(tab, "weather in Paris and 6 * 7")
    tab.wait_text(".answer", "Here is what I found")
    tab.click(".reasoning summary")


def approval(tab: Tab, server: Server) -> None:
    tab.open(f"{server.base_url}/#/chat/clerk")
    say(tab, "refund order 23 amount=95")
    tab.click("button", "Edit arguments")
    tab.wait_text(".editor textarea", "")


def timeline(tab: Tab, server: Server) -> None:
    runs = server.get("/v1/threads/flaky-thread/runs")["items"]
    tab.open(f"{server.base_url}/#/runs/{runs[0]['run_id']}")
    tab.wait_text(".end", "Done")
    tab.wait_text(".why", "natural end")


def live(tab: Tab, server: Server) -> None:
    body = run_body("worker", "do=sand,paint,dry,polish seconds=3")
    run = server.post("/v1/runs/background", body)
    tab.open(f"{server.base_url}/#/runs/{run['run_id']}")
    tab.wait_text(".call", "paint")
    tab.wait_text(".why", "lease")


def inbox(tab: Tab, server: Server) -> None:
    tab.open(f"{server.base_url}/#/inbox")
    tab.wait_text(".ticket", "pick_color")
    tab.wait_text(".origin", "clerk")


def runs(tab: Tab, server: Server) -> None:
    server.post("/v1/runs/background", run_body("storyteller", "tokens=400 delay_ms=60"))
    tab.open(f"{server.base_url}/#/runs")
    tab.wait_text(".line", "running")
    tab.wait_text(".line .words", "tokens=400")


def system(tab: Tab, server: Server) -> None:
    tab.open(f"{server.base_url}/#/system")
    tab.wait_text(".tile", "dead letters")
    tab.wait_text(".chip", "tickets")


def failed(tab: Tab, server: Server) -> None:
    tab.open(f"{server.base_url}/#/failed")
    tab.wait_text(".line", "demo_permanent")


def say(tab: Tab, text: str) -> None:
    tab.type(".composer textarea", text)
    tab.click(".composer button", "Send")


SCENES: dict[str, tuple[Scene, bool, tuple[int, int]]] = {
    "start": (start, False, WIDE),
    "chat": (chat, False, WIDE),
    "approval": (approval, True, WIDE),
    "timeline": (timeline, False, WIDE),
    "live": (live, True, WIDE),
    "inbox": (inbox, False, WIDE),
    "runs": (runs, False, WIDE),
    "failed": (failed, False, WIDE),
    "system": (system, True, WIDE),
    "phone-start": (start, False, PHONE),
    "phone-chat": (approval, False, PHONE),
    "phone-runs": (runs, True, PHONE),
}


# --- smaller files -------------------------------------------------------------------------------


def smaller(png: bytes) -> bytes:
    """The same picture, compressed as well as zlib can."""
    head, rest, data, out = png[:8], png[8:], b"", b""
    ends = b""
    while rest:
        size = int.from_bytes(rest[:4], "big")
        kind, body = rest[4:8], rest[8 : 8 + size]
        if kind == b"IDAT":
            data += body
        elif kind == b"IEND":
            ends = _chunk(kind, body)
        else:
            out += _chunk(kind, body)
        rest = rest[12 + size :]
    packed = _chunk(b"IDAT", zlib.compress(zlib.decompress(data), 9))
    return min(png, head + out + packed + ends, key=len)


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = zlib.crc32(kind + body)
    return len(body).to_bytes(4, "big") + kind + body + check.to_bytes(4, "big")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
