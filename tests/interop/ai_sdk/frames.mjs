// Reads bytes of streams as the client does: parsed, checked against the schema, folded.
//
// Input: one JSON document on stdin, {version, streams: [base64, …], mode}. Output: a JSON list, one
// answer for each stream: {error}, or {count} and what the mode adds.
//
// mode "parse": no more.
// mode "fold": {message, errors}: what the client's reducer makes of the stream.
// mode "cuts": {message, wrong: […]}: the stream is cut behind each of its chunks; a page that is
//   reloaded, and where the release can do it the same page, re-attaches to all of it. `wrong` are
//   the cuts behind which the messages are not those of the uncut stream.
import { text } from "node:stream/consumers";
import { load } from "./versions.mjs";

const { version, streams, mode } = JSON.parse(await text(process.stdin));
const ai = await load(version);
const SAME_PAGE = !version.startsWith("5") && version !== "6.0.0";

function streamOf(values, error) {
  return new ReadableStream({
    start(controller) {
      for (const value of values) controller.enqueue(value);
      if (error) controller.error(error);
      else controller.close();
    },
  });
}

async function parse(encoded) {
  const data = new Uint8Array(Buffer.from(encoded, "base64"));
  const schema = ai.uiMessageChunkSchema;
  const parsed = ai.parseJsonEventStream({ stream: streamOf([data]), schema });
  const chunks = [];
  for await (const result of parsed) {
    if (!result.success) throw result.error;
    chunks.push(result.value);
  }
  return chunks;
}

async function fold(chunks) {
  const errors = [];
  let last = null;
  const stream = streamOf(chunks);
  const messages = ai.readUIMessageStream({ stream, onError: (e) => errors.push(String(e)) });
  for await (const message of messages) last = message;
  return { message: last, errors };
}

/** A chat whose answer is cut behind `chunks[at]`, by the client's own code but for the network. */
function chatOf(chunks, at) {
  const transport = {
    resumeStreamIsReplay: true,
    sendMessages: async () => {
      const whole = at === undefined;
      const cut = new TypeError("network error");
      return whole ? streamOf(chunks) : passing(chunks.slice(0, at), cut);
    },
    reconnectToStream: async () => streamOf(chunks),
  };
  return new ai.Chat({ id: "chat", transport });
}

/** A stream that fails only once what came before has been read. */
function passing(chunks, error) {
  const left = [...chunks];
  return new ReadableStream({
    pull(controller) {
      if (left.length) controller.enqueue(left.shift());
      else controller.error(error);
    },
  });
}

function answerOf(chat) {
  return JSON.stringify(chat.messages.slice(1));
}

async function cuts(chunks) {
  const uncut = chatOf(chunks);
  await uncut.sendMessage({ text: "hi" });
  const wanted = answerOf(uncut);
  const wrong = [];
  for (let at = 0; at <= chunks.length; at++) {
    const page = chatOf(chunks, at);
    await page.sendMessage({ text: "hi" });
    const reloaded = chatOf(chunks);
    reloaded.messages = page.messages.slice(0, 1);
    await reloaded.resumeStream();
    if (answerOf(reloaded) !== wanted) wrong.push({ at, reloaded: answerOf(reloaded), wanted });
    if (!SAME_PAGE) continue;
    await page.resumeStream();
    if (answerOf(page) !== wanted) wrong.push({ at, page: answerOf(page), wanted });
  }
  return { message: wanted, wrong };
}

const modes = { parse: () => ({}), fold, cuts };

async function answer(encoded) {
  try {
    const chunks = await parse(encoded);
    return { count: chunks.length, ...(await modes[mode](chunks)) };
  } catch (error) {
    return { error: String(error?.cause ?? error) };
  }
}

const answers = [];
for (const stream of streams) answers.push(await answer(stream));
process.stdout.write(JSON.stringify(answers));
process.exit(0);
