"""The modules of the page, tried in the browser against the references of the server's side."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.e2e.harness import Server, SseEvent, sse_events
from tests.page.webdriver import Driver, Tab
from tests.streams.client_fold import Fold

pytestmark = [pytest.mark.xdist_group("page-modules"), pytest.mark.timeout(180)]

IMPORT = """
const main = document.querySelector('script[src]').src;
const load = (name) => import(main.replace('main.js', name));
"""


@pytest.fixture
def modules(tab: Tab, server: Server) -> Tab:
    """A tab in which `load('lib/…')` gives a module."""
    tab.open(f"{server.base_url}/#/system")
    return tab


def test_events_are_the_same_however_the_text_is_cut(modules: Tab) -> None:
    text = (
        ': hello\n\nid: 1\nevent: a\ndata: {"x":\ndata: 1}\n\ndata:no space\r\n\r\n'
        "id: 3\revent: b\rdata: é\r\rretry: 1000\nevent: reconnect\ndata: {}\n\nid: 4\n\ndata: cut"
    )
    found = modules.run_async(
        IMPORT
        + """
        const { EventParser } = await load('lib/sse.js');
        const [text] = args;
        const whole = new EventParser().feed(text);
        const different = [];
        for (let size = 1; size < text.length; size += 1) {
          const parser = new EventParser();
          const pieces = [];
          for (let at = 0; at < text.length; at += size) {
            pieces.push(...parser.feed(text.slice(at, at + size)));
          }
          if (JSON.stringify(pieces) !== JSON.stringify(whole)) different.push(size);
        }
        return { whole, different };
        """,
        text,
    )
    assert found["different"] == []
    assert [(e.get("id"), e["event"], e["data"]) for e in found["whole"]] == [
        ("1", "a", '{"x":\n1}'),
        (None, "message", "no space"),
        ("3", "b", "é"),
        (None, "reconnect", "{}"),
    ]
    assert found["whole"][3]["retry"] == 1000


# --- the fold ------------------------------------------------------------------------------------


def frames_of(server: Server, run_id: str) -> list[SseEvent]:
    response = server.http.get(f"/v1/runs/{run_id}/stream")
    return list(sse_events(iter(response.text.split("\n"))))


def recorded(server: Server) -> dict[str, list[SseEvent]]:
    """Streams of runs of all kinds."""
    found = {}
    for name, agent_id, text in (
        ("tools", "assistant", "weather in Paris and 6 * 7"),
        ("retries", "flaky", "fail=transient:2 tokens=5"),
        ("broken", "flaky", "fail=midstream tokens=8"),
        ("failed", "flaky", "fail=permanent"),
        ("steps", "worker", "do=a,b seconds=0"),
        ("waits", "helper", "hello"),
    ):
        events = server.run(agent_id, text)
        found[name] = frames_of(server, events[0].entry["run_id"])
    waiting = server.run("clerk", "refund order 1 amount=2")[0].entry["run_id"]
    (ticket,) = server.get("/v1/tickets", run_id=waiting)["items"]
    decision = {"action": "cancel", "payload": {"reason": "no"}}
    server.post(f"/v1/tickets/{ticket['ticket_id']}/decision", decision)
    with server.stream("GET", f"/v1/runs/{waiting}/stream?until=done") as stream:
        found["denied"] = list(stream)
    return found


def with_reset(events: list[SseEvent]) -> list[SseEvent]:
    """The same answer, but its middle was taken back and said again, as an attempt may do."""
    deltas = [n for n, event in enumerate(events) if event.event == "text_delta"]
    first, last = deltas[1], deltas[-2]
    entry = dict(events[last].entry)
    seq = entry["seq"] + 1
    entry |= {
        "seq": seq,
        "event": {
            "event_type": "stream_reset",
            "from_seq": events[first].entry["seq"],
            "reason": "again",
        },
    }
    reset = SseEvent(str(seq), "stream_reset", json.dumps(entry))
    again = events[first:]
    moved = []
    for offset, event in enumerate(again, start=1):
        body = event.entry | {"seq": seq + offset}
        moved.append(SseEvent(str(seq + offset), event.event, json.dumps(body)))
    return [*events[: last + 1], reset, *moved]


def reference(events: list[SseEvent]) -> dict[str, Any] | None:
    """What the reference client makes of them; None as long as it knows of no run."""
    fold = Fold()
    for event in events:
        fold.feed(event.id, event.entry)
    shown = fold.view()
    if not shown["runs"]:
        return None
    (run,) = shown["runs"].values()
    parts = run["parts"]
    return {
        "status": "created" if run["status"] == "queued" else run["status"],
        "termination": run["termination"],
        "open": {part[0]: text for part, text in parts if part[0] in ("text", "reasoning")},
        "calls": [list(call) for call in run["calls"]],
        "tickets": {key: ticket.get("status", "open") for key, ticket in run["tickets"].items()},
        "said": [
            "".join(block.get("text", "") for block in message.get("content", []))
            for message in shown["messages"]
            if message["role"] == "assistant"
        ],
    }


FOLD = (
    IMPORT
    + """
