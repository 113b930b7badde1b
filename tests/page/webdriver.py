"""A headless Chromium, driven over the WebDriver protocol: a few requests, so no library.

    with Driver() as driver, driver.tab() as tab:
        tab.open("http://127.0.0.1:8080/")
        tab.click("nav a", "Inbox")
        tab.wait_text("h1", "Inbox")

Waiting is bounded and done in the page itself. Whatever the page logs as an error, a blocked script
among it, fails the test when the tab is closed.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import httpx

CHROMIUM: Final = ("chromium", "chromium-browser", "google-chrome")
ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""How an element is told apart from other values (WebDriver, section 12)."""

WAIT_SECONDS: Final = 40.0
"""The limit for what must come: long, since a busy machine is slow, and no wait when it comes."""

ARGUMENTS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)

# Evaluated until it is true; the page may be drawn anew meanwhile, so nothing is kept.
_UNTIL = """
const done = arguments[arguments.length - 1];
const args = Array.from(arguments).slice(0, -2);
const end = performance.now() + arguments[arguments.length - 2] * 1000;
const condition = function () { %s };
(function look() {
  let value = null;
  try { value = condition.apply(null, args); } catch (error) { value = null; }
  if (value) done(value);
  else if (performance.now() > end) done(null);
  else setTimeout(look, 15);
})();
"""

# Of the elements that are shown, the first whose text holds the words.
_FIND = """
const [css, words] = arguments;
return [...document.querySelectorAll(css)].find((element) => element.checkVisibility()
  && (words === null || (element.innerText ?? '').includes(words)
      || (element.getAttribute('aria-label') ?? '').includes(words))) ?? null;
"""


def missing() -> str | None:
    """What has to be installed, or None."""
    absent = []
    if browser_path() is None:
        absent.append("chromium")
    if shutil.which("chromedriver") is None:
        absent.append("chromedriver")
    return " and ".join(absent) or None


def browser_path() -> str | None:
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


class DriverError(AssertionError):
    """The browser refused a command."""


