/** Small things that many views show. */

import { h, setText } from '../lib/dom.js';
import { ago, json, moment, plain, shortId } from '../lib/format.js';
import { icon } from '../lib/icons.js';

const HUES = {
  created: 'quiet',
  running: 'busy',
  waiting: 'asks',
  natural_end: 'good',
  behavior_requested: 'good',
  error: 'bad',
  blocked: 'bad',
  stopped: 'bad',
  cancelled: 'quiet',
  superseded: 'quiet',
  open: 'asks',
  answered: 'good',
  denied: 'bad',
  expired: 'quiet',
  'takes work': 'good',
  draining: 'asks',
  'being written': 'busy',
};

const WORDS = {
  created: 'queued',
  natural_end: 'done',
  behavior_requested: 'done',
  error: 'failed',
};

/** What a run is doing, or how it ended: one word. */
export const stateOf = (status, termination) =>
  status === 'done' ? (termination?.type ?? 'natural_end') : status;

/** A word in the colour of what it means, never by colour alone. */
export class Status {
  constructor() {
    this.text = h('span', {});
    this.node = h('span', { class: 'status' }, h('span', { class: 'dot' }), this.text);
  }

  update(state) {
    this.node.className = `status ${HUES[state] ?? 'quiet'}`;
    setText(this.text, WORDS[state] ?? plain(state));
    return this.node;
  }
}

export const statusOf = (state) => new Status().update(state);

/** A moment as it is from now; `tick()` keeps all of them true. */
export function when(at, words = (text) => text) {
  const node = h('time', { datetime: new Date(at).toISOString(), title: moment(at) });
  const say = () => setText(node, words(ago(at)));
  say();
  node.addEventListener('tick', say);
  return node;
}

/** Let the times on the page go on. */
export function tick() {
  for (const node of document.querySelectorAll('time')) node.dispatchEvent(new Event('tick'));
}

const LONG = 4_000;

/** A value as JSON, the rest of a long one on demand. */
export function jsonBlock(value) {
  const text = typeof value === 'string' ? value : json(value);
  const code = h('code', {}, text.slice(0, LONG));
  const node = h('pre', { class: 'json', tabindex: text.length > 200 ? 0 : null }, code);
  if (text.length <= LONG) return node;
  const more = h('button', { class: 'small', onclick: all }, `show all ${text.length} characters`);
  function all() {
    code.textContent = text;
    more.remove();
  }
  return h('div', {}, node, more);
}

/** Something folded: its summary is one line. */
export function folded(summary, ...content) {
  return h('details', {}, h('summary', {}, summary), ...content);
}

export const button = (text, onclick, props = {}, sign = null) =>
  h('button', { type: 'button', onclick, ...props }, sign && icon(sign), text);

/** A sentence in place of a list that has nothing in it. */
export const empty = (...words) => h('p', { class: 'empty' }, ...words);

/** Trouble, told where it happened. */
export class Trouble {
  constructor() {
    this.node = h('p', { class: 'trouble', role: 'alert', hidden: true });
  }

  say(error) {
    setText(this.node, error ? (error.message ?? String(error)) : '');
    this.node.hidden = !error;
  }
}

/** While `work` is under way the button cannot be pressed again; trouble is told. */
export async function guarded(pressed, trouble, work) {
  pressed.disabled = true;
  trouble.say(null);
  try {
    await work();
  } catch (error) {
    if (error.name !== 'AbortError') trouble.say(error);
  } finally {
    pressed.disabled = false;
  }
}

export const idLink = (href, id) => h('a', { href, class: 'id', title: id }, shortId(id));

export const runLink = (runId, ...words) => {
  const href = `#/runs/${encodeURIComponent(runId)}`;
  return words.length ? h('a', { href }, ...words) : idLink(href, runId);
};

/** A chat with the agent, in a thread or in a new one. */
export function chatAddress(agentId, threadId) {
  const thread = threadId ? `/${encodeURIComponent(threadId)}` : '';
  return `#/chat/${encodeURIComponent(agentId)}${thread}`;
}

/** Facts in two columns; those without a value are left out. */
export function facts(rows) {
  const told = rows.filter(([, value]) => value !== null && value !== undefined && value !== '');
  return h(
    'dl',
    { class: 'facts' },
    told.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]),
  );
}

/** Words that can be copied. */
export function copyable(text) {
  const pressed = button('Copy', copy, { class: 'small' }, 'copy');
  const pre = h('pre', { tabindex: 0 }, h('code', {}, text));
  async function copy() {
    if (!navigator.clipboard) return getSelection().selectAllChildren(pre); // not on a safe origin
    await navigator.clipboard.writeText(text);
    return setText(pressed.lastChild, 'Copied');
  }
  return h('div', { class: 'copyable' }, pre, pressed);
}
