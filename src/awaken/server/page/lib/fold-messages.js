/** Committed messages: what was said for good, whether or not we saw it being written. */

import { callIn, stepOf, touch } from './fold-steps.js';

const textOf = (blocks, type, field) =>
  (blocks ?? [])
    .filter((block) => block.type === type)
    .map((block) => block[field])
    .join('');

/** Blocks that are neither text nor thought: shown by their kind. */
const othersOf = (blocks) =>
  (blocks ?? []).filter((block) => block.type !== 'text' && block.type !== 'thinking');

export function addMessage(run, message, at) {
  if (run.items.some((item) => item.messageId === message.message_id)) return;
  run.push({
    kind: 'message',
    key: `message-${message.message_id}`,
    rev: 0,
    messageId: message.message_id,
    role: message.role,
    text: textOf(message.content, 'text', 'text'),
    others: othersOf(message.content),
    at,
  });
}

/** The message is what the step came to; its deltas are of no more use. */
export function settleStep(run, step, message) {
  step.interrupted = message.interrupted ?? false;
  settleText(step, 'reasoning', textOf(message.content, 'thinking', 'thinking'));
  settleText(step, 'text', textOf(message.content, 'text', 'text'));
  for (const planned of message.tool_calls ?? []) {
    const call = callIn(run, step, planned.id, planned.name);
    call.ready = true;
    call.arguments = planned.arguments;
  }
  touch(step);
}

function settleText(step, type, text) {
  const parts = step.parts.filter((part) => part.type === type);
  for (const part of parts) part.pieces = [];
  if (parts.map((part) => part.text).join('') === text) return;
  const first = parts[0];
  step.parts = step.parts.filter((part) => part.type !== type || part === first);
  if (first) {
    first.text = text;
    touch(first);
  } else if (text) {
    const at = type === 'reasoning' ? 0 : step.parts.findIndex((part) => part.type === 'call');
    const part = { type, key: `${type}-whole`, rev: 0, text, pieces: [] };
    step.parts.splice(at < 0 ? step.parts.length : at, 0, part);
  }
}

/** A message of a snapshot: there are no events for it. */
export function remember(run, message) {
  switch (message.role) {
    case 'tool':
      return rememberResult(run, message);
    case 'assistant': {
      const step = stepOf(run, message.message_id);
      step.open = false;
      step.remembered = true;
      return settleStep(run, step, message);
    }
    default:
      addMessage(run, message, message.created_at);
  }
}

export function rememberResult(run, message) {
  const call = run.calls.get(message.tool_call_id);
  if (!call) run.orphans.set(message.tool_call_id, message); // its call is in an earlier message
  if (!call || call.outcome) return;
  const text = textOf(message.content, 'text', 'text');
  try {
    call.result = JSON.parse(text);
  } catch {
    call.result = text;
  }
  call.outcome = call.result?.error?.code && call.result.error.message ? 'failed' : 'succeeded';
  touch(call);
}