const { Run } = await load('lib/fold.js');
const plain = (value) => (value === undefined ? null : value);
function view(run) {
  const steps = run.items.filter((item) => item.kind === 'step');
  const open = {};
  for (const part of run.open?.parts ?? []) {
    if (part.pieces?.length) open[part.type] = (open[part.type] ?? '') + part.text;
  }
  const said = steps
    .filter((step) => !step.parts.some((part) => part.pieces?.length))
    .map((step) => step.parts.filter((part) => part.type === 'text'))
    .map((parts) => parts.map((part) => part.text).join(''));
  const calls = [...run.calls.values()].map((call) =>
    [call.id, call.name, call.ready, plain(call.arguments), call.outcome, plain(call.result)]);
  const tickets = Object.fromEntries([...run.calls.values()].flatMap((call) =>
    call.tickets.map((ticket) => [ticket.ticket_id, ticket.status])));
  return { status: run.status, termination: run.termination, open, said, calls, tickets };
}
const [entries] = args;
const run = new Run(entries[0].run_id);
return entries.map((entry) => { run.apply(entry); return view(run); });
"""
)


def test_the_fold_is_that_of_the_reference_client_after_every_event(
    modules: Tab, server: Server
) -> None:
    streams = recorded(server)
    streams["reset"] = with_reset(streams["retries"])
    for name, events in streams.items():
        views = modules.run_async(FOLD, [event.entry for event in events])
        for place in range(len(events)):
            wanted, got = reference(events[: place + 1]), views[place]
            if wanted is None:
                continue
            where = f"{name}, event {place}: {events[place].data}"
            assert got["status"] == wanted["status"], where
            assert got["termination"] == wanted["termination"], where
            assert got["calls"] == wanted["calls"], where
            assert got["tickets"] == wanted["tickets"], where
            assert got["open"] == wanted["open"], where
        wanted, got = reference(events), views[-1]
        assert wanted is not None, name
        assert [text for text in got["said"] if text] == [t for t in wanted["said"] if t], name


def test_a_snapshot_and_the_rest_of_a_stream_are_the_whole_thread(
    modules: Tab, server: Server
) -> None:
    """What is shown of a thread is the same whether it was followed or opened late."""
    for agent_id, text in (("assistant", "weather in Oslo"), ("clerk", "refund order 2 amount=3")):
        events = server.run(agent_id, text)
        entry = events[0].entry
        thread_id, run_id = entry["thread_id"], entry["run_id"]
        with server.stream("GET", f"/v1/threads/{thread_id}/stream?snapshot=true") as stream:
            snapshot = next(iter(stream))
        record = server.get(f"/v1/runs/{run_id}")
        late, live = modules.run_async(
            IMPORT
            + """
            const { Thread } = await load('lib/fold.js');
            const [events, snapshot, record] = args;
            const shown = (thread) => thread.spoken.map((run) => ({
              status: run.status,
              items: run.items.filter((item) => item.kind !== 'note').map((item) => [
                item.kind, item.text ?? null, (item.parts ?? [])
                  .filter((part) => part.type !== 'note').map((part) => part.type === 'call'
                  ? [part.name, part.arguments, part.outcome, part.result ?? null,
                     part.tickets.map((ticket) => [ticket.ticket_id, ticket.status])]
                  : [part.type, part.text])])}));
            const live = new Thread();
            for (const entry of events) live.apply({ type: entry.event.event_type, entry });
            const late = new Thread();
            late.apply({ type: 'thread_snapshot', entry: snapshot });
            late.run(record.run_id).know(record);
            return [shown(late), shown(live)];
            """,
            [event.entry for event in events],
            snapshot.entry,
            record,
        )
        assert late == live, agent_id


# --- schemas -------------------------------------------------------------------------------------

SCHEMAS: list[dict[str, Any]] = [
    {},
    {"type": "string", "minLength": 2, "maxLength": 3},
    {"type": "string", "pattern": "^a+$"},
    {"type": "integer", "minimum": 1, "exclusiveMaximum": 5},
    {"type": "number", "multipleOf": 0.5},
    {"type": ["boolean", "null"]},
    {"enum": ["a", 1, None, {"b": [1]}]},
    {"const": {"x": 1, "y": 2}},
    {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
    {
        "type": "object",
        "properties": {"order": {"type": "string"}, "amount": {"type": "number"}},
        "required": ["order", "amount"],
        "additionalProperties": False,
    },
    {"type": "object", "additionalProperties": {"type": "boolean"}},
    {"anyOf": [{"type": "string"}, {"type": "null"}]},
    {"oneOf": [{"type": "integer"}, {"minimum": 3}]},
    {"allOf": [{"type": "integer"}, {"maximum": 3}]},
    {"not": {"type": "string"}},
    {
        "$ref": "#/$defs/T",
        "$defs": {"T": {"type": "object", "properties": {"c": {"$ref": "#/$defs/T"}}}},
    },
    {"type": "object", "properties": {"happened": {"type": "boolean"}, "result": {}}},
    {
        "type": "object",
        "properties": {"constructor": {"type": "string"}},
        "required": ["constructor"],
    },
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2.5, 3, 5, -1),
    *("", "a", "aa", "aaaa", "ab", "\U0001f600\U0001f600"),
    *([], [1], [1, 2, 3], ["x"], {}),
    {"order": "1", "amount": 2},
    {"order": 1, "amount": "2"},
    {"order": "1", "amount": 2, "z": 0},
    *({"x": 1, "y": 2}, {"y": 2, "x": 1}),
    *({"b": [1]}, {"a": True}, {"a": 1}, {"c": {"c": 1}}, {"c": {"c": {}}}),
    *({"happened": "yes"}, {"happened": True, "result": [1]}, {"constructor": "x"}),
]


def test_a_value_fits_a_schema_exactly_when_the_server_says_so(modules: Tab) -> None:
    verdicts = modules.run_async(
        IMPORT
        + """
        const { problems } = await load('lib/schema.js');
        const [schemas, values] = args;
        return schemas.map((schema) => values.map((value) => problems(schema, value).length === 0));
        """,
        SCHEMAS,
        VALUES,
    )
    for schema, row in zip(SCHEMAS, verdicts, strict=True):
        validator = jsonschema.Draft202012Validator(schema)
        for value, fits in zip(VALUES, row, strict=True):
            assert fits == validator.is_valid(value), (schema, value)


FORMS: list[tuple[dict[str, Any], list[str] | None]] = [
    (
        {
            "type": "object",
            "properties": {"happened": {"type": "boolean"}, "result": {}},
            "required": ["happened"],
            "additionalProperties": False,
        },
        ["select", "textarea"],
    ),
    ({"type": "boolean"}, ["select"]),
    ({"enum": ["a", "b"]}, ["select"]),
    ({"type": "integer", "minimum": 1}, ["input[number]"]),
    ({"type": "string", "format": "date"}, ["input[date]"]),
    ({"type": "string", "maxLength": 4000}, ["textarea"]),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["input[text]"]),
    (
        {
            "type": "object",
            "properties": {"size": {"$ref": "#/$defs/Size"}},
            "$defs": {"Size": {"enum": ["s", "l"]}},
        },
        ["select"],
    ),
    ({"type": "object", "properties": {"inner": {"type": "object"}}}, None),
    ({"type": "array", "items": {"type": "string"}}, None),
    ({}, ["textarea"]),
]


def test_simple_schemas_become_fields_and_others_json(modules: Tab) -> None:
    found = modules.run_async(
        IMPORT
        + """
        const { SchemaForm } = await load('parts/form.js');
        const kind = (each) => each.localName + (each.type && each.localName === 'input'
          ? `[${each.type}]` : '');
        return args[0].map((schema) => {
          const form = new SchemaForm(schema);
          if (form.asJson) return null;
          return [...form.node.querySelectorAll('input, select, textarea')].map(kind);
        });
        """,
        [schema for schema, _ in FORMS],
    )
    assert found == [kinds for _, kinds in FORMS]


def test_a_form_gives_what_was_filled_in_and_leaves_out_what_was_not(modules: Tab) -> None:
    found = modules.run_async(
        IMPORT
        + """
        const { SchemaForm } = await load('parts/form.js');
        const form = new SchemaForm(args[0]);
        const missing = form.read();
        const [happened, result] = form.node.querySelectorAll('select, textarea');
        happened.value = '1';
        const alone = form.read();
        result.value = '{"refund": 7';
        const broken = form.read();
        result.value = '{"refund": 7}';
        return [missing, alone, broken, form.read()];
        """,
        FORMS[0][0],
    )
    missing, alone, broken, whole = found
    assert missing == {"problem": "happened is required"}
    assert alone == {"value": {"happened": False}}
    assert broken["problem"].startswith("this is not JSON")
    assert whole == {"value": {"happened": False, "result": {"refund": 7}}}


# --- markdown ------------------------------------------------------------------------------------

MARKDOWN = """# Title

