"""The page at /docs: the whole description, for people, and nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from awaken import demo
from awaken.server.apidocs import docs_page, kind, prose, tag
from awaken.server.app import create_app
from awaken.server.settings import Settings

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """What a browser would make of a page: balanced elements, their attributes and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)
        assert self.open == [], "elements that are not closed"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(name, key, value or "") for key, value in attributes]
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, key: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == key]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(demo.make_agents(), Settings(store="sqlite://:memory:", drain_seconds=0))
    transport = httpx.ASGITransport(app=app)
    base = "http://127.0.0.1:8080"
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url=base) as client:
        yield client


async def test_it_loads_nothing_from_elsewhere_and_runs_no_script(
    client: httpx.AsyncClient,
) -> None:
    response = await client.get("/docs")
    assert response.status_code == 200
    page = Page(response.text)
    assert not re.search(r"<script|<style|javascript:|\son\w+=|\sstyle=", response.text)
    addresses = page.values("src") + page.values("href")
    assert addresses
    assert [each for each in addresses if not each.startswith(("/", "#"))] == []
    assert [each for each in addresses if each.startswith("//")] == []
    policy = response.headers["content-security-policy"]
    assert policy == (await client.get("/")).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


async def test_what_it_loads_is_there(client: httpx.AsyncClient) -> None:
    page = Page((await client.get("/docs")).text)
    loaded = [value for name, key, value in page.attributes if name == "link" and key == "href"]
    assert len(loaded) == 3
    for address in loaded:
        assert (await client.get(address)).status_code == 200, address


async def test_every_operation_and_every_schema_is_on_it(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    page = Page((await client.get("/docs")).text)
    places = page.values("id")
    operations = [
        f"{method}{path.replace('/', '-')}"
        for path, methods in document["paths"].items()
        for method in methods
    ]
    schemas = [f"schema-{name}" for name in document["components"]["schemas"]]
    assert set(operations + schemas) <= set(places)
    assert len(places) == len(set(places)), "one place, one name"
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}):
            assert field in page.text


async def test_every_link_within_it_leads_somewhere(client: httpx.AsyncClient) -> None:
    page = Page((await client.get("/docs")).text)
    links = {link[1:] for link in page.values("href") if link.startswith("#")}
    assert len(links) > 30
    assert links - set(page.values("id")) == set()


async def test_it_is_not_sent_again_to_who_has_it(client: httpx.AsyncClient) -> None:
    etag = (await client.get("/docs")).headers["etag"]
    again = await client.get("/docs", headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")


async def test_fastapis_own_pages_are_gone(client: httpx.AsyncClient) -> None:
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert (await client.get(path)).status_code == 404


def document(text: str) -> dict[str, Any]:
    """A document in which every text is `text`."""
    schema = {"description": text, "properties": {text: {"type": text, "description": text}}}
    operation = {
        "summary": text,
        "description": text,
        "tags": ["all"],
        "security": [{"key": [text]}],
        "parameters": [{"name": text, "in": "query", "schema": {"enum": [text]}}],
        "requestBody": {"content": {text: {"schema": {"const": text}}}},
        "responses": {"200": {"description": text, "content": {text: {"schema": schema}}}},
    }
    return {
        "info": {"title": text, "version": text, "description": text},
        "paths": {"/x": {"get": operation}},
        "components": {"schemas": {"One": schema}},
    }


@pytest.mark.parametrize("text", ["<script>x()</script>", '"><img src=x onerror=x()>', "a & b"])
def test_what_stands_in_the_document_is_text(text: str) -> None:
    harmless = Page(docs_page(document("t"), ""))
    page = Page(docs_page(document(text), ""))
    assert [(name, key) for name, key, _ in page.attributes] == [
        (name, key) for name, key, _ in harmless.attributes
    ]
    mark = "\N{SNOWMAN}"
    assert page.text.count(text) == Page(docs_page(document(mark), "")).text.count(mark) > 10


def test_addresses_are_below_where_it_is_mounted() -> None:
    page = Page(docs_page(document("t"), "/awaken"))
    outward = [value for value in page.values("href") if not value.startswith("#")]
    assert outward
    assert all(value.startswith("/awaken/") for value in outward)


def test_texts_are_paragraphs_with_code() -> None:
    assert prose("a `b<c` d\n\ne") == "<p>a <code>b&lt;c</code> d</p><p>e</p>"
    assert tag("a", "x", href='"') == '<a href="&quot;">x</a>'


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"type": "array", "items": {"type": "integer"}}, "list of integer"),
        ({"anyOf": [{"type": "string"}, {"type": "string"}]}, "string"),
        ({"enum": ["a", "b"]}, "<code>a</code> or <code>b</code>"),
        ({"$ref": "#/components/schemas/Run"}, '<a href="#schema-Run">Run</a>'),
        ({}, "anything"),
    ],
)
def test_types_are_told_in_words(schema: dict[str, Any], words: str) -> None:
    assert kind(schema) == words
