/** What never changes is asked for once: the agents' list, a run's agent, what a run was asked. */

import { get, path } from './api.js';
import { key } from './key.js';

/** At most so many questions of this kind at a time: lists show many rows. */
const AT_ONCE = 4;
const MAX_KEPT = 2_000;

const kept = new Map();
let lastKey = key.get();

function once(name, ask) {
  if (lastKey !== key.get()) kept.clear();
  lastKey = key.get();
  if (!kept.has(name)) {
    if (kept.size >= MAX_KEPT) kept.delete(kept.keys().next().value);
    kept.set(
      name,
      inTurn(ask).catch((error) => {
        kept.delete(name);
        throw error;
      }),
    );
  }
  return kept.get(name);
}

let busy = 0;
const queue = [];

function inTurn(ask) {
  return new Promise((resolve, reject) => {
    queue.push(() => ask().then(resolve, reject));
    next();
  });
}

function next() {
  while (busy < AT_ONCE && queue.length) {
    busy += 1;
    queue
      .shift()()
      .finally(() => {
        busy -= 1;
        next();
      });
  }
}

/** How long a list of agents is good for: another server may come up with others. */
const AGENTS_MS = 30_000;

/** The agents that can be started. */
export function agents() {
  const age = Math.floor(Date.now() / AGENTS_MS);
  return once(`agents ${age}`, async () => (await get('v1/agents')).items);
}

/** The agent of a run. */
export const agentOf = (runId) =>
  once(`agent ${runId}`, async () => (await get(path`v1/runs/${runId}`)).agent_id);

/** The first message of a thread, or of one of its runs; empty when there is none. */
export function firstWords(threadId, runId) {
  return once(`words ${threadId} ${runId ?? ''}`, async () => {
    const page = await get(path`v1/threads/${threadId}/messages`, { limit: 1, run_id: runId });
    const blocks = page.items[0]?.content ?? [];
    return blocks.map((block) => block.text ?? '').join(' ');
  });
}

/** The JSON schema of a tool's arguments, where the server tells it. */
export async function argumentsSchema(ticket) {
  if (ticket.arguments_schema) return ticket.arguments_schema;
  const all = await agents();
  const named = all.flatMap((agent) =>
    agent.tools.filter((tool) => tool?.name === ticket.tool_name),
  );
  return named.find((tool) => tool.parameters)?.parameters ?? null;
}