Some **bold**, *italic* and `code`, 2 * 3 * 4, snake_case_name.
Second line with [a link](https://example.com/x?y=1) and [a trap](javascript:alert(1)).

- one
- two **strong**

1. first
2. second

> quoted

```python
def f():

    return "<b>"
```
<script>alert(1)</script> &amp; done
"""

RENDER = (
    IMPORT
    + """
const { MarkdownView } = await load('lib/markdown.js');
const serialised = (node) => node.nodeType === 3
  ? node.data.replaceAll('<', 'LT:')
  : `<${node.localName}${[...node.attributes].map((a) => ` ${a.name}=${a.value}`).join('')}>`
    + [...node.childNodes].map(serialised).join('') + `</${node.localName}>`;
const [text, step] = args;
const view = new MarkdownView();
for (let end = step; end < text.length; end += step) view.update(text.slice(0, end));
view.update(text);
return serialised(view.node);
"""
)


def test_markdown_becomes_elements_and_markup_stays_text(modules: Tab) -> None:
    whole = modules.run_async(RENDER, MARKDOWN, len(MARKDOWN))
    for wanted in (
        "<p class=heading heading-1>Title</p>",
        "<strong>bold</strong>, <em>italic</em> and <code>code</code>, 2 * 3 * 4, snake_case_name.",
        "<a href=https://example.com/x?y=1 target=_blank rel=noopener noreferrer",
        "[a trap](javascript:alert(1))",
        "<ul><li>one</li><li>two <strong>strong</strong></li></ul>",
        "<ol><li>first</li><li>second</li></ol>",
        "<blockquote>quoted</blockquote>",
        '<pre><code>def f():\n\n    return "LT:b>"</code></pre>',
        "LT:script>alert(1)LT:/script> &amp; done",
    ):
        assert wanted in whole
    assert "<script" not in whole


@pytest.mark.parametrize("step", [1, 3, 7, 50])
def test_text_that_grows_is_drawn_like_text_that_is_there(modules: Tab, step: int) -> None:
    whole = modules.run_async(RENDER, MARKDOWN, len(MARKDOWN))
    assert modules.run_async(RENDER, MARKDOWN, step) == whole


def test_a_story_of_many_tokens_is_drawn_quickly(modules: Tab) -> None:
    seconds = modules.run_async(
        IMPORT
        + """
        const { MarkdownView } = await load('lib/markdown.js');
        const view = new MarkdownView();
        const began = performance.now();
        let text = '';
        for (let nth = 0; nth < 3000; nth += 1) {
          text += nth % 40 ? ` word#${nth}` : `\\n\\nword#${nth}`;
          view.update(text);
        }
        return (performance.now() - began) / 1000;
        """
    )
    assert seconds < 5


def test_addresses_that_run_code_lead_nowhere(modules: Tab) -> None:
    found = modules.run_async(
        IMPORT
        + """
        const { safeAddress } = await load('lib/dom.js');
        return args[0].map(safeAddress);
        """,
        [
            "javascript:alert(1)",
            "data:text/html,x",
            " JaVaScRiPt:x",
            "#/runs",
            "https://a.example/",
        ],
    )
    assert found == ["#", "#", "#", "#/runs", "https://a.example/"]


def test_the_driver_fails_a_test_whose_page_logs_an_error(driver: Driver, server: Server) -> None:
    script = (
        "document.head.append(Object.assign(document.createElement('style'), {innerText: 'p{}'}))"
    )

    def break_the_policy() -> None:
        with driver.tab() as tab:
            tab.open(f"{server.base_url}/#/")
            tab.run(script)

    with pytest.raises(AssertionError, match="the page logged errors"):
        break_the_policy()
