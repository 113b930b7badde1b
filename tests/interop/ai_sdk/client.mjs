// Plays a user with the stock client: `Chat` with its default transport and nothing but `api`.
//
// Arguments: version, base URL, names of scenarios. Output: a line of JSON for each, {name, …}.
// A scenario may ask for something by a line {ask}; the answer is a line on stdin.
import { createInterface } from "node:readline";
import { load } from "./versions.mjs";

const [version, base, ...wanted] = process.argv.slice(2);
const ai = await load(version);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const SECONDS = 40;

function say(value) {
  process.stdout.write(JSON.stringify(value) + "\n");
}

async function ask(what) {
  say({ ask: what });
  await lines.next();
}

let chats = 0;
const run = process.pid + "-" + Date.now();

function open(agent, options = {}) {
  const { id = `chat-${run}-${version}-${++chats}`, transport, ...more } = options;
  const seen = { errors: [], finished: [], data: [] };
  const chat = new ai.Chat({
    id,
    transport: new ai.DefaultChatTransport({
      api: `${base}/v1/ai-sdk/agents/${agent}/runs`,
      ...transport,
    }),
    onError: (error) => seen.errors.push(error.message),
    onFinish: (end) => seen.finished.push(end),
    onData: (part) => seen.data.push(part),
    ...more,
  });
  return { chat, seen, id };
}

function textOf(message) {
  return (message?.parts ?? [])
    .filter((part) => part.type === "text")
    .map((part) => part.text)
    .join("");
}

function told({ chat, seen, id }) {
  return {
    id,
    messages: chat.messages,
    status: chat.status,
    errors: seen.errors,
    texts: chat.messages.map(textOf),
    data: seen.data,
  };
}

