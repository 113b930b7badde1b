"""No secret comes out: canaries are planted wherever one can get in, and searched in all output."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from awaken.server.auth.keys import Keys, hash_of, read_compact
from awaken.server.auth.setup import make_security
from awaken.server.logs import JsonFormatter, TextFormatter, facts
from awaken.server.security_redaction import HIDDEN, Redactor, known_secrets, protect
from awaken.server.settings import Settings, SettingsError, load_settings
from awaken.server.stores import sqlite_path
from awaken.testing.clock import FakeClock
from tests.e2e.harness import Server, run_body

CANARY = "c4n4ry"
"""Part of every secret here; none of it may come out."""
KEY = f"awaken-sk-{CANARY}-key-0123456789"
HASHED = f"awaken-sk-{CANARY}-hashed-0123456789"
PASSWORD = f"{CANARY}-pass'w\"ord"
PROVIDER = f"sk-{CANARY}-0123456789abcdef"
TOKEN = f"eyJhbGciOiJSUzI1NiJ9.eyJ{CANARY}xyz.{CANARY}signature"

# --- the lines of a log --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f"authorization=Bearer {CANARY}-0123",
        f"Authorization: Bearer {CANARY}-0123 and more",
        f"{{'authorization': 'Bearer {CANARY}-0123'}}",
        f'{{"x-api-key": "{CANARY}0123"}}',
        f"x-api-key: {CANARY}0123",
        f"(b'authorization', b'Bearer {CANARY}-0123')",
        f"the key {KEY} is wrong",
        f"Incorrect API key provided: {PROVIDER}.",
        f"token {TOKEN} is expired",
        f"postgresql://awaken:{CANARY}%40x@db/awaken is down",
        f"GET /v1/runs?access_token={CANARY}0123&limit=5 HTTP/1.1",
        f"password={CANARY}0123",
        f"client_secret='{CANARY}0123'",
        f"OPENAI_API_KEY={CANARY}0123",
        f"claim_token={CANARY}0123",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    cleaned = Redactor().clean(text)
    assert CANARY not in cleaned
    assert HIDDEN in cleaned
    assert Redactor().clean(cleaned) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "tokens=100 delay_ms=50",
        "awaken_mailbox_dispatch_enqueue_to_complete_seconds",
        '"total_tokens": 17, "max_tokens": 1024',
        "the token has expired",
        "https://idp.example:8443/jwks",
        "postgresql://db:5432/awaken",
        "run_id=01a2133a-88d1-7157-9215-cec53062e22e",
        "the authorization must begin with Bearer",
        "key alice of tenant acme",
    ],
)
def test_what_is_none_is_left_alone(text: str) -> None:
    assert Redactor().clean(text) == text


@pytest.mark.parametrize(
    "piece", ["a-", "eyJa-", "://", "://a:", "bearer ", "token", 'key="', "x=", " "]
)
def test_a_line_that_was_made_to_be_slow_is_not(piece: str) -> None:
    text = piece * (64 * 1024 // len(piece))
    began = time.perf_counter()
    Redactor(["some secret"]).clean(text)
    assert time.perf_counter() - began < 1


def test_a_known_secret_is_hidden_however_it_looks() -> None:
    settings = Settings.model_validate(
        {
            "api_keys": f"alice:invoke:{CANARY}-of-alice-0123",
            "store": f"postgresql://u:{CANARY}%2Fp@h/d",
        }
    )
    environ = {"STRIPE_TOKEN": f"{CANARY} of stripe", "HOME": "/home/me", "SHORT_KEY": "abc"}
    redactor = Redactor(known_secrets(settings, environ))
    for text in (f"{CANARY}-of-alice-0123", f"{CANARY}/p", f"{CANARY}%2Fp", f"{CANARY} of stripe"):
        assert redactor.clean(f"<{text}>") == f"<{HIDDEN}>"
    assert redactor.clean("/home/me abc") == "/home/me abc"


@pytest.mark.parametrize("form", [JsonFormatter(), TextFormatter()])
def test_a_line_is_cleaned_wherever_the_secret_came_in(form: logging.Formatter) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(form)
    protect(handler, [PASSWORD])
    protect(handler, [PASSWORD])
    log = logging.getLogger("tests.redaction")
    log.handlers[:], log.propagate = [handler], False
    log.warning("as an argument %s", PASSWORD)
    log.warning("as a fact", extra={"dsn": PASSWORD, "headers": {"x-api-key": KEY}})
    try:
        raise RuntimeError(f"in a stack {PASSWORD}")
    except RuntimeError:
        log.exception("failed", exc_info=sys.exc_info())
    assert CANARY not in stream.getvalue()
    assert stream.getvalue().count(HIDDEN) >= 4
    if isinstance(form, JsonFormatter):
        for line in stream.getvalue().splitlines():
            assert set(json.loads(line)) >= {"at", "level", "message"}
    assert facts(logging.makeLogRecord({})) == {}


# --- what Python shows ---------------------------------------------------------------------------


def test_nothing_that_holds_a_secret_shows_it() -> None:
    settings = Settings.model_validate(
        {"api_keys": f"alice:invoke:{KEY}", "store": f"postgresql://u:{CANARY}@h/d"}
    )
    (entry,) = read_compact(f"alice:invoke:{KEY}")
    key = entry.read()
    shown = [settings, entry, key, key.identity, Keys([key]), make_security(settings, FakeClock())]
    for thing in shown:
        assert CANARY not in repr(thing)
        assert CANARY not in str(thing)
    assert hash_of(KEY) not in repr(entry)
    assert hash_of(KEY)[7:40] not in repr(key)


@pytest.mark.parametrize(
    "environ",
    [
        {"AWAKEN_API_KEYS": KEY},
        {"AWAKEN_API_KEYS": f"alice:boss:{KEY}"},
        {"AWAKEN_KEYS_FILE": "keys.toml"},
        {"AWAKEN_API_KEYS": f"a:invoke:{KEY}", "AWAKEN_PORT": "x"},
        {"AWAKEN_STORE": f"mysql://u:{CANARY}@h/d"},
    ],
)
def test_no_wrong_setting_is_told_with_its_secret(tmp_path: Path, environ: dict[str, str]) -> None:
    keys_file = tmp_path / "keys.toml"
    keys_file.write_text(f'[[keys]]\nname = "alice"\nscopes = ["boss"]\nkey = "{KEY}"\n')
    if "AWAKEN_KEYS_FILE" in environ:
        environ = {"AWAKEN_KEYS_FILE": str(keys_file)}

    def start() -> None:
        settings = load_settings(environ, tmp_path)
        make_security(settings, FakeClock())
        sqlite_path(settings.store_url)

    with pytest.raises(SettingsError) as caught:
        start()
    told = [str(caught.value), repr(caught.value)]
    cause = caught.value.__cause__
    told += [str(cause), repr(cause)] if cause is not None else []
    assert not [text for text in told if CANARY in text]


# --- a whole server ------------------------------------------------------------------------------

AGENTS = """
import logging, os
from awaken import Agent, ScriptedModel

