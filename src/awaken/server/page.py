"""The page at `/` for people: static files, one policy, nothing to build and nothing to fetch.

The page talks to the API like any other client and is told nothing here that needs a key, so it is
answered without one: it is where a key is entered. Its files stand below the digest of all of them,
so a browser keeps them for good, and an upgrade is another address.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from string import Template
from typing import Final

from fastapi import APIRouter, Request, Response

from awaken.protocols.native.http.asgi import route_not_found

router = APIRouter(include_in_schema=False)

KINDS: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""The content types; a file of another kind is not served."""

INDEX: Final = "index.html"

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # No text becomes markup, whatever a script does: there is no policy that could make any.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)

HEADERS: Final = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

ASK_AGAIN: Final = "no-cache"
FOR_GOOD: Final = "public, max-age=31536000, immutable"


# --- the files -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is answered."""

    body: bytes
    kind: str
    etag: str


def read_files(place: Traversable) -> dict[str, File]:
    """All files below `place` that can be served, by their path."""
    return {
        path: File(body, kind, etag_of(body))
        for path, body in sorted(_walk(place, PurePosixPath()))
        if (kind := KINDS.get(PurePosixPath(path).suffix)) is not None
    }


def _walk(place: Traversable, at: PurePosixPath) -> Iterator[tuple[str, bytes]]:
    for entry in place.iterdir():
        if entry.is_dir():
            yield from _walk(entry, at / entry.name)
        else:
            yield str(at / entry.name), entry.read_bytes()


def etag_of(body: bytes) -> str:
    """The entity tag of a body."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def digest_of(found: Mapping[str, File]) -> str:
    """A name for the files: another one whenever one of them changes."""
    whole = hashlib.sha256()
    for path, file in found.items():
        whole.update(f"{path} {file.etag}\n".encode())
    return whole.hexdigest()[:16]


# Read when the server is put together: a request must not wait for a disk.
FILES: Final = read_files(files("awaken.server") / "page")
DIGEST: Final = digest_of(FILES)


# --- the routes ----------------------------------------------------------------------------------


@router.get("/")
async def read_index(request: Request) -> Response:
    """The page. It is asked for each time, and sent when it is another one."""
    root = str(request.scope.get("root_path", ""))
    base = f"{request.url.scheme}://{request.url.netloc}{root}"
    body = index(request.app.version, root, base).encode()
    return answer(request, File(body, KINDS[".html"], etag_of(body)), ASK_AGAIN)


@router.get("/page/{digest}/{name}")
@router.get("/page/{digest}/{folder}/{name}")
async def read_file(request: Request, digest: str, name: str, folder: str = "") -> Response:
    """A file of the page. The address of another version is answered too, but not kept."""
    path = f"{folder}/{name}" if folder else name
    file = FILES.get(path)
    if file is None or path == INDEX:
        raise route_not_found()
    return answer(request, file, FOR_GOOD if digest == DIGEST else ASK_AGAIN)


def answer(request: Request, file: File, keep: str) -> Response:
    """A file under the policy; 304 when the client has it already."""
    headers = {**HEADERS, "etag": file.etag, "cache-control": keep}
    if _is_known(request.headers.get("if-none-match"), file.etag):
        return Response(status_code=304, headers=headers)
    return Response(file.body, media_type=file.kind, headers=headers)


def _is_known(known: str | None, etag: str) -> bool:
    """Whether the client has it already (RFC 9110, section 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in (known or "").split(",")]
    return etag in tags or tags == ["*"]


def index(version: str, root: str, base: str) -> str:
    """The HTML: where the modules are, and for whoever runs no scripts, what to do instead."""
    assets = escape(f"{root}/page/{DIGEST}")
    modules = [path for path in FILES if path.endswith(".js")]
    return Template(FILES[INDEX].body.decode()).substitute(
        assets=assets,
        preloads="\n".join(f'<link rel="modulepreload" href="{assets}/{m}">' for m in modules),
        root=escape(root),
        start=escape(curl_line(base, "storyteller")),
        version=escape(version),
    )


# --- without the page ----------------------------------------------------------------------------


def curl_line(base: str, agent_id: str) -> str:
    """A command that starts a run and shows its stream; to the storyteller it says how long."""
    text = "tokens=40 Hello" if agent_id == "storyteller" else "Hello"
    return (
        f"curl -N {base}/v1/runs -H 'content-type: application/json' \\\n"
        f'  -d \'{{"agent_id": "{agent_id}", '
        f'"messages": [{{"role": "user", "content": "{text}"}}]}}\''
    )


def talkative(names: Sequence[str]) -> str:
    """The agent to show: the demo's storyteller, whose stream can be watched, else the first."""
    return "storyteller" if "storyteller" in names else (*names, "default")[0]
