// Plays a user with the stock client: `HttpAgent` with nothing but `url`, its verifier on.
//
// Arguments: base URL, names of scenarios. Output: a line of JSON for each, {name, …}.
// A scenario may ask for something by a line {ask}; the answer is a line on stdin.
import { createInterface } from "node:readline";
import { HttpAgent } from "@ag-ui/client";
import { EventSchemas } from "@ag-ui/core/schemas";

const [base, ...wanted] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const SECONDS = 40;
let names = 0;

// The client rejects a second promise, which nobody holds, when its connection is lost.
process.on("unhandledRejection", () => {});

function say(value) {
  process.stdout.write(JSON.stringify(value) + "\n");
}

async function ask(what) {
  say({ ask: what });
  await lines.next();
}

/** A client that attaches: the same, only that it gets instead of posting. */
class Attached extends HttpAgent {
  requestInit(input) {
    const { method, body, ...rest } = super.requestInit(input);
    return { ...rest, method: "GET" };
  }
}

function open(agent = new HttpAgent({ url: `${base}/v1/ag-ui/run` })) {
  const seen = { events: [], errors: [] };
  agent.subscribe({
    onEvent: ({ event }) => {
      EventSchemas.parse(event);
      seen.events.push(event);
    },
    onRunFailed: ({ error }) => void seen.errors.push(error.message),
  });
  return { agent, seen };
}

function attach(threadId, after) {
  const query = after === undefined ? "" : `?after=${after}`;
  const agent = new Attached({ url: `${base}/v1/ag-ui/threads/${threadId}/connect${query}`, threadId });
  return open(agent);
}

function user(it, content) {
  it.agent.addMessage({ id: `user-${process.pid}-${++names}`, role: "user", content });
}

async function send(it, content, options = {}) {
  if (content !== undefined) user(it, content);
  it.seen.events.length = 0;
  try {
    await it.agent.runAgent(options);
  } catch (error) {
    it.seen.errors.push(error.message);
  }
}

async function history(it) {
  const response = await fetch(`${base}/v1/ag-ui/threads/${it.agent.threadId}/messages?limit=200`);
  return (await response.json()).messages;
}

async function told(it, more = {}) {
  return {
    messages: it.agent.messages,
    state: it.agent.state,
    pending: it.agent.pendingInterrupts,
    types: it.seen.events.map((event) => event.type),
    last: it.seen.events.at(-1),
    first: it.seen.events[0],
    errors: it.seen.errors,
    history: await history(it),
    ...more,
  };
}

async function until(condition, what) {
  const end = Date.now() + SECONDS * 1000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const PICK = {
  name: "pick_color",
  description: "Let the user pick a colour.",
  parameters: { type: "object", properties: { question: { type: "string" } } },
};

const grant = (interrupt) => ({
  interruptId: interrupt.id,
  status: "resolved",
  payload: { approved: true },
});

const grows = (it, count, type = "TEXT_MESSAGE_CONTENT") => () =>
  it.seen.events.filter((event) => event.type === type).length >= count;

/** Answers the client's own tools as an application does, and runs again. */
async function answerTools(it, options) {
  for (const id of it.seen.events.at(-1).outcome.pendingToolCallIds) {
    it.agent.addMessage({ id: `result-${id}`, role: "tool", toolCallId: id, content: '{"color":"red"}' });
  }
  await send(it, undefined, options);
}

const scenarios = {
  async text() {
    const it = open();
    await send(it, "hello there", { runId: "run-of-the-client" });
    const first = it.seen.events[0];
    await send(it, "and once more");
    return told(it, { started: first });
  },

  async reasoning() {
    const it = open();
    await send(it, "think");
    return told(it);
  },

  async tools() {
    const it = open();
    await send(it, "weather");
    return told(it);
  },

  async parallel() {
    const it = open();
    await send(it, "parallel");
    return told(it);
  },

  async state() {
    const it = open();
    it.agent.state = { count: 4, page: "cart" };
    await send(it, "count");
    await send(it, "count");
    return told(it);
  },

  async context() {
    const it = open();
    await send(it, "know", { context: [{ description: "the page", value: "the cart" }] });
    return told(it);
  },

  async frontend() {
    const it = open();
    await send(it, "pick", { tools: [PICK] });
    const outcome = it.seen.events.at(-1).outcome;
    await answerTools(it, { tools: [PICK] });
    const types = it.seen.events.map((event) => event.type);
    await send(it, "thanks");
    return told(it, { outcome, resumed: types });
  },

  async granted() {
    const it = open();
    await send(it, "twice");
    const asked = it.agent.pendingInterrupts.slice();
    const types = it.seen.events.map((event) => event.type);
    await send(it, undefined, { resume: asked.map(grant) });
    return told(it, { asked, before: types });
  },

  async edited() {
    const it = open();
    await send(it, "refund");
    const payload = { approved: true, editedArgs: { order: "17", amount: 3 } };
    const resume = [{ ...grant(it.agent.pendingInterrupts[0]), payload }];
    await send(it, undefined, { resume });
    return told(it);
  },

  async denied() {
    const it = open();
    await send(it, "refund");
    const [asked] = it.agent.pendingInterrupts;
    const payload = { approved: false, reason: "too much" };
    await send(it, undefined, { resume: [{ ...grant(asked), payload }] });
    return told(it);
  },

  async question() {
    const it = open();
    await send(it, "ask");
    const [asked] = it.agent.pendingInterrupts;
    await send(it, undefined, { resume: [{ ...grant(asked), payload: "Ada" }] });
    return told(it, { asked });
  },

  async mixed() {
    const it = open();
    await send(it, "mixed", { tools: [PICK] });
    const asked = it.agent.pendingInterrupts.slice();
    const resume = asked.map((each) =>
      each.metadata.toolName === "refund" ? grant(each) : { ...grant(each), payload: { color: "blue" } },
    );
    await send(it, undefined, { resume, tools: [PICK] });
    return told(it, { asked });
  },

  async error() {
    const it = open();
    await send(it, "fail");
    return told(it);
  },

  async cancel() {
    const it = open();
    const running = send(it, "slow");
    await until(grows(it, 3), "three words");
    await fetch(`${base}/v1/ag-ui/threads/${it.agent.threadId}/cancel`, { method: "POST" });
    await running;
    return told(it);
  },

  async restart(word = "slow", type = "TEXT_MESSAGE_CONTENT") {
    const it = open();
    const running = send(it, word);
    await until(grows(it, 5, type), "five words");
    await ask("kill");
    await running;
    const errors = it.seen.errors.slice();
    const back = attach(it.agent.threadId);
    back.agent.setMessages(it.agent.messages);
    await ask("start");
    await send(back);
    const fresh = attach(it.agent.threadId);
    await send(fresh);
    return told(back, { broke: errors, fresh: fresh.agent.messages });
  },

  async restart_in_thought() {
    return scenarios.restart("muse", "REASONING_MESSAGE_CONTENT");
  },
};

for (const name of wanted) {
  try {
    say({ name, ...(await scenarios[name]()) });
  } catch (error) {
    say({ name, failed: String(error.stack ?? error) });
  }
}
process.exit(0);