async function until(condition, what) {
  const end = Date.now() + SECONDS * 1000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

async function history(id) {
  const response = await fetch(`${base}/v1/ai-sdk/threads/${id}/messages`);
  return (await response.json()).messages;
}

function cancel(id) {
  return fetch(`${base}/v1/ai-sdk/chat/${id}/cancel`, { method: "POST" });
}

const spoken = (chat) => (chat.lastMessage?.role === "assistant" ? textOf(chat.lastMessage) : "");

const settled = (chat) => ["ready", "error"].includes(chat.status);

/** The response, whose body breaks after a while as it does when a network is lost. */
function broken(response) {
  const reader = response.body.getReader();
  let left = 2000;
  const body = new ReadableStream({
    async pull(controller) {
      const { value } = await reader.read();
      left -= value?.length ?? 0;
      if (left > 0) {
        controller.enqueue(value);
        return;
      }
      await reader.cancel();
      controller.error(new TypeError("network error"));
    },
  });
  return new Response(body, { status: response.status, headers: response.headers });
}

const scenarios = {
  async text() {
    const it = open("echo");
    await it.chat.sendMessage({ text: "hello there" });
    await it.chat.sendMessage({ text: "and once more" });
    return { ...told(it), history: await history(it.id) };
  },

  async tools() {
    const it = open("assistant");
    await it.chat.sendMessage({ text: "weather in Paris and 6 * 7" });
    return { ...told(it), history: await history(it.id) };
  },

  async client_tool() {
    const calls = [];
    let it;
    it = open("helper", {
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithToolCalls,
      onToolCall({ toolCall }) {
        calls.push(toolCall.toolName);
        const output = { color: "green" };
        const answer = { tool: toolCall.toolName, toolCallId: toolCall.toolCallId, output };
        (it.chat.addToolOutput ?? it.chat.addToolResult)(answer);
      },
    });
    await it.chat.sendMessage({ text: "pick" });
    await until(() => textOf(it.chat.lastMessage).includes("picked"), "the answer");
    await until(() => settled(it.chat), "ready");
    return { ...told(it), calls, history: await history(it.id) };
  },

  async approval(approved) {
    const it = open("clerk", {
      sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses,
    });
    await it.chat.sendMessage({ text: "refund order 17 amount=20" });
    const part = it.chat.lastMessage?.parts.find((each) => each.type === "tool-refund");
    if (part?.state !== "approval-requested") return { ...told(it), asked: null };
    const waiting = await history(it.id);
    const resumed = open("clerk", { id: it.id, messages: waiting });
    await resumed.chat.resumeStream();
    const answer = { id: part.approval.id, approved, ...(approved ? {} : { reason: "not now" }) };
    await it.chat.addToolApprovalResponse(answer);
    await until(() => textOf(it.chat.lastMessage).includes("refund"), "the answer");
    await until(() => settled(it.chat), "ready");
    return {
      ...told(it),
      asked: part.approval.id,
      waiting,
      reloaded: resumed.chat.messages,
      history: await history(it.id),
    };
  },

  granted: () => scenarios.approval(true),
  denied: () => scenarios.approval(false),

  async error() {
    const it = open("flaky");
    await it.chat.sendMessage({ text: "fail=permanent" });
    return told(it);
  },

  async cancel() {
    const it = open("storyteller");
    const sent = it.chat.sendMessage({ text: "tokens=5000 delay_ms=20" });
    await until(() => spoken(it.chat).length > 20, "a beginning");
    await cancel(it.id);
    await sent;
    return { ...told(it), history: await history(it.id) };
  },

  async regenerate() {
    const it = open("echo");
    await it.chat.sendMessage({ text: "one" });
    await it.chat.sendMessage({ text: "two" });
    const before = it.chat.messages.map((each) => each.id);
    await it.chat.regenerate({ messageId: before[1] });
    const first = told(it);
    await it.chat.regenerate();
    return { ...told(it), before, first, history: await history(it.id) };
  },

  async edit() {
    const it = open("echo");
    await it.chat.sendMessage({ text: "one" });
    await it.chat.sendMessage({ text: "two" });
    const messageId = it.chat.messages[2].id;
    await it.chat.sendMessage({ text: "other", messageId });
    await it.chat.sendMessage({ text: "three" });
    return { ...told(it), messageId, history: await history(it.id) };
  },

  async stop_and_regenerate() {
    const it = open("storyteller");
    const sent = it.chat.sendMessage({ text: "tokens=40 delay_ms=20" });
    await until(() => spoken(it.chat).length > 20, "a beginning");
    await it.chat.stop();
    await sent;
    await it.chat.regenerate();
    return { ...told(it), history: await history(it.id) };
  },

  async reload() {
    const it = open("storyteller");
    const sent = it.chat.sendMessage({ text: "tokens=60 delay_ms=20" });
    await until(() => spoken(it.chat).length > 40, "a beginning");
    const messages = await history(it.id);
    const page = open("storyteller", { id: it.id, messages });
    await page.chat.resumeStream();
    await sent;
    const idle = open("storyteller", { id: it.id, messages: await history(it.id) });
    await idle.chat.resumeStream();
    return { ...told(page), uncut: told(it), idle: told(idle), history: await history(it.id) };
  },

  // The network is lost in the middle, and the same page re-attaches.
  async cut() {
    let posts = 0;
    async function cutting(url, options) {
      const response = await fetch(url, options);
      return options.method === "POST" && posts++ === 0 ? broken(response) : response;
    }
    const it = open("storyteller", { transport: { fetch: cutting } });
    await it.chat.sendMessage({ text: "tokens=60 delay_ms=20" });
    const cut = told(it);
    await it.chat.resumeStream();
    return { ...told(it), cut, history: await history(it.id) };
  },

  async new_chat() {
    const it = open("echo");
    await it.chat.resumeStream();
    return told(it);
  },

  async killed() {
    const it = open("storyteller");
    const sent = it.chat.sendMessage({ text: "tokens=60 delay_ms=20" });
    await until(() => spoken(it.chat).length > 40, "a beginning");
    const seen = textOf(it.chat.lastMessage);
    await ask("kill");
    await sent;
    const cut = told(it);
    const page = open("storyteller", { id: it.id, messages: await history(it.id) });
    await page.chat.resumeStream();
    return { ...told(page), seen, cut, history: await history(it.id) };
  },
};

for (const name of wanted) {
  try {
    say({ name, ...(await scenarios[name]()) });
  } catch (error) {
    say({ name, failed: String(error?.stack ?? error) });
  }
}
process.exit(0);
