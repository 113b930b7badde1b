"""The page at `/docs`: the OpenAPI document for people to read.

It is made here, whole, from the document alone: no script, and nothing from elsewhere, so it is
under the policy of the page at `/`. Texts are escaped where they become markup, in `tag`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response

from awaken.server.page import ASK_AGAIN, DIGEST, KINDS, File, answer, etag_of

router = APIRouter(include_in_schema=False)

_REFERENCE: Final = "#/components/schemas/"
_CONSTRAINTS: Final = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "default": "default {}",
}

Schema = Mapping[str, Any]


@router.get("/docs")
async def read_docs(request: Request) -> Response:
    """The description of the API, for people."""
    root = str(request.scope.get("root_path", ""))
    app: FastAPI = request.app
    body = docs_page(app.openapi(), root).encode()
    return answer(request, File(body, KINDS[".html"], etag_of(body)), ASK_AGAIN)


# --- markup --------------------------------------------------------------------------------------


class Html(str):
    """Text that is markup already; any other text is escaped before it becomes a part of it."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str) -> Html:
    """An element; an attribute that is a word of Python ends in `_`."""
    given = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{given}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Html:
    """The parts behind each other."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def prose(text: str) -> Html:
    """A description, in paragraphs."""
    return joined(tag("p", line(part)) for part in text.split("\n\n") if part.strip())


def line(text: str) -> Html:
    """A text; what stands between backticks is code."""
    parts = text.split("`")
    return joined(tag("code", part) if at % 2 else part for at, part in enumerate(parts))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Html:
    """A table; nothing without rows."""
    body = joined(tag("tr", *(tag("td", cell) for cell in row)) for row in rows)
    if not body:
        return Html("")
    titles = tag("thead", tag("tr", *(tag("th", cell) for cell in head)))
    return tag("div", tag("table", titles, tag("tbody", body)), class_="scroll")


# --- the page ------------------------------------------------------------------------------------


def docs_page(document: Schema, root: str) -> str:
    """The page for an OpenAPI document; `root` is the path below which the server is mounted."""
    info, groups = document["info"], _groups(document["paths"])
    assets = f"{root}/page/{DIGEST}"
    schemas = document["components"]["schemas"]
    sheets = "".join(
        f'<link rel="stylesheet" href="{escape(assets)}/{name}.css">' for name in ("style", "docs")
    )
    title = f"{info['title']} {info['version']}"
    names = [*groups, "schemas"]
    body = tag(
        "main",
        tag("h1", title, " API"),
        prose(info["description"]),
        tag(
            "p",
            tag("a", "The document itself", href=f"{root}/openapi.json"),
            " is for programs, ",
            tag("a", "the page", href=f"{root}/"),
            " for talking to agents.",
        ),
        tag("nav", *(tag("a", name, href=f"#{name}") for name in names)),
        *(_group(name, operations) for name, operations in groups.items()),
        tag("h2", "schemas", id="schemas"),
        *(_named_schema(name, schema) for name, schema in sorted(schemas.items())),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{escape(title)} API</title>\n'
        f'<link rel="icon" href="{escape(assets)}/icon.svg">{sheets}\n</head>\n'
        f'<body class="docs">\n{body}\n</body>\n</html>\n'
    )


Operation = tuple[str, str, Schema]


def _groups(paths: Schema) -> dict[str, list[Operation]]:
    """(method, path, operation) by the first tag."""
    found: dict[str, list[Operation]] = {}
    for path, operations in paths.items():
        for method, operation in operations.items():
            name = (operation.get("tags") or ["other"])[0]
            found.setdefault(name, []).append((method.upper(), path, operation))
    return found


def _group(name: str, operations: list[Operation]) -> Html:
    return joined([tag("h2", name, id=name), *(_operation(each) for each in operations)])


def _operation(each: Operation) -> Html:
    method, path, operation = each
    rules = [names for rule in operation["security"] for names in rule.values()]
    scopes = sorted({scope for names in rules for scope in names})
    head = (
        tag("b", method, class_=f"method {method.lower()}"),
        tag("code", path),
        tag("span", operation.get("summary", ""), class_="quiet"),
    )
    opened = f"With keys: {' or '.join(scopes)}." if scopes else "Needs no key."
    return _folded(
        f"{method.lower()}{path.replace('/', '-')}",
        joined(head),
        prose(operation.get("description", "")),
        tag("p", opened, class_="quiet"),
        _parameters(operation.get("parameters", ())),
        _body(operation.get("requestBody")),
        _answers(operation["responses"]),
    )


def _folded(name: str, head: Html, *content: Html) -> Html:
    """What opens when it is clicked, or by a link: a browser opens what holds its aim."""
    return tag("details", tag("summary", head), tag("div", *content, id=name))


def _parameters(parameters: Iterable[Schema]) -> Html:
    rows = [
        (tag("code", each["name"]), each["in"], kind(each["schema"]), _about(each, each["schema"]))
        for each in parameters
    ]
    return (
        joined([tag("h3", "Parameters"), table(("", "In", "Type", ""), rows)]) if rows else Html("")
    )


def _body(body: Schema | None) -> Html:
    if body is None:
        return Html("")
    content = next(iter(body["content"].values()))
    return joined([tag("h3", "Body"), tag("p", kind(content["schema"]))])


def _answers(responses: Schema) -> Html:
    """A row for each answer; what is answered alike with several statuses is one."""
    rows: dict[tuple[str, str], list[Html]] = {}
    for status, response in responses.items():
        about = (_holds(response.get("content") or {}), response["description"])
        rows.setdefault(about, []).append(tag("code", status))
    told = (
        (_any(statuses, ", "), holds, text if text != "Successful Response" else "")
        for (holds, text), statuses in rows.items()
    )
    return joined([tag("h3", "Answers"), table(("Status", "Holds", ""), told)])


def _holds(content: Schema) -> Html:
    """The media types of an answer, each with what it is."""
    told = (
        (media, each.get("schema") or each.get("x-event-data")) for media, each in content.items()
    )
    return _any([joined([tag("code", media), " ", kind(it)]) for media, it in told if it])


def _named_schema(name: str, schema: Schema) -> Html:
    required = set(schema.get("required", ()))
    rows = [
        (
            tag("code", field),
            kind(part),
            "required" if field in required else "",
            _about(part, part),
        )
        for field, part in schema.get("properties", {}).items()
    ]
    return _folded(
        f"schema-{name}",
        tag("code", name),
        prose(schema.get("description", "")),
        table(("Field", "Type", "", ""), rows) or tag("p", kind(schema)),
    )


def _about(told: Schema, schema: Schema) -> Html:
    """What is said of a field, and its bounds."""
    given = {key: json.dumps(schema[key]) for key in _CONSTRAINTS if schema.get(key) is not None}
    limits = [_CONSTRAINTS[key].format(value) for key, value in given.items()]
    text = told.get("description", "")
    return line("; ".join(part for part in (text.rstrip("."), *limits) if part))


def kind(schema: Schema) -> Html:
    """The type of a value, in words; a named schema is a link to its description."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return tag("a", name, href=f"#schema-{name}")
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return _any([kind(part) for part in schema[key]])
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return _any([tag("code", str(value)) for value in values])
    if schema.get("items"):
        return joined(["list of ", kind(schema["items"])])
    names = schema.get("type", "anything")
    return _any([names] if isinstance(names, str) else names)


def _any(parts: list[Any], between: str = " or ") -> Html:
    """The alternatives, each once."""
    known = list(dict.fromkeys(parts))
    return joined(
        [known[0], *(part for each in known[1:] for part in (between, each))] if known else []
    )