class Driver:
    """chromedriver, and one browser with a profile of its own."""

    def __init__(self, width: int = 1200, height: int = 850) -> None:
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        self._size = (width, height)
        self._process: subprocess.Popen[str] | None = None
        self._http = httpx.Client(timeout=150, trust_env=False)
        self._session = ""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        command = ["chromedriver", "--port=0", "--log-level=SEVERE"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        self._http.base_url = httpx.URL(f"http://127.0.0.1:{_port(self._process)}")
        arguments = [*ARGUMENTS, f"--user-data-dir={self._profile.name}"]
        arguments.append("--window-size={},{}".format(*self._size))
        always = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": browser_path(), "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": 120_000, "pageLoad": 120_000},
        }
        self._session = "session"
        created = self.call("POST", "", {"capabilities": {"alwaysMatch": always}})
        self._session = f"session/{created['sessionId']}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One command; its value."""
        content = {} if body is None and method == "POST" else body
        place = f"/{self._session}{path}"
        value = self._http.request(method, place, json=content).json()["value"]
        if isinstance(value, dict) and "error" in value:
            raise DriverError(f"{method} {path}: {value['error']}: {value['message'][:600]}")
        return value

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A tab with storage of its own; errors it logged fail, unless they were read."""
        before = self.call("GET", "/window")
        handle = self.call("POST", "/window/new", {"type": "tab"})["handle"]
        self.call("POST", "/window", {"handle": handle})
        tab = Tab(self)
        tab.errors()  # of whoever was here before
        try:
            yield tab
            errors = tab.errors()
            assert not errors, "the page logged errors:\n" + "\n".join(errors)
        finally:
            self.call("DELETE", "/window")
            self.call("POST", "/window", {"handle": before})

    def close(self) -> None:
        """End the browser and its driver."""
        if self._process is not None:
            try:
                if "/" in self._session:
                    self.call("DELETE", "")
            finally:
                self._process.kill()  # it has nothing to put in order
                self._process.wait()
                assert self._process.stdout is not None
                self._process.stdout.close()
                self._process = None
        self._http.close()
        self._profile.cleanup()


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if "started successfully on port" in line:
            return int(line.rstrip().rstrip(".").rsplit(" ", 1)[1])
    raise AssertionError("chromedriver did not start")


class Tab:
    """What a user sees and does. Elements are named by CSS, and by words if there are several."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    # --- going somewhere

    def open(self, url: str) -> None:
        self.driver.call("POST", "/url", {"url": url})

    def reload(self) -> None:
        self.driver.call("POST", "/refresh")

    @property
    def url(self) -> str:
        return str(self.driver.call("GET", "/url"))

    # --- looking

    def run(self, script: str, *args: Any) -> Any:
        """The value that `script` returns in the page."""
        return self.driver.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def run_async(self, script: str, *args: Any) -> Any:
        """The value of an async function body in the page; `args` is what it is given."""
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...args) => {{ {script} }})(...Array.from(arguments).slice(0, -1))"
            ".then((value) => done({ value }), (error) => done({ error: String(error) }));"
        )
        answer = self.driver.call("POST", "/execute/async", {"script": wrapped, "args": list(args)})
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def wait(self, condition: str, *args: Any, seconds: float = WAIT_SECONDS) -> Any:
        """What `condition`, a function body, returns once that is true."""
        value = self.driver.call(
            "POST", "/execute/async", {"script": _UNTIL % condition, "args": [*args, seconds]}
        )
        if value is None:
            text = self.run("return document.body.innerText")
            raise AssertionError(f"never: {condition.strip()} {args}\nthe page says:\n{text}")
        return value

    def find(self, css: str, words: str | None = None, *, seconds: float = WAIT_SECONDS) -> str:
        """The id of an element, as soon as it is shown."""
        found: dict[str, str] = self.wait(_FIND, css, words, seconds=seconds)
        return found[ELEMENT]

    def wait_text(self, css: str, words: str, *, seconds: float = WAIT_SECONDS) -> None:
        """Until an element is shown that says so."""
        self.find(css, words, seconds=seconds)

    def wait_gone(self, css: str, words: str | None = None) -> None:
        """Until no such element is shown."""
        self.wait(f"return !(function () {{ {_FIND} }}).apply(null, arguments)", css, words)

    def text(self, css: str) -> str:
        """The text of the first such element, as it is shown."""
        return str(self.run("return document.querySelector(arguments[0]).innerText", css))

    def count(self, css: str) -> int:
        return int(self.run("return document.querySelectorAll(arguments[0]).length", css))

    def errors(self) -> list[str]:
        """What was logged as an error since this was asked last.

        That a server went away is none of the page's errors; that it refused a request is one.
        """
        entries = self.driver.call("POST", "/se/log", {"type": "browser"})
        severe = [entry["message"] for entry in entries if entry["level"] == "SEVERE"]
        return [message for message in severe if "net::ERR_" not in message]

    # --- doing

    def click(self, css: str, words: str | None = None) -> None:
        element = self.find(css, words)
        self.run("arguments[0].scrollIntoView({block: 'center'})", {ELEMENT: element})
        self.driver.call("POST", f"/element/{element}/click")

    def type(self, css: str, text: str, words: str | None = None) -> None:
        """Type into a field."""
        self.driver.call("POST", f"/element/{self.find(css, words)}/value", {"text": text})

    def clear(self, css: str) -> None:
        self.driver.call("POST", f"/element/{self.find(css)}/clear")

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        self.driver.call("POST", "/actions", body)

    def choose(self, css: str, words: str) -> None:
        """Choose an option of a select."""
        self.find(css)
        script = """
        const [css, words] = arguments;
        const select = document.querySelector(css);
        const option = [...select.options].find((each) => each.text === words);
        if (!option) return null;
        select.value = option.value;
        for (const name of ['input', 'change']) {
          select.dispatchEvent(new Event(name, { bubbles: true }));
        }
        return true;
        """
        self.wait(script, css, words)

    # --- how it looks

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        body = {"cmd": command, "params": parameters}
        return self.driver.call("POST", "/goog/cdp/execute", body)

    def look(self, width: int, height: int, *, dark: bool = False, scale: float = 1) -> None:
        """Be a screen of that size, in that colour scheme."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self) -> bytes:
        """What is seen, as a PNG."""
        return base64.b64decode(self.driver.call("GET", "/screenshot"))
