"""How the page is served: one policy, caches that are right, nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from awaken import __version__, demo
from awaken.server.app import create_app
from awaken.server.page import DIGEST, FILES, INDEX
from awaken.server.settings import Settings
from tests.page.conftest import require_browser

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src" / "awaken" / "server" / "page"
BASE = "http://127.0.0.1:8080"
MAIN = f"/page/{DIGEST}/main.js"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(demo.make_agents(), Settings(store="sqlite://:memory:", drain_seconds=0))
    transport = httpx.ASGITransport(app=app)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


async def test_the_page_says_what_runs_even_without_scripts(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert f"Awaken {__version__} is running" in response.text
    assert f"curl -N {BASE}/v1/runs" in response.text
    assert MAIN in response.text


async def test_every_file_has_its_kind_and_the_policy(client: httpx.AsyncClient) -> None:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for path in [path for path in FILES if path != INDEX]:
        response = await client.get(f"/page/{DIGEST}/{path}")
        assert response.status_code == 200, path
        assert response.headers["content-type"].partition(";")[0] == kinds[Path(path).suffix]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.content == (SOURCES / path).read_bytes()


async def test_the_policy_allows_this_server_and_no_text_as_markup(
    client: httpx.AsyncClient,
) -> None:
    policy = (await client.get("/")).headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("require-trusted-types-for") == "'script'"
    assert rules.pop("trusted-types") == "'none'"
    assert set(rules.values()) == {"'none'", "'self'"}
    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"


async def test_the_page_is_asked_for_again_and_its_files_are_kept(
    client: httpx.AsyncClient,
) -> None:
    page, script = await client.get("/"), await client.get(MAIN)
    assert page.headers["cache-control"] == "no-cache"
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    for path, first in (("/", page), (MAIN, script)):
        etag = first.headers["etag"]
        for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
            again = await client.get(path, headers={"if-none-match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
        changed = await client.get(path, headers={"if-none-match": '"other"'})
        assert changed.status_code == 200


async def test_files_of_another_version_are_not_kept(client: httpx.AsyncClient) -> None:
    response = await client.get("/page/0123456789abcdef/main.js")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-cache"


async def test_head_has_the_headers_alone(client: httpx.AsyncClient) -> None:
    response = await client.head(MAIN)
    assert response.status_code == 200
    assert response.content == b""
    assert response.headers["etag"] == FILES["main.js"].etag


@pytest.mark.parametrize(
    "path",
    [
        "/page",
        "/page/",
        f"/page/{DIGEST}",
        f"/page/{DIGEST}/",
        f"/page/{DIGEST}/nope.js",
        f"/page/{DIGEST}/lib",
        f"/page/{DIGEST}/index.html",
        f"/page/{DIGEST}/..%2f..%2fpage.py",
        f"/page/{DIGEST}/lib/%2e%2e%2f%2e%2e%2fpage.py",
        f"/page/{DIGEST}/lib/../../page.py",
        f"/page/{DIGEST}//etc/passwd",
    ],
)
async def test_nothing_else_is_there(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "route_not_found"


def test_a_file_that_changes_changes_the_address_of_all(tmp_path: Path) -> None:
    from awaken.server.page import digest_of, read_files

    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "a.js").write_text("1")
    (tmp_path / "notes.txt").write_text("not served")
    before = read_files(tmp_path)
    assert list(before) == ["lib/a.js"]
    (tmp_path / "lib" / "a.js").write_text("2")
    assert digest_of(read_files(tmp_path)) != digest_of(before)


@pytest.mark.parametrize(
    ("environ", "outcome", "told"),
    [
        ({}, pytest.skip.Exception, r"chromium not found: run tools/install_browser\.sh"),
        ({"CI": "true"}, pytest.fail.Exception, r"chromium not found: .*AWAKEN_NO_BROWSER=1"),
        ({"CI": "true", "AWAKEN_NO_BROWSER": "1"}, pytest.skip.Exception, "AWAKEN_NO_BROWSER"),
    ],
)
def test_a_missing_browser_is_told_and_not_passed_over_in_ci(
    environ: dict[str, str], outcome: type[BaseException], told: str
) -> None:
    with pytest.raises(outcome, match=told):
        require_browser("chromium", environ)


def test_a_browser_is_left_alone_where_none_is_wanted() -> None:
    require_browser(None, {"CI": "true"})
    with pytest.raises(pytest.skip.Exception):
        require_browser(None, {"AWAKEN_NO_BROWSER": "1"})


def test_pictures_of_the_docs_are_there_and_small() -> None:
    text = (ROOT / "docs" / "page.md").read_text()
    shown = re.findall(r"\]\((img/[^)]+)\)", text)
    assert shown
    for path in shown:
        assert (ROOT / "docs" / path).stat().st_size < 200_000, path


# --- the files themselves ------------------------------------------------------------------------


def sources(*suffixes: str) -> dict[str, str]:
    return {
        str(path.relative_to(SOURCES)): path.read_text()
        for path in sorted(SOURCES.rglob("*"))
        if path.suffix in suffixes
    }


def test_nothing_is_fetched_from_elsewhere() -> None:
    outside = re.compile(r"https?://(?!www\.w3\.org/2000/svg)\S+|@import|url\(")
    for path, text in sources(".js", ".css", ".html", ".svg").items():
        assert not outside.findall(text), path


def test_no_module_parses_markup_or_runs_text() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML|srcdoc"
        r"|createContextualFragment|\beval\(|new Function|javascript:|\.style\b|localStorage"
    )
    for path, text in sources(".js", ".html").items():
        assert not forbidden.findall(text), path


def test_modules_import_only_modules_that_are_there() -> None:
    found = sources(".js")
    for path, text in found.items():
        for target in re.findall(r"from '([^']+)'", text):
            place = (Path(path).parent / target).as_posix()
            resolved = str(Path(re.sub(r"[^/]+/\.\./", "", place)))
            assert resolved in found, f"{path}: {target}"


def test_layers_of_modules_point_one_way() -> None:
    order = {"views": 3, "parts": 2, "lib": 1}
    for path, text in sources(".js").items():
        mine = order.get(path.split("/")[0], 4)
        for target in re.findall(r"from '([^']+)'", text):
            named = [name for name in order if f"/{name}/" in target]
            assert not named or order[named[0]] < mine, f"{path}: {target}"


def test_modules_stay_small() -> None:
    for path, text in sources(".js").items():
        lines = text.splitlines()
        assert len(lines) <= 500, path
        assert text.startswith("/**"), f"{path} does not say what it is"
        assert max(map(len, lines)) <= 110, path


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_can_be_read_on_all_grounds(scheme: int) -> None:
    block = re.findall(r":root \{(.*?)\}", (SOURCES / "style.css").read_text(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    pairs = [
        (ink, ground)
        for ink in ("ink", "soft", "accent", "good", "bad", "asks", "busy")
        for ground in ("paper", "raised", "sunken")
    ]
    pairs += [(hue, f"{hue}-wash") for hue in ("accent", "good", "bad", "asks", "busy")]
    pairs += [("accent-ink", "accent"), ("ink", "accent-wash")]
    weak = {
        pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2)
        for pair in pairs
        if contrast(colours[pair[0]], colours[pair[1]]) < 4.5
    }
    assert not weak


@pytest.mark.timeout(120)
def test_the_wheel_contains_the_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = [path for path in FILES if f"awaken/server/page/{path}" not in names]
    assert not missing
