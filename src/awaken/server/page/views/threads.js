/** Conversations, the latest first. */

import { get } from '../lib/api.js';
import { Keyed, h, refill, setText, show } from '../lib/dom.js';
import { brief } from '../lib/format.js';
import { firstWords } from '../lib/known.js';
import { Pages } from '../lib/pages.js';
import { poll } from '../lib/poll.js';
import { withQuery } from '../lib/route.js';
import {
  Status,
  Trouble,
  button,
  chatAddress,
  empty,
  guarded,
  stateOf,
  when,
} from '../parts/bits.js';
import { fillAgents, option } from './runs.js';

const EVERY_MS = 2_000;

export function threadsView({ query, signal, title }) {
  title('Threads');
  const agent = query.get('agent');
  const status = query.get('status');
  const pages = new Pages('v1/threads', { limit: 50 }, (thread) => thread.thread_id);
  const list = h('ul', { class: 'lines' });
  const keyed = new Keyed(
    list,
    ({ thread }) => thread.thread_id,
    ({ thread }) => new ThreadRow(thread),
  );
  const trouble = new Trouble();
  const nothing = empty('No conversations here yet. ', h('a', { href: '#/' }, 'Begin one.'));
  const more = button('Older threads', () =>
    guarded(more, trouble, async () => {
      await pages.more(signal);
      await draw();
    }),
  );
  show(nothing, false);
  show(more, false);

  async function draw() {
    const latest = await latestRuns(signal);
    const rows = pages.items
      .map((thread) => ({ thread, run: latest.get(thread.latest_run_id) }))
      .filter(
        ({ thread, run }) =>
          (!agent || thread.agent_id === agent) && (!status || run?.status === status),
      );
    keyed.update(rows);
    show(nothing, !rows.length);
    show(more, Boolean(pages.next));
  }

  const ask = async () => {
    await pages.refresh(signal);
    await draw();
  };
  poll(
    ask,
    () => EVERY_MS,
    signal,
    (error) => trouble.say(error),
  );
  return [
    h('header', { class: 'bar' }, h('h1', { tabindex: -1 }, 'Threads'), filters(agent, status)),
    trouble.node,
    list,
    nothing,
    more,
  ];
}

/** The state of a thread is that of its latest run; the newest runs are asked for in one request. */
async function latestRuns(signal) {
  const { items } = await get('v1/runs', { limit: 200 }, signal);
  return new Map(items.map((run) => [run.run_id, run]));
}

function filters(agent, status) {
  const set = (name) => (event) => {
    location.hash = withQuery(location.hash || '#/threads', { [name]: event.target.value });
  };
  const byStatus = h(
    'select',
    { onchange: set('status'), 'aria-label': 'Status' },
    option('', 'any status'),
    option('running', 'running'),
    option('waiting', 'waiting'),
    option('done', 'done'),
  );
  byStatus.value = status ?? '';
  const byAgent = h(
    'select',
    { onchange: set('agent'), 'aria-label': 'Agent' },
    option('', 'any agent'),
  );
  fillAgents(byAgent, agent);
  return h('div', { class: 'filters' }, byStatus, byAgent);
}

class ThreadRow {
  constructor(thread) {
    this.status = new Status();
    this.words = h('span', { class: 'words' });
    this.at = h('span', { class: 'at' });
    const agent = thread.agent_id;
    const inside = [
      h('span', { class: 'state' }, this.status.node),
      h('span', { class: 'main' }, h('strong', {}, agent ?? 'nobody yet'), this.words),
      this.at,
    ];
    const place = { class: 'line', 'data-thread': thread.thread_id };
    this.node = h(
      'li',
      {},
      agent
        ? h('a', { ...place, href: chatAddress(agent, thread.thread_id) }, inside)
        : h('div', place, inside),
    );
    if (thread.title) setText(this.words, thread.title);
    else
      firstWords(thread.thread_id)
        .then((text) => setText(this.words, brief(text, 120)))
        .catch(() => {});
  }

  update({ thread, run }) {
    show(this.status.node, Boolean(run));
    if (run) this.status.update(stateOf(run.status, run.termination));
    refill(this.at, when(thread.updated_at));
  }
}