secret = os.environ["SHOP_PASSWORD"]

def careless(request):
    logging.getLogger("shop").error("login with %s", secret, extra={"db": f"pg://u:{secret}@h/d"})
    raise RuntimeError(f"login failed with {secret}")

agents = [
    Agent("careless", model=ScriptedModel(careless, name="careless")),
    Agent("good", model=ScriptedModel(lambda request: ["fine"], name="good")),
]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "shop.py").write_text(AGENTS)
    keys_file = tmp_path / "keys.toml"
    keys_file.write_text(
        f'[[keys]]\nname = "bob"\nscopes = ["invoke", "admin"]\nhash = "{hash_of(HASHED)}"\n'
    )
    env = {
        "AWAKEN_API_KEYS": f"alice:invoke+approve+admin:{KEY}",
        "AWAKEN_KEYS_FILE": str(keys_file),
        "AWAKEN_ACCESS_LOG": "true",
        "AWAKEN_LOG_LEVEL": "debug",
        "AWAKEN_MAX_ATTEMPTS": "1",
        "SHOP_PASSWORD": PASSWORD,
    }
    with Server(tmp_path / "data", target=str(tmp_path / "shop.py"), env=env) as server:
        yield server


def said_by(server: Server, headers: dict[str, str]) -> list[str]:
    """All that a client sees that does all it can."""
    http: httpx.Client = server.http
    said = []
    run_ids = []
    for agent in ("good", "careless", "nobody"):
        answer = http.post("/v1/runs", json=run_body(agent, "hi"), headers=headers)
        said.append(answer.text + repr(answer.headers.multi_items()))
        run_ids.append(answer.headers.get("awaken-run-id", "none"))
    paths = [
        *(f"/v1/runs/{run_id}{rest}" for run_id in run_ids for rest in RUN_PATHS),
        *("/v1/runs", "/v1/threads", "/v1/tickets", "/v1/agents", "/v1/capabilities", "/metrics"),
        *("/v1/system/info", "/v1/mailbox/stats", "/openapi.json", "/", "/health", "/nope"),
        f"/v1/runs?access_token={KEY}",
        f"/v1/runs?cursor={KEY}",
    ]
    for path in paths:
        answer = http.get(path, headers=headers)
        said.append(answer.text + repr(answer.headers.multi_items()))
    return said


RUN_PATHS = ["", "/explain", "/events", "/stream"]


def test_a_server_with_secrets_everywhere_says_none_of_them(server: Server) -> None:
    said: dict[str, list[str]] = {}
    for name, headers in {
        "alice": {"authorization": f"Bearer {KEY}"},
        "bob": {"x-api-key": HASHED},
        "wrong": {"authorization": f"Bearer {KEY}x"},
        "token": {"authorization": f"Bearer {TOKEN}"},
        "basic": {"authorization": f"Basic {CANARY}0123456789"},
        "origin": {"origin": "https://evil.example", "x-api-key": KEY},
    }.items():
        said[name] = said_by(server, headers)
    log = list(server.log)
    server.stop()
    assert any('"status":"done"' in text for text in said["alice"])
    assert any('"status":"done"' in text for text in said["bob"])
    written = [
        path for path in server.data_dir.rglob("*") if path.is_file() and path.suffix != ".db-shm"
    ]
    for name, texts in said.items():
        expected = [text for text in texts if CANARY in text]
        assert not expected, f"{name}: {expected[0][:300]}"
    assert any("login with" in line for line in log), "the careless agent did log"
    assert any("access_token=" in line for line in log), "requests are logged"
    assert not [line for line in log if CANARY in line]
    for secret in (KEY, HASHED):
        assert not [path for path in written if secret.encode() in path.read_bytes()]
